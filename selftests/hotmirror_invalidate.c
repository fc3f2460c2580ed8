// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the process or the memory manager does to memory that the device has
 * entries for: the entries go before the memory does (claim S2), and the next
 * access finds what the CPU would find (claim S6). In both forms of the notifier
 * callback, where the kernel has two.
 */
#include <sys/mman.h>

#include "hm_test.h"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

#define PAGES	4
#define SEED	1

FIXTURE(invalidate) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of SEED; the device has writable entries */
	char *buf;
	char *spare;		/* as large, somewhere else, not mirrored */
};

FIXTURE_VARIANT(invalidate) {
	__u32 flags;
};

FIXTURE_VARIANT_ADD(invalidate, one_pass) { .flags = 0 };
FIXTURE_VARIANT_ADD(invalidate, two_pass) { .flags = HOTMIRROR_MIRROR_TWO_PASS };

typedef FIXTURE_DATA(invalidate) data;

FIXTURE_SETUP(invalidate)
{
	RIG_SETUP(&self->rig, HM_ANY);
	if (variant->flags && !(self->rig.q.features & HOTMIRROR_HAS_TWO_PASS))
		SKIP(return, "no invalidate_start() in mmu_interval_notifier_ops");
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	self->spare = hm_map(PAGES);
	ASSERT_NE(NULL, self->spare);
	must(hm_mirror(self->fd, self->mem, self->length, variant->flags, NULL));
	hm_fill(self->mem, self->length, SEED);
	must(hm_prefetch(self->fd, self->mem, self->length, true));
}

FIXTURE_TEARDOWN(invalidate)
{
	rig_teardown(_metadata, &self->rig);
}

/* Entries of the file, all justified. */
static __u64 entries(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_verify v;

	must(hm_verify(self->fd, &v));
	EXPECT_EQ(0, v.stale);
	return v.present;
}

/* The device page table bits of page @i; ENOENT never, the range is mirrored. */
static __u32 device_bits(struct __test_metadata *_metadata, data *self, int i)
{
	return rig_page(_metadata, &self->rig, self->mem + i * self->page) &
	       (HOTMIRROR_SNAP_DEVICE | HOTMIRROR_SNAP_DEVICE_WRITE);
}

TEST_F(invalidate, nothing_happened_and_every_entry_is_there)
{
	EXPECT_EQ(PAGES, entries(_metadata, self));
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(HOTMIRROR_SNAP_DEVICE | HOTMIRROR_SNAP_DEVICE_WRITE,
			  device_bits(_metadata, self, i));
}

TEST_F(invalidate, munmap_takes_the_entries)
{
	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_EQ(0, entries(_metadata, self));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, 1));
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, 1));
}

/* The neighbours of what is unmapped keep their entries: the bounds are exact. */
TEST_F(invalidate, munmap_of_one_page_takes_one_entry)
{
	struct hotmirror_access out = {};

	ASSERT_EQ(0, munmap(self->mem + self->page, self->page));
	EXPECT_EQ(PAGES - 1, entries(_metadata, self));
	EXPECT_EQ(0, device_bits(_metadata, self, 1));
	must_err(EFAULT, hm_read(self->fd, self->mem + self->page, self->buf, 1));
	must(hm_access(self->fd, HOTMIRROR_WRITE, self->mem, self->buf, self->page, &out));
	EXPECT_EQ(0, out.faults);
	must(hm_access(self->fd, HOTMIRROR_WRITE, self->mem + 2 * self->page, self->buf,
		       2 * self->page, &out));
	EXPECT_EQ(0, out.faults);
}

TEST_F(invalidate, dontneed_leaves_zeroes)
{
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	EXPECT_EQ(0, entries(_metadata, self));
	hm_fill(self->buf, self->length, SEED);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_zero(self->buf, self->length);
}

/* Clean from here on: a write that the device made before is told before, or never. */
TEST_F(invalidate, madv_free_takes_the_entries)
{
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_FREE));
	EXPECT_EQ(0, entries(_metadata, self));
}

TEST_F(invalidate, mprotect_read_takes_the_right_to_write)
{
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ));
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(0, device_bits(_metadata, self, i) & HOTMIRROR_SNAP_DEVICE_WRITE);
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, 1));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

TEST_F(invalidate, mprotect_none_takes_the_entries_and_keeps_the_data)
{
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_NONE));
	EXPECT_EQ(0, entries(_metadata, self));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, 1));
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ | PROT_WRITE));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

TEST_F(invalidate, mremap_takes_the_data_elsewhere)
{
	ASSERT_EQ(self->spare, mremap(self->mem, self->length, self->length,
				      MREMAP_MAYMOVE | MREMAP_FIXED, self->spare));
	EXPECT_EQ(0, entries(_metadata, self));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, 1));
	must_err(ENOENT, hm_read(self->fd, self->spare, self->buf, 1));
	must(hm_mirror(self->fd, self->spare, self->length, variant->flags, NULL));
	must(hm_read(self->fd, self->spare, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

/* No munmap() follows that would tell the mirror after all. */
TEST_F(invalidate, mremap_that_leaves_the_range_takes_the_entries)
{
	ASSERT_EQ(self->spare, mremap(self->mem, self->length, self->length,
				      MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
				      self->spare));
	EXPECT_EQ(0, entries(_metadata, self));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_zero(self->buf, self->length);
	expect_filled(self->spare, self->length, SEED);
}

TEST_F(invalidate, mremap_onto_the_range_brings_other_data)
{
	hm_fill(self->spare, self->length, 2);
	ASSERT_EQ(self->mem, mremap(self->spare, self->length, self->length,
				    MREMAP_MAYMOVE | MREMAP_FIXED, self->mem));
	EXPECT_EQ(0, entries(_metadata, self));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 2);
}

/* The core moves one page (try_to_migrate_one()); its old place is not used again. */
TEST_F(invalidate, page_that_the_core_moves_loses_its_entry)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	int ret;

	must(hm_ready_for_reclaim());
	do {
		ret = madvise(self->mem + self->page, self->page, MADV_SOFT_OFFLINE);
		skip_unless(!ret || errno != EINVAL, "kernel without CONFIG_MEMORY_FAILURE");
	} while (ret && errno == EBUSY && hm_left(deadline));	/* somebody else looks at it */
	ASSERT_EQ(0, ret);
	EXPECT_EQ(PAGES - 1, entries(_metadata, self));
	EXPECT_EQ(0, device_bits(_metadata, self, 1));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

TEST_F(invalidate, mmap_fixed_brings_new_memory)
{
	ASSERT_EQ(self->mem, mmap(self->mem, self->length, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, entries(_metadata, self));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_zero(self->buf, self->length);
}

static int cow_child(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_tell(p, hm_differs(self->mem, self->length, SEED));
	hm_hear(p);
	return hm_differs(self->mem, self->length, SEED) == -1 ? 0 : 1;
}

/* After fork() a device write is a copy on write, as the CPU's is. */
TEST_F(invalidate, fork_write_protects_the_device_too)
{
	struct hm_child c;
	long differs;
	int status;

	must(hm_child_start(&c, cow_child, self));
	must(hm_child_hear(&c, &differs));
	EXPECT_EQ(-1, differs);
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(0, device_bits(_metadata, self, i) & HOTMIRROR_SNAP_DEVICE_WRITE);
	hm_fill(self->buf, self->length, 3);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	must(hm_child_tell(&c, 0));
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status)
		TH_LOG("the child saw the device's write to its parent");
	expect_filled(self->mem, self->length, 3);
}

/* The entry names a page that the process has no more after its own copy on write. */
TEST_F(invalidate, cpu_copy_on_write_moves_the_entry)
{
	struct hm_child c;
	long differs;

	must(hm_child_start(&c, cow_child, self));
	must(hm_child_hear(&c, &differs));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	hm_fill(self->mem, self->length, 4);
	entries(_metadata, self);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 4);
	hm_child_end(&c);
}

TEST_F(invalidate, every_entry_taken_is_counted)
{
	struct hotmirror_stats before, after;

	must(hm_stats(self->fd, &before));
	EXPECT_EQ(PAGES, before.entries_stored - before.entries_cleared);
	ASSERT_EQ(0, munmap(self->mem, 3 * self->page));
	must(hm_stats(self->fd, &after));
	EXPECT_EQ(3, after.entries_cleared - before.entries_cleared);
	EXPECT_LT(before.invalidates, after.invalidates);
}

/* What happens beside the range is none of its business. */
TEST_F(invalidate, memory_beside_the_range_does_not_call_back)
{
	struct hotmirror_stats before, after;

	hm_fill(self->spare, self->length, 5);
	must(hm_stats(self->fd, &before));
	ASSERT_EQ(0, madvise(self->spare, self->length, MADV_DONTNEED));
	ASSERT_EQ(0, munmap(self->spare, self->length));
	must(hm_stats(self->fd, &after));
	EXPECT_EQ(before.invalidates, after.invalidates);
	EXPECT_EQ(PAGES, entries(_metadata, self));
}

/* Several ranges over one page: each callback may come first, none may be last. */
TEST_F(invalidate, overlapping_ranges_are_all_called)
{
	struct hotmirror_stats before, after;

	must(hm_mirror(self->fd, self->mem, self->page, variant->flags, NULL));
	must(hm_mirror(self->fd, self->mem, 2 * self->page, variant->flags, NULL));
	must(hm_prefetch(self->fd, self->mem, self->length, true));
	must(hm_stats(self->fd, &before));
	ASSERT_EQ(0, madvise(self->mem, self->page, MADV_DONTNEED));
	must(hm_stats(self->fd, &after));
	EXPECT_EQ(3, after.invalidates - before.invalidates);
	EXPECT_EQ(1, after.entries_cleared - before.entries_cleared);
	EXPECT_EQ(PAGES - 1, entries(_metadata, self));
}

/*
 * After MADV_FREE the page is clean and may be dropped; a device write makes it
 * dirty again, or reclaim would drop the data (the same-as-CPU oracle).
 */
TEST_F(invalidate, device_write_after_madv_free_survives_reclaim)
{
	must(hm_ready_for_reclaim());
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_FREE));
	hm_fill(self->buf, self->page, 6);
	must(hm_write(self->fd, self->mem, self->buf, self->page));
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_PAGEOUT));
	expect_filled(self->mem, self->page, 6);
	/* Without a write reclaim does drop: the test can fail. */
	expect_zero(self->mem + self->page, self->length - self->page);
}

HM_TEST_MAIN
