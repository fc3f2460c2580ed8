// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the memory manager does with pages: reclaim, collapse and split, merge, move. All
 * of it is best effort: what it could not have is recorded, and is no failure.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/setting.h"
#include "../lib/task.h"
#include "machine.h"
#include "memory.h"

#ifndef MADV_COLD
#define MADV_COLD	20
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

static void advise(struct race_run *r, int advice)
{
	int ret = madvise(r->area->b_start, r->area->b_length, advice);

	race_all(r, r->area->b_first, r->area->b_pages, ret ? -errno : 0);
}

static void cold(struct race_run *r)
{
	advise(r, MADV_COLD);
}

static void pageout(struct race_run *r)
{
	advise(r, MADV_PAGEOUT);
}

static void collapse(struct race_run *r)
{
	int ret = madvise(r->area->mem, r->area->length, MADV_COLLAPSE);

	race_all(r, 0, r->area->pages, ret ? -errno : 0);
}

/* By the file in debugfs, which splits what it finds in the range at once. */
static void split(struct race_run *r)
{
	char *text = r->worker->buffer;

	snprintf(text, hm_page_size(), "%d,0x%lx,0x%lx", getpid(), (unsigned long)r->area->mem,
		 (unsigned long)r->area->mem + r->area->length);
	race_all(r, 0, r->area->pages, hm_put_text("/sys/kernel/debug/split_huge_pages", text));
}

/* ---- KSM ---- */

#define KSM	"/sys/kernel/mm/ksm/"

static long full_scans(void)
{
	char text[32];

	return hm_slurp(KSM "full_scans", text, sizeof(text)) > 0 ? atol(text) : -1;
}

/* In the setup thread: the thread that will be waited for. */
int race_find_ksm(struct race_worker *w)
{
	char path[64], name[32];

	(void)w;
	for (pid_t pid = 2; pid < 4096; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (hm_slurp(path, name, sizeof(name)) > 0 && !strncmp(name, "ksmd", 4))
			return pid;
	}
	return 0;
}

/* A page is looked at, found unchanged, and merged: three scans. */
int race_run_ksm(struct race_worker *w)
{
	long long deadline = hm_deadline(2 * RACE_LIMIT_MS / 3);
	long first = full_scans();
	int ret = hm_put_text(KSM "run", "1");

	(void)w;
	while (!ret && full_scans() < first + 3) {
		if (!hm_left(deadline))
			ret = -ETIMEDOUT;
		hm_pause();
	}
	return hm_put_text(KSM "run", "0") ?: ret;
}

static int begin_merge(struct race_setup *s)
{
	if (!s->shared->ksmd)
		s->shared->ksmd = race_find_ksm(NULL);
	return race_map_mergeable(s);
}

/* Who is blocked, if anybody is, is ksmd. */
static void merge(struct race_run *r)
{
	r->worker->proxy = r->shared->ksmd;
	race_all(r, 0, r->area->pages, race_run_ksm(r->worker));
}

/* ---- to another place ---- */

static int can_offline(struct race_setup *s)
{
	if (madvise(s->area->mem, 0, MADV_SOFT_OFFLINE))
		return race_lacks(s, -EOPNOTSUPP, "kernel without CONFIG_MEMORY_FAILURE");
	return 0;
}

/* The contents move to another page, the old one is not used any more: lost for good. */
static void soft_offline(struct race_run *r)
{
	size_t page = hm_page_size();

	for (int i = r->area->b_first; i < r->area->b_first + r->area->b_pages; i++)
		race_all(r, i, 1, madvise(r->area->sample + i * page, page, MADV_SOFT_OFFLINE) ?
			 -errno : 0);
}

/*
 * A PMD that is a migration entry: migrate_vma_collect_pmd() of 6.12 asks for its PTEs again
 * and again, and never schedules. Here all sides share a CPU: who migrates never runs again.
 * Kernels that know large device folios leave such a PMD out.
 */
static bool collects_for_ever(const struct race_shared *sh)
{
	struct hotmirror_query q = {};
	bool migrates = false;

	for (int i = 0; i < RACE_SIDES; i++)
		migrates |= sh->prepare[i] && sh->prepare[i]->flags & OP_MIGRATES;
	return migrates && sh->memory->flags & MEM_THP &&
	       (hm_query(sh->control, &q) || !(q.features & HOTMIRROR_HAS_LARGE));
}

static int two_nodes(struct race_setup *s)
{
	if (access("/sys/devices/system/node/node1/meminfo", F_OK))
		return race_lacks(s, -EOPNOTSUPP, "one NUMA node: nowhere to move pages to");
	if (collects_for_ever(s->shared))
		return race_lacks(s, -EOPNOTSUPP, "kernel bug: migrate_vma_setup() spins while a "
				  "huge page is a migration entry, the guest is lost");
	return 0;
}

/* Where it is, or less than 0. */
static int node_of(void *page)
{
	int is_at = 0;

	return syscall(SYS_move_pages, 0, 1UL, &page, NULL, &is_at, 0) ? -errno : is_at;
}

/* Away from the node of the first that is there: a huge page goes once. */
static void move(struct race_run *r)
{
	const int move_own = 1 << 1, first = r->area->b_first, end = first + r->area->b_pages;
	char *sample = r->area->sample;
	size_t size = hm_page_size();
	int is_at = -1, node;

	for (int i = first; i < end && is_at < 0; i++)
		is_at = node_of(sample + i * size);
	node = is_at == 0;
	for (int i = first; i < end; i++) {
		void *page = sample + i * size;

		if (syscall(SYS_move_pages, 0, 1UL, &page, &node, &is_at, move_own) < 0)
			is_at = -errno;
		race_all(r, i, 1, is_at < 0 ? is_at : is_at == node ? 0 : -EAGAIN);
	}
}

/* ---- what makes no sense where ---- */

#define PLACED	(MEM_DEVICE | MEM_DAX)

static const char *on_lists(unsigned int memory)
{
	if (memory & (PLACED | MEM_HUGETLB))
		return "reclaim does not see memory of this kind";
	if (memory & MEM_HOLE)
		return "there is no page";
	return NULL;
}

static const char *swappable(unsigned int memory)
{
	if (memory & MEM_FILE && !(memory & (MEM_SHMEM | MEM_ANON)))
		return "a ramfs has nowhere to write its pages to";
	if (memory & MEM_KSM)
		return "MADV_PAGEOUT leaves pages alone that are mapped more than once";
	return on_lists(memory);
}

static const char *whole_pmd(unsigned int memory)
{
	return memory & MEM_SMALL && !(memory & MEM_UFFD) ? NULL :
	       "only a whole PMD of small pages is collapsed";
}

static const char *must_be_huge(unsigned int memory)
{
	return memory & MEM_THP ? NULL : "only a transparent huge page is split";
}

static const char *mergeable(unsigned int memory)
{
	const unsigned int other = PLACED | MEM_HUGETLB | MEM_FILE | MEM_HOLE | MEM_SMALL |
				   MEM_THP | MEM_USERFAULT;

	if (!(memory & MEM_ANON) || memory & other)
		return "KSM merges small anonymous pages only";
	return memory & MEM_KSM ? "it is merged already" : NULL;
}

/* What its small pages do, other memory of the kind does. */
static const char *movable(unsigned int memory)
{
	const unsigned int other = MEM_FILE | MEM_USERFAULT | MEM_KSM | MEM_THP | MEM_SMALL;

	if (!(memory & MEM_ANON) || memory & other)
		return "small anonymous pages say as much";
	return on_lists(memory);
}

/* Huge pages and files go in ways of their own; with MPOL_MF_MOVE, what is mapped once. */
static const char *has_node(unsigned int memory)
{
	if (memory & PLACED)
		return "move_pages() leaves a device's memory where it is";
	if (memory & MEM_KSM)
		return "move_pages() leaves pages alone that are mapped more than once";
	if (memory & MEM_HOLE)
		return "there is no page";
	if (memory & MEM_SMALL || (memory & MEM_FILE && memory & MEM_ANON))
		return "small anonymous pages say as much";
	return NULL;
}

#define BEST	OP_BEST_EFFORT
#define SLOW	(OP_BEST_EFFORT | OP_SLOW)

const struct race_op race_ops_mm[] = {
	{ "cold", "the middle pages are made candidates for reclaim (MADV_COLD)", BEST, 0, on_lists,
	  NULL, cold, 0 },
	{ "pageout", "the middle pages are written to swap (MADV_PAGEOUT)", BEST | OP_RECLAIMS, 0,
	  swappable, NULL, pageout, RACE_SWAP },
	{ "collapse", "the small pages are made a huge one (MADV_COLLAPSE)", SLOW | OP_NOTIFIES, 0,
	  whole_pmd, NULL, collapse, 0 },
	{ "thp_split", "the huge page is split (debugfs: split_huge_pages)", BEST | OP_NOTIFIES, 0,
	  must_be_huge, NULL, split, RACE_SPLIT },
	{ "ksm", "ksmd merges the pages with others of the same contents", SLOW, 0, mergeable,
	  begin_merge, merge, RACE_KSM },
	{ "soft_offline", "the middle pages are moved to other places (MADV_SOFT_OFFLINE)",
	  SLOW | OP_RECLAIMS, 0, movable, can_offline, soft_offline, 0 },
	{ "move_pages", "the middle pages are moved to another NUMA node", BEST | OP_RECLAIMS, 0,
	  has_node, two_nodes, move, 0 },
};

const int race_nr_ops_mm = sizeof(race_ops_mm) / sizeof(race_ops_mm[0]);
