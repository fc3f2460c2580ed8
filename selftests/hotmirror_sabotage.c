// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls: with the module broken on purpose, each oracle of the other
 * tests says so. A check that cannot fail is a defect.
 */
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
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
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
	for (int bit = 18; bit < 64; bit++)
		must_err(EINVAL, hm_sabotage(self->fd, 1ULL << bit));
}

/*
 * A race without a gate: the device populates many pages while the first of them is
 * taken away. Too late, and the callback clears the entry; too early, and the walk
 * finds the page missing. In between is the window of claim S1, from the walk of the
 * CPU page table to the driver lock: the delay follows the outcome until it is hit.
 * Every page is a VMA of its own, which makes for a slow walk and a wide window.
 */
struct race {
	data *self;
	char *mem;		/* one leaf of the device page table */
	size_t length, pages;
	atomic_int round;	/* raised by the populating side */
	atomic_int taken;	/* follows, by the other */
	int delay;		/* of the populating side in turns; negative: of the other */
	int step;
};

#define RACE_ROUNDS	200
#define RACE_MIN_STEP	64
#define RACE_MAX_STEP	(1 << 18)
#define RACE_END	-1

static void spin(int turns)
{
	for (int i = 0; i < turns; i++)
		atomic_signal_fence(memory_order_seq_cst);
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
	bool late = v->present < r->pages;
	bool longer = r->step > 0;

	if (late != longer)
		r->step = abs(r->step) > RACE_MIN_STEP ? -r->step / 4 : -r->step;
	else if (abs(r->step) < RACE_MAX_STEP)
		r->step *= 2;
	r->delay += r->step;
}

static void race_memory(struct __test_metadata *_metadata, struct race *r, size_t page)
{
	size_t length = r->self->rig.q.pmd_size;
	char *area = hm_map(2 * length / page);

	ASSERT_NE(NULL, area);
	r->mem = (char *)(((uintptr_t)area + length - 1) & -length);
	r->length = length;
	r->pages = length / page;
	hm_fill(r->mem, length, 1);
	for (size_t i = 1; i < r->pages; i += 2)
		ASSERT_EQ(0, mprotect(r->mem + i * page, page, PROT_READ));
}

struct outcome {
	__u64 stale, retries;
};

static bool stale(const struct outcome *o)
{
	return o->stale;
}

/* Either it noticed that it lost, or it did not and VERIFY does. */
static bool lost(const struct outcome *o)
{
	return o->retries || o->stale;
}

/* Race until a round ends as wanted, or RACE_ROUNDS have not. */
static struct outcome race(struct __test_metadata *_metadata, data *self,
			   bool (*wanted)(const struct outcome *o))
{
	struct race r = { .self = self, .step = 4096 };
	struct outcome o = {};
	struct hm_async taker;
	long result;

	race_memory(_metadata, &r, self->page);
	must(hm_async_start(&taker, take_away, &r));
	for (int i = 1; i <= RACE_ROUNDS && !wanted(&o); i++) {
		struct hotmirror_verify v;
		struct hotmirror_stats s;

		must(race_once(&r, i, &v));
		must(hm_stats(self->fd, &s));
		race_follow(&r, &v);
		o = (struct outcome){ .stale = v.stale, .retries = s.retries };
	}
	atomic_store(&r.round, RACE_END);
	must(hm_async_join(&taker, HM_LIMIT_MS, &result));
	return o;
}

TEST_F(sabotage, verify_sees_a_skipped_retry)
{
	struct outcome o;

	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_RETRY));
	o = race(_metadata, self, stale);
	if (!o.stale)
		SKIP(return, "the window was not hit in %d rounds", RACE_ROUNDS);
	EXPECT_EQ(1, o.stale);
}

/* The same race, the same window: started again, and nothing stale. */
TEST_F(sabotage, honest_populate_loses_the_race_and_starts_again)
{
	struct outcome o = race(_metadata, self, lost);

	EXPECT_EQ(0, o.stale);
	if (!lost(&o))
		SKIP(return, "the window was not hit in %d rounds", RACE_ROUNDS);
}

/* The device's write to a clean page is lost at reclaim if nobody says it is dirty. */
TEST_F(sabotage, reclaim_loses_a_write_that_left_the_page_clean)
{
	must(hm_ready_for_reclaim());
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
