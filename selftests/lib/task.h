/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads, processes and waits with a limit.
 *
 * Whatever may be held by the kernel (a device access in a user fault, a process
 * that is to be killed) runs in a thread or a process of its own, is waited for
 * with a limit, and shows its kernel stack when the limit is reached.
 */
#ifndef HOTMIRROR_LIB_TASK_H
#define HOTMIRROR_LIB_TASK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * How many times as long as usual a test may take: debug kernels (lockdep, KASAN) do. Who
 * runs the program may know it (HOTMIRROR_SLOWNESS); else lockdep tells such a kernel.
 */
int hm_slowness(void);
/* Milliseconds of CLOCK_MONOTONIC at which a wait of @limit_ms ends. */
long long hm_deadline(int limit_ms);
/* Milliseconds left, never negative: fit for poll(). */
int hm_left(long long deadline);
/*
 * Wait for @events (POLLHUP needs no asking): what has come of them, -ETIMEDOUT after
 * @limit_ms.
 */
int hm_poll(int fd, short events, int limit_ms);
/* Give way between two looks at something that cannot be polled. */
void hm_pause(void);

/* The whole of a small /proc file, always terminated; its length or -errno. */
ssize_t hm_slurp(const char *path, char *buf, size_t size);

/* State letter of a thread (of any process), 0 if it is gone. */
char hm_task_state(pid_t tid);
/*
 * Stay on the CPU that runs this, children too: what reclaim and copy on write look at
 * sits in lists of the CPU that touched a page. 0 or -errno.
 */
int hm_stay_on_one_cpu(void);
/* Run on every CPU for a moment, and call @there (or NULL) on each; 0 or -errno. */
int hm_visit_cpus(void (*there)(void));
/*
 * What waits in the lists of a CPU (for the LRU, after munlock()) goes on its way, and the
 * references that these lists have on pages with it. 0 or -errno.
 */
int hm_drain_batches(void);
/*
 * From here on reclaim finds what this process touched so far: every CPU's batches go to the
 * LRU lists, and the caller stays on one CPU, whose batches madvise() drains. 0 or -errno.
 */
int hm_ready_for_reclaim(void);
/* Wait until the thread sleeps (S or D); -ETIMEDOUT, -ESRCH. */
int hm_wait_asleep(pid_t tid);
/*
 * Print state, syscall and kernel stack of every thread of @pid to stderr. If one of them
 * could run, the caller not counted, the kernel log shows what every CPU does.
 */
void hm_show_tasks(pid_t pid);

/*
 * End this process with a report if it has not stopped the watchdog within
 * @limit_ms: the harness would kill it, but could not say where it hung.
 */
int hm_watchdog_start(int limit_ms);

/* A function call in a thread of its own. */
struct hm_async {
	pthread_t thread;
	pid_t tid;
	int started;		/* eventfd: the thread knows its tid */
	int ended;		/* eventfd: @result is valid */
	long (*fn)(void *arg);
	void *arg;
	long result;
};

int hm_async_start(struct hm_async *a, long (*fn)(void *arg), void *arg);
/* Whether it has returned, without waiting. */
bool hm_async_done(const struct hm_async *a);
/* Wait until it has returned; -ETIMEDOUT, which may be what was expected. */
int hm_async_wait(const struct hm_async *a, int limit_ms);
/* Its result in @result; -ETIMEDOUT with a report if it does not come back. */
int hm_async_join(struct hm_async *a, int limit_ms, long *result);

/* A process that does what it is told and tells what it did. */
struct hm_child {
	pid_t pid;
	int pidfd;
	int to;			/* written by the parent */
	int from;		/* read by the parent */
};

/* In the child: its two ends. hm_hear() ends the process when the parent is gone. */
struct hm_parent {
	int to;
	int from;
};

/* Fork; the child runs @fn and exits with its result. */
int hm_child_start(struct hm_child *c, int (*fn)(struct hm_parent *p, void *arg),
		   void *arg);
/* Numbers between the two, in either direction; -ETIMEDOUT, -EPIPE. */
int hm_child_tell(struct hm_child *c, long value);
int hm_child_hear(struct hm_child *c, long *value);
void hm_tell(struct hm_parent *p, long value);
long hm_hear(struct hm_parent *p);
/* A duplicate of the child's file descriptor @fd. */
int hm_child_getfd(struct hm_child *c, int fd);
int hm_child_kill(struct hm_child *c, int sig);
/* Wait for its end, with a report at the limit; @status as of waitpid(). */
int hm_child_wait(struct hm_child *c, int *status);
/* Kill and reap, whatever its state; for clean-up. */
void hm_child_end(struct hm_child *c);

#endif /* HOTMIRROR_LIB_TASK_H */
