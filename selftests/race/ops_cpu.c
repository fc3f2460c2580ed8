// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the process does with its memory: accesses, by the CPU and by get_user_pages().
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "race.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif

static char *page_at(const struct race_run *r, int i)
{
	return r->area->sample + i * hm_page_size();
}

static int end_of(const struct race_run *r)
{
	return r->area->b_first + r->area->b_pages;
}

static void cpu_read(struct race_run *r)
{
	for (int i = r->area->b_first; i < end_of(r); i++)
		r->page[i].side[r->side] = race_load(page_at(r, i), &r->page[i].seen[r->side]);
}

static void cpu_write(struct race_run *r)
{
	for (int i = r->area->b_first; i < end_of(r); i++)
		r->page[i].side[r->side] = race_store(page_at(r, i), race_written(r->side));
}

/* One page a call, as one result is wanted for each. */
static void gup_read(struct race_run *r)
{
	struct race_worker *w = r->worker;

	for (int i = r->area->b_first; i < end_of(r); i++) {
		int ret = hm_gup_read(page_at(r, i), w->buffer, sizeof(__u64));

		r->page[i].side[r->side] = race_error(ret);
		r->page[i].seen[r->side] = ret ? race_error(ret) :
					   race_token(*(__u64 *)w->buffer, page_at(r, i));
	}
}

static int make_pipe(struct race_setup *s)
{
	return pipe2(s->shared->pipe, O_CLOEXEC | O_NONBLOCK) ? -errno : 0;
}

/* The pages stay in the pipe until the memory is cleared. */
static void splice_pages(struct race_run *r)
{
	for (int i = r->area->b_first; i < end_of(r); i++) {
		struct iovec iov = { page_at(r, i), hm_page_size() };
		ssize_t n = vmsplice(r->shared->pipe[1], &iov, 1, 0);

		race_all(r, i, 1, n < 0 ? -errno : 0);
	}
}

static void advise_all(struct race_run *r, int ret)
{
	race_all(r, r->area->b_first, r->area->b_pages, ret ? -errno : 0);
}

static void populate_write(struct race_run *r)
{
	advise_all(r, madvise(r->area->b_start, r->area->b_length, MADV_POPULATE_WRITE));
}

static void lock_pages(struct race_run *r)
{
	advise_all(r, mlock(r->area->b_start, r->area->b_length));
}

/* It stops at the first page that it cannot have: nothing is said about the next one. */
static const char *not_lost(unsigned int memory)
{
	return memory & MEM_UFFD_POISON ? "it ends at the page that is lost" : NULL;
}

const struct race_op race_ops_cpu[] = {
	{ "cpu_read", "the CPU reads a word of each middle page", OP_READS | OP_TOUCHES, 0, NULL,
	  NULL, cpu_read, 0 },
	{ "cpu_write", "the CPU writes a word of each middle page", OP_WRITES | OP_TOUCHES, 0, NULL,
	  NULL, cpu_write, 0 },
	{ "gup_read", "get_user_pages() for a read of each middle page (process_vm_readv)",
	  OP_READS | OP_TOUCHES, 0, NULL, NULL, gup_read, 0 },
	{ "vmsplice", "the middle pages are put into a pipe, which holds them", OP_TOUCHES, 0, NULL,
	  make_pipe, splice_pages, 0 },
	{ "populate_write", "the middle pages are made writable (MADV_POPULATE_WRITE)",
	  OP_TOUCHES | OP_WRITES, 0, not_lost, NULL, populate_write, 0 },
	{ "mlock", "the middle pages are locked in memory", OP_TOUCHES | OP_WRITES | OP_SPLITS, 0,
	  not_lost, NULL, lock_pages, 0 },
};

const int race_nr_ops_cpu = sizeof(race_ops_cpu) / sizeof(race_ops_cpu[0]);
