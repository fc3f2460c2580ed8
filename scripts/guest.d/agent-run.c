// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run one program to its end: exit, signal, time limit, or a task that not even
 * SIGKILL ends. The agent is init or a child subreaper, so whatever the program
 * leaves behind becomes the agent's child and is ended, too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define TICK_MS		1000	/* a "tick" record a second: the host sees a live guest */
#define KILL_WAIT_MS	5000	/* from SIGKILL to "stuck" */
#define DRAIN_WAIT_MS	1000	/* output that a left-over process still holds open */

struct run {
	pid_t pid;
	int pidfd;
	struct line_buffer out[2];
	long killed_at;
	int status;
	bool reaped;
};

static void child(const char *dir, char **argv, int out, int err)
{
	int null = open("/dev/null", O_RDONLY);

	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(err, 2);
	if (chdir(dir))
		fprintf(stderr, "chdir %s: %s\n", dir, strerror(errno));
	else
		execvp(argv[0], argv);
	fprintf(stderr, "start %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int start(struct run *run, const char *dir, char **argv, bool split_output)
{
	int out[2], err[2] = { -1, -1 };

	if (pipe2(out, O_CLOEXEC) || (split_output && pipe2(err, O_CLOEXEC)))
		return -errno;
	run->pid = fork();
	if (run->pid < 0)
		return -errno;
	if (!run->pid)
		child(dir, argv, out[1], split_output ? err[1] : out[1]);
	close(out[1]);
	if (split_output)
		close(err[1]);
	run->out[0] = (struct line_buffer){ .tag = "out", .fd = out[0] };
	run->out[1] = (struct line_buffer){ .tag = "err", .fd = err[0] };
	run->pidfd = syscall(SYS_pidfd_open, run->pid, 0);
	return run->pidfd < 0 ? -errno : 0;
}

/* The next entry of a directory that is a number; 0 at the end. */
static int next_id(DIR *dir)
{
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name) > 0)
			return atoi(entry->d_name);
	return 0;
}

/*
 * A task's line of /proc/PID/stat. Neither cmdline nor maps: those wait for
 * mmap_lock, which a held operation of the test may own.
 */
static bool user_task(const char *stat_path, char *stat, size_t size)
{
	const unsigned long pf_kthread = 0x00200000;
	int fd = open(stat_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, stat, size - 1);
	unsigned long flags = pf_kthread;
	char *after;

	if (fd >= 0)
		close(fd);
	stat[n > 0 ? n : 0] = 0;
	after = strrchr(stat, ')');
	if (after)
		sscanf(after + 2, "%*c %*d %*d %*d %*d %*d %lu", &flags);
	return !(flags & pf_kthread);
}

static void report_thread(int pid, int tid)
{
	char path[128], stat[1024];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", pid, tid);
	if (!user_task(path, stat, sizeof(stat)))
		return;
	report("stack", "%.*s", (int)(strrchr(stat, ')') + 3 - stat), stat);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stack", pid, tid);
	report_file("stack", path);
}

static void report_process(int pid)
{
	char path[64];
	DIR *tasks;
	int tid;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while ((tid = next_id(tasks)))
		report_thread(pid, tid);
	if (tasks)
		closedir(tasks);
}

/* Where everything stands when a limit is over: the first thing one wants to know. */
static void report_stacks(void)
{
	DIR *proc = opendir("/proc");
	int pid;

	while ((pid = next_id(proc)))
		if (pid != getpid())
			report_process(pid);
	if (proc)
		closedir(proc);
}

/* Returns how many direct children there were to kill. */
static int kill_children(void)
{
	char path[64], pids[4096];
	char *next = pids, *end;
	int fd, count = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, pids, sizeof(pids) - 1);
	if (fd >= 0)
		close(fd);
	pids[n > 0 ? n : 0] = 0;
	for (long pid = strtol(next, &end, 10); end != next; pid = strtol(next, &end, 10)) {
		kill(pid, SIGKILL);
		next = end;
		count++;
	}
	return count;
}

static void reap(struct run *run)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != run->pid)
			continue;
		run->reaped = true;
		run->status = status;
	}
}

static void poll_once(struct run *run, long wait_ms)
{
	struct pollfd fds[4] = {
		{ .fd = run->out[0].fd, .events = POLLIN },
		{ .fd = run->out[1].fd, .events = POLLIN },
		{ .fd = kmsg_fd(), .events = POLLIN },
		{ .fd = run->reaped ? -1 : run->pidfd, .events = POLLIN },
	};

	if (!poll(fds, 4, wait_ms))
		report("tick", "-");
	for (int i = 0; i < 2; i++)
		if (fds[i].revents)
			line_buffer_read(&run->out[i]);
	kmsg_drain();
	for (int i = 0; i < 2; i++)
		line_buffer_report(&run->out[i]);
	reap(run);
}

static bool output_open(const struct run *run)
{
	return run->out[0].fd >= 0 || run->out[1].fd >= 0;
}

/* Poll until the program is reaped and (if asked for) its output closed, or until @limit. */
static void poll_until(struct run *run, long limit, bool output_too)
{
	while (!run->reaped || (output_too && output_open(run))) {
		long left = limit - now_ms();

		if (left <= 0)
			return;
		poll_once(run, left < TICK_MS ? left : TICK_MS);
	}
}

/*
 * Processes that the program left behind are killed, generation by generation (an
 * orphan becomes the agent's child), and what they still wrote is taken.
 */
static void finish_output(struct run *run)
{
	long limit = now_ms() + DRAIN_WAIT_MS;

	while (kill_children() && now_ms() < limit)
		poll_once(run, 10);
	poll_until(run, limit, true);
	for (int i = 0; i < 2; i++) {
		if (run->out[i].fd >= 0)
			close(run->out[i].fd);
		run->out[i].fd = -1;
		line_buffer_report(&run->out[i]);
	}
	close(run->pidfd);
}

static void end_by_force(struct run *run)
{
	report_stacks();
	kill(-run->pid, SIGKILL);
	kill_children();
	poll_until(run, now_ms() + KILL_WAIT_MS, false);
}

static enum ending report_ending(const struct run *run, const char *name, bool timed_out)
{
	if (!run->reaped) {
		report("exit", "%s stuck %d", name, run->pid);
		return ENDED_STUCK;
	}
	if (timed_out) {
		report("exit", "%s timeout 0", name);
		return ENDED_TIMEOUT;
	}
	if (WIFSIGNALED(run->status)) {
		report("exit", "%s signal %d", name, WTERMSIG(run->status));
		return ENDED_SIGNAL;
	}
	report("exit", "%s code %d", name, WEXITSTATUS(run->status));
	return ENDED_EXIT;
}

enum ending run_program(const char *name, const char *dir, long timeout_s, char **argv,
			bool split_output)
{
	struct run run = { .pid = -1 };
	int error = start(&run, dir, argv, split_output);
	bool timed_out;

	if (error) {
		report("note", "start %s: %s", name, strerror(-error));
		report("exit", "%s code 127", name);
		return ENDED_EXIT;
	}
	poll_until(&run, now_ms() + timeout_s * 1000, false);
	timed_out = !run.reaped;
	if (timed_out)
		end_by_force(&run);
	finish_output(&run);
	kmsg_mark("end", name);
	kmsg_drain();
	return report_ending(&run, name, timed_out);
}
