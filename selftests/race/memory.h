/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the memory of a race lies: at the same addresses each time, in a window that the
 * orchestrator has reserved before it started the target. Nothing else is ever mapped
 * there, so a hole stays a hole.
 *
 *	window + 0	the memory
 *	window + 1	where B moves it
 *	window + 2	the twin: a second mapping, or the same contents again (KSM)
 *
 * in units of RACE_SPAN.
 */
#ifndef HOTMIRROR_RACE_MEMORY_H
#define HOTMIRROR_RACE_MEMORY_H

#include "race.h"

#define RACE_SPAN	(16UL << 20)
#define RACE_WINDOW	(3 * RACE_SPAN)

/* Reserve the window, aligned to RACE_SPAN; NULL with errno. */
char *race_window(void);
/* Complete what build() left out: by default B concerns the middle pages. */
int race_area_rest(struct race_setup *s);
/* Take everything away again. */
int race_area_clear(struct race_shared *sh);
/* Of memory that userfaultfd has a part in: page 1 is its. 0 or -errno. */
int race_uffd_begin(struct race_setup *s);

/* ---- for builders ---- */

/* A skip: @ret with the reason. */
int race_lacks(struct race_setup *s, int ret, const char *why);

/* Layouts. Four small pages, one behind the beginning of a PMD: all lie in one leaf. */
void race_small(struct race_setup *s);
/* In one PMD: four pages of it are looked at, B concerns the middle two of them. */
void race_within_pmd(struct race_setup *s);
/* Two PMDs that cannot be split: the last page of one, the first of the other, B's. */
void race_across_pmds(struct race_setup *s);

/* Map area->mem, readable and writable; flags of mmap(2). */
int race_map(struct race_setup *s, int flags, int fd);
/* The same, and every page that is looked at is filled. */
int race_map_filled(struct race_setup *s, int flags, int fd);
/* Fill every page that is looked at. */
void race_fill_area(struct race_setup *s);
/* Anonymous memory at @at, filled with @token page by page; 0 or -errno. */
int race_map_at(char *at, size_t length, char token);

/* memory_anon.c */
int race_build_anon(struct race_setup *s);
int race_build_hole(struct race_setup *s);
int race_build_thp(struct race_setup *s);
int race_build_pmd_of_pages(struct race_setup *s);
int race_build_merged(struct race_setup *s);
int race_build_device(struct race_setup *s);
int race_build_device_large(struct race_setup *s);
/* Have KSM look at all pages that it may merge, twice; -ETIMEDOUT. */
int race_run_ksm(struct race_worker *w);
int race_find_ksm(struct race_worker *w);
/* The twin of the memory, contents and all, for KSM. */
int race_map_mergeable(struct race_setup *s);

/* memory_file.c */
int race_build_shmem(struct race_setup *s);
int race_build_memfd(struct race_setup *s);
int race_build_file_shared(struct race_setup *s);
int race_build_file_private(struct race_setup *s);
int race_build_file_cow(struct race_setup *s);
int race_build_hugetlb(struct race_setup *s);
int race_build_hugetlb_memfd(struct race_setup *s);
int race_build_dax(struct race_setup *s);
int race_build_dax_pmd(struct race_setup *s);

#endif /* HOTMIRROR_RACE_MEMORY_H */
