// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every gate is reached by the operation that it belongs to, holds it, lets it go as if
 * nothing had been, and cannot hold up an unplug.
 */
#include "gate_test.h"

FIXTURE(gate) {
	struct gated g;
};

FIXTURE_VARIANT(gate) {
	__u32 gate;
	gated_op op;
	__u32 kind;		/* of device memory; HM_ANY */
	__u64 needs;		/* HOTMIRROR_HAS_* */
	__u32 mirror;		/* HOTMIRROR_MIRROR_* */
	int unplugged;		/* what it ends with if the instance was meanwhile */
};

FIXTURE_SETUP(gate)
{
	RIG_SETUP(&self->g.rig, variant->kind);
	skip_unless((self->g.rig.q.features & variant->needs) == variant->needs,
		    "kernel without two-pass invalidation, or without device-exclusive entries");
	gated_setup(_metadata, &self->g, variant->mirror);
}

FIXTURE_TEARDOWN(gate)
{
	gated_teardown(_metadata, &self->g);
}

#define GATE(name, GATE_, fn, ...)					\
FIXTURE_VARIANT_ADD(gate, name) {					\
	.gate = HOTMIRROR_GATE_##GATE_,					\
	.op = fn,							\
	__VA_ARGS__							\
}

GATE(access_begin, ACCESS_BEGIN, op_read, .unplugged = -ENODEV);
GATE(access_locked, ACCESS_LOCKED, op_read);
GATE(fault_enter, FAULT_ENTER, op_fault, .unplugged = -ENODEV);
GATE(fault_done, FAULT_DONE, op_fault, .unplugged = -ENODEV);
GATE(populate_begin, POPULATE_BEGIN, op_read, .unplugged = -ENODEV);
GATE(populate_faulted, POPULATE_FAULTED, op_read, .unplugged = -ENODEV);
GATE(populate_locked, POPULATE_LOCKED, op_read, .unplugged = -ENODEV);
GATE(populate_checked, POPULATE_CHECKED, op_read, .unplugged = -ENODEV);
GATE(populate_done, POPULATE_DONE, op_read, .unplugged = -ENODEV);
GATE(snapshot_begin, SNAPSHOT_BEGIN, op_snapshot);
GATE(snapshot_walked, SNAPSHOT_WALKED, op_snapshot);
GATE(snapshot_locked, SNAPSHOT_LOCKED, op_snapshot);
GATE(invalidate_enter, INVALIDATE_ENTER, op_dontneed);
GATE(invalidate_locked, INVALIDATE_LOCKED, op_dontneed);
GATE(invalidate_cleared, INVALIDATE_CLEARED, op_dontneed);
GATE(invalidate_done, INVALIDATE_DONE, op_dontneed);
#define GATE_TWO_PASS(name, GATE_)					\
	GATE(two_pass_##name, GATE_, op_dontneed, .needs = HOTMIRROR_HAS_TWO_PASS,	\
	     .mirror = HOTMIRROR_MIRROR_TWO_PASS)
GATE_TWO_PASS(enter, INVALIDATE_ENTER);
GATE_TWO_PASS(locked, INVALIDATE_LOCKED);
GATE_TWO_PASS(between, INVALIDATE_BETWEEN);
GATE_TWO_PASS(cleared, INVALIDATE_CLEARED);
GATE_TWO_PASS(done, INVALIDATE_DONE);
GATE(migrate_begin, MIGRATE_BEGIN, op_to_dev);
GATE(migrate_collected, MIGRATE_COLLECTED, op_to_dev);
GATE(migrate_copied, MIGRATE_COPIED, op_to_dev);
GATE(migrate_moved, MIGRATE_MOVED, op_to_dev);
GATE(migrate_done, MIGRATE_DONE, op_to_dev);
#define GATE_EXCLUSIVE(name, GATE_)					\
	GATE(exclusive_##name, GATE_, op_atomic, .needs = HOTMIRROR_HAS_EXCLUSIVE,	\
	     .unplugged = -ENODEV)
GATE_EXCLUSIVE(begin, EXCLUSIVE_BEGIN);
GATE_EXCLUSIVE(converted, EXCLUSIVE_CONVERTED);
GATE_EXCLUSIVE(locked, EXCLUSIVE_LOCKED);
GATE_EXCLUSIVE(done, EXCLUSIVE_DONE);
GATE(pin_begin, PIN_BEGIN, op_pin, .unplugged = -ENODEV);
GATE(pin_done, PIN_DONE, op_pin);
GATE(to_ram_enter, TO_RAM_ENTER, op_to_ram, .kind = HOTMIRROR_PRIVATE);
GATE(to_ram_collected, TO_RAM_COLLECTED, op_to_ram, .kind = HOTMIRROR_PRIVATE);
GATE(to_ram_copied, TO_RAM_COPIED, op_to_ram, .kind = HOTMIRROR_PRIVATE);
GATE(to_ram_moved, TO_RAM_MOVED, op_to_ram, .kind = HOTMIRROR_PRIVATE);
GATE(dax_fault, DAX_FAULT, op_touch, .kind = HOTMIRROR_DAX);
GATE(dax_inserted, DAX_INSERTED, op_touch, .kind = HOTMIRROR_DAX);
GATE(unplug_disabled, UNPLUG_DISABLED, op_unplug);
GATE(unplug_invalidated, UNPLUG_INVALIDATED, op_unplug);
GATE(unplug_draining, UNPLUG_DRAINING, op_unplug);
GATE(evict_collected, EVICT_COLLECTED, op_evict);
GATE(evict_copied, EVICT_COPIED, op_evict);
GATE(evict_moved, EVICT_MOVED, op_evict);

TEST_F(gate, holds_its_operation_until_it_is_released)
{
	struct gated *g = &self->g;
	struct hotmirror_gate_status st;
	struct hm_async a;

	gated_hold(_metadata, g, variant->gate, &a, variant->op);
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_HELD, st.state);
	EXPECT_EQ(0, st.left_ns);
	if (!hm_gate_of_worker(variant->gate)) {
		EXPECT_EQ(a.tid, st.tid);
		must(hm_wait_asleep(st.tid));
	}
	EXPECT_FALSE(hm_async_done(&a));
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, 0);
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(0, st.timeouts + st.killed);
	EXPECT_LT(st.arrived_ns, st.left_ns);
	/* Nothing is lost, unless that was the operation. */
	if (variant->op == op_fault || variant->op == op_dontneed ||
	    variant->kind == HOTMIRROR_DAX)
		return;
	expect_filled(g->mem, g->length, SEED);
}

/* It was let go by an unplug, and its gate holds nobody any more. */
static void expect_let_go(struct __test_metadata *_metadata, struct gated *g,
			  struct hm_async *a, int expected)
{
	static const struct hm_gate_arm any;
	struct hotmirror_gate_status st;
	long result;

	must(hm_async_join(a, HM_LIMIT_MS, &result));
	/* A CPU may not have used the new PTE yet when unplug takes it. */
	if (g->rig.kind != HOTMIRROR_DAX || result != -EFAULT)
		EXPECT_EQ(expected, result);
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(0, st.timeouts + st.killed);
	must_err(ENODEV, hm_gate_wait(g->gate, 0));
	must_err(ENODEV, hm_gate_arm(g->gate, &any));
}

/* Of the worker's gates none is opened by what they are for. */
TEST_F(gate, lets_go_when_the_instance_is_unplugged)
{
	struct gated *g = &self->g;
	struct hm_async a;

	gated_hold(_metadata, g, variant->gate, &a, variant->op);
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, 0));
	if (hm_gate_of_worker(variant->gate)) {
		EXPECT_EQ(HOTMIRROR_GATE_HELD, gated_status(_metadata, g->gate).state);
		must(hm_gate_release(g->gate));
		gated_join(_metadata, &a, 0);
		return;
	}
	must(hm_wait_gone(g->fd, HM_LIMIT_MS));
	expect_let_go(_metadata, g, &a, variant->unplugged);
}

TEST_F(gate, lets_go_when_the_control_file_is_closed)
{
	struct gated *g = &self->g;
	struct hm_async a;

	gated_hold(_metadata, g, variant->gate, &a, variant->op);
	close(g->rig.control);
	g->rig.control = -1;
	must(hm_wait_gone(g->fd, HM_LIMIT_MS));
	expect_let_go(_metadata, g, &a, variant->unplugged);
}

HM_TEST_MAIN
