// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to the process: fork followed by a write, exit.
 *
 * The thread that forks lives on a shared stack, so its child gets one of its own, in the
 * thread's buffer. The child makes accesses and system calls, nothing else.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "race.h"

static char *page_at(const struct race_run *r, int i)
{
	return r->area->sample + i * hm_page_size();
}

static int end_of(const struct race_run *r)
{
	return r->area->b_first + r->area->b_pages;
}

static pid_t fork_to(int (*child)(void *arg), struct race_run *r)
{
	char *stack = r->worker->buffer + RACE_PAGES * hm_page_size();
	pid_t pid = clone(child, stack, SIGCHLD, r);

	r->worker->proxy = pid < 0 ? 0 : pid;
	return pid < 0 ? -errno : pid;
}

/* 0 if it ended by itself, and well. */
static int reap(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? -EIO : 0;
}

/* What it reads is what was there at the fork; what it writes nobody else sees. */
static int read_and_write(void *arg)
{
	struct race_run *r = arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = r->area->b_first; i < end_of(r); i++) {
		race_load(page_at(r, i), &r->page[i].seen[r->side]);
		r->page[i].side[r->side] = race_store(page_at(r, i), race_written(r->side));
	}
	return 0;
}

static void fork_child(struct race_run *r)
{
	pid_t pid = fork_to(read_and_write, r);
	int ret = pid < 0 ? pid : reap(pid);

	if (ret)
		race_all(r, r->area->b_first, r->area->b_pages, ret);
}

/* Twice the same, before and after the parent wrote: it has a copy. */
static int compare(void *arg)
{
	struct race_run *r = arg;
	char before[RACE_PAGES], after;
	bool same = true;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = r->area->b_first; i < end_of(r); i++)
		race_load(page_at(r, i), &before[i]);
	kill(getpid(), SIGSTOP);
	for (int i = r->area->b_first; i < end_of(r); i++) {
		race_load(page_at(r, i), &after);
		same &= before[i] == after;
	}
	return !same;
}

static void write_pages(struct race_run *r)
{
	for (int i = r->area->b_first; i < end_of(r); i++)
		r->page[i].side[r->side] = race_store(page_at(r, i), race_written(r->side));
}

static void fork_parent(struct race_run *r)
{
	pid_t pid = fork_to(compare, r);
	int status = 0, ret = pid < 0 ? pid : 0;

	if (!ret && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status)) {
		write_pages(r);
		kill(pid, SIGCONT);
		ret = reap(pid);
	} else {
		ret = ret ?: -EIO;
	}
	if (ret)
		race_all(r, r->area->b_first, r->area->b_pages, ret);
}

static void leave(struct race_run *r)
{
	(void)r;
	syscall(SYS_exit_group, 0);
}

static const char *copies(unsigned int memory)
{
	return memory & MEM_SHARED ? "fork() shares memory of this kind: nothing is copied" : NULL;
}

const struct race_op race_ops_process[] = {
	{ "fork_child", "fork(), and the child reads and writes the middle pages",
	  OP_FORKS | OP_NOTIFIES | OP_TOUCHES, 0, copies, NULL, fork_child, 0 },
	{ "fork_parent", "fork(), the parent writes the middle pages, the child's do not change",
	  OP_FORKS | OP_NOTIFIES | OP_TOUCHES | OP_WRITES, 0, copies, NULL, fork_parent, 0 },
	{ "exit", "the process exits", OP_EXITS, 0, NULL, NULL, leave, 0 },
};

const int race_nr_ops_process = sizeof(race_ops_process) / sizeof(race_ops_process[0]);
