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

struct churn {
	data *self;
	atomic_bool stop;
};

/* Take the page away and bring another one, again and again. */
static long churn(void *arg)
{
	struct churn *c = arg;

	while (!atomic_load(&c->stop)) {
		madvise(c->self->mem, c->self->page, MADV_DONTNEED);
		hm_cpu_dirty(c->self->mem);
	}
	/* The last word is the CPU's: whatever entry is left names a page that is gone. */
	madvise(c->self->mem, c->self->page, MADV_DONTNEED);
	return 0;
}

/*
 * Populate races an invalidation and ignores that it lost (claim S1). Without a
 * gate the window is hit by trying: one look at a time, the churn in between.
 */
TEST_F(sabotage, verify_sees_a_skipped_retry)
{
	long long deadline = hm_deadline(HM_LIMIT_MS / 2);
	struct hotmirror_verify v = {};
	struct hm_async thread;
	long result;

	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_SKIP_RETRY));
	while (!v.stale && hm_left(deadline)) {
		struct churn c = { .self = self };

		must(hm_async_start(&thread, churn, &c));
		for (int i = 0; i < 50; i++)
			must(hm_prefetch(self->fd, self->mem, self->page, true));
		atomic_store(&c.stop, true);
		must(hm_async_join(&thread, HM_LIMIT_MS, &result));
		must(hm_verify(self->fd, &v));
	}
	if (!v.stale)
		SKIP(return, "the window was not hit; it takes a gate to be sure");
	EXPECT_EQ((unsigned long)self->mem, v.first);
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
