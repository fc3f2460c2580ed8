// SPDX-License-Identifier: GPL-2.0-only
/*
 * A mirror of the process's own memory: what the device reads and writes is what
 * the CPU would (claim S6), and what a range covers is the caller's choice.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hm_test.h"

#define PAGES	8

/* Not on every architecture; answers ENOSYS there. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret	-1
#endif

FIXTURE(mirror) {
	struct hm_rig rig;
	int fd;
	size_t page;
	char *mem;		/* PAGES of it, mirrored, untouched */
	char *buf;		/* as large */
};

FIXTURE_SETUP(mirror)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	must(hm_mirror(self->fd, self->mem, PAGES * self->page, 0, NULL));
}

FIXTURE_TEARDOWN(mirror)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(mirror, device_reads_what_the_cpu_wrote)
{
	size_t length = PAGES * self->page;

	hm_fill(self->mem, length, 1);
	must(hm_read(self->fd, self->mem, self->buf, length));
	expect_filled(self->buf, length, 1);
}

TEST_F(mirror, cpu_reads_what_the_device_wrote)
{
	size_t length = PAGES * self->page;

	hm_fill(self->buf, length, 2);
	must(hm_write(self->fd, self->mem, self->buf, length));
	expect_filled(self->mem, length, 2);
}

/* Every byte asked for, and none beside it. */
TEST_F(mirror, any_alignment_and_length)
{
	const size_t page = self->page;
	const struct { size_t at, length; } rows[] = {
		{ 0, 1 }, { 1, 1 }, { page - 1, 1 }, { page - 1, 2 }, { 3, 17 },
		{ page / 2, page }, { 1, 2 * page }, { page - 7, 3 * page + 11 },
		{ PAGES * page - 1, 1 }, { 0, PAGES * page },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t at = rows[i].at, length = rows[i].length;

		memset(self->mem, 0, PAGES * page);
		hm_fill(self->buf, length, i);
		must(hm_write(self->fd, self->mem + at, self->buf, length));
		expect_zero(self->mem, at);
		expect_filled(self->mem + at, length, i);
		expect_zero(self->mem + at + length, PAGES * page - at - length);
		memset(self->buf, 0, length);
		must(hm_read(self->fd, self->mem + at, self->buf, length));
		expect_filled(self->buf, length, i);
	}
}

TEST_F(mirror, second_access_takes_no_fault)
{
	struct hotmirror_access out = {};

	must(hm_access(self->fd, HOTMIRROR_WRITE, self->mem, self->buf, self->page, &out));
	EXPECT_LE(1, out.faults);
	must(hm_access(self->fd, HOTMIRROR_WRITE, self->mem, self->buf, self->page, &out));
	EXPECT_EQ(0, out.faults);
	must(hm_access(self->fd, HOTMIRROR_READ, self->mem, self->buf, self->page, &out));
	EXPECT_EQ(0, out.faults);
}

TEST_F(mirror, prefetch_makes_the_access_free_of_faults)
{
	struct hotmirror_access out = {};

	must(hm_prefetch(self->fd, self->mem, 2 * self->page, false));
	must(hm_prefetch(self->fd, self->mem + self->page, self->page, true));
	must(hm_access(self->fd, HOTMIRROR_READ, self->mem, self->buf, 2 * self->page,
		       &out));
	EXPECT_EQ(0, out.faults);
	must(hm_access(self->fd, HOTMIRROR_WRITE, self->mem + self->page, self->buf,
		       self->page, &out));
	EXPECT_EQ(0, out.faults);
}

TEST_F(mirror, read_only_vma_refuses_the_write_only)
{
	hm_fill(self->mem, self->page, 3);
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	expect_filled(self->buf, self->page, 3);
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, self->page));
	must_err(EFAULT, hm_prefetch(self->fd, self->mem, self->page, true));
	expect_filled(self->mem, self->page, 3);
}

TEST_F(mirror, prot_none_vma_refuses_everything)
{
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_NONE));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, self->page));
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, self->page));
	must_err(EFAULT, hm_prefetch(self->fd, self->mem, self->page, false));
}

/* What lies before the hole is accessed and counted. */
TEST_F(mirror, access_stops_at_a_hole)
{
	struct hotmirror_access out = {};
	const size_t page = self->page;

	hm_fill(self->mem, 4 * page, 4);
	ASSERT_EQ(0, munmap(self->mem + 2 * page, page));
	must_err(EFAULT, hm_access(self->fd, HOTMIRROR_READ, self->mem + 9, self->buf,
				   4 * page - 9, &out));
	EXPECT_EQ(2 * page - 9, out.done);
	must(hm_read(self->fd, self->mem, self->buf, 2 * page));
	expect_filled(self->buf, 2 * page, 4);
	must_err(EFAULT, hm_read(self->fd, self->mem + 2 * page, self->buf, 1));
	must(hm_read(self->fd, self->mem + 3 * page, self->buf, page));
	EXPECT_EQ(0, memcmp(self->mem + 3 * page, self->buf, page));
}

TEST_F(mirror, bad_buffer_is_efault)
{
	must_err(EFAULT, hm_read(self->fd, self->mem, NULL, self->page));
	must_err(EFAULT, hm_write(self->fd, self->mem, NULL, self->page));
	ASSERT_EQ(0, mprotect(self->buf, self->page, PROT_READ));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, self->page));
	must(hm_write(self->fd, self->mem, self->buf, self->page));
}

TEST_F(mirror, bad_length_is_einval)
{
	struct hotmirror_access out = {};

	must_err(EINVAL, hm_read(self->fd, self->mem, self->buf, 0));
	must_err(EINVAL, hm_write(self->fd, self->mem, self->buf, 0));
	must_err(EINVAL, hm_prefetch(self->fd, self->mem, 0, false));
	/* PREFETCH has no buffer, and says so. */
	must_err(EINVAL, hm_access(self->fd, HOTMIRROR_PREFETCH, self->mem, self->buf,
				   self->page, &out));
	/* The end of the range may not wrap. */
	EXPECT_NE(0, hm_read(self->fd, (void *)-1L, self->buf, 4096));
	EXPECT_NE(0, hm_read(self->fd, self->mem, self->buf, -1UL));
}

/* A read gets the zero page, the write after it a page of its own. */
TEST_F(mirror, zero_page_is_copied_on_write)
{
	hm_fill(self->buf, self->page, 5);
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	expect_zero(self->buf, self->page);
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_ZERO,
		  HOTMIRROR_SNAP_KIND(rig_page(_metadata, &self->rig, self->mem)));

	hm_fill(self->buf, self->page, 5);
	must(hm_write(self->fd, self->mem, self->buf, self->page));
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_SYSTEM,
		  HOTMIRROR_SNAP_KIND(rig_page(_metadata, &self->rig, self->mem)));
	expect_filled(self->mem, self->page, 5);
	expect_zero(self->mem + self->page, self->page);
}

/* The other mapping of shared memory sees the device's write and the other way round. */
TEST_F(mirror, shared_memory_is_shared)
{
	size_t length = 2 * self->page;
	int memfd = memfd_create("hotmirror", MFD_CLOEXEC);
	char *other;

	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, ftruncate(memfd, length));
	other = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(self->mem, mmap(self->mem, length, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, memfd, 0));
	hm_fill(self->buf, length, 6);
	must(hm_write(self->fd, self->mem, self->buf, length));
	expect_filled(other, length, 6);
	hm_fill(other, length, 7);
	must(hm_read(self->fd, self->mem, self->buf, length));
	expect_filled(self->buf, length, 7);
	/* Beyond the end of the object a CPU would get SIGBUS. */
	ASSERT_EQ(0, ftruncate(memfd, self->page));
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	must_err(EFAULT, hm_read(self->fd, self->mem + self->page, self->buf, 1));
	close(memfd);
}

/* Pages without a direct map would be an oops to read: refused, and counted. */
TEST_F(mirror, secret_memory_is_refused)
{
	int secret = syscall(SYS_memfd_secret, O_CLOEXEC);
	struct hotmirror_stats s;

	if (secret < 0)
		SKIP(return, "memfd_secret(): %s", strerror(errno));
	ASSERT_EQ(0, ftruncate(secret, self->page));
	ASSERT_EQ(self->mem, mmap(self->mem, self->page, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, secret, 0));
	hm_fill(self->mem, self->page, 8);
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, self->page));
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, self->page));
	must(hm_stats(self->fd, &s));
	EXPECT_LE(2, s.unreadable);
	/* Refused when populating, not when it is too late. */
	must_err(EFAULT, hm_prefetch(self->fd, self->mem, self->page, false));
	EXPECT_EQ(HOTMIRROR_SNAP_ERROR, rig_page(_metadata, &self->rig, self->mem));
	expect_filled(self->mem, self->page, 8);
	close(secret);
}

TEST_F(mirror, poisoned_page_is_ehwpoison)
{
	int ret;

	hm_fill(self->mem, self->page, 9);
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	ret = hm_poison(self->mem, self->page);
	if (ret)
		SKIP(return, "MADV_HWPOISON: %s (CONFIG_MEMORY_FAILURE?)", strerror(-ret));
	must_err(EHWPOISON, hm_read(self->fd, self->mem, self->buf, self->page));
	must_err(EHWPOISON, hm_write(self->fd, self->mem, self->buf, self->page));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem));
}

/* The ranges of one file: none of them is [0, ULONG_MAX). */
FIXTURE(range) {
	struct hm_rig rig;
	int fd;
	size_t page;
	char *mem;		/* PAGES of it, filled with seed 1, not mirrored */
	char *buf;
};

FIXTURE_SETUP(range)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	hm_fill(self->mem, PAGES * self->page, 1);
}

FIXTURE_TEARDOWN(range)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(range, outside_of_every_range_is_enoent)
{
	const size_t page = self->page;
	__u32 snap[PAGES];

	must_err(ENOENT, hm_read(self->fd, self->mem, self->buf, page));
	must(hm_mirror(self->fd, self->mem + page, 2 * page, 0, NULL));
	must(hm_read(self->fd, self->mem + page, self->buf, 2 * page));
	must_err(ENOENT, hm_read(self->fd, self->mem + page - 1, self->buf, 1));
	must_err(ENOENT, hm_read(self->fd, self->mem + 3 * page, self->buf, 1));
	must_err(ENOENT, hm_write(self->fd, self->mem, self->buf, 1));
	must_err(ENOENT, hm_prefetch(self->fd, self->mem, page, false));
	must_err(ENOENT, hm_snapshot(self->fd, self->mem, page, snap));
	expect_filled(self->mem, PAGES * page, 1);
}

/* Running out of a range says how far it got. */
TEST_F(range, access_stops_at_the_end_of_the_range)
{
	struct hotmirror_access out = {};
	const size_t page = self->page;

	must(hm_mirror(self->fd, self->mem, 2 * page, 0, NULL));
	must_err(ENOENT, hm_access(self->fd, HOTMIRROR_READ, self->mem + 5, self->buf,
				   3 * page, &out));
	EXPECT_EQ(2 * page - 5, out.done);
}

TEST_F(range, touching_and_overlapping_ranges_are_one_to_an_access)
{
	const size_t page = self->page;
	__u32 a, b, c;

	must(hm_mirror(self->fd, self->mem, 2 * page, 0, &a));
	must(hm_mirror(self->fd, self->mem + 2 * page, 2 * page, 0, &b));
	must(hm_mirror(self->fd, self->mem + 3 * page, 3 * page, 0, &c));
	EXPECT_NE(a, b);
	EXPECT_NE(b, c);
	EXPECT_NE(a, c);
	must(hm_read(self->fd, self->mem, self->buf, 6 * page));
	expect_filled(self->buf, 6 * page, 1);
	/* An invalidation that two ranges see is one change of the page table. */
	ASSERT_EQ(0, madvise(self->mem + 3 * page, page, MADV_DONTNEED));
	must(hm_read(self->fd, self->mem + 3 * page, self->buf, page));
	expect_zero(self->buf, page);
}

TEST_F(range, unmirror_drops_its_entries)
{
	struct hotmirror_verify v;
	const size_t page = self->page;
	__u32 id;

	must(hm_mirror(self->fd, self->mem, PAGES * page, 0, &id));
	must(hm_read(self->fd, self->mem, self->buf, PAGES * page));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(PAGES, v.present);
	must(hm_unmirror(self->fd, id));
	must_err(ENOENT, hm_unmirror(self->fd, id));
	must_err(ENOENT, hm_read(self->fd, self->mem, self->buf, page));
	/* Nothing was cached over the time without a notifier. */
	hm_fill(self->mem, PAGES * page, 2);
	ASSERT_EQ(0, madvise(self->mem, page, MADV_DONTNEED));
	must(hm_mirror(self->fd, self->mem, PAGES * page, 0, &id));
	EXPECT_EQ(0, rig_page(_metadata, &self->rig, self->mem + page) &
		     HOTMIRROR_SNAP_DEVICE);
	must(hm_read(self->fd, self->mem, self->buf, page));
	expect_zero(self->buf, page);
}

/* The other range still watches over what both cover. */
TEST_F(range, unmirror_of_one_of_two_overlapping_ranges)
{
	const size_t page = self->page;
	__u32 a, b;

	must(hm_mirror(self->fd, self->mem, 4 * page, 0, &a));
	must(hm_mirror(self->fd, self->mem + 2 * page, 4 * page, 0, &b));
	must(hm_read(self->fd, self->mem, self->buf, 6 * page));
	must(hm_unmirror(self->fd, a));
	must_err(ENOENT, hm_read(self->fd, self->mem, self->buf, page));
	must(hm_read(self->fd, self->mem + 2 * page, self->buf, 4 * page));
	ASSERT_EQ(0, madvise(self->mem + 3 * page, page, MADV_DONTNEED));
	must(hm_read(self->fd, self->mem + 3 * page, self->buf, page));
	expect_zero(self->buf, page);
}

TEST_F(range, bad_ranges_are_einval)
{
	const size_t page = self->page;
	const struct { unsigned long addr, length; } bad[] = {
		{ (unsigned long)self->mem, 0 },
		{ (unsigned long)self->mem + 1, page },
		{ (unsigned long)self->mem, page + 1 },
		{ (unsigned long)self->mem, -page },
		{ -page, page },
		{ -page, 2 * page },
		{ 1UL << 63, page },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		must_err(EINVAL, hm_mirror(self->fd, (void *)bad[i].addr, bad[i].length,
					   0, NULL));
}

/* A range is an interval, not a mapping: it may cover what is not there yet. */
TEST_F(range, may_cover_what_is_not_mapped_yet)
{
	const size_t page = self->page;

	ASSERT_EQ(0, munmap(self->mem, 4 * page));
	must(hm_mirror(self->fd, self->mem, 4 * page, 0, NULL));
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, page));
	ASSERT_EQ(self->mem, mmap(self->mem, page, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	hm_fill(self->mem, page, 3);
	must(hm_read(self->fd, self->mem, self->buf, page));
	expect_filled(self->buf, page, 3);
}

TEST_F(range, most_ranges_then_enospc)
{
	__u32 ids[HOTMIRROR_MAX_RANGES];

	for (int i = 0; i < HOTMIRROR_MAX_RANGES; i++)
		must(hm_mirror(self->fd, self->mem + i % PAGES * self->page, self->page,
			       0, &ids[i]));
	must_err(ENOSPC, hm_mirror(self->fd, self->mem, self->page, 0, NULL));
	must(hm_read(self->fd, self->mem, self->buf, PAGES * self->page));
	must(hm_unmirror(self->fd, ids[HOTMIRROR_MAX_RANGES / 2]));
	must(hm_mirror(self->fd, self->mem, self->page, 0, NULL));
}

/* Two files of one instance know nothing of each other's ranges and entries. */
TEST_F(range, files_are_independent)
{
	int other = must(hm_open(self->rig.id));
	struct hotmirror_verify v;
	__u32 id;

	must(hm_mirror(self->fd, self->mem, self->page, 0, &id));
	must_err(ENOENT, hm_read(other, self->mem, self->buf, self->page));
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	must(hm_mirror(other, self->mem, self->page, 0, NULL));
	must(hm_verify(other, &v));
	EXPECT_EQ(0, v.present);
	must(hm_read(other, self->mem, self->buf, self->page));
	must(hm_unmirror(self->fd, id));
	must(hm_read(other, self->mem, self->buf, self->page));
	rig_verify_fd(_metadata, other);
	close(other);
}

TEST_F(range, two_pass_form_needs_a_kernel_that_has_it)
{
	int ret = hm_mirror(self->fd, self->mem, self->page, HOTMIRROR_MIRROR_TWO_PASS,
			    NULL);

	EXPECT_EQ(self->rig.q.features & HOTMIRROR_HAS_TWO_PASS ? 0 : -EOPNOTSUPP, ret);
}

HM_TEST_MAIN
