// SPDX-License-Identifier: GPL-2.0-only
/*
 * An eviction meets a page that has just moved (claim S5): a CPU fault has brought it
 * home and unlocked the source, and still holds the last reference to that. For
 * migrate_device_range() it is a page like any other. But its charge to a memory cgroup
 * went along, so a second copy would have none, and 7.3.4 spins for ever when it puts a
 * folio without on an LRU list (folio_lruvec_lock_irqsave()). So a driver has to leave
 * the page alone, as drm_pagemap_skip_retired_pages() does.
 *
 * The place between unlock and reference is folio_wake_bit(): somebody else waits there
 * for the page, as a second reader would.
 */
#include "away.h"
#include "core_test.h"

AWAY_FIXTURE(moved)

static long touch(void *p)
{
	return hm_cpu_touch(p);
}

static bool is_held(const struct hotmirror_status *st)
{
	return st->evict_held;
}

/* Two threads want the first page, or the large folio: who fetches it stands at @core. */
static void fetch(struct __test_metadata *_metadata, struct away *a, int core,
		  struct worker *fetcher, struct worker *waiter)
{
	int gate = must(hm_gate_open(a->fd, HOTMIRROR_GATE_TO_RAM_COLLECTED,
				     HOTMIRROR_GATE_INSTANCE));

	worker_start(_metadata, waiter, touch, a->mem);
	worker_start(_metadata, fetcher, touch, a->mem);
	worker_hold(_metadata, fetcher, gate);
	worker_begin(_metadata, waiter);
	must(hm_wait_stuck(waiter->async.tid));
	must(hm_gate_arm_tid(core, fetcher->async.tid));
	must(hm_gate_release(gate));
	must(hm_gate_wait(core, HM_LIMIT_MS));
	close(gate);
}

TEST_F(moved, is_left_alone)
{
	struct away *a = &self->a;
	struct hotmirror_status st;
	struct worker fetcher, waiter;
	char *more = hm_map(1);
	__u32 id;
	int core;

	need_core_gates(&a->rig);
	need_sabotage(a);
	skip_unless(variant->kind == HOTMIRROR_PRIVATE, "a CPU does not fetch coherent pages");
	hm_fill(more, a->page, SEED);
	skip_unless(hm_page_charged(more), "kernel without memory cgroups, so without the danger");
	core = hm_gate_core(a->rig.control, "folio_wake_bit");
	skip_unless(core != -ENXIO, "folio_wake_bit() is not a function of this kernel");
	must(core);
	/* With room for one page more than a large folio. */
	must(hm_plug(a->rig.control, variant->kind, 2 * a->rig.bytes, &id));
	a->fd = must(hm_open(id));
	away_settle(_metadata, a);
	must(hm_to_dev(a->fd, more, a->page, NULL));
	fetch(_metadata, a, core, &fetcher, &waiter);
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_EVICT_HOLD));
	must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(a->fd, 0, is_held, &st));
	EXPECT_EQ(a->pages + 1, st.pages_used);
	/* All but what the fetcher has. */
	EXPECT_EQ(a->large ? 1 : a->pages, st.evict_held);
	must(hm_sabotage(a->fd, 0));
	must(hm_gate_release(core));
	worker_join(_metadata, &fetcher, 0);
	worker_join(_metadata, &waiter, 0);
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	close(core);
	close(a->fd);
	expect_put(a, 0, a->pages, SEED);
	EXPECT_EQ(-1, hm_differs(more, a->page, SEED));
}

HM_TEST_MAIN
