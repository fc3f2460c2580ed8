// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unplug of private and coherent memory: all pages are brought home, found by their
 * device addresses, whoever maps them. What is locked, referenced by somebody or
 * finds no memory for its copy stays, and the drain asks again: it rests between
 * two attempts, and says in the status what it could not do and why.
 *
 * After a surprise removal there is nothing to bring home: see tombstone.c.
 */
#include <linux/highmem.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

/* Nobody tells when a page loses its last user: look again, less and less often. */
#define HOTMIRROR_EVICT_PAUSE		msecs_to_jiffies(5)
#define HOTMIRROR_EVICT_MAX_PAUSE	msecs_to_jiffies(40)

/* One attempt. */
struct hotmirror_eviction {
	struct hotmirror_instance *inst;
	unsigned long *src;		/* a leaf */
	unsigned long *dst;		/* the same */
	unsigned long moved;		/* pages */
	unsigned long busy;
	unsigned long no_memory;
};

/*
 * Memory for a copy. Eviction is asked again and again, so it rather fails than have
 * the oom killer find a victim for it.
 */
static struct folio *hotmirror_evict_alloc(struct hotmirror_instance *inst,
					   unsigned int order)
{
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN;

	if (READ_ONCE(inst->fail_alloc) || (order && hotmirror_fail_large(inst)))
		return NULL;
	/* A large folio is worth an effort when there was no other way. */
	gfp |= order && !inst->evict_idle ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
	return folio_alloc(gfp, order);
}

/* A folio of system memory with the contents of ours, locked. */
static struct page *hotmirror_bring_home(struct hotmirror_instance *inst,
					 struct page *src, unsigned int order)
{
	struct folio *folio;
	unsigned long i;

	/*
	 * Not one by one: without a VMA the core cannot split the large folio
	 * (__migrate_device_pages() of 7.3), so small pages would be of no use. A
	 * fault of the owner splits it.
	 */
	if (!order && folio_test_large(page_folio(src)))
		return NULL;
	folio = hotmirror_evict_alloc(inst, order);
	if (!folio) {
		inst->starved |= !order;
		return NULL;
	}
	folio_lock(folio);
	for (i = 0; i < 1UL << order; i++)
		if (READ_ONCE(inst->evict_no_copy))
			clear_highpage(folio_page(folio, i));
		else
			copy_highpage(folio_page(folio, i),
				      hotmirror_devmem_data(inst, page_to_pfn(src) + i));
	return &folio->page;
}

/* Pages that were collected and got no target. */
static unsigned long hotmirror_unplaced(struct hotmirror_eviction *ev, unsigned long n)
{
	unsigned long i, nr = 0;

	for (i = 0; i < n; i += hotmirror_nr(ev->src[i]))
		if (ev->src[i] & MIGRATE_PFN_MIGRATE && !ev->dst[i])
			nr += hotmirror_nr(ev->src[i]);
	return nr;
}

/* Pages in use that did not move; a reference is found as late as in the last step. */
static unsigned long hotmirror_left(struct hotmirror_eviction *ev, unsigned long first,
				    unsigned long n)
{
	unsigned long i, left = 0;

	for (i = 0; i < n; i += hotmirror_nr(ev->src[i]))
		if (!(ev->src[i] & MIGRATE_PFN_MIGRATE) &&
		    test_bit(first + i, ev->inst->used))
			left += hotmirror_nr(ev->src[i]);
	return left;
}

/*
 * Leave alone what has moved. A migration unlocks its source before it gives back the
 * last reference, and migrate_device_range() takes whatever is unlocked and referenced,
 * with or without a mapping. The charge to a memory cgroup went along with the first
 * move: a second copy would have none, and folio_add_lru() of 7.3 spins for ever over a
 * folio without (folio_lruvec_lock_irqsave()). Without memory cgroups it is just a copy
 * in vain. drm_pagemap_skip_retired_pages() is there for the same reason.
 */
static void hotmirror_evict_moved(struct hotmirror_eviction *ev, unsigned long n)
{
	unsigned long i;

	if (mem_cgroup_disabled())
		return;
	for (i = 0; i < n; i += hotmirror_nr(ev->src[i]))
		if (ev->src[i] & MIGRATE_PFN_MIGRATE &&
		    !folio_memcg_charged(page_folio(migrate_pfn_to_page(ev->src[i]))))
			ev->src[i] &= ~MIGRATE_PFN_MIGRATE;
}

/* Sabotage: stop where a page has no mapping but migration entries. */
static void hotmirror_evict_hold(struct hotmirror_eviction *ev, unsigned long n)
{
	struct hotmirror_instance *inst = ev->inst;
	unsigned long i, held = 0;

	if (!READ_ONCE(inst->evict_hold))
		return;
	hotmirror_guard(inst, ev->src, n);
	for (i = 0; i < n; i += hotmirror_nr(ev->src[i]))
		if (ev->src[i] & MIGRATE_PFN_MIGRATE)
			held += hotmirror_nr(ev->src[i]);
	WRITE_ONCE(inst->evict_held, held);
	if (held)
		wait_event_idle_timeout(inst->wait, !READ_ONCE(inst->evict_hold),
					nsecs_to_jiffies(HOTMIRROR_EVICT_HOLD_NS));
	WRITE_ONCE(inst->evict_held, 0);
	hotmirror_unguard(inst, ev->src, n);
}

static void hotmirror_evict_piece(struct hotmirror_eviction *ev, unsigned long first,
				  unsigned long n)
{
	struct hotmirror_instance *inst = ev->inst;
	struct hotmirror_grave *grave = READ_ONCE(inst->grave);
	u64 begin = ktime_get_ns(), pfn = inst->first_pfn + first, large = 0;
	unsigned long moved, unplaced, left;

	migrate_device_range(ev->src, pfn, n);
	hotmirror_evict_moved(ev, n);
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_EVICT_COLLECTED, ev->src, n);
	hotmirror_evict_hold(ev, n);
	hotmirror_copy(inst, ev->src, ev->dst, n,
		       grave ? hotmirror_bury : hotmirror_bring_home);
	unplaced = hotmirror_unplaced(ev, n);
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_EVICT_COPIED, ev->src, n);
	migrate_device_pages(ev->src, ev->dst, n);
	left = hotmirror_left(ev, first, n);
	ev->no_memory += unplaced;
	ev->busy += left - min(left, unplaced);
	moved = hotmirror_moved(ev->src, ev->dst, n, &large);
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_EVICT_MOVED, ev->src, n);
	migrate_device_finalize(ev->src, ev->dst, n);
	atomic64_add(moved, grave ? &inst->pages_lost : &inst->pages_evicted);
	ev->moved += moved;
	if (moved)
		trace_hotmirror_migrate(inst->id, HOTMIRROR_EVICT, PFN_PHYS(pfn),
					PFN_PHYS(pfn + n), moved, left,
					ktime_get_ns() - begin);
}

/* To unmap pages and map them again for want of memory is no use: is there any? */
static bool hotmirror_starved(struct hotmirror_instance *inst)
{
	struct folio *folio;

	if (READ_ONCE(inst->grave))
		inst->starved = false;
	if (!inst->starved)
		return false;
	folio = hotmirror_evict_alloc(inst, 0);
	if (!folio)
		return true;
	folio_put(folio);
	inst->starved = false;
	return false;
}

static void hotmirror_evict_all(struct hotmirror_eviction *ev)
{
	struct hotmirror_instance *inst = ev->inst;
	unsigned long i, n;

	for (i = 0; i < inst->nr_pages && !hotmirror_starved(inst); i += n) {
		n = min(HOTMIRROR_LEAF_PAGES, inst->nr_pages - i);
		if (find_next_bit(inst->used, i + n, i) < i + n)
			hotmirror_evict_piece(ev, i, n);
		cond_resched();
	}
}

/* What the status says of this attempt. */
static void hotmirror_evict_account(struct hotmirror_eviction *ev)
{
	struct hotmirror_instance *inst = ev->inst;
	unsigned long left = READ_ONCE(inst->nr_used);

	ev->busy = min(ev->busy, left);
	/* Then what was not looked at was left for want of it, too. */
	if (inst->starved)
		ev->no_memory = left;
	WRITE_ONCE(inst->evict_busy, ev->busy);
	WRITE_ONCE(inst->evict_no_memory, min(ev->no_memory, left - ev->busy));
	WRITE_ONCE(inst->evict_rounds, inst->evict_rounds + 1);
	inst->evict_idle = ev->moved ? 0 : inst->evict_idle + 1;
}

/**
 * hotmirror_evict - bring home, or bury, every page that is not held
 * @inst: a private or coherent instance
 *
 * One attempt; unplug makes another for what is left.
 */
void hotmirror_evict(struct hotmirror_instance *inst)
{
	struct hotmirror_eviction ev = { .inst = inst };

	if (!READ_ONCE(inst->nr_used))
		return;
	ev.src = kcalloc(HOTMIRROR_LEAF_PAGES, 2 * sizeof(*ev.src), GFP_KERNEL);
	if (ev.src) {
		ev.dst = ev.src + HOTMIRROR_LEAF_PAGES;
		hotmirror_evict_all(&ev);
	} else {
		inst->starved = true;
	}
	hotmirror_evict_account(&ev);
	kfree(ev.src);
}

/* How long to rest before the next attempt. */
unsigned long hotmirror_evict_pause(struct hotmirror_instance *inst)
{
	return min(HOTMIRROR_EVICT_PAUSE << min(inst->evict_idle, 8UL),
		   HOTMIRROR_EVICT_MAX_PAUSE);
}
