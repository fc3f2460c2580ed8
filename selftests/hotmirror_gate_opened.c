// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who opens a gate beside the one who has it: what waits for an operation, or for an
 * invalidation, must not wait for a gate. Each gate here would hold for a minute, which
 * is longer than a test may take.
 */
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "gate_test.h"

FIXTURE(opened) {
	struct gated g;
	struct hm_child child;
};

typedef FIXTURE_DATA(opened) data;

FIXTURE_SETUP(opened)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	gated_setup(_metadata, &self->g, 0);
	must(hm_prefetch(self->g.fd, self->g.mem, self->g.length, true));
}

FIXTURE_TEARDOWN(opened)
{
	hm_child_end(&self->child);
	gated_teardown(_metadata, &self->g);
}

static const struct hm_gate_arm a_minute = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };

/* Let the operation run to a gate that would hold it for a minute. */
static void hold_long(struct __test_metadata *_metadata, struct gated *g, __u32 gate,
		      __u32 flags, struct hm_async *a, gated_op op)
{
	g->gate = must(hm_gate_open(g->fd, gate, flags));
	must(hm_gate_arm(g->gate, &a_minute));
	must(hm_async_start(a, op, g));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
}

static bool disabling(const struct hotmirror_status *st)
{
	return st->target == HOTMIRROR_DISABLED;
}

/* The one step that waits for who stands at a gate: that is the window of claim S8. */
TEST_F(opened, disable_alone_waits_for_the_gate)
{
	struct gated *g = &self->g;
	struct hotmirror_status st;
	struct hm_async a;

	hold_long(_metadata, g, HOTMIRROR_GATE_ACCESS_LOCKED, 0, &a, op_read);
	must_err(ETIMEDOUT, hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_DISABLED, 50));
	must(hm_wait_status(g->rig.control, g->rig.id, disabling, &st));
	EXPECT_EQ(HOTMIRROR_LIVE, st.state);
	EXPECT_EQ(1, st.readers);
	EXPECT_EQ(HOTMIRROR_GATE_HELD, gated_status(_metadata, g->gate).state);
	must(hm_gate_release(g->gate));
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	gated_join(_metadata, &a, 0);
	expect_filled(g->buf, g->length, SEED);
}

/* In front of a user fault nobody is inside: disable is not held up, the gate stays. */
TEST_F(opened, disable_does_not_wait_for_a_gate_outside)
{
	struct gated *g = &self->g;
	struct hm_async a;

	hold_long(_metadata, g, HOTMIRROR_GATE_FAULT_ENTER, 0, &a, op_fault);
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	EXPECT_EQ(HOTMIRROR_GATE_HELD, gated_status(_metadata, g->gate).state);
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, -ENODEV);
}

/* The second request opens what the first was waiting for. */
TEST_F(opened, unplug_after_disable_opens)
{
	struct gated *g = &self->g;
	struct hm_async a;

	hold_long(_metadata, g, HOTMIRROR_GATE_ACCESS_LOCKED, 0, &a, op_read);
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_DISABLED, 0));
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	gated_join(_metadata, &a, 0);
	must_err(ENODEV, hm_gate_arm(g->gate, &a_minute));
}

TEST_F(opened, a_gate_that_comes_too_late_is_open)
{
	struct gated *g = &self->g;

	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	g->gate = must(hm_gate_open(g->fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0));
	must_err(ENODEV, hm_gate_wait(g->gate, 0));
	must_err(ENODEV, hm_gate_arm(g->gate, &a_minute));
	must(hm_gate_release(g->gate));
	EXPECT_EQ(HOTMIRROR_GATE_IDLE, gated_status(_metadata, g->gate).state);
}

/* mmu_interval_notifier_remove() sleeps for a callback, uninterruptibly. */
TEST_F(opened, unmirror_lets_a_callback_go)
{
	struct gated *g = &self->g;
	struct hm_async a;
	__u32 range;

	must(hm_mirror(g->fd, g->mem, g->page, 0, &range));
	hold_long(_metadata, g, HOTMIRROR_GATE_INVALIDATE_LOCKED, 0, &a, op_dontneed);
	must(hm_unmirror(g->fd, range));
	gated_join(_metadata, &a, 0);
	/* The gate itself is as it was. */
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, gated_status(_metadata, g->gate).state);
	must(hm_gate_arm(g->gate, &a_minute));
}

TEST_F(opened, the_last_close_of_a_mirror_lets_a_callback_go)
{
	struct gated *g = &self->g;
	struct hm_async a;
	int fd = g->fd;

	hold_long(_metadata, g, HOTMIRROR_GATE_INVALIDATE_ENTER, 0, &a, op_dontneed);
	close(fd);
	g->fd = must(hm_open(g->rig.id));
	g->rig.fd = g->fd;
	gated_join(_metadata, &a, 0);
	must_err(ENODEV, hm_gate_wait(g->gate, 0));
	must_err(ENODEV, hm_gate_arm(g->gate, &a_minute));
}

/* At a gate of the instance: only who works on the file that is closed. */
TEST_F(opened, close_of_another_mirror_lets_nobody_go)
{
	struct gated *g = &self->g;
	int other = must(hm_open(g->rig.id));
	struct hm_async a;

	hold_long(_metadata, g, HOTMIRROR_GATE_INVALIDATE_CLEARED, HOTMIRROR_GATE_INSTANCE, &a,
		  op_dontneed);
	close(other);
	EXPECT_EQ(HOTMIRROR_GATE_HELD, gated_status(_metadata, g->gate).state);
	close(g->fd);
	g->fd = must(hm_open(g->rig.id));
	g->rig.fd = g->fd;
	gated_join(_metadata, &a, 0);
	/* Of the instance, which lives. */
	must(hm_gate_arm(g->gate, &a_minute));
}

/* Nothing is left of this process but a gate. */
TEST_F(opened, a_gate_keeps_the_module)
{
	struct gated *g = &self->g;

	g->gate = must(hm_gate_open(g->fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0));
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(g->rig.control);
	close(g->fd);
	g->rig.control = -1;
	g->rig.fd = -1;
	EXPECT_EQ(-1, syscall(SYS_delete_module, "test_hotmirror", O_NONBLOCK));
	/* Built in, it cannot be removed anyhow. */
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == ENOENT)
		TH_LOG("%s", strerror(errno));
}

/* A worker's gate cannot keep what nobody owns any more. */
TEST_F(opened, a_worker_passes_gates_of_an_instance_without_owner)
{
	struct gated *g = &self->g;

	g->gate = must(hm_gate_open(g->fd, HOTMIRROR_GATE_UNPLUG_DRAINING,
				    HOTMIRROR_GATE_INSTANCE));
	must(hm_gate_arm(g->gate, &a_minute));
	close(g->rig.control);
	g->rig.control = -1;
	must(hm_wait_gone(g->fd, HM_LIMIT_MS));
	must_err(ENODEV, hm_gate_arm(g->gate, &a_minute));
}

/* ---- what can be looked at meanwhile ---- */

static bool all(const __u32 *entries, __u32 expected)
{
	for (int i = 0; i < PAGES; i++)
		if (entries[i] != expected)
			return false;
	return true;
}

#define WRITABLE (HOTMIRROR_SNAP_DEVICE | HOTMIRROR_SNAP_DEVICE_WRITE)

TEST_F(opened, entries_are_there_until_the_callback_has_cleared_them)
{
	struct gated *g = &self->g;
	__u32 entries[PAGES];
	struct hm_async a;

	must(hm_entries(g->fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, WRITABLE));
	hold_long(_metadata, g, HOTMIRROR_GATE_INVALIDATE_ENTER, 0, &a, op_dontneed);
	must(hm_entries(g->fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, WRITABLE));
	close(g->gate);
	gated_join(_metadata, &a, 0);
	must(hm_prefetch(g->fd, g->mem, g->length, true));
	hold_long(_metadata, g, HOTMIRROR_GATE_INVALIDATE_DONE, 0, &a, op_dontneed);
	must(hm_entries(g->fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, 0));
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, 0);
}

/* A child that moves its memory to the device, and a thread of it that unmaps another. */
struct stuck {
	struct gated *g;
	char *far;
	int go;			/* eventfd */
};

static long unmap_far(void *arg)
{
	struct stuck *s = arg;
	eventfd_t one;

	return eventfd_read(s->go, &one) || munmap(s->far, s->g->page) ? -errno : 0;
}

static int move_and_unmap(struct hm_parent *p, void *arg)
{
	struct stuck *s = arg;
	struct gated *g = s->g;
	int fd = hm_open(g->rig.id);
	struct hm_async b;
	long ret;

	hm_tell(p, fd < 0 ? fd : hm_mirror(fd, g->mem, g->length, 0, NULL) ?: fd);
	hm_tell(p, hm_async_start(&b, unmap_far, s) ?: b.tid);
	hm_hear(p);
	g->fd = fd;
	ret = op_to_dev(g);
	return hm_async_join(&b, HM_LIMIT_MS, &ret) ?: ret;
}

/* A reader and a writer of mmap_lock are stuck: nobody else gets it. */
TEST_F(opened, entries_need_no_mmap_lock)
{
	struct gated *g = &self->g;
	struct stuck s = { .g = g, .far = hm_map(1), .go = eventfd(0, 0) };
	__u32 entries[PAGES] = { 1, 1, 1, 1 };
	long theirs, tid;
	int fd, status;

	skip_unless(g->rig.kind != HOTMIRROR_DAX, "no private and no coherent memory");
	must(hm_child_start(&self->child, move_and_unmap, &s));
	must(hm_child_hear(&self->child, &theirs));
	must(hm_child_hear(&self->child, &tid));
	fd = must(hm_child_getfd(&self->child, must(theirs)));
	g->gate = must(hm_gate_open(fd, HOTMIRROR_GATE_MIGRATE_COLLECTED, 0));
	must(hm_gate_arm(g->gate, &a_minute));
	must(hm_child_tell(&self->child, 0));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	ASSERT_EQ(0, eventfd_write(s.go, 1));
	must(hm_wait_stuck(tid));
	must(hm_entries(fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, 0));
	must(hm_gate_release(g->gate));
	must(hm_child_wait(&self->child, &status));
	EXPECT_EQ(0, status);
	close(fd);
}

/* The mirror of a process that is no more, and of an instance that is. */
static int mirror_and_die(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	int fd = hm_open(g->rig.id);

	hm_tell(p, fd < 0 ? fd : hm_mirror(fd, g->mem, g->length, 0, NULL) ?: fd);
	hm_hear(p);
	return 0;
}

TEST_F(opened, entries_need_no_process_and_no_instance)
{
	struct gated *g = &self->g;
	__u32 entries[PAGES] = { 1, 1, 1, 1 };
	int fd, status;
	long theirs;

	must(hm_child_start(&self->child, mirror_and_die, g));
	must(hm_child_hear(&self->child, &theirs));
	fd = must(hm_child_getfd(&self->child, must(theirs)));
	must(hm_child_tell(&self->child, 0));
	must(hm_child_wait(&self->child, &status));
	must(hm_entries(fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, 0));
	close(fd);
	must(hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	memset(entries, 1, sizeof(entries));
	must(hm_entries(g->fd, g->mem, g->length, entries));
	EXPECT_TRUE(all(entries, 0));
}

HM_TEST_MAIN
