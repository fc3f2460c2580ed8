// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that owns the memory, and the remote one. Their threads wait for a call on
 * an eventfd and tell its end on another.
 *
 * A thread that makes an operation touches shared, locked memory and the memory under
 * test, nothing else: its stack, too, is shared, so that neither a held mmap_lock nor a
 * fork() can make it fault where no fault was meant.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/task.h"
#include "../lib/uffd.h"
#include "memory.h"
#include "race.h"

#define STACK	(256 << 10)

/* ---- the mirror, and the state that the gate asks for ---- */

static int mirror(struct race_shared *sh, int device)
{
	const struct race_area *area = &sh->area;
	bool two_pass = sh->state & GATE_TWO_PASS;

	return hm_mirror(sh->fd[device], area->mem, area->length,
			 two_pass ? HOTMIRROR_MIRROR_TWO_PASS : 0, &sh->range[device]);
}

static bool any(const struct race_shared *sh, unsigned int flag)
{
	for (int i = 0; i < RACE_SIDES; i++)
		if (sh->prepare[i] && sh->prepare[i]->flags & flag)
			return true;
	return false;
}

/* What is present, page by page: one that userfaultfd has is left alone. */
static int warm(struct race_shared *sh)
{
	bool write = !(sh->memory->flags & (MEM_HOLE | MEM_CLEAN)) && !any(sh, OP_WIDENS);
	const struct race_area *area = &sh->area;
	size_t page = hm_page_size();
	int ret = 0;

	/* In one walk, where that goes: one from the middle is wrong in a large private folio. */
	if (!(sh->memory->flags & MEM_USERFAULT))
		return hm_prefetch(sh->fd[RACE_DEVICE], area->sample, area->pages * page, write);
	for (int i = 0; i < area->pages && !ret; i++)
		if (i != 1)
			ret = hm_prefetch(sh->fd[RACE_DEVICE], area->sample + i * page, page,
					  write);
	return ret;
}

static int settle(struct race_shared *sh)
{
	const struct race_area *area = &sh->area;

	if (sh->state & GATE_DROPPED && madvise(area->mem, area->length, MADV_DONTNEED))
		return -errno;
	return sh->state & GATE_WARM ? warm(sh) : 0;
}

static int prepare(struct race_setup *s)
{
	int ret = 0;

	for (int i = 0; i < RACE_SIDES && !ret; i++) {
		const struct race_op *op = s->shared->prepare[i];

		if (op && op->prepare)
			ret = op->prepare(s);
	}
	return ret;
}

static void unpin(struct race_shared *sh)
{
	for (int i = 0; i < RACE_WORKERS; i++) {
		struct race_worker *w = &sh->worker[i];
		bool second = w->op && w->op->flags & OP_SECOND;

		if (w->pinned)
			hm_unpin(sh->fd[second ? RACE_SECOND : RACE_DEVICE], w->pin);
		w->pinned = false;
	}
}

static int clear(struct race_shared *sh)
{
	unpin(sh);
	for (int i = 0; i < 2; i++)
		if (sh->range[i] != RACE_NONE)
			hm_unmirror(sh->fd[i], sh->range[i]);
	return race_area_clear(sh);
}

static int build(struct race_shared *sh, struct race_worker *w)
{
	struct race_setup s = { .shared = sh, .area = &sh->area, .why = w->why };
	int ret;

	w->why[0] = '\0';
	sh->range[0] = RACE_NONE;
	sh->range[1] = RACE_NONE;
	sh->area = (struct race_area){};
	ret = sh->memory->build(&s);
	ret = ret ?: race_area_rest(&s);
	ret = ret ?: mirror(sh, RACE_DEVICE);
	ret = ret ?: any(sh, OP_SECOND) ? mirror(sh, RACE_SECOND) : 0;
	ret = ret ?: prepare(&s);
	ret = ret ?: race_uffd_begin(&s);
	ret = ret ?: settle(sh);
	if (ret)
		clear(sh);
	return ret;
}

/* ---- afterwards ---- */

/* ENOMEM: no mapping. Neither a fault nor a page is needed to know. */
static char mapped(const char *at)
{
	unsigned char present;

	return mincore((void *)at, 1, &present) ? '-' : '+';
}

static char device_reads(struct race_worker *w, int fd, const char *at)
{
	int ret = hm_read(fd, at, &w->word, sizeof(w->word));

	return ret ? race_error(ret) : race_token(w->word, at);
}

static char cpu_reads(const char *at)
{
	char seen;

	race_load(at, &seen);
	return seen;
}

static void look(struct race_shared *sh, struct race_worker *w)
{
	const struct race_area *area = &sh->area;
	size_t page = hm_page_size();

	for (int i = 0; i < area->pages; i++) {
		char *at = area->sample + i * page;
		char *there = area->elsewhere + (at - area->b_start);
		bool may_move = i >= area->b_first && i < area->b_first + area->b_pages &&
				any(sh, OP_MOVES);
		struct race_page *p = &sh->look.page[i];

		p->map = mapped(at);
		p->cpu = cpu_reads(at);
		p->tail = cpu_reads(at + page - sizeof(__u64));
		p->dev = device_reads(w, sh->fd[RACE_DEVICE], at);
		p->moved = may_move ? cpu_reads(there) : '-';
	}
	sh->look.pages = area->pages;
}

static int reopen(struct race_shared *sh)
{
	for (int i = 0; i < 3; i++) {
		if (sh->fd[i] >= 0)
			close(sh->fd[i]);
		sh->fd[i] = sh->id[i] == RACE_NONE ? -1 : hm_open(sh->id[i]);
		if (sh->fd[i] < 0 && sh->id[i] != RACE_NONE)
			return sh->fd[i];
	}
	return 0;
}

/* ---- calls ---- */

static void operate(struct race_shared *sh, struct race_worker *w, const int *fd)
{
	struct race_run r = {
		.shared = sh,
		.worker = w,
		.area = &sh->area,
		.side = w->side,
		.fd = fd[w->op->flags & OP_SECOND ? RACE_SECOND : RACE_DEVICE],
		.page = w->page,
	};

	w->op->run(&r);
}

static void serve(struct race_shared *sh, struct race_worker *w, const int *fd)
{
	switch (w->call) {
	case RACE_OP:
		operate(sh, w, fd);
		break;
	case RACE_OPEN:
		w->ret = reopen(sh);
		break;
	case RACE_BUILD:
		w->ret = build(sh, w);
		break;
	case RACE_LOOK:
		look(sh, w);
		break;
	case RACE_CLEAR:
		w->ret = clear(sh);
		break;
	case RACE_IDLE:
		_exit(0);
	}
}

/* Read and write by hand: glibc's eventfd_read() is the same, but may not be in memory. */
static void wait_for_call(struct race_worker *w)
{
	while (read(w->go, &w->word, sizeof(w->word)) != sizeof(w->word))
		;
}

static void tell_end(struct race_worker *w)
{
	w->word = 1;
	while (write(w->done, &w->word, sizeof(w->word)) != sizeof(w->word))
		;
}

struct thread {
	struct race_shared *shared;
	int index;
	const int *fd;
};

static const char *const names[RACE_WORKERS] = {
	"race-A", "race-B", "race-C", "race-setup", "race-remote",
};

static void *work(void *arg)
{
	struct thread *t = arg;
	struct race_worker *w = &t->shared->worker[t->index];

	prctl(PR_SET_NAME, names[t->index]);
	w->tid = syscall(SYS_gettid);
	tell_end(w);
	for (;;) {
		wait_for_call(w);
		serve(t->shared, w, t->fd);
		tell_end(w);
	}
	return NULL;
}

static int start(struct thread *t)
{
	char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	if (stack == MAP_FAILED)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, stack, STACK);
	ret = pthread_create(&thread, &attr, work, t);
	pthread_attr_destroy(&attr);
	return -ret;
}

int race_target_main(struct race_shared *sh)
{
	static struct thread threads[RACE_SETUP + 1];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sh->uffd = hm_uffd_open_rwp();
	for (int i = 0; i <= RACE_SETUP; i++)
		threads[i] = (struct thread){ sh, i, sh->fd };
	for (int i = 0; i < RACE_SIDES; i++)
		if (start(&threads[i]))
			return 1;
	/* All that the threads may need is present from now on. */
	if (mlockall(MCL_CURRENT))
		return 1;
	work(&threads[RACE_SETUP]);
	return 0;
}

int race_remote_main(struct race_shared *sh, const int fd[2])
{
	static struct thread thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	thread = (struct thread){ sh, RACE_REMOTE, fd };
	work(&thread);
	return 0;
}
