// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the process does with its mappings.
 */
#include <errno.h>
#include <sys/mman.h>

#include "../lib/mem.h"
#include "race.h"

/* One result for all pages that B concerns. */
static void concerned(struct race_run *r, int ret)
{
	race_all(r, r->area->b_first, r->area->b_pages, ret ? -errno : 0);
}

static void do_munmap(struct race_run *r)
{
	concerned(r, munmap(r->area->b_start, r->area->b_length));
}

static void do_mremap(struct race_run *r)
{
	void *to = mremap(r->area->b_start, r->area->b_length, r->area->b_length,
			  MREMAP_MAYMOVE | MREMAP_FIXED, r->area->elsewhere);

	concerned(r, to == MAP_FAILED);
}

static void protect(struct race_run *r, int prot)
{
	concerned(r, mprotect(r->area->b_start, r->area->b_length, prot));
}

static void protect_ro(struct race_run *r)
{
	protect(r, PROT_READ);
}

static void protect_none(struct race_run *r)
{
	protect(r, PROT_NONE);
}

static int begin_ro(struct race_setup *s)
{
	return mprotect(s->area->b_start, s->area->b_length, PROT_READ) ? -errno : 0;
}

static void protect_rw(struct race_run *r)
{
	protect(r, PROT_READ | PROT_WRITE);
}

static void dontneed(struct race_run *r)
{
	concerned(r, madvise(r->area->b_start, r->area->b_length, MADV_DONTNEED));
}

static void lazily_free(struct race_run *r)
{
	concerned(r, madvise(r->area->b_start, r->area->b_length, MADV_FREE));
}

static const char *not_watched(unsigned int memory)
{
	return memory & MEM_USERFAULT ? "who may not write has no fault for userfaultfd" : NULL;
}

static const char *private_anon(unsigned int memory)
{
	if (!(memory & MEM_ANON) || memory & (MEM_FILE | MEM_HUGETLB))
		return "MADV_FREE takes private anonymous memory only";
	return memory & MEM_PRIVATE ? "MADV_FREE leaves device memory alone" : NULL;
}

const struct race_op race_ops_map[] = {
	{ "munmap", "the middle pages are unmapped", OP_NOTIFIES | OP_NAMED, 0, NULL, NULL,
	  do_munmap, 0 },
	{ "mremap", "the middle pages are moved to another address",
	  OP_NOTIFIES | OP_NAMED | OP_MOVES, 0, NULL, NULL, do_mremap, 0 },
	{ "mprotect_ro", "the middle pages are made read-only", OP_NOTIFIES | OP_NAMED, 0, NULL,
	  NULL, protect_ro, 0 },
	{ "mprotect_none", "the middle pages are made inaccessible",
	  OP_NOTIFIES | OP_NAMED, 0, NULL, NULL, protect_none, 0 },
	{ "mprotect_rw", "the middle pages, read-only before, are made writable",
	  OP_NOTIFIES | OP_NAMED | OP_WIDENS, 0, not_watched, begin_ro, protect_rw, 0 },
	{ "dontneed", "the middle pages are dropped (MADV_DONTNEED)", OP_NOTIFIES | OP_NAMED, 0,
	  NULL, NULL, dontneed, 0 },
	{ "free", "the middle pages may be dropped (MADV_FREE)",
	  OP_NOTIFIES | OP_NAMED | OP_FREES, 0, private_anon, NULL, lazily_free, 0 },
};

const int race_nr_ops_map = sizeof(race_ops_map) / sizeof(race_ops_map[0]);
