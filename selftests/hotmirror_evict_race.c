// SPDX-License-Identifier: GPL-2.0-only
/*
 * Eviction races (claims S2, S5): while a device is being unplugged its pages are
 * written, moved, dropped, forked, and sent to the next device, and their owner is
 * killed. No write is lost and no page turns up in another's place.
 *
 * Each test unplugs several devices in turn, so that the other side never stops.
 */
#include <stdatomic.h>
#include <sys/wait.h>

#include "away.h"

AWAY_FIXTURE(race)

#define ROUNDS	4

/* The other side: goes on until it is told to stop. */
struct rival {
	struct hm_async async;
	struct away *a;
	atomic_bool stop;
	int number;		/* of several alike */
	int fd;
	long turns;
};

static void start(struct __test_metadata *_metadata, struct rival *r, struct away *a,
		  long (*fn)(void *arg))
{
	r->a = a;
	must(hm_async_start(&r->async, fn, r));
}

/* What it returned, once it has stopped. */
static long stop(struct __test_metadata *_metadata, struct rival *r)
{
	long result;

	atomic_store(&r->stop, true);
	must(hm_async_join(&r->async, HM_LIMIT_MS, &result));
	return result;
}

/*
 * One device after the other gets the memory, as much as can be had of it, and goes.
 * The wait for that may be interrupted, by the end of a child for one.
 */
static void unplug_all(struct __test_metadata *_metadata, struct away *a)
{
	__u32 id = a->rig.id;
	int fd = a->fd;

	for (int i = 0; i < ROUNDS; i++) {
		if (i) {
			must(hm_plug(a->rig.control, a->rig.kind, a->rig.bytes, &id));
			fd = must(hm_open(id));
		}
		/* EINVAL: the range is a hole just now. */
		away_send(a, fd, a->mem);
		must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, 0));
		must(hm_wait_gone(fd, HM_LIMIT_MS));
		if (i)
			close(fd);
	}
}

/* Volatile: each turn is a load and a store of its own. */
static volatile __u64 *counter_of(struct away *a, int page, int number)
{
	return (__u64 *)(a->mem + page * a->page) + number;
}

/* Two of these have a word each of every page. */
static long count_up(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&r->stop)) {
		for (int i = 0; i < r->a->pages; i++)
			*counter_of(r->a, i, r->number) += 1;
		r->turns++;
	}
	return 0;
}

TEST_F(race, no_write_of_two_threads_is_lost)
{
	struct rival r[2] = {};
	struct away *a = &self->a;

	memset(a->mem, 0, a->length);
	for (int n = 0; n < 2; n++) {
		r[n].number = n;
		start(_metadata, &r[n], a, count_up);
	}
	unplug_all(_metadata, a);
	for (int n = 0; n < 2; n++) {
		stop(_metadata, &r[n]);
		EXPECT_LT(0, r[n].turns);
		for (int i = 0; i < a->pages; i++) {
			ASSERT_EQ(r[n].turns, *counter_of(a, i, n))
				TH_LOG("page %d, word of thread %d", i, n);
		}
	}
}

/* Reads must find what was put there, at any time. */
static long look(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&r->stop)) {
		int page = away_wrong(r->a, r->a->mem, 0, r->a->pages, SEED);

		if (page >= 0)
			return page;
		r->turns++;
	}
	return -1;
}

TEST_F(race, readers_see_nothing_else)
{
	struct rival r[2] = {};

	for (int n = 0; n < 2; n++)
		start(_metadata, &r[n], &self->a, look);
	unplug_all(_metadata, &self->a);
	for (int n = 0; n < 2; n++)
		EXPECT_EQ(-1, stop(_metadata, &r[n]));
}

/* A child at a time: has it what its parent had? */
static long fork_on(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&r->stop)) {
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(away_wrong(r->a, r->a->mem, 0, r->a->pages, SEED) >= 0);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
			return 1;
		r->turns++;
	}
	return 0;
}

TEST_F(race, forked_children_have_it_all)
{
	struct rival r = {};

	start(_metadata, &r, &self->a, fork_on);
	unplug_all(_metadata, &self->a);
	EXPECT_EQ(0, stop(_metadata, &r));
	EXPECT_LT(0, r.turns);
	expect_put(&self->a, 0, self->a.pages, SEED);
}

/* Away and back, all of it, again and again. */
static long move_on(void *arg)
{
	struct rival *r = arg;
	size_t length = r->a->length;
	char *spare = away_map(r->a);

	while (!atomic_load(&r->stop)) {
		if (mremap(r->a->mem, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
			   spare) != spare ||
		    mremap(spare, length, length, MREMAP_MAYMOVE | MREMAP_FIXED,
			   r->a->mem) != r->a->mem)
			return errno;
		r->turns++;
	}
	return 0;
}

TEST_F(race, mremap_takes_them_along)
{
	struct rival r = {};
	struct away *a = &self->a;

	away_settle(_metadata, a);
	start(_metadata, &r, a, move_on);
	unplug_all(_metadata, a);
	EXPECT_EQ(0, stop(_metadata, &r));
	EXPECT_LT(0, r.turns);
	expect_put(a, 0, a->pages, SEED);
}

/* Every second page is given up and written anew. */
static long drop_on(void *arg)
{
	struct rival *r = arg;
	struct away *a = r->a;

	while (!atomic_load(&r->stop)) {
		for (int i = 1; i < a->pages; i += 2) {
			char *page = a->mem + i * a->page;

			if (madvise(page, a->page, MADV_DONTNEED) ||
			    hm_not_zero(page, a->page) >= 0)
				return i;
			away_put(a, a->mem, i, i + 1, SEED);
			if (atomic_load(&r->stop))
				break;
		}
		r->turns++;
	}
	return 0;
}

TEST_F(race, dropped_pages_are_new_ones)
{
	struct rival r = {};

	start(_metadata, &r, &self->a, drop_on);
	unplug_all(_metadata, &self->a);
	EXPECT_EQ(0, stop(_metadata, &r));
	for (int i = 0; i < self->a.pages; i += 2)
		expect_put(&self->a, i, i + 1, SEED);
}

/* Another device wants what the first gives up. */
static long pull_on(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&r->stop)) {
		long moved = away_send(r->a, r->fd, r->a->mem);

		if (moved < 0)
			return moved;
		r->turns += moved;
	}
	return 0;
}

TEST_F(race, another_device_takes_them_over)
{
	struct away *a = &self->a;
	struct rival r = {};
	__u32 id;

	away_settle(_metadata, a);
	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	r.fd = must(hm_open(id));
	start(_metadata, &r, a, pull_on);
	unplug_all(_metadata, a);
	EXPECT_EQ(0, stop(_metadata, &r));
	must(away_send(a, r.fd, a->mem));
	must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(r.fd);
	expect_put(a, 0, a->pages, SEED);
}

/* Device accesses through another instance: a mirror of pages that go. */
static long read_on(void *arg)
{
	struct rival *r = arg;
	char *buf = away_map(r->a);

	while (!atomic_load(&r->stop)) {
		int ret = hm_read(r->fd, r->a->mem, buf, r->a->length);

		if (ret)
			return ret;
		if (away_wrong(r->a, buf, 0, r->a->pages, SEED) >= 0)
			return 1;
		r->turns++;
	}
	return 0;
}

TEST_F(race, another_mirror_reads_the_same)
{
	struct away *a = &self->a;
	struct rival r = {};
	__u32 id;

	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	r.fd = must(hm_open(id));
	must(hm_mirror(r.fd, a->mem, a->length, 0, NULL));
	start(_metadata, &r, a, read_on);
	unplug_all(_metadata, a);
	EXPECT_EQ(0, stop(_metadata, &r))
		TH_LOG("1: other data, else an error");
	EXPECT_LT(0, r.turns);
	rig_verify_fd(_metadata, r.fd);
	close(r.fd);
}

/* Pages are held for a moment, by a pipe, again and again. */
static long hold_on(void *arg)
{
	struct rival *r = arg;

	while (!atomic_load(&r->stop)) {
		struct hm_hold hold;
		int ret = hm_hold(&hold, r->a->mem + r->a->page, 2 * r->a->page);

		if (ret)
			return ret;
		hm_unhold(&hold);
		r->turns++;
	}
	return 0;
}

TEST_F(race, references_come_and_go)
{
	struct rival r = {};

	start(_metadata, &r, &self->a, hold_on);
	unplug_all(_metadata, &self->a);
	EXPECT_EQ(0, stop(_metadata, &r));
	EXPECT_LT(0, r.turns);
	expect_put(&self->a, 0, self->a.pages, SEED);
}

/* The only owner of the pages. */
static int owner(struct hm_parent *p, void *arg)
{
	struct away *a = arg;
	int fd = hm_open(hm_hear(p));
	char *mem = away_map(a);

	away_put(a, mem, 0, a->pages, SEED);
	hm_tell(p, away_send(a, fd, mem));
	for (;;)
		away_wrong(a, mem, 0, a->pages, SEED);
	return 0;
}

TEST_F(race, owner_is_killed)
{
	struct away *a = &self->a;

	/* The kernel spins in folio_lruvec_lock_irqsave(), one time in a hundred. */
	if (variant->large)
		SKIP(return, "7.3 cannot do it, see hotmirror_evict_held:*.owner_is_killed");
	for (int i = 0; i < ROUNDS; i++) {
		struct hotmirror_status st;
		struct hm_child c;
		int status, fd;
		long moved;
		__u32 id;

		must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
		fd = must(hm_open(id));
		must(hm_child_start(&c, owner, a));
		must(hm_child_tell(&c, id));
		must(hm_child_hear(&c, &moved));
		EXPECT_LT(0, moved);
		must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, 0));
		must(hm_child_kill(&c, SIGKILL));
		must(hm_child_wait(&c, &status));
		must(hm_wait_gone(fd, HM_LIMIT_MS));
		must(hm_status(fd, 0, &st));
		EXPECT_EQ(0, st.pages_used);
		close(fd);
	}
}

HM_TEST_MAIN
