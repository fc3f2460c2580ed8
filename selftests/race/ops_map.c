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

static void protect_ro(struct race_run *r)
{
	concerned(r, mprotect(r->area->b_start, r->area->b_length, PROT_READ));
}

static void protect_none(struct race_run *r)
{
	concerned(r, mprotect(r->area->b_start, r->area->b_length, PROT_NONE));
}

static void dontneed(struct race_run *r)
{
	concerned(r, madvise(r->area->b_start, r->area->b_length, MADV_DONTNEED));
}

const struct race_op race_ops_map[] = {
	{ "munmap", "the middle pages are unmapped", OP_NOTIFIES | OP_NAMED, 0, NULL, NULL, do_munmap },
	{ "mremap", "the middle pages are moved to another address",
	  OP_NOTIFIES | OP_NAMED | OP_MOVES, 0, NULL,
	  NULL, do_mremap },
	{ "mprotect_ro", "the middle pages are made read-only", OP_NOTIFIES | OP_NAMED, 0, NULL, NULL,
	  protect_ro },
	{ "mprotect_none", "the middle pages are made inaccessible",
	  OP_NOTIFIES | OP_NAMED, 0, NULL, NULL,
	  protect_none },
	{ "dontneed", "the middle pages are dropped (MADV_DONTNEED)",
	  OP_NOTIFIES | OP_NAMED, 0, NULL, NULL,
	  dontneed },
};

const int race_nr_ops_map = sizeof(race_ops_map) / sizeof(race_ops_map[0]);
