// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls: with the module broken on purpose, each oracle of the other
 * tests says so. A check that cannot fail is a defect.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "hm_test.h"

#define PAGES	4

FIXTURE(sabotage) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, filled with seed 1, mirrored */
	char *buf;
};

typedef FIXTURE_DATA(sabotage) data;

FIXTURE_SETUP(sabotage)
{
	RIG_SETUP(&self->rig, HM_ANY);
	if (!(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE))
		SKIP(return, "module loaded without sabotage=1");
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = hm_map(PAGES);
	self->buf = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->mem, self->length, 1);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
}

/* No verdict on stale entries: the tests make them. */
FIXTURE_TEARDOWN(sabotage)
{
	rig_end(_metadata, &self->rig);
}

/* Skipped invalidations: VERIFY names the entries that should be gone. */
TEST_F(sabotage, verify_sees_a_skipped_invalidation)
{
	struct hotmirror_verify v;

	must(hm_prefetch(self->fd, self->mem, self->length, true));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(PAGES, v.present);
	EXPECT_EQ(0, v.stale);
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	ASSERT_EQ(0, munmap(self->mem + self->page, 2 * self->page));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(2, v.stale);
	EXPECT_EQ((unsigned long)self->mem + self->page, v.first);
}

TEST_F(sabotage, verify_sees_another_page_at_the_address)
{
	struct hotmirror_verify v;

	must(hm_prefetch(self->fd, self->mem, self->length, false));
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	ASSERT_EQ(self->mem, mremap(self->mem + 2 * self->page, self->page, self->page,
				    MREMAP_MAYMOVE | MREMAP_FIXED, self->mem));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(2, v.stale);
	EXPECT_EQ((unsigned long)self->mem, v.first);
}

TEST_F(sabotage, verify_sees_a_right_to_write_that_is_gone)
{
	struct hotmirror_verify v;

	must(hm_prefetch(self->fd, self->mem, self->length, true));
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	ASSERT_EQ(0, mprotect(self->mem + 3 * self->page, self->page, PROT_READ));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(1, v.stale);
	EXPECT_EQ((unsigned long)self->mem + 3 * self->page, v.first);
}

/* Its entries may name memory of somebody else: the file is never trusted again. */
TEST_F(sabotage, unsafe_file_refuses_access_for_good)
{
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	must_err(EPERM, hm_read(self->fd, self->mem, self->buf, self->page));
	must_err(EPERM, hm_write(self->fd, self->mem, self->buf, self->page));
	must(hm_sabotage(self->fd, 0));
	must_err(EPERM, hm_read(self->fd, self->mem, self->buf, self->page));
}

TEST_F(sabotage, other_files_are_not_affected)
{
	int other = must(hm_open(self->rig.id));

	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	must(hm_mirror(other, self->mem, self->length, 0, NULL));
	must(hm_read(other, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 1);
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	rig_verify_fd(_metadata, other);
	must(hm_read(other, self->mem, self->buf, self->length));
	expect_zero(self->buf, self->length);
	close(other);
}

TEST_F(sabotage, unknown_bit_is_einval)
{
	for (int bit = 4; bit < 64; bit++)
		must_err(EINVAL, hm_sabotage(self->fd, 1ULL << bit));
}

/*
 * A race without a gate: the device populates many pages while the first of them is
 * taken away. Too late, and the callback clears the entry; too early, and the walk
 * finds the page missing. In between is the window of claim S1, from the walk of the
 * CPU page table to the driver lock: the delay follows the outcome until it is hit.
 */
struct race {
	data *self;
	char *mem;
	size_t length;
	atomic_int round;	/* raised by the populating side */
	atomic_int taken;	/* follows, by the other */
	int delay;		/* of the populating side in turns; negative: of the other */
	int step;
};

#define RACE_PAGES	256
#define RACE_ROUNDS	1000
#define RACE_MIN_STEP	32
#define RACE_END	-1

static void spin(int turns)
{
	for (volatile int i = turns; i > 0; i--)
		;
}

static long take_away(void *arg)
{
	struct race *r = arg;

	for (int round = 1; ; round++) {
		int seen;

		while ((seen = atomic_load(&r->round)) != round) {
			if (seen == RACE_END)
				return 0;
		}
		spin(-r->delay);
		madvise(r->mem, r->self->page, MADV_DONTNEED);
		atomic_store(&r->taken, round);
	}
}

/* One round, on entries that are all new; what VERIFY says in the end. */
static int race_once(struct race *r, int round, struct hotmirror_verify *v)
{
	__u32 range;
	int ret = hm_mirror(r->self->fd, r->mem, r->length, 0, &range);

	r->mem[0] = round;
	atomic_store(&r->round, round);
	spin(r->delay);
	ret = ret ?: hm_prefetch(r->self->fd, r->mem, r->length, false);
	while (atomic_load(&r->taken) != round)
		;
	ret = ret ?: hm_verify(r->self->fd, v);
	return ret ?: hm_unmirror(r->self->fd, range);
}

/* The entry was cleared: the other side was late, wait longer. Else less long. */
static void race_follow(struct race *r, const struct hotmirror_verify *v)
{
	bool late = v->present < RACE_PAGES;

	if (late != (r->step > 0))
		r->step = abs(r->step) < 2 * RACE_MIN_STEP ? -r->step : -r->step / 2;
	r->delay += r->step;
}

/* Race until a round leaves a stale entry or the populate had to start again. */
static void race(struct __test_metadata *_metadata, data *self, __u64 *stale,
		 __u64 *retries)
{
	struct race r = {
		.self = self,
		.length = RACE_PAGES * self->page,
		.step = 4096,
	};
	struct hotmirror_verify v = {};
	struct hotmirror_stats s = {};
	struct hm_async taker;
	long result;

	r.mem = hm_map(RACE_PAGES);
	ASSERT_NE(NULL, r.mem);
	hm_fill(r.mem, r.length, 1);
	must(hm_async_start(&taker, take_away, &r));
	for (int i = 1; i <= RACE_ROUNDS && !v.stale && !s.retries; i++) {
		must(race_once(&r, i, &v));
		must(hm_stats(self->fd, &s));
		race_follow(&r, &v);
	}
	atomic_store(&r.round, RACE_END);
	must(hm_async_join(&taker, HM_LIMIT_MS, &result));
	*stale = v.stale;
	*retries = s.retries;
}

TEST_F(sabotage, verify_sees_a_skipped_retry)
{
	__u64 stale, retries;

	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_RETRY));
	race(_metadata, self, &stale, &retries);
	if (!stale)
		SKIP(return, "the window was not hit in %d rounds", RACE_ROUNDS);
	EXPECT_EQ(1, stale);
}

/* The same race, the same window: started again, and nothing stale. */
TEST_F(sabotage, honest_populate_loses_the_race_and_starts_again)
{
	__u64 stale, retries;

	race(_metadata, self, &stale, &retries);
	EXPECT_EQ(0, stale);
	if (!retries)
		SKIP(return, "the window was not hit in %d rounds", RACE_ROUNDS);
}

static int stay_on_one_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* The device's write to a clean page is lost at reclaim if nobody says it is dirty. */
TEST_F(sabotage, reclaim_loses_a_write_that_left_the_page_clean)
{
	must(stay_on_one_cpu());
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_DROP_DIRTY));
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_FREE));
	hm_fill(self->buf, self->page, 2);
	must(hm_write(self->fd, self->mem, self->buf, self->page));
	expect_filled(self->mem, self->page, 2);
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_PAGEOUT));
	expect_zero(self->mem, self->page);
}

/* A step that was left out: the access table is violated where it should be. */
TEST_F(sabotage, access_table_sees_a_skipped_unmap)
{
	char *dax;
	__u32 id;
	int fd;

	skip_unless(self->rig.q.features & HOTMIRROR_HAS_DAX,
		    hm_kind(HOTMIRROR_DAX)->lacking);
	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->rig.bytes, &id));
	fd = must(hm_open(id));
	dax = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, dax);
	hm_fill(dax, self->page, 3);
	must(hm_sabotage(fd, HOTMIRROR_SABOTAGE_SKIP_UNMAP));
	must(hm_unplug(self->rig.control, id, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	EXPECT_EQ(0, hm_cpu_touch(dax))
		TH_LOG("SIGBUS, as if the PTE had been taken");
	expect_filled(dax, self->page, 3);
	/* The drain makes up for it. */
	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(dax));
	close(fd);
}

HM_TEST_MAIN
