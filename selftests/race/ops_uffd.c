// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a userfaultfd monitor does with page 1, or with the middle pages, unasked.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "../lib/mem.h"
#include "../lib/uffd.h"
#include "memory.h"

static char *page_1(const struct race_area *a)
{
	return a->sample + hm_page_size();
}

static void concerned(struct race_run *r, int ret)
{
	race_all(r, 1, 1, ret);
}

/* The page that comes, at the same place of the twin: its words are B's. */
static int make_page(struct race_setup *s)
{
	const struct race_area *a = s->area;
	int side = 0;

	while (side < RACE_SIDES - 1 && s->shared->prepare[side]->prepare != make_page)
		side++;
	return race_map_at(page_1(a) + 2 * RACE_SPAN, a->grain, race_written(side));
}

static void copy(struct race_run *r)
{
	char *to = page_1(r->area);

	concerned(r, hm_uffd_copy(r->shared->uffd, to, to + 2 * RACE_SPAN, r->area->grain));
}

static void zero(struct race_run *r)
{
	concerned(r, hm_uffd_zero(r->shared->uffd, page_1(r->area), r->area->grain));
}

static void go_on(struct race_run *r)
{
	concerned(r, hm_uffd_continue(r->shared->uffd, page_1(r->area), r->area->grain));
}

static void mark_lost(struct race_run *r)
{
	concerned(r, hm_uffd_poison(r->shared->uffd, page_1(r->area), r->area->grain));
}

static void move_in(struct race_run *r)
{
	char *to = page_1(r->area);

	concerned(r, hm_uffd_move(r->shared->uffd, to, to + 2 * RACE_SPAN, r->area->grain));
}

/* Where page 1 goes: missing, and userfaultfd's. */
static int make_room(struct race_setup *s)
{
	const struct race_area *a = s->area;
	char *room = page_1(a) + RACE_SPAN;
	int ret = race_map_at(room, a->grain, 0);

	ret = ret ?: hm_uffd_register(s->shared->uffd, room, a->grain, false);
	return ret ? race_lacks(s, -EOPNOTSUPP, "no userfaultfd for the kernel's faults") : 0;
}

static void move_away(struct race_run *r)
{
	char *from = page_1(r->area);

	concerned(r, hm_uffd_move(r->shared->uffd, from + RACE_SPAN, from, r->area->grain));
}

static void protect(struct race_run *r, bool on)
{
	race_all(r, r->area->b_first, r->area->b_pages,
		 hm_uffd_protect(r->shared->uffd, r->area->b_start, r->area->b_length, on));
}

static void wp_on(struct race_run *r)
{
	protect(r, true);
}

static void wp_off(struct race_run *r)
{
	protect(r, false);
}

static void rwp(struct race_run *r, bool on)
{
	race_all(r, r->area->b_first, r->area->b_pages,
		 hm_uffd_rwprotect(r->shared->uffd, r->area->b_start, r->area->b_length, on));
}

static void rwp_on(struct race_run *r)
{
	rwp(r, true);
}

static void rwp_off(struct race_run *r)
{
	rwp(r, false);
}

/* ---- what makes no sense where ---- */

static const char *is_missing(unsigned int memory)
{
	return memory & MEM_UFFD ? NULL : "no page is missing for userfaultfd";
}

static const char *missing_small(unsigned int memory)
{
	return memory & MEM_HUGETLB ? "not with huge pages of the pool" : is_missing(memory);
}

static const char *missing_anon(unsigned int memory)
{
	if (!(memory & MEM_ANON))
		return "UFFDIO_MOVE takes anonymous memory only";
	return missing_small(memory);
}

static const char *minor(unsigned int memory)
{
	return memory & MEM_UFFD_MINOR ? NULL : "no page is in the file only";
}

static const char *small_anon(unsigned int memory)
{
	if (!(memory & MEM_ANON) || memory & (MEM_FILE | MEM_HUGETLB | MEM_HOLE))
		return "UFFDIO_MOVE takes anonymous memory only";
	if (memory & (MEM_DEVICE | MEM_KSM | MEM_THP | MEM_SMALL | MEM_USERFAULT))
		return "UFFDIO_MOVE takes small pages of one's own only";
	return NULL;
}

static const char *protectable(unsigned int memory)
{
	return memory & MEM_UFFD_WP ? NULL : "it is not registered for write protection";
}

static const char *rw_protectable(unsigned int memory)
{
	return memory & MEM_UFFD_RWP ? NULL : "it is not registered for protection against reads";
}

const struct race_op race_ops_uffd[] = {
	{ "uffd_copy", "page 1 comes by UFFDIO_COPY", OP_UFFD, 0, is_missing, make_page, copy, 0 },
	{ "uffd_zero", "page 1 comes by UFFDIO_ZEROPAGE", OP_UFFD, 0, missing_small, NULL, zero,
	  0 },
	{ "uffd_poison", "page 1 is marked as lost by UFFDIO_POISON", OP_UFFD, 0, is_missing, NULL,
	  mark_lost, 0 },
	{ "uffd_move", "page 1 comes from another address by UFFDIO_MOVE", OP_UFFD, 0, missing_anon,
	  make_page, move_in, 0 },
	{ "uffd_move_away", "page 1 goes to another address by UFFDIO_MOVE",
	  OP_UFFD | OP_NOTIFIES | OP_MOVES, 0, small_anon, make_room, move_away, 0 },
	{ "uffd_continue", "page 1 is mapped by UFFDIO_CONTINUE", OP_UFFD, 0, minor, NULL, go_on,
	  0 },
	{ "wp_on", "userfaultfd write-protects the middle pages", OP_UFFD | OP_NOTIFIES, 0,
	  protectable, NULL, wp_on, 0 },
	{ "wp_off", "userfaultfd lets the middle pages be written", OP_UFFD | OP_NOTIFIES, 0,
	  protectable, NULL, wp_off, 0 },
	{ "rwp_on", "userfaultfd protects the middle pages against all access",
	  OP_UFFD | OP_NOTIFIES, 0, rw_protectable, NULL, rwp_on, 0 },
	{ "rwp_off", "userfaultfd lets the middle pages be used", OP_UFFD | OP_NOTIFIES, 0,
	  rw_protectable, NULL, rwp_off, 0 },
};

const int race_nr_ops_uffd = sizeof(race_ops_uffd) / sizeof(race_ops_uffd[0]);
