// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memories that are raced over: one row and one builder each. See memory.h for where
 * they lie.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/uffd.h"
#include "memory.h"

#define RW	(PROT_READ | PROT_WRITE)

char *race_window(void)
{
	char *area = mmap(NULL, RACE_WINDOW + RACE_SPAN, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return NULL;
	return (char *)(((uintptr_t)area + RACE_SPAN - 1) & -RACE_SPAN);
}

int race_area_clear(struct race_shared *sh)
{
	int ret = 0;

	if (sh->file >= 0)
		close(sh->file);
	sh->file = -1;
	if (mmap(sh->window, RACE_WINDOW, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != sh->window)
		ret = -errno;
	return ret;
}

static int lacks(struct race_setup *s, int ret, const char *why)
{
	snprintf(s->why, sizeof(s->shared->worker[0].why), "%s", why);
	return ret;
}

/* ---- layout ---- */

/* Small pages: four, one page behind the beginning of a PMD, so that all lie in one leaf. */
static void small(struct race_setup *s)
{
	size_t page = hm_page_size();

	*s->area = (struct race_area){
		.mem = s->shared->window + page,
		.length = RACE_PAGES * page,
		.grain = page,
		.pages = RACE_PAGES,
	};
}

/* In one PMD: four pages of it are looked at, B concerns the middle two of them. */
static void within_pmd(struct race_setup *s)
{
	small(s);
	s->area->mem = s->shared->window;
	s->area->length = hm_page_size() * hm_page_size() / sizeof(__u64);
}

/* Two PMDs that cannot be split: the last page of one, the first of the other, B's. */
static void across_pmds(struct race_setup *s)
{
	size_t page = hm_page_size(), pmd = page * page / sizeof(__u64);

	*s->area = (struct race_area){
		.mem = s->shared->window,
		.length = 2 * pmd,
		.grain = pmd,
		.sample = s->shared->window + pmd - page,
		.pages = 2,
		.b_start = s->shared->window + pmd,
		.b_length = pmd,
		.b_first = 1,
		.b_pages = 1,
	};
}

int race_area_rest(struct race_setup *s)
{
	struct race_area *a = s->area;
	size_t page = hm_page_size();

	if (!a->sample)
		a->sample = a->mem;
	if (!a->b_start) {
		a->b_start = a->sample + page;
		a->b_length = 2 * page;
		a->b_first = 1;
		a->b_pages = 2;
	}
	a->elsewhere = a->b_start + RACE_SPAN;
	a->twin = a->mem + 2 * RACE_SPAN;
	return 0;
}

static int map(struct race_setup *s, int flags, int fd)
{
	void *mem = mmap(s->area->mem, s->area->length, RW, flags | MAP_FIXED, fd, 0);

	return mem == s->area->mem ? 0 : -errno;
}

static void fill(struct race_setup *s)
{
	race_area_rest(s);
	race_fill(s->area->sample, s->area->pages * hm_page_size());
}

/* ---- anonymous memory ---- */

static int map_anon(struct race_setup *s)
{
	int ret;

	small(s);
	ret = map(s, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* EINVAL from a kernel without huge pages is as good. */
	if (!ret && madvise(s->area->mem, s->area->length, MADV_NOHUGEPAGE) && errno != EINVAL)
		ret = -errno;
	return ret;
}

static int anon(struct race_setup *s)
{
	int ret = map_anon(s);

	if (!ret)
		fill(s);
	return ret;
}

static int thp(struct race_setup *s)
{
	int ret;

	within_pmd(s);
	ret = map(s, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!ret && madvise(s->area->mem, s->area->length, MADV_HUGEPAGE))
		return lacks(s, -EOPNOTSUPP, "kernel without transparent huge pages");
	if (!ret)
		fill(s);
	return ret;
}

/* ---- device memory ---- */

static int to_device(struct race_setup *s, int (*build)(struct race_setup *s), __u32 flags)
{
	struct race_area *a = s->area;
	__u64 moved = 0;
	int ret = build(s);

	ret = ret ?: hm_migrate(s->shared->fd[RACE_DEVICE], HOTMIRROR_MIGRATE_TO_DEV, a->mem,
				a->length, flags, &moved);
	if (!ret && moved * hm_page_size() < a->length)
		return lacks(s, -EBUSY, "the pages did not move to the device");
	return ret;
}

static int small_device(struct race_setup *s)
{
	return to_device(s, anon, 0);
}

static int large_device(struct race_setup *s)
{
	return to_device(s, thp, HOTMIRROR_MIGRATE_LARGE);
}

/* ---- dax ---- */

static int map_dax(struct race_setup *s)
{
	int ret = map(s, MAP_SHARED, s->shared->fd[RACE_DAX]);

	if (!ret)
		fill(s);
	return ret;
}

static int dax(struct race_setup *s)
{
	small(s);
	return map_dax(s);
}

static int dax_pmd(struct race_setup *s)
{
	across_pmds(s);
	return map_dax(s);
}

/* ---- userfaultfd ---- */

int race_uffd_begin(struct race_setup *s)
{
	struct race_area *a = s->area;
	unsigned int flags = s->shared->memory->flags;
	char *page = a->sample + hm_page_size();
	int uffd = s->shared->uffd, ret;

	if (!(flags & (MEM_UFFD | MEM_UFFD_WP)))
		return 0;
	if (uffd < 0)
		return lacks(s, -EOPNOTSUPP, "no userfaultfd for the kernel's faults");
	if (flags & MEM_UFFD && madvise(page, a->grain, MADV_DONTNEED))
		return -errno;
	ret = hm_uffd_register(uffd, a->mem, a->length, flags & MEM_UFFD_WP);
	if (!ret && flags & MEM_UFFD_WP)
		ret = hm_uffd_protect(uffd, page, a->grain, true);
	return ret;
}

const struct race_memory race_memories[] = {
	{ "anon", "anonymous memory, 4 pages", MEM_ANON, 0, 0, anon },
	{ "anon-missing", "anonymous memory, page 1 is missing for userfaultfd",
	  MEM_ANON | MEM_UFFD, 0, 0, anon },
	{ "anon-wp", "anonymous memory, page 1 is write-protected by userfaultfd",
	  MEM_ANON | MEM_UFFD_WP, 0, 0, anon },
	{ "hole", "anonymous memory that nobody ever touched", MEM_ANON | MEM_HOLE, 0, 0, map_anon },
	{ "thp", "a transparent huge page", MEM_ANON | MEM_THP, 0, 0, thp },
	{ "private", "anonymous memory that lives in the device, private pages",
	  MEM_ANON | MEM_PRIVATE, HOTMIRROR_HAS_PRIVATE, HOTMIRROR_PRIVATE, small_device },
	{ "private_large", "a PMD-sized private folio of the device",
	  MEM_ANON | MEM_PRIVATE | MEM_PMD, HOTMIRROR_HAS_LARGE, HOTMIRROR_PRIVATE, large_device },
	{ "coherent", "anonymous memory that lives in the device, coherent pages",
	  MEM_ANON | MEM_COHERENT, HOTMIRROR_HAS_COHERENT, HOTMIRROR_COHERENT, small_device },
	{ "dax", "device memory mapped in pages", MEM_SHARED | MEM_DAX, HOTMIRROR_HAS_DAX, 0, dax },
	{ "dax_pmd", "device memory mapped in PMDs", MEM_SHARED | MEM_DAX | MEM_PMD,
	  HOTMIRROR_HAS_DAX_PMD, 0, dax_pmd },
};

const int race_nr_memories = sizeof(race_memories) / sizeof(race_memories[0]);
