// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unplug when system memory is short (claim S5): nothing is lost. The drain rests
 * between its attempts, says how many pages wait for memory, and ends when there is
 * some, or when nobody wants the pages any more. The module has only the allocations
 * of its eviction fail; a fault of the owner gets what it needs.
 */
#include "away.h"
#include "lib/group.h"

AWAY_FIXTURE(starved)

static void starve(struct __test_metadata *_metadata, struct away *a)
{
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_FAIL_ALLOC));
}

static void feed(struct __test_metadata *_metadata, struct away *a)
{
	must(hm_sabotage(a->fd, 0));
}

static bool tried_again(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING && st->evict_rounds > 2;
}

/* The drain has seen more than once that there is none. */
static struct hotmirror_status drain_in_vain(struct __test_metadata *_metadata,
					     struct away *a)
{
	struct hotmirror_status st;

	must(hm_unplug(a->rig.control, a->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(a->fd, 0, tried_again, &st));
	return st;
}

TEST_F(starved, says_so_and_waits)
{
	struct away *a = &self->a;
	struct hotmirror_status st;

	need_sabotage(a);
	away_settle(_metadata, a);
	starve(_metadata, a);
	st = drain_in_vain(_metadata, a);
	EXPECT_EQ(a->pages, st.pages_held);
	EXPECT_EQ(a->pages, st.evict_no_memory);
	EXPECT_EQ(0, st.evict_busy);
	EXPECT_EQ(0, st.pages_evicted);
	must_err(ETIMEDOUT, hm_unplug(a->rig.control, a->rig.id, HOTMIRROR_GONE, 50));
	feed(_metadata, a);
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	st = away_status(_metadata, a);
	EXPECT_EQ(a->pages, st.pages_evicted);
	EXPECT_EQ(0, st.evict_no_memory);
	expect_put(a, 0, a->pages, SEED);
}

static unsigned long rounds_wanted;

static bool rounds_reached(const struct hotmirror_status *st)
{
	return st->evict_rounds >= rounds_wanted;
}

static void wait_rounds(struct __test_metadata *_metadata, struct away *a,
			unsigned long rounds)
{
	struct hotmirror_status st;

	rounds_wanted = rounds;
	must(hm_wait_status(a->fd, 0, rounds_reached, &st));
}

/* It rests between two attempts, longer and longer; three of them take their time. */
TEST_F(starved, does_not_spin)
{
	struct away *a = &self->a;
	struct hotmirror_status st;
	long long begin;

	need_sabotage(a);
	away_settle(_metadata, a);
	starve(_metadata, a);
	st = drain_in_vain(_metadata, a);
	wait_rounds(_metadata, a, st.evict_rounds + 4);
	begin = hm_deadline(0);
	st = away_status(_metadata, a);
	wait_rounds(_metadata, a, st.evict_rounds + 3);
	EXPECT_LE(60, hm_deadline(0) - begin);
	feed(_metadata, a);
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	expect_put(a, 0, a->pages, SEED);
}

/* The owner has its memory all the while. */
TEST_F(starved, the_owner_has_its_pages)
{
	struct away *a = &self->a;

	need_sabotage(a);
	away_settle(_metadata, a);
	starve(_metadata, a);
	drain_in_vain(_metadata, a);
	expect_put(a, 0, a->pages, SEED);
	if (variant->kind == HOTMIRROR_PRIVATE) {
		/* Each fault fetched what it touched. */
		must(hm_wait_gone(a->fd, HM_LIMIT_MS));
		EXPECT_EQ(0, away_status(_metadata, a).pages_evicted);
		return;
	}
	away_put(a, a->mem, 0, a->pages, OTHER);
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_used);
	feed(_metadata, a);
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	expect_put(a, 0, a->pages, OTHER);
}

TEST_F(starved, ends_when_the_owner_unmaps)
{
	struct away *a = &self->a;

	need_sabotage(a);
	away_settle(_metadata, a);
	starve(_metadata, a);
	drain_in_vain(_metadata, a);
	ASSERT_EQ(0, munmap(a->mem, a->length));
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	EXPECT_EQ(0, away_status(_metadata, a).pages_evicted);
}

/* The memory is the relative's alone, and that dies in the middle of it. */
TEST_F(starved, ends_when_the_owner_is_killed)
{
	struct away *a = &self->a;
	struct hm_child c;
	int status;

	need_sabotage(a);
	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	starve(_metadata, a);
	drain_in_vain(_metadata, a);
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_used);
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
}

/* Who pulls it out for good gets rid of it: the rest is lost, what is home is not. */
TEST_F(starved, can_be_given_up)
{
	struct away *a = &self->a;

	need_sabotage(a);
	skip_unless(a->rig.q.features & HOTMIRROR_HAS_LOST, "kernel without CONFIG_DEVICE_PRIVATE");
	away_settle(_metadata, a);
	starve(_metadata, a);
	drain_in_vain(_metadata, a);
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_lost);
	EXPECT_EQ(a->pages, away_dead(a, a->mem));
}

/*
 * No large page to be had. Without a VMA the core (7.3) does not split the folio of the
 * device, so it stays and is reported; a fault of its owner splits it.
 */
TEST_F(starved, of_large_pages_the_owner_splits_it)
{
	struct away *a = &self->a;
	struct hotmirror_status st;

	if (!variant->large)
		SKIP(return, "of large folios only");
	need_sabotage(a);
	away_settle(_metadata, a);
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_FAIL_LARGE));
	st = drain_in_vain(_metadata, a);
	EXPECT_EQ(a->pages, st.evict_no_memory);
	EXPECT_EQ(0, st.evict_busy);
	EXPECT_EQ(0, hm_cpu_touch(a->mem));
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	expect_put(a, 0, a->pages, SEED);
}

/* In a group that may not have one page more: the copies were charged long ago. */
static int full_group(struct hm_parent *p, void *arg)
{
	struct away *a = arg;
	char *mem;
	int fd;

	hm_tell(p, hm_group_begin());
	hm_hear(p);
	mem = away_map(a);
	fd = hm_open(a->rig.id);
	away_put(a, mem, 0, a->pages, SEED);
	hm_tell(p, away_send(a, fd, mem));
	hm_hear(p);
	hm_tell(p, away_wrong(a, mem, 0, a->pages, SEED));
	hm_hear(p);
	hm_tell(p, hm_group_end());
	return 0;
}

TEST_F(starved, full_memcg_is_no_obstacle)
{
	struct away *a = &self->a;
	struct hm_child c;
	char limit[32];
	long value;

	must(hm_child_start(&c, full_group, a));
	must(hm_child_hear(&c, &value));
	if (value) {
		hm_child_end(&c);
		SKIP(return, "no cgroup2 with a memory controller: %s", strerror(-value));
	}
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_LE(AWAY_PAGES, value);
	snprintf(limit, sizeof(limit), "%lld", hm_number_in(HM_GROUP "/memory.current", ""));
	must(hm_write_to(HM_GROUP "/memory.max", limit));
	go_home(_metadata, a);
	EXPECT_EQ(value, away_status(_metadata, a).pages_evicted);
	EXPECT_EQ(0, hm_number_in(HM_GROUP "/memory.events", "\noom_kill"));
	EXPECT_GE(atoll(limit), hm_number_in(HM_GROUP "/memory.current", ""));
	must(hm_write_to(HM_GROUP "/memory.max", "max"));
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(-1, value);
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	hm_child_end(&c);
}

HM_TEST_MAIN
