// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unplug of private and coherent memory (claim S5): what lives in the device comes
 * home as it was, with its contents, its permissions and its marks, to all who share it.
 */

#include "away.h"
#include "lib/group.h"
#include "lib/setting.h"
#include "lib/uffd.h"

AWAY_FIXTURE(evict)

TEST_F(evict, contents_come_home)
{
	struct away *a = &self->a;
	struct hotmirror_status st;

	away_settle(_metadata, a);
	go_home(_metadata, a);
	st = away_status(_metadata, a);
	EXPECT_EQ(a->pages, st.pages_evicted);
	EXPECT_EQ(0, st.pages_lost);
	EXPECT_EQ(0, st.pages_used);
	EXPECT_EQ(0, st.evict_busy);
	EXPECT_EQ(0, st.evict_no_memory);
	for (int i = 0; i < a->pages; i++)
		EXPECT_TRUE(hm_pagemap(a->mem + i * a->page) & HM_PM_PRESENT);
	expect_put(a, 0, a->pages, SEED);
	away_put(a, a->mem, 0, a->pages, OTHER);
	expect_put(a, 0, a->pages, OTHER);
}

TEST_F(evict, what_the_device_wrote_comes_home)
{
	struct away *a = &self->a;
	char *buf = away_map(a);

	ASSERT_NE(NULL, buf);
	must(hm_mirror(a->fd, a->mem, a->length, 0, NULL));
	away_settle(_metadata, a);
	away_put(a, buf, 0, a->pages, OTHER);
	must(hm_write(a->fd, a->mem, buf, a->length));
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_used);
	go_home(_metadata, a);
	expect_put(a, 0, a->pages, OTHER);
}

TEST_F(evict, happens_once)
{
	struct away *a = &self->a;

	away_settle(_metadata, a);
	for (__u32 s = HOTMIRROR_DISABLED; s < HOTMIRROR_NR_STATES; s++)
		must(away_unplug(a, s, 0));
	go_home(_metadata, a);
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_evicted);
	expect_put(a, 0, a->pages, SEED);
}

/* Another device can have them next, and lose them in the same way. */
TEST_F(evict, twice_from_two_devices)
{
	struct away *a = &self->a;
	__u32 id;
	int fd;

	away_settle(_metadata, a);
	go_home(_metadata, a);
	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	fd = must(hm_open(id));
	EXPECT_LT(0, must(away_send(a, fd, a->mem)));
	must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(fd);
	expect_put(a, 0, a->pages, SEED);
}

/* One of two unplugs waits for the other. */
static long unplug_too(void *arg)
{
	return away_unplug(arg, HOTMIRROR_GONE, 0);
}

TEST_F(evict, asked_for_by_two_at_once)
{
	struct hm_async other;
	long result;

	away_settle(_metadata, &self->a);
	must(hm_async_start(&other, unplug_too, &self->a));
	go_home(_metadata, &self->a);
	must(hm_async_join(&other, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	EXPECT_EQ(self->a.pages, away_status(_metadata, &self->a).pages_evicted);
	expect_put(&self->a, 0, self->a.pages, SEED);
}

TEST_F(evict, permissions_stay)
{
	struct away *a = &self->a;
	int half = a->pages / 2;
	char *second = a->mem + half * a->page;

	away_settle(_metadata, a);
	ASSERT_EQ(0, mprotect(second, a->length / 2, PROT_READ));
	go_home(_metadata, a);
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(second));
	expect_put(a, 0, a->pages, SEED);
	EXPECT_EQ(0, hm_cpu_dirty(a->mem));
	ASSERT_EQ(0, mprotect(second, a->length / 2, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, hm_cpu_dirty(second));
}

/* Marked the same as before; the entries of all pages, as far as @bits go. */
static __u64 *marks(struct away *a, __u64 bits)
{
	__u64 *entries = calloc(a->pages, sizeof(*entries));

	hm_pagemap_range(a->mem, a->pages, entries);
	for (int i = 0; i < a->pages; i++)
		entries[i] &= bits;
	return entries;
}

static void expect_marks(struct __test_metadata *_metadata, struct away *a,
			 const __u64 *before, __u64 bits)
{
	__u64 *after = marks(a, bits);

	for (int i = 0; i < a->pages; i++) {
		if (before[i] == after[i])
			continue;
		EXPECT_EQ(before[i], after[i])
			TH_LOG("page %d of %d", i, a->pages);
		break;
	}
}

/* Known of kernels before 6.12, see HM_SOFT_DIRTY_BUG: every page has the mark afterwards. */
static void expect_soft_dirty(struct __test_metadata *_metadata, struct away *a,
			      const __u64 *before)
{
	__u64 *after = marks(a, HM_PM_SOFT_DIRTY);
	int n = 0;

	while (n < a->pages && after[n])
		n++;
	if (hm_kernel_before(6, 12) && n == a->pages)
		rig_xfail(_metadata, HM_SOFT_DIRTY_BUG);
	else
		expect_marks(_metadata, a, before, HM_PM_SOFT_DIRTY);
}

TEST_F(evict, exclusive_pages_stay_so)
{
	struct away *a = &self->a;
	__u64 bits = HM_PM_PRESENT | HM_PM_EXCLUSIVE | HM_PM_SWAP;
	__u64 *before = marks(a, bits);

	ASSERT_EQ(HM_PM_PRESENT | HM_PM_EXCLUSIVE, before[0]);
	away_settle(_metadata, a);
	go_home(_metadata, a);
	expect_marks(_metadata, a, before, bits);
}

TEST_F(evict, soft_dirty_stays)
{
	struct away *a = &self->a;
	__u64 *before;

	must(hm_clear_soft_dirty());
	ASSERT_EQ(0, hm_cpu_dirty(a->mem + 2 * a->page));
	before = marks(a, HM_PM_SOFT_DIRTY);
	skip_unless(before[2], "kernel without CONFIG_MEM_SOFT_DIRTY");
	away_settle(_metadata, a);
	go_home(_metadata, a);
	expect_soft_dirty(_metadata, a, before);
}

TEST_F(evict, what_was_clean_stays_so)
{
	struct away *a = &self->a;
	__u64 *before;

	must(hm_clear_soft_dirty());
	before = marks(a, HM_PM_SOFT_DIRTY);
	EXPECT_EQ(0, before[0]);
	away_settle(_metadata, a);
	go_home(_metadata, a);
	expect_soft_dirty(_metadata, a, before);
}

static long write_byte(void *p)
{
	return hm_cpu_dirty(p);
}

/* Write-protected by userfaultfd, and a write still waits for it. */
TEST_F(evict, write_protection_stays)
{
	struct away *a = &self->a;
	size_t length = a->large ? a->length : a->page;
	int uffd = hm_uffd_open();
	struct hm_async writer;
	struct hm_fault f;
	__u64 *before;
	long result;

	if (uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-uffd));
	must(hm_uffd_register(uffd, a->mem, a->length, true));
	must(hm_uffd_protect(uffd, a->mem, length, true));
	before = marks(a, HM_PM_UFFD_WP);
	EXPECT_NE(0, before[0]);
	away_settle(_metadata, a);
	go_home(_metadata, a);
	expect_marks(_metadata, a, before, HM_PM_UFFD_WP);
	must(hm_async_start(&writer, write_byte, a->mem));
	must(hm_uffd_wait(uffd, &f));
	EXPECT_TRUE(f.wp);
	must(hm_uffd_protect(uffd, a->mem, length, false));
	must(hm_async_join(&writer, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	expect_put(a, 1, a->pages, SEED);
}

#define KPF_MLOCKED	(1ULL << 33)

TEST_F(evict, locked_memory_stays_locked)
{
	struct away *a = &self->a;
	long long locked;

	ASSERT_EQ(0, mlock(a->mem, a->length));
	locked = hm_number_in("/proc/self/status", "VmLck:");
	EXPECT_LE(a->length >> 10, locked);
	away_settle(_metadata, a);
	go_home(_metadata, a);
	EXPECT_EQ(locked, hm_number_in("/proc/self/status", "VmLck:"));
	for (int i = 0; i < a->pages; i++)
		EXPECT_TRUE(hm_page_flags(a->mem + i * a->page) & KPF_MLOCKED);
	expect_put(a, 0, a->pages, SEED);
}

/*
 * What a CPU has yet to munlock is a reference of its own (mlock_fbatch of mm/mlock.c),
 * and the drain has to wait until something makes the CPU let go of it. On a quiet
 * machine nothing does: this CPU is told to.
 */
TEST_F(evict, locked_memory_that_was_just_unmapped)
{
	struct away *a = &self->a;
	char *other = hm_map(1);

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, hm_stay_on_one_cpu());
	ASSERT_EQ(0, mlock(a->mem, a->length));
	away_settle(_metadata, a);
	ASSERT_EQ(0, munmap(a->mem, a->length));
	must(hm_unplug(a->rig.control, a->rig.id, HOTMIRROR_GONE, 0));
	ASSERT_EQ(0, mlock(other, a->page));
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	EXPECT_EQ(0, away_status(_metadata, a).pages_used);
}

TEST_F(evict, shared_after_fork)
{
	struct away *a = &self->a;
	struct hm_child c;

	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	go_home(_metadata, a);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, SEED));
	away_put(a, a->mem, 0, a->pages, OTHER);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, SEED));
	ask(_metadata, &c, PUT, 3);
	expect_put(a, 0, a->pages, OTHER);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, 3));
	dismiss(_metadata, &c);
}

/* In the device they are the child's alone: the parent has unmapped them. */
TEST_F(evict, inherited_pages_come_home)
{
	struct away *a = &self->a;
	struct hm_child c;

	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_used);
	go_home(_metadata, a);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, SEED));
	dismiss(_metadata, &c);
}

/*
 * The same in a new page, of the CPU that goes on: one in a list of another CPU is none that
 * reclaim can take.
 */
static void renew(struct __test_metadata *_metadata, struct away *a, int i)
{
	char *p = a->mem + i * a->page, copy[a->page];

	memcpy(copy, p, a->page);
	ASSERT_EQ(0, hm_stay_on_one_cpu());
	ASSERT_EQ(0, madvise(p, a->page, MADV_DONTNEED));
	memcpy(p, copy, a->page);
}

/* What lies between two pages of the device is not touched: in swap, or nothing at all. */
TEST_F(evict, neighbours_are_left_alone)
{
	struct away *a = &self->a;
	__u64 *before;
	int ret;

	if (variant->large)
		SKIP(return, "a large folio has no pages in between");
	ret = hm_swap_on();
	if (ret)
		SKIP(return, "no swap space: %s", strerror(-ret));
	renew(_metadata, a, 1);
	ASSERT_EQ(0, madvise(a->mem + a->page, a->page, MADV_PAGEOUT));
	must(hm_to_dev(a->fd, a->mem, a->page, NULL));
	must(hm_to_dev(a->fd, a->mem + 2 * a->page, 2 * a->page, NULL));
	ASSERT_EQ(0, madvise(a->mem + 4 * a->page, a->page, MADV_DONTNEED));
	must(hm_to_dev(a->fd, a->mem + 5 * a->page, a->page, NULL));
	before = marks(a, HM_PM_SWAP | HM_PM_PRESENT);
	go_home(_metadata, a);
	EXPECT_EQ(HM_PM_SWAP, before[1]);
	EXPECT_EQ(HM_PM_SWAP, hm_pagemap(a->mem + a->page) & (HM_PM_SWAP | HM_PM_PRESENT));
	EXPECT_EQ(0, hm_pagemap(a->mem + 4 * a->page) & (HM_PM_SWAP | HM_PM_PRESENT));
	expect_put(a, 0, 4, SEED);
	expect_zero(a->mem + 4 * a->page, a->page);
	expect_put(a, 5, a->pages, SEED);
	hm_swap_off();
}

/* Referenced pages stay until they are let go; the status tells them from the others. */
TEST_F(evict, held_pages_are_reported)
{
	struct away *a = &self->a;
	struct hotmirror_status st;
	struct hm_hold hold;

	if (variant->kind == HOTMIRROR_PRIVATE)
		SKIP(return, "a private page cannot be held: a reference fetches it home");
	away_settle(_metadata, a);
	must(hm_hold(&hold, a->mem + a->page, 3 * a->page));
	must(away_unplug(a, HOTMIRROR_DRAINING, 0));
	st = away_status(_metadata, a);
	EXPECT_EQ(3, st.pages_held);
	EXPECT_EQ(3, st.evict_busy);
	EXPECT_EQ(0, st.evict_no_memory);
	EXPECT_EQ(a->pages - 3, st.pages_evicted);
	expect_put(a, 0, a->pages, SEED);
	hm_unhold(&hold);
	go_home(_metadata, a);
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_evicted);
	expect_put(a, 0, a->pages, SEED);
}

/* Negative control: an eviction that copies nothing is seen by the contents. */
TEST_F(evict, contents_tell_when_nothing_was_copied)
{
	struct away *a = &self->a;

	need_sabotage(a);
	away_settle(_metadata, a);
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_EVICT_NO_COPY));
	go_home(_metadata, a);
	EXPECT_EQ(0, away_wrong(a, a->mem, 0, a->pages, SEED));
	expect_zero(a->mem, a->length);
}

HM_TEST_MAIN
