// SPDX-License-Identifier: GPL-2.0-only
/*
 * What else puts pages where a mirror has to find them: MADV_COLLAPSE, UFFDIO_MOVE and
 * UFFDIO_CONTINUE, hugetlb; and what of a page table entry must survive a migration:
 * write protection by userfaultfd, dirty and soft-dirty.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/pagemap.h"
#include "lib/setting.h"

#define PAGES	8
#define SEED	1

FIXTURE(mover) {
	struct hm_rig rig;
	int fd, uffd;
	size_t page, length;
	char *mem;		/* PAGES of SEED, mirrored */
	char *buf;
	struct hm_setting pool;	/* of huge pages */
};

FIXTURE_VARIANT(mover) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(mover, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(mover, coherent) { .kind = HOTMIRROR_COHERENT };

typedef FIXTURE_DATA(mover) data;

FIXTURE_SETUP(mover)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->fd = self->rig.fd;
	self->pool.before = -1;
	self->uffd = hm_uffd_open();
	if (self->uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-self->uffd));
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, SEED);
}

FIXTURE_TEARDOWN(mover)
{
	if (self->pool.path)
		hm_setting_restore(&self->pool);
	rig_teardown(_metadata, &self->rig);
}

static char *page_at(data *self, int i)
{
	return self->mem + i * self->page;
}

static void to_dev(struct __test_metadata *_metadata, data *self)
{
	__u64 moved;

	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	ASSERT_EQ(PAGES, moved);
}

static void to_sys(struct __test_metadata *_metadata, data *self)
{
	__u64 moved;

	must(hm_to_sys(self->fd, self->mem, self->length, &moved));
	ASSERT_EQ(PAGES, moved);
}

/* Exactly the pages of the mask have the bit. */
static void expect_bits(struct __test_metadata *_metadata, data *self, __u64 bit,
			unsigned int mask, const char *when)
{
	__u64 entries[PAGES];
	unsigned int seen = 0;

	hm_pagemap_range(self->mem, PAGES, entries);
	for (int i = 0; i < PAGES; i++)
		seen |= !!(entries[i] & bit) << i;
	EXPECT_EQ(mask, seen)
		TH_LOG("%s", when);
}

/* An access of a page that is to be held, in a thread. */
struct io {
	struct hm_async async;
	data *self;
	char *addr;
	bool write;
};

static long do_io(void *arg)
{
	struct io *io = arg;
	data *self = io->self;

	return io->write ? hm_write(self->fd, io->addr, self->buf, self->page) :
			   hm_read(self->fd, io->addr, self->buf, self->page);
}

static void hold(struct __test_metadata *_metadata, data *self, struct io *io, char *addr,
		 bool write)
{
	struct hm_fault f;

	*io = (struct io){ .self = self, .addr = addr, .write = write };
	must(hm_async_start(&io->async, do_io, io));
	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)addr, f.addr);
	must(hm_wait_asleep(io->async.tid));
}

static void expect_end(struct __test_metadata *_metadata, struct io *io)
{
	long ret;

	must(hm_async_join(&io->async, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret)
		TH_LOG("%s", strerror(-ret));
}

#define PROTECTED	3
#define PROTECTED_MASK	(1U << PROTECTED)

static void protect(struct __test_metadata *_metadata, data *self)
{
	must(hm_uffd_register(self->uffd, self->mem, self->length, true));
	must(hm_uffd_protect(self->uffd, page_at(self, PROTECTED), self->page, true));
	expect_bits(_metadata, self, HM_PM_UFFD_WP, PROTECTED_MASK, "protected");
}

/* A write by the device waits for userfaultfd, and then lands. */
static void expect_protected(struct __test_metadata *_metadata, data *self)
{
	char *addr = page_at(self, PROTECTED);
	struct io io;

	hm_fill(self->buf, self->page, 2);
	hold(_metadata, self, &io, addr, true);
	must(hm_uffd_protect(self->uffd, addr, self->page, false));
	expect_end(_metadata, &io);
	expect_filled(addr, self->page, 2);
}

TEST_F(mover, write_protection_survives_the_round_trip)
{
	protect(_metadata, self);
	to_dev(_metadata, self);
	expect_bits(_metadata, self, HM_PM_UFFD_WP, PROTECTED_MASK, "in the device");
	to_sys(_metadata, self);
	expect_bits(_metadata, self, HM_PM_UFFD_WP, PROTECTED_MASK, "back");
	expect_protected(_metadata, self);
}

TEST_F(mover, write_protection_holds_in_device_memory)
{
	protect(_metadata, self);
	to_dev(_metadata, self);
	expect_protected(_metadata, self);
}

TEST_F(mover, device_memory_can_be_write_protected)
{
	to_dev(_metadata, self);
	must(hm_prefetch(self->fd, self->mem, self->length, true));
	protect(_metadata, self);
	expect_protected(_metadata, self);
}

/* Known of kernels before 6.12, see HM_SOFT_DIRTY_BUG: all pages have it, none lost it. */
static bool all_are_soft_dirty(data *self)
{
	__u64 entries[PAGES];
	int n = 0;

	hm_pagemap_range(self->mem, PAGES, entries);
	while (n < PAGES && entries[n] & HM_PM_SOFT_DIRTY)
		n++;
	return n == PAGES;
}

/* A page that was written stays marked, one that was not does not get the mark. */
TEST_F(mover, soft_dirty_survives_the_round_trip)
{
	const unsigned int mask = 1 << 0 | 1 << 2 | 1 << 5;

	must(hm_clear_soft_dirty());
	for (int i = 0; i < PAGES; i++)
		if (mask & 1U << i)
			ASSERT_EQ(0, hm_cpu_dirty(page_at(self, i)));
	skip_unless(hm_pagemap(self->mem) & HM_PM_SOFT_DIRTY,
		    "kernel without CONFIG_MEM_SOFT_DIRTY");
	expect_bits(_metadata, self, HM_PM_SOFT_DIRTY, mask, "written");
	to_dev(_metadata, self);
	if (hm_kernel_before(6, 12) && all_are_soft_dirty(self)) {
		rig_xfail(_metadata, HM_SOFT_DIRTY_BUG);
		return;
	}
	expect_bits(_metadata, self, HM_PM_SOFT_DIRTY, mask, "in the device");
	to_sys(_metadata, self);
	expect_bits(_metadata, self, HM_PM_SOFT_DIRTY, mask, "back");
}

/* MADV_FREE cleans a page: its dirty bit is all that keeps what was written since. */
TEST_F(mover, written_after_madv_free_survives_the_round_trip)
{
	must(hm_ready_for_reclaim());
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_FREE));
	hm_fill(self->mem, self->page, 2);
	to_dev(_metadata, self);
	to_sys(_metadata, self);
	must(hm_drain_batches());
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_PAGEOUT));
	expect_filled(self->mem, self->page, 2);
	/* Without a write reclaim does drop: the test can fail. */
	expect_zero(self->mem + self->page, self->length - self->page);
}

/* As many pages again: mirrored, missing, the faults ours. */
static char *map_missing(struct __test_metadata *_metadata, data *self)
{
	char *mem = hm_map(PAGES);

	ASSERT_NE(NULL, mem);
	must(hm_mirror(self->fd, mem, self->length, 0, NULL));
	must(hm_uffd_register(self->uffd, mem, self->length, false));
	return mem;
}

static int move(data *self, char *to, char *from)
{
	return hm_uffd_move(self->uffd, to, from, self->page);
}

/* By what the first move in a test returned: a kernel before 6.8. */
static bool cannot_move(int ret)
{
	return ret == -EINVAL || ret == -ENOTTY;
}

#define skip_without_move(ret) skip_unless(!cannot_move(ret), "kernel without UFFDIO_MOVE")

/* The page with its data is at another address, and the entry it had is gone. */
TEST_F(mover, uffd_move_takes_the_page_along)
{
	char *to = map_missing(_metadata, self);
	int ret;

	must(hm_prefetch(self->fd, self->mem, self->length, true));
	hm_fill(self->mem, self->page, 2);
	ret = move(self, to, self->mem);
	skip_without_move(ret);
	must(ret);
	rig_verify(&self->rig);
	must(hm_read(self->fd, to, self->buf, self->page));
	expect_filled(self->buf, self->page, 2);
	must(hm_read(self->fd, self->mem, self->buf, self->page));
	expect_zero(self->buf, self->page);
}

TEST_F(mover, uffd_move_resolves_a_held_access)
{
	char *to = map_missing(_metadata, self);
	struct io io;

	hm_fill(self->mem, self->page, 2);
	skip_without_move(move(self, to + self->page, page_at(self, 1)));
	hold(_metadata, self, &io, to, false);
	must(move(self, to, self->mem));
	expect_end(_metadata, &io);
	expect_filled(self->buf, self->page, 2);
}

/* A page that cannot be moved stays what it is: private memory is refused. */
TEST_F(mover, uffd_move_of_device_memory_loses_nothing)
{
	char *to = map_missing(_metadata, self);
	int ret;

	hm_fill(self->mem, self->page, 2);
	to_dev(_metadata, self);
	ret = move(self, to, self->mem);
	skip_without_move(ret);
	must(hm_read(self->fd, ret ? self->mem : to, self->buf, self->page));
	expect_filled(self->buf, self->page, 2);
	expect_filled(ret ? self->mem : to, self->page, 2);
}

/* What a device has pinned stays where it is. */
TEST_F(mover, uffd_move_refuses_a_pinned_page)
{
	char *to = map_missing(_metadata, self);
	__u32 id;
	int ret;

	must(hm_pin(self->fd, self->mem, self->page, HOTMIRROR_PIN_WRITE, &id, NULL));
	ret = move(self, to, self->mem);
	skip_without_move(ret);
	EXPECT_EQ(-EBUSY, ret);
	expect_filled(self->mem, self->page, SEED);
	must(hm_unpin(self->fd, id));
	must(move(self, to, self->mem));
	expect_filled(to, self->page, SEED);
}

/* As written_after_madv_free_survives_the_round_trip: a touch of what was lost would block. */
TEST_F(mover, written_after_madv_free_survives_uffd_move)
{
	const __u64 there = HM_PM_PRESENT | HM_PM_SWAP;
	char *to = map_missing(_metadata, self);

	must(hm_ready_for_reclaim());
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_FREE));
	hm_fill(self->mem, self->page, 2);
	skip_without_move(move(self, to, self->mem));
	for (int i = 1; i < PAGES; i++)
		must(move(self, to + i * self->page, page_at(self, i)));
	must(hm_drain_batches());
	ASSERT_EQ(0, madvise(to, self->length, MADV_PAGEOUT));
	for (int i = 1; i < PAGES; i++)
		EXPECT_EQ(0, hm_pagemap(to + i * self->page) & there);
	ASSERT_NE(0, hm_pagemap(to) & there);
	expect_filled(to, self->page, 2);
}

/* UFFDIO_COPY can protect what it puts there: the device reads it, a write is held. */
TEST_F(mover, copied_page_is_write_protected)
{
	struct uffdio_copy copy = {
		.src = (uintptr_t)self->mem,
		.len = self->page,
		.mode = UFFDIO_COPY_MODE_WP,
	};
	char *to = hm_map(PAGES);
	struct io io;

	ASSERT_NE(NULL, to);
	must(hm_mirror(self->fd, to, self->length, 0, NULL));
	must(hm_uffd_register_mode(self->uffd, to, self->length, HM_UFFD_MISSING | HM_UFFD_WP));
	copy.dst = (uintptr_t)to;
	ASSERT_EQ(0, ioctl(self->uffd, UFFDIO_COPY, &copy));
	must(hm_read(self->fd, to, self->buf, self->page));
	expect_filled(self->buf, self->page, SEED);
	hm_fill(self->buf, self->page, 2);
	hold(_metadata, self, &io, to, true);
	must(hm_uffd_protect(self->uffd, to, self->page, false));
	expect_end(_metadata, &io);
	expect_filled(to, self->page, 2);
}

/* The page is in the file, but not in this page table until userfaultfd says so. */
TEST_F(mover, minor_fault_holds_the_device)
{
	int file = memfd_create("hotmirror", MFD_CLOEXEC);
	char *ours, *other;
	struct io io;

	ASSERT_EQ(0, ftruncate(file, self->page));
	ours = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	other = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, ours);
	ASSERT_NE(MAP_FAILED, other);
	hm_fill(other, self->page, 2);
	must(hm_mirror(self->fd, ours, self->page, 0, NULL));
	skip_unless(!hm_uffd_register_mode(self->uffd, ours, self->page, HM_UFFD_MINOR),
		    "kernel without minor faults of shmem");
	hold(_metadata, self, &io, ours, false);
	hm_fill(other, self->page, 3);
	must(hm_uffd_continue(self->uffd, ours, self->page));
	expect_end(_metadata, &io);
	expect_filled(self->buf, self->page, 3);
}

/* Memory of a huge page's size in small pages, each with its number, mirrored. */
static char *map_small(struct __test_metadata *_metadata, data *self)
{
	size_t length = self->rig.q.pmd_size;
	char *mem = hm_map_huge(length);

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(0, madvise(mem, length, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < length / self->page; i++)
		*(size_t *)(mem + i * self->page) = i + 1;
	must(hm_mirror(self->fd, mem, length, 0, NULL));
	ASSERT_EQ(0, madvise(mem, length, MADV_HUGEPAGE));
	return mem;
}

/* Each page is the one that it was, for the device, then for the CPU. */
static void expect_numbers(struct __test_metadata *_metadata, data *self, char *mem)
{
	size_t pages = self->rig.q.pmd_size / self->page, number;

	for (size_t i = 0; i < pages; i++) {
		must(hm_read(self->fd, mem + i * self->page, &number, sizeof(number)));
		ASSERT_EQ(i + 1, number);
	}
	for (size_t i = 0; i < pages; i++)
		ASSERT_EQ(i + 1, *(size_t *)(mem + i * self->page));
}

TEST_F(mover, collapse_takes_the_entries)
{
	size_t length = self->rig.q.pmd_size;
	char *mem = map_small(_metadata, self);
	struct hotmirror_stats before, after;
	__u32 snap;

	must(hm_prefetch(self->fd, mem, length, true));
	must(hm_stats(self->fd, &before));
	if (madvise(mem, length, MADV_COLLAPSE))
		SKIP(return, "MADV_COLLAPSE: %s", strerror(errno));
	must(hm_stats(self->fd, &after));
	EXPECT_EQ(length / self->page, after.entries_cleared - before.entries_cleared);
	rig_verify(&self->rig);
	snap = rig_page(_metadata, &self->rig, mem + 9 * self->page);
	EXPECT_EQ(length, self->page << HOTMIRROR_SNAP_ORDER(snap));
	expect_numbers(_metadata, self, mem);
}

/* Best effort with a page in the device: it is collapsed or not, never lost. */
TEST_F(mover, collapse_with_device_memory_loses_nothing)
{
	size_t length = self->rig.q.pmd_size;
	char *mem = map_small(_metadata, self);
	__u64 moved;

	must(hm_to_dev(self->fd, mem + 4 * self->page, 3 * self->page, &moved));
	EXPECT_EQ(3, moved);
	must(hm_prefetch(self->fd, mem, length, true));
	madvise(mem, length, MADV_COLLAPSE);
	rig_verify(&self->rig);
	expect_numbers(_metadata, self, mem);
}

/* A page of the pool, or MAP_FAILED; two more are there for copies. */
static char *of_the_pool(data *self)
{
	hm_huge_pool(&self->pool, 3);
	return mmap(NULL, self->rig.q.pmd_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
}

TEST_F(mover, hugetlb_has_the_order_of_its_mapping)
{
	size_t length = self->rig.q.pmd_size;
	char *mem = of_the_pool(self);
	__u32 snap;

	if (mem == MAP_FAILED)
		SKIP(return, "no huge page (vm.nr_hugepages): %s", strerror(errno));
	must(hm_mirror(self->fd, mem, length, 0, NULL));
	ASSERT_EQ(0, hm_cpu_dirty(mem));
	for (size_t i = 0; i < length; i += 37 * self->page) {
		snap = rig_page(_metadata, &self->rig, mem + i);
		EXPECT_EQ(HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE, snap & 0xffff);
		EXPECT_EQ(length, self->page << HOTMIRROR_SNAP_ORDER(snap));
	}
	must_err(EINVAL, hm_to_dev(self->fd, mem, length, NULL));
	ASSERT_EQ(0, munmap(mem, length));
}

static int dirty(struct hm_parent *p, void *mem)
{
	return hm_cpu_dirty(mem);
}

/*
 * The child has no userfaultfd. Before 6.2 copy_hugetlb_page_range() leaves it the bit,
 * hugetlb_wp() copies no page that has it, and the child faults for ever.
 */
TEST_F(mover, hugetlb_is_not_protected_from_a_child)
{
	size_t length = self->rig.q.pmd_size;
	char *mem = of_the_pool(self);
	struct hm_child c;
	int status, ret;

	if (mem == MAP_FAILED)
		SKIP(return, "no huge page (vm.nr_hugepages): %s", strerror(errno));
	must(hm_mirror(self->fd, mem, length, 0, NULL));
	ASSERT_EQ(0, hm_cpu_dirty(mem));
	skip_unless(!hm_uffd_register(self->uffd, mem, length, true),
		    "no write protection of huge pages by userfaultfd");
	must(hm_uffd_protect(self->uffd, mem, length, true));
	must(hm_child_start(&c, dirty, mem));
	ret = hm_poll(c.pidfd, POLLIN, HM_LIMIT_MS);
	if (ret > 0) {
		must(hm_child_wait(&c, &status));
		EXPECT_EQ(0, status);
	} else {
		EXPECT_TRUE(ret == -ETIMEDOUT && hm_kernel_before(6, 2));
		rig_xfail(_metadata, "kernel bug: a child's write to a huge page that its parent "
			  "has write-protected faults for ever");
	}
	hm_child_end(&c);
	ASSERT_EQ(0, munmap(mem, length));
}

HM_TEST_MAIN
