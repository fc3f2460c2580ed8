// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls with gates: what a driver may do wrong in the loop, in the callback
 * and in a migration shows at the first attempt, when the other side comes in the window
 * that the fault opens. Beside each stands the same schedule with the module as it is.
 */
#include "gate_test.h"

FIXTURE(broken) {
	struct gated g;
};

typedef FIXTURE_DATA(broken) data;

FIXTURE_SETUP(broken)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	if (!(self->g.rig.q.features & HOTMIRROR_HAS_SABOTAGE))
		SKIP(return, "module loaded without sabotage=1");
	gated_setup(_metadata, &self->g, 0);
}

/* No verdict on stale entries: the tests make them. */
FIXTURE_TEARDOWN(broken)
{
	if (self->g.gate >= 0)
		close(self->g.gate);
	rig_end(_metadata, &self->g.rig);
}

static long op_prefetch(void *arg)
{
	struct gated *g = arg;

	return hm_prefetch(g->fd, g->mem, g->length, false);
}

/* What VERIFY says when the first page was taken while a populate stood at a gate. */
static struct hotmirror_verify take_at(struct __test_metadata *_metadata, struct gated *g,
				       __u32 gate)
{
	struct hotmirror_verify v;
	struct hm_async a;

	gated_hold(_metadata, g, gate, &a, op_prefetch);
	EXPECT_EQ(0, madvise(g->mem, g->page, MADV_DONTNEED));
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, 0);
	must(hm_verify(g->fd, &v));
	return v;
}

/* The same with the faulty loop: the entry of the page that is gone was stored. */
static void expect_stored(struct __test_metadata *_metadata, struct gated *g, __u64 mode,
			  __u32 gate)
{
	struct hotmirror_verify v;

	must(hm_sabotage(g->fd, mode));
	v = take_at(_metadata, g, gate);
	EXPECT_EQ(PAGES, v.present);
	EXPECT_EQ(1, v.stale);
	EXPECT_EQ((uintptr_t)g->mem, v.first);
}

TEST_F(broken, a_check_before_the_lock_is_too_early)
{
	expect_stored(_metadata, &self->g, HOTMIRROR_SABOTAGE_CHECK_UNLOCKED,
		      HOTMIRROR_GATE_POPULATE_CHECKED);
}

TEST_F(broken, a_check_is_worth_nothing_once_the_lock_was_dropped)
{
	expect_stored(_metadata, &self->g, HOTMIRROR_SABOTAGE_STALE_SEQ,
		      HOTMIRROR_GATE_POPULATE_CHECKED);
}

TEST_F(broken, without_a_check_every_window_is_open)
{
	expect_stored(_metadata, &self->g, HOTMIRROR_SABOTAGE_SKIP_RETRY,
		      HOTMIRROR_GATE_POPULATE_FAULTED);
}

/* Each of the faulty checks sees what came before it. */
TEST_F(broken, a_wrong_check_sees_an_early_race)
{
	static const __u64 modes[] = {
		HOTMIRROR_SABOTAGE_CHECK_UNLOCKED, HOTMIRROR_SABOTAGE_STALE_SEQ,
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		must(hm_sabotage(self->g.fd, modes[i]));
		EXPECT_EQ(0, take_at(_metadata, &self->g, HOTMIRROR_GATE_POPULATE_FAULTED).stale);
		close(self->g.gate);
		/* Take all entries: the next round populates again. */
		must(op_dontneed(&self->g));
		hm_fill(self->g.mem, self->g.length, SEED);
	}
}

TEST_F(broken, the_right_loop_starts_again)
{
	struct hotmirror_stats s;

	EXPECT_EQ(0, take_at(_metadata, &self->g, HOTMIRROR_GATE_POPULATE_FAULTED).stale);
	must(hm_stats(self->g.fd, &s));
	EXPECT_EQ(1, s.retries);
}

/* ---- the callback ---- */

static int count(const __u32 *entries)
{
	int n = 0;

	for (int i = 0; i < PAGES; i++)
		n += !!(entries[i] & HOTMIRROR_SNAP_DEVICE);
	return n;
}

/* Entries when [from, from + pages) was taken from a full device page table. */
static void drop(struct __test_metadata *_metadata, struct gated *g, __u64 mode, int from,
		 int pages, __u32 *entries)
{
	must(op_prefetch(g));
	must(hm_sabotage(g->fd, mode));
	ASSERT_EQ(0, madvise(g->mem + from * g->page, pages * g->page, MADV_DONTNEED));
	must(hm_entries(g->fd, g->mem, g->length, entries));
}

/* Cleared in the end, but behind the callback, that is, behind the end of the page. */
TEST_F(broken, entries_that_are_cleared_late_are_stale)
{
	struct gated *g = &self->g;
	struct hotmirror_verify v;
	__u32 entries[PAGES];

	drop(_metadata, g, HOTMIRROR_SABOTAGE_CLEAR_LATE, 1, 2, entries);
	EXPECT_EQ(PAGES, count(entries));
	must(hm_verify(g->fd, &v));
	EXPECT_EQ(2, v.stale);
	/* That was an operation, and with its end they are gone. */
	must(hm_entries(g->fd, g->mem, g->length, entries));
	EXPECT_EQ(PAGES - 2, count(entries));
	must(hm_verify(g->fd, &v));
	EXPECT_EQ(0, v.stale);
}

TEST_F(broken, the_last_page_of_a_range_is_stale)
{
	struct gated *g = &self->g;
	struct hotmirror_verify v;
	__u32 entries[PAGES];

	drop(_metadata, g, HOTMIRROR_SABOTAGE_CLEAR_SHORT, 0, 3, entries);
	EXPECT_EQ(PAGES - 2, count(entries));
	must(hm_verify(g->fd, &v));
	EXPECT_EQ(1, v.stale);
	EXPECT_EQ((uintptr_t)g->mem + 2 * g->page, v.first);
}

/* Not stale, only gone: VERIFY cannot see it, a model of the callback can. */
TEST_F(broken, entries_behind_the_range_are_lost)
{
	struct gated *g = &self->g;
	struct hotmirror_verify v;
	__u32 entries[PAGES];

	drop(_metadata, g, HOTMIRROR_SABOTAGE_IGNORE_END, 1, 1, entries);
	EXPECT_EQ(1, count(entries));
	must(hm_verify(g->fd, &v));
	EXPECT_EQ(0, v.stale);
	must(hm_sabotage(g->fd, 0));
	must(op_prefetch(g));
	drop(_metadata, g, 0, 1, 1, entries);
	EXPECT_EQ(PAGES - 1, count(entries));
}

/* ---- migration ---- */

/* The CPU writes while the pages are mapped, and reads when they have moved. */
static void write_at_begin(struct __test_metadata *_metadata, struct gated *g, int expected)
{
	struct hm_async a;

	skip_unless(g->rig.kind != HOTMIRROR_DAX, "no private and no coherent memory");
	gated_hold(_metadata, g, HOTMIRROR_GATE_MIGRATE_BEGIN, &a, op_to_dev);
	hm_fill(g->mem, g->length, OTHER);
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, 0);
	expect_filled(g->mem, g->length, expected);
}

TEST_F(broken, a_write_after_an_early_copy_is_lost)
{
	must(hm_sabotage(self->g.fd, HOTMIRROR_SABOTAGE_COPY_EARLY));
	write_at_begin(_metadata, &self->g, SEED);
}

TEST_F(broken, a_write_before_the_right_copy_is_kept)
{
	write_at_begin(_metadata, &self->g, OTHER);
}

/* Who was ever unsafe does not touch memory any more. */
TEST_F(broken, a_file_with_stale_entries_reads_and_writes_nothing)
{
	static const __u64 unsafe[] = {
		HOTMIRROR_SABOTAGE_CHECK_UNLOCKED, HOTMIRROR_SABOTAGE_STALE_SEQ,
		HOTMIRROR_SABOTAGE_CLEAR_LATE, HOTMIRROR_SABOTAGE_CLEAR_SHORT,
	};
	struct gated *g = &self->g;

	for (size_t i = 0; i < ARRAY_SIZE(unsafe); i++) {
		int fd = must(hm_open(g->rig.id));

		must(hm_mirror(fd, g->mem, g->length, 0, NULL));
		must(hm_sabotage(fd, unsafe[i]));
		must(hm_sabotage(fd, 0));
		must_err(EPERM, hm_read(fd, g->mem, g->buf, g->page));
		must_err(EPERM, hm_write(fd, g->mem, g->buf, g->page));
		close(fd);
	}
	must(hm_sabotage(g->fd, HOTMIRROR_SABOTAGE_IGNORE_END | HOTMIRROR_SABOTAGE_COPY_EARLY));
	must(hm_read(g->fd, g->mem, g->buf, g->page));
}

HM_TEST_MAIN
