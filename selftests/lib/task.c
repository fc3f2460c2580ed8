// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dev.h"
#include "task.h"

int hm_slowness(void)
{
	static int slowness;
	const char *told;

	if (slowness)
		return slowness;
	told = getenv("HOTMIRROR_SLOWNESS");
	slowness = told ? atoi(told) : 0;
	if (slowness < 1)
		slowness = access("/proc/lockdep", F_OK) ? 1 : 8;
	return slowness;
}

long long hm_deadline(int limit_ms)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000 + limit_ms;
}

int hm_left(long long deadline)
{
	long long left = deadline - hm_deadline(0);

	return left > 0 ? (int)left : 0;
}

int hm_poll(int fd, short events, int limit_ms)
{
	long long deadline = hm_deadline(limit_ms);
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	while ((n = poll(&p, 1, hm_left(deadline))) < 0 && errno == EINTR)
		;
	if (n < 0)
		return -errno;
	return n ? p.revents : -ETIMEDOUT;
}

void hm_pause(void)
{
	poll(NULL, 0, 1);
}

int hm_stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

int hm_visit_cpus(void (*there)(void))
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return -errno;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one))
			return -errno;
		if (there)
			there();
	}
	return sched_setaffinity(0, sizeof(all), &all) ? -errno : 0;
}

/* madvise_cold() begins with lru_add_drain(), whatever it is asked about. */
static void drain_batches_here(void)
{
	size_t size = getpagesize();
	void *any = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (any != MAP_FAILED) {
		madvise(any, size, 20 /* MADV_COLD */);
		munmap(any, size);
	}
}

int hm_drain_batches(void)
{
	return hm_visit_cpus(drain_batches_here);
}

int hm_ready_for_reclaim(void)
{
	return hm_drain_batches() ?: hm_stay_on_one_cpu();
}

ssize_t hm_slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	if (n < 0)
		n = -errno;
	else
		buf[n] = '\0';
	close(fd);
	return n;
}

char hm_task_state(pid_t tid)
{
	char path[64], buf[512];
	char *paren;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (hm_slurp(path, buf, sizeof(buf)) <= 0)
		return 0;
	/* The name in parentheses may hold anything, even parentheses. */
	paren = strrchr(buf, ')');
	return paren ? paren[2] : 0;
}

int hm_wait_asleep(pid_t tid)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	char state;

	while ((state = hm_task_state(tid)) != 'S' && state != 'D') {
		if (!state)
			return -ESRCH;
		if (hm_left(deadline) <= 0)
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* Static: a report must not have to fault while mmap_lock is taken for good. */
static char report[4096];

static void show_file(pid_t pid, const char *tid, const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, tid, name);
	if (hm_slurp(path, report, sizeof(report)) <= 0)
		return;
	for (char *line = strtok(report, "\n"); line; line = strtok(NULL, "\n"))
		dprintf(STDERR_FILENO, "#   %s: %s\n", name, line);
}

/* Somebody could run and does not get on: what do the CPUs do instead? */
static void show_cpus(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "l", 1) == 1)
		dprintf(STDERR_FILENO, "# the kernel log shows what each CPU runs (sysrq l)\n");
	close(fd);
}

void hm_show_tasks(pid_t pid)
{
	bool runnable = false;
	char path[64], state;
	struct dirent *d;
	pid_t tid;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		tid = atoi(d->d_name);
		state = hm_task_state(tid);
		runnable |= state == 'R' && tid != syscall(SYS_gettid);
		dprintf(STDERR_FILENO, "# task %d of %d, state %c\n", tid, pid, state ?: '?');
		show_file(pid, d->d_name, "syscall");
		show_file(pid, d->d_name, "stack");
	}
	closedir(dir);
	if (runnable)
		show_cpus();
}

static void *bark(void *limit_ms)
{
	poll(NULL, 0, (intptr_t)limit_ms);
	dprintf(STDERR_FILENO, "# watchdog: no end after %d ms\n",
		(int)(intptr_t)limit_ms);
	hm_show_tasks(getpid());
	_exit(1);
}

int hm_watchdog_start(int limit_ms)
{
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	/* Fault in what the report needs while faults still work. */
	memset(report, 0, sizeof(report));
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	ret = pthread_create(&thread, &attr, bark, (void *)(intptr_t)limit_ms);
	pthread_attr_destroy(&attr);
	return -ret;
}

static void *async_main(void *arg)
{
	struct hm_async *a = arg;

	a->tid = syscall(SYS_gettid);
	eventfd_write(a->started, 1);
	a->result = a->fn(a->arg);
	eventfd_write(a->ended, 1);
	return NULL;
}

static int wait_readable(int fd, int limit_ms)
{
	int ret = hm_poll(fd, POLLIN, limit_ms);

	return ret < 0 ? ret : 0;
}

int hm_async_start(struct hm_async *a, long (*fn)(void *arg), void *arg)
{
	int ret;

	*a = (struct hm_async){
		.fn = fn,
		.arg = arg,
		.started = eventfd(0, EFD_CLOEXEC),
		.ended = eventfd(0, EFD_CLOEXEC),
	};
	ret = -pthread_create(&a->thread, NULL, async_main, a);
	return ret ?: wait_readable(a->started, HM_LIMIT_MS);
}

bool hm_async_done(const struct hm_async *a)
{
	return !wait_readable(a->ended, 0);
}

int hm_async_wait(const struct hm_async *a, int limit_ms)
{
	return wait_readable(a->ended, limit_ms);
}

int hm_async_join(struct hm_async *a, int limit_ms, long *result)
{
	int ret = wait_readable(a->ended, limit_ms);

	if (ret) {
		hm_show_tasks(getpid());
		return ret;
	}
	pthread_join(a->thread, NULL);
	close(a->started);
	close(a->ended);
	*result = a->result;
	return 0;
}

static int child_main(const int down[2], const int up[2],
		      int (*fn)(struct hm_parent *p, void *arg), void *arg)
{
	struct hm_parent p = { .to = up[1], .from = down[0] };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(down[1]);
	close(up[0]);
	return fn(&p, arg);
}

int hm_child_start(struct hm_child *c, int (*fn)(struct hm_parent *p, void *arg),
		   void *arg)
{
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		return -errno;
	fflush(NULL);
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (!c->pid)
		_exit(child_main(down, up, fn, arg));
	close(down[0]);
	close(up[1]);
	c->to = down[1];
	c->from = up[0];
	c->pidfd = syscall(SYS_pidfd_open, c->pid, 0);
	return c->pidfd < 0 ? -errno : 0;
}

int hm_child_tell(struct hm_child *c, long value)
{
	return write(c->to, &value, sizeof(value)) == sizeof(value) ? 0 : -EPIPE;
}

int hm_child_hear(struct hm_child *c, long *value)
{
	int ret = wait_readable(c->from, HM_LIMIT_MS);

	if (ret) {
		hm_show_tasks(c->pid);
		return ret;
	}
	return read(c->from, value, sizeof(*value)) == sizeof(*value) ? 0 : -EPIPE;
}

void hm_tell(struct hm_parent *p, long value)
{
	if (write(p->to, &value, sizeof(value)) != sizeof(value))
		_exit(1);
}

long hm_hear(struct hm_parent *p)
{
	long value;

	if (read(p->from, &value, sizeof(value)) != sizeof(value))
		_exit(1);
	return value;
}

int hm_child_getfd(struct hm_child *c, int fd)
{
	int ret = syscall(SYS_pidfd_getfd, c->pidfd, fd, 0);

	return ret < 0 ? -errno : ret;
}

int hm_child_kill(struct hm_child *c, int sig)
{
	return kill(c->pid, sig) ? -errno : 0;
}

int hm_child_wait(struct hm_child *c, int *status)
{
	int ret = wait_readable(c->pidfd, HM_LIMIT_MS);

	if (ret) {
		hm_show_tasks(c->pid);
		return ret;
	}
	if (waitpid(c->pid, status, 0) != c->pid)
		return -errno;
	close(c->pidfd);
	close(c->to);
	close(c->from);
	c->pid = 0;
	return 0;
}

void hm_child_end(struct hm_child *c)
{
	int status;

	if (c->pid <= 0)
		return;
	kill(c->pid, SIGKILL);
	hm_child_wait(c, &status);
}
