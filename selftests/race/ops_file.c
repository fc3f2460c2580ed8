// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done to the file behind the memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "race.h"

static off_t offset_of(const struct race_run *r)
{
	return r->area->b_start - r->area->mem;
}

/* The pages behind the middle ones go, too. */
static void cut_off(struct race_run *r)
{
	int ret = ftruncate(r->shared->file, offset_of(r)) ? -errno : 0;

	race_all(r, r->area->b_first, r->area->pages - r->area->b_first, ret);
}

static void punch(struct race_run *r)
{
	int ret = fallocate(r->shared->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    offset_of(r), r->area->b_length);

	race_all(r, r->area->b_first, r->area->b_pages, ret ? -errno : 0);
}

static void remove_pages(struct race_run *r)
{
	int ret = madvise(r->area->b_start, r->area->b_length, MADV_REMOVE);

	race_all(r, r->area->b_first, r->area->b_pages, ret ? -errno : 0);
}

static const char *has_file(unsigned int memory)
{
	return memory & MEM_FILE ? NULL : "there is no file behind this memory";
}

static const char *takes_holes(unsigned int memory)
{
	if (memory & MEM_FILE && !(memory & (MEM_SHMEM | MEM_HUGETLB)))
		return "a ramfs has no holes";
	return has_file(memory);
}

static const char *nameless(unsigned int memory)
{
	if (memory & MEM_FILE)
		return "a hole in a file is punched by its descriptor";
	return memory & MEM_SHMEM ? NULL : "there is no file behind this memory";
}

const struct race_op race_ops_file[] = {
	{ "truncate", "the file is cut off before the middle pages", OP_NOTIFIES, 0, has_file, NULL,
	  cut_off, 0 },
	{ "punch", "a hole is punched into the file at the middle pages", OP_NOTIFIES, 0,
	  takes_holes, NULL, punch, 0 },
	{ "remove", "the middle pages are dropped from what is behind them (MADV_REMOVE)",
	  OP_NOTIFIES, 0, nameless, NULL, remove_pages, 0 },
};

const int race_nr_ops_file = sizeof(race_ops_file) / sizeof(race_ops_file[0]);
