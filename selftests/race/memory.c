// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memories that are raced over: one row and one builder each. See memory.h for where
 * they lie.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "machine.h"
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

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int race_area_clear(struct race_shared *sh)
{
	int ret = 0;

	close_fd(&sh->file);
	close_fd(&sh->pipe[0]);
	close_fd(&sh->pipe[1]);
	if (mmap(sh->window, RACE_WINDOW, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != sh->window)
		ret = -errno;
	return ret;
}

int race_lacks(struct race_setup *s, int ret, const char *why)
{
	snprintf(s->why, sizeof(s->shared->worker[0].why), "%s", why);
	return ret;
}

/* ---- layout ---- */

static size_t pmd_size(void)
{
	return hm_page_size() * hm_page_size() / sizeof(__u64);
}

void race_small(struct race_setup *s)
{
	size_t page = hm_page_size();

	*s->area = (struct race_area){
		.mem = s->shared->window + page,
		.length = RACE_PAGES * page,
		.grain = page,
		.pages = RACE_PAGES,
	};
}

void race_within_pmd(struct race_setup *s)
{
	race_small(s);
	s->area->mem = s->shared->window;
	s->area->length = pmd_size();
}

void race_across_pmds(struct race_setup *s)
{
	size_t page = hm_page_size(), pmd = pmd_size();

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

int race_map(struct race_setup *s, int flags, int fd)
{
	void *mem = mmap(s->area->mem, s->area->length, RW, flags | MAP_FIXED, fd, 0);

	return mem == s->area->mem ? 0 : -errno;
}

void race_fill_area(struct race_setup *s)
{
	race_area_rest(s);
	race_fill(s->area->sample, s->area->pages * hm_page_size());
}

int race_map_filled(struct race_setup *s, int flags, int fd)
{
	int ret = race_map(s, flags, fd);

	if (!ret)
		race_fill_area(s);
	return ret;
}

int race_map_at(char *at, size_t length, char token)
{
	if (mmap(at, length, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != at)
		return -errno;
	if (madvise(at, length, MADV_NOHUGEPAGE) && errno != EINVAL)
		return -errno;
	for (size_t i = 0; token && i < length; i += hm_page_size())
		race_fill_page(at + i, token);
	return 0;
}

/* ---- the table ---- */

#define ANON	MEM_ANON
#define SHMEM	(MEM_SHARED | MEM_SHMEM)
#define MEMFD	(SHMEM | MEM_FILE)
#define HUGE	(MEM_HUGETLB | MEM_PMD)
#define THIN	MEM_THIN

/* One that userfaultfd has a part in: name, words and flag of that part. */
#define MISSING	"-missing", ", page 1 is missing for userfaultfd", MEM_UFFD
#define WP	"-wp", ", page 1 is write-protected by userfaultfd", MEM_UFFD_WP
#define MINOR	"-minor", ", page 1 is in the file and not in the page table", MEM_UFFD_MINOR
#define POISON	"-poison", ", page 1 is marked as lost (UFFDIO_POISON)", MEM_UFFD_POISON
#define RWP	"-rwp", ", page 1 is protected against all access by userfaultfd", MEM_UFFD_RWP
#define PLAIN	"", "", 0

#define ROW(name, suffix, more, flag, words, flags, needs, kind, build, machine)		\
	{ name suffix, words more, (flags) | (flag), needs, kind, build, machine }
/* Again, with what MISSING, WP, ... stand for. */
#define MEMORY(...)	ROW(__VA_ARGS__)
#define ANY(name, part, words, flags, build, machine)						\
	MEMORY(name, part, words, flags, 0, 0, build, machine)
#define LIVES(name, part, words, flags, KIND, build)						\
	MEMORY(name, part, words, MEM_ANON | (flags), HOTMIRROR_HAS_##KIND,			\
	       HOTMIRROR_##KIND, build, 0)

const struct race_memory race_memories[] = {
	ANY("anon", PLAIN, "anonymous memory, 4 pages", ANON, race_build_anon, 0),
	ANY("anon", MISSING, "anonymous memory", ANON | THIN, race_build_anon, 0),
	ANY("anon", WP, "anonymous memory", ANON | THIN, race_build_anon, 0),
	ANY("anon", POISON, "anonymous memory", ANON | THIN, race_build_anon, 0),
	ANY("anon", RWP, "anonymous memory", ANON | THIN, race_build_anon, 0),
	ANY("hole", PLAIN, "anonymous memory that nobody ever touched", ANON | MEM_HOLE | THIN,
	    race_build_hole, 0),
	ANY("ksm", PLAIN, "anonymous memory that KSM has merged", ANON | MEM_KSM | MEM_CLEAN | THIN,
	    race_build_merged, RACE_KSM),
	ANY("thp", PLAIN, "a transparent huge page", ANON | MEM_THP | THIN, race_build_thp, 0),
	ANY("thp", MISSING, "a transparent huge page, split", ANON | MEM_SMALL | THIN,
	    race_build_thp, 0),
	ANY("thp", WP, "a transparent huge page", ANON | MEM_THP | THIN, race_build_thp, 0),
	ANY("pmd_of_pages", PLAIN, "small pages that can be collapsed to a huge one",
	    ANON | MEM_SMALL | THIN, race_build_pmd_of_pages, 0),
	ANY("hugetlb", PLAIN, "two private huge pages of the pool", ANON | HUGE | THIN,
	    race_build_hugetlb, RACE_HUGE_POOL),
	ANY("hugetlb", MISSING, "two private huge pages of the pool", ANON | HUGE | THIN,
	    race_build_hugetlb, RACE_HUGE_POOL),
	ANY("hugetlb", WP, "two private huge pages of the pool", ANON | HUGE | THIN,
	    race_build_hugetlb, RACE_HUGE_POOL),
	ANY("hugetlb_memfd", PLAIN, "two shared huge pages of a memfd",
	    MEM_SHARED | MEM_FILE | HUGE | THIN, race_build_hugetlb_memfd, RACE_HUGE_POOL),
	ANY("hugetlb_memfd", MINOR, "two shared huge pages of a memfd",
	    MEM_SHARED | MEM_FILE | HUGE | THIN, race_build_hugetlb_memfd, RACE_HUGE_POOL),
	ANY("shmem", PLAIN, "shared anonymous memory", SHMEM | THIN, race_build_shmem, 0),
	ANY("shmem", MISSING, "shared anonymous memory", SHMEM | THIN, race_build_shmem, 0),
	ANY("shmem", WP, "shared anonymous memory", SHMEM | THIN, race_build_shmem, 0),
	ANY("memfd", PLAIN, "a memfd, shared", MEMFD | THIN, race_build_memfd, 0),
	ANY("memfd", MINOR, "a memfd, shared", MEMFD | THIN, race_build_memfd, 0),
	ANY("memfd", POISON, "a memfd, shared", MEMFD | THIN, race_build_memfd, 0),
	ANY("file_shared", PLAIN, "a file (ramfs), shared", MEM_SHARED | MEM_FILE | THIN,
	    race_build_file_shared, 0),
	ANY("file_private", PLAIN, "a file (ramfs), private, present and not written",
	    MEM_FILE | MEM_CLEAN | THIN, race_build_file_private, 0),
	ANY("file_cow", PLAIN, "a file (ramfs), private, its pages were written and copied",
	    MEM_FILE | MEM_ANON | THIN, race_build_file_cow, 0),
	LIVES("private", PLAIN, "anonymous memory that lives in the device, private pages",
	      MEM_PRIVATE, PRIVATE, race_build_device),
	LIVES("private", MISSING, "anonymous memory that lives in the device, private pages",
	      MEM_PRIVATE | THIN, PRIVATE, race_build_device),
	LIVES("private", WP, "anonymous memory that lives in the device, private pages",
	      MEM_PRIVATE | THIN, PRIVATE, race_build_device),
	MEMORY("private_large", PLAIN, "a PMD-sized private folio of the device",
	       MEM_ANON | MEM_PRIVATE | MEM_PMD | THIN, HOTMIRROR_HAS_LARGE, HOTMIRROR_PRIVATE,
	       race_build_device_large, 0),
	LIVES("coherent", PLAIN, "anonymous memory that lives in the device, coherent pages",
	      MEM_COHERENT | THIN, COHERENT, race_build_device),
	LIVES("coherent", WP, "anonymous memory that lives in the device, coherent pages",
	      MEM_COHERENT | THIN, COHERENT, race_build_device),
	MEMORY("dax", PLAIN, "device memory mapped in pages", MEM_SHARED | MEM_DAX | THIN,
	       HOTMIRROR_HAS_DAX, 0, race_build_dax, 0),
	MEMORY("dax_pmd", PLAIN, "device memory mapped in PMDs",
	       MEM_SHARED | MEM_DAX | MEM_PMD | THIN, HOTMIRROR_HAS_DAX_PMD, 0,
	       race_build_dax_pmd, 0),
};

const int race_nr_memories = sizeof(race_memories) / sizeof(race_memories[0]);
