// SPDX-License-Identifier: GPL-2.0-only
/*
 * Anonymous memory that lives in device memory: there and back, by ioctl, by CPU
 * fault (private) or not at all because the CPU uses it in place (coherent).
 */
#include <sys/mman.h>

#include "hm_test.h"

#define PAGES	8
#define SEED	1

FIXTURE(migrate) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of SEED, mirrored, in system memory */
	char *buf;
	char *spare;		/* as large, not mirrored */
};

FIXTURE_VARIANT(migrate) {
	__u32 kind;
	bool cpu_moves_it;	/* a CPU access brings the page home */
};

FIXTURE_VARIANT_ADD(migrate, private) {
	.kind = HOTMIRROR_PRIVATE,
	.cpu_moves_it = true,
};

FIXTURE_VARIANT_ADD(migrate, coherent) {
	.kind = HOTMIRROR_COHERENT,
	.cpu_moves_it = false,
};

typedef FIXTURE_DATA(migrate) data;

FIXTURE_SETUP(migrate)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	self->spare = hm_map(PAGES);
	ASSERT_NE(NULL, self->spare);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, SEED);
}

FIXTURE_TEARDOWN(migrate)
{
	rig_teardown(_metadata, &self->rig);
}

static void to_dev(struct __test_metadata *_metadata, data *self)
{
	__u64 moved;

	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	ASSERT_EQ(PAGES, moved);
}

static __u64 pages_used(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;

	must(hm_status(self->fd, 0, &st));
	return st.pages_used;
}

/* Pages of mem[] that a snapshot reports as of @kind, and writable like the VMA. */
static int count_kind(struct __test_metadata *_metadata, data *self, __u32 kind)
{
	__u32 snap[PAGES];
	int n = 0;

	must(hm_snapshot(self->fd, self->mem, self->length, snap));
	for (int i = 0; i < PAGES; i++)
		n += (snap[i] & HOTMIRROR_SNAP_VALID) &&
		     (snap[i] & HOTMIRROR_SNAP_WRITE) &&
		     HOTMIRROR_SNAP_KIND(snap[i]) == kind;
	return n;
}

static int in_device(struct __test_metadata *_metadata, data *self)
{
	return count_kind(_metadata, self, hm_kind(self->rig.kind)->snap);
}

static int in_system(struct __test_metadata *_metadata, data *self)
{
	return count_kind(_metadata, self, HOTMIRROR_SNAP_KIND_SYSTEM);
}

TEST_F(migrate, to_device_and_back_keeps_the_data)
{
	__u64 moved;

	EXPECT_EQ(PAGES, in_system(_metadata, self));
	to_dev(_metadata, self);
	EXPECT_EQ(PAGES, in_device(_metadata, self));
	EXPECT_EQ(PAGES, pages_used(_metadata, self));
	must(hm_to_sys(self->fd, self->mem, self->length, &moved));
	EXPECT_EQ(PAGES, moved);
	EXPECT_EQ(PAGES, in_system(_metadata, self));
	EXPECT_EQ(0, pages_used(_metadata, self));
	expect_filled(self->mem, self->length, SEED);
}

TEST_F(migrate, moves_are_counted)
{
	struct hotmirror_stats s;
	__u64 home = variant->cpu_moves_it ? 2 : 0;

	to_dev(_metadata, self);
	EXPECT_EQ(0, hm_cpu_touch(self->mem));
	EXPECT_EQ(0, hm_cpu_dirty(self->mem + self->page));
	must(hm_to_sys(self->fd, self->mem, self->length, NULL));
	must(hm_stats(self->fd, &s));
	EXPECT_EQ(PAGES, s.pages_to_dev);
	EXPECT_EQ(home, s.pages_to_ram);
	EXPECT_EQ(PAGES - home, s.pages_to_sys);
	EXPECT_EQ(0, s.pages_evicted);
}

/* The CPU fault brings a private page home; a coherent one is used where it is. */
TEST_F(migrate, cpu_access_finds_the_data)
{
	to_dev(_metadata, self);
	expect_filled(self->mem, self->length, SEED);
	EXPECT_EQ(variant->cpu_moves_it ? 0 : PAGES, in_device(_metadata, self));
	EXPECT_EQ(variant->cpu_moves_it ? PAGES : 0, in_system(_metadata, self));
	EXPECT_EQ(variant->cpu_moves_it ? 0 : PAGES, pages_used(_metadata, self));
}

TEST_F(migrate, cpu_fault_moves_one_page_only)
{
	to_dev(_metadata, self);
	EXPECT_EQ(0, hm_cpu_dirty(self->mem + 3 * self->page));
	EXPECT_EQ(variant->cpu_moves_it ? PAGES - 1 : PAGES, in_device(_metadata, self));
}

TEST_F(migrate, device_write_is_seen_by_the_cpu)
{
	to_dev(_metadata, self);
	hm_fill(self->buf, self->length, 2);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	EXPECT_EQ(PAGES, in_device(_metadata, self));
	expect_filled(self->mem, self->length, 2);
}

TEST_F(migrate, cpu_write_is_seen_by_the_device)
{
	to_dev(_metadata, self);
	hm_fill(self->mem, self->length, 3);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 3);
}

/* Only hmm knows the owner: a fault by anyone else would fetch the page home. */
TEST_F(migrate, device_access_leaves_its_own_pages_in_place)
{
	struct hotmirror_stats s;

	to_dev(_metadata, self);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	EXPECT_EQ(PAGES, in_device(_metadata, self));
	must(hm_stats(self->fd, &s));
	EXPECT_EQ(0, s.pages_to_ram);
}

/* Another device's driver is anyone else. */
TEST_F(migrate, access_by_another_instance_is_as_by_the_cpu)
{
	__u32 id;
	int other;

	to_dev(_metadata, self);
	must(hm_plug(self->rig.control, variant->kind, self->rig.bytes, &id));
	other = must(hm_open(id));
	must(hm_mirror(other, self->mem, self->length, 0, NULL));
	must(hm_read(other, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	EXPECT_EQ(variant->cpu_moves_it ? 0 : PAGES, in_device(_metadata, self));
	rig_verify_fd(_metadata, other);
	close(other);
}

/* From one device to another, without the CPU touching it. */
TEST_F(migrate, to_another_instance_keeps_the_data)
{
	struct hotmirror_status st;
	__u32 id;
	int other;

	to_dev(_metadata, self);
	must(hm_plug(self->rig.control, variant->kind, self->rig.bytes, &id));
	other = must(hm_open(id));
	/* By way of system memory: a device migrates only what it can select. */
	must(hm_to_sys(self->fd, self->mem, self->length, NULL));
	must(hm_to_dev(other, self->mem, self->length, NULL));
	must(hm_status(other, 0, &st));
	EXPECT_EQ(PAGES, st.pages_used);
	EXPECT_EQ(0, pages_used(_metadata, self));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	expect_filled(self->mem, self->length, SEED);
	close(other);
}

TEST_F(migrate, part_of_a_range_moves)
{
	__u64 moved;
	__u32 snap;

	must(hm_to_dev(self->fd, self->mem + 2 * self->page, 3 * self->page, &moved));
	EXPECT_EQ(3, moved);
	EXPECT_EQ(3, in_device(_metadata, self));
	for (int i = 2; i < 5; i++) {
		snap = rig_page(_metadata, &self->rig, self->mem + i * self->page);
		EXPECT_EQ(hm_kind(variant->kind)->snap, HOTMIRROR_SNAP_KIND(snap));
	}
	must(hm_to_sys(self->fd, self->mem + 4 * self->page, 4 * self->page, &moved));
	EXPECT_EQ(1, moved);
	EXPECT_EQ(2, in_device(_metadata, self));
	expect_filled(self->mem, self->length, SEED);
}

TEST_F(migrate, what_is_there_already_is_skipped)
{
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)self->mem,
		.length = self->length,
	};

	to_dev(_metadata, self);
	must(hm_ioctl(self->fd, HOTMIRROR_MIGRATE_TO_DEV, &arg));
	EXPECT_EQ(0, arg.moved);
	EXPECT_EQ(PAGES, arg.skipped);
	EXPECT_EQ(PAGES, pages_used(_metadata, self));
	expect_filled(self->mem, self->length, SEED);
}

/* Pages that nobody touched are absent, not holes: skipped, or moved as zeroes. */
TEST_F(migrate, absent_pages_do_not_get_in_the_way)
{
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)self->mem,
		.length = self->length,
	};

	ASSERT_EQ(0, madvise(self->mem + self->page, 2 * self->page, MADV_DONTNEED));
	must(hm_ioctl(self->fd, HOTMIRROR_MIGRATE_TO_DEV, &arg));
	EXPECT_LE(PAGES - 2, arg.moved);
	EXPECT_EQ(PAGES, arg.moved + arg.skipped);
	EXPECT_EQ(arg.moved, pages_used(_metadata, self));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_zero(self->buf + self->page, 2 * self->page);
	expect_zero(self->mem + self->page, 2 * self->page);
	EXPECT_EQ(0, memcmp(self->mem, self->buf, self->length));
}

TEST_F(migrate, needs_no_mirrored_range)
{
	__u64 moved;

	hm_fill(self->spare, self->length, 4);
	must(hm_to_dev(self->fd, self->spare, self->length, &moved));
	EXPECT_EQ(PAGES, moved);
	must_err(ENOENT, hm_read(self->fd, self->spare, self->buf, self->page));
	expect_filled(self->spare, self->length, 4);
}

/* A pinned page cannot move: it stays, its neighbours go. */
TEST_F(migrate, pinned_page_is_skipped)
{
	struct hm_hold hold;
	__u64 moved;

	must(hm_hold(&hold, self->mem + self->page, self->page));
	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	EXPECT_EQ(PAGES - 1, moved);
	hm_unhold(&hold);
	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	EXPECT_EQ(1, moved);
	expect_filled(self->mem, self->length, SEED);
}

TEST_F(migrate, bad_ranges_are_einval)
{
	must_err(EINVAL, hm_to_dev(self->fd, self->mem + 1, self->page, NULL));
	must_err(EINVAL, hm_to_dev(self->fd, self->mem, self->page - 1, NULL));
	must_err(EINVAL, hm_to_dev(self->fd, self->mem, 0, NULL));
	must_err(EINVAL, hm_to_sys(self->fd, self->mem, 0, NULL));
	ASSERT_EQ(0, munmap(self->mem + self->page, self->page));
	must_err(EINVAL, hm_to_dev(self->fd, self->mem + self->page, self->page, NULL));
	must_err(EINVAL, hm_to_sys(self->fd, self->mem + self->page, self->page, NULL));
}

/* More memory than the device has: as much as fits goes, the rest stays. */
TEST_F(migrate, full_device_takes_what_fits)
{
	size_t pages = self->rig.bytes / self->page;
	size_t extra = 16;
	char *big = hm_map(pages + extra);
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)big,
		.length = (pages + extra) * self->page,
	};

	ASSERT_NE(NULL, big);
	hm_fill(big, arg.length, 5);
	must(hm_ioctl(self->fd, HOTMIRROR_MIGRATE_TO_DEV, &arg));
	EXPECT_EQ(pages, arg.moved);
	EXPECT_EQ(extra, arg.skipped);
	EXPECT_EQ(pages, pages_used(_metadata, self));
	expect_filled(big, arg.length, 5);
	ASSERT_EQ(0, munmap(big, arg.length));
	EXPECT_EQ(0, pages_used(_metadata, self));
	to_dev(_metadata, self);
}

/* It is passed over before the driver makes room for it, not after. */
TEST_F(migrate, pinned_page_takes_no_room_from_the_others)
{
	size_t rest = self->rig.bytes - (PAGES - 1) * self->page;
	char *big = hm_map(rest / self->page);
	struct hm_hold hold;
	__u64 moved;

	ASSERT_NE(NULL, big);
	hm_fill(big, rest, 5);
	must(hm_to_dev(self->fd, big, rest, &moved));
	ASSERT_EQ(rest / self->page, moved);
	must(hm_hold(&hold, self->mem, self->page));
	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	EXPECT_EQ(PAGES - 1, moved);
	hm_unhold(&hold);
	expect_filled(self->mem, self->length, SEED);
	expect_filled(big, rest, 5);
}

TEST_F(migrate, munmap_frees_device_pages)
{
	to_dev(_metadata, self);
	ASSERT_EQ(0, munmap(self->mem, 3 * self->page));
	EXPECT_EQ(PAGES - 3, pages_used(_metadata, self));
	ASSERT_EQ(0, madvise(self->mem + 3 * self->page, self->page, MADV_DONTNEED));
	EXPECT_EQ(PAGES - 4, pages_used(_metadata, self));
	ASSERT_EQ(0, munmap(self->mem + 3 * self->page, self->length - 3 * self->page));
	EXPECT_EQ(0, pages_used(_metadata, self));
}

/* Device memory belongs to the process, not to the file that moved it there. */
TEST_F(migrate, closing_the_file_keeps_the_pages)
{
	int fd = must(hm_open(self->rig.id));

	must(hm_to_dev(fd, self->mem, self->length, NULL));
	close(fd);
	EXPECT_EQ(PAGES, pages_used(_metadata, self));
	expect_filled(self->mem, self->length, SEED);
}

TEST_F(migrate, mremap_takes_the_device_pages_along)
{
	to_dev(_metadata, self);
	ASSERT_EQ(self->spare, mremap(self->mem, self->length, self->length,
				      MREMAP_MAYMOVE | MREMAP_FIXED, self->spare));
	EXPECT_EQ(PAGES, pages_used(_metadata, self));
	must(hm_mirror(self->fd, self->spare, self->length, 0, NULL));
	must(hm_read(self->fd, self->spare, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	EXPECT_EQ(PAGES, pages_used(_metadata, self));
	expect_filled(self->spare, self->length, SEED);
}

TEST_F(migrate, mprotect_holds_for_device_pages)
{
	to_dev(_metadata, self);
	must(hm_prefetch(self->fd, self->mem, self->length, true));
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ));
	must_err(EFAULT, hm_write(self->fd, self->mem, self->buf, self->page));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(self->mem));
	expect_filled(self->mem, self->length, SEED);
}

static int cow_child(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_hear(p);
	hm_tell(p, hm_differs(self->mem, self->length, SEED));
	return 0;
}

/* Device pages are shared by fork() and copied on write, by CPU and by device. */
TEST_F(migrate, fork_then_device_write_leaves_the_child_alone)
{
	struct hm_child c;
	long differs;
	int status;

	to_dev(_metadata, self);
	must(hm_child_start(&c, cow_child, self));
	hm_fill(self->buf, self->length, 6);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &differs));
	EXPECT_EQ(-1, differs);
	must(hm_child_wait(&c, &status));
	expect_filled(self->mem, self->length, 6);
	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_EQ(0, pages_used(_metadata, self));
}

TEST_F(migrate, fork_then_cpu_write_leaves_the_child_alone)
{
	struct hm_child c;
	long differs;
	int status;

	to_dev(_metadata, self);
	must(hm_child_start(&c, cow_child, self));
	hm_fill(self->mem, self->length, 7);
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &differs));
	EXPECT_EQ(-1, differs);
	must(hm_child_wait(&c, &status));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 7);
}

/* The entry of a page that moves away goes first. */
TEST_F(migrate, device_entries_follow_the_page)
{
	struct hotmirror_verify v;

	must(hm_prefetch(self->fd, self->mem, self->length, true));
	to_dev(_metadata, self);
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(0, v.stale);
	must(hm_write(self->fd, self->mem, self->mem + self->length - 1, 1));
	must(hm_to_sys(self->fd, self->mem, self->length, NULL));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(0, v.stale);
	must(hm_read(self->fd, self->mem + self->page, self->buf, self->page));
	EXPECT_EQ(0, memcmp(self->buf, self->mem + self->page, self->page));
}

/* Memory that does not migrate is no migration source, and no harm is done. */
FIXTURE(source) {
	struct hm_rig rig;
	size_t length;
};

FIXTURE_SETUP(source)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->length = PAGES * self->rig.page;
}

FIXTURE_TEARDOWN(source)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(source, dax_mapping_is_einval)
{
	__u32 id;
	char *dax;
	int fd;

	if (self->rig.kind == HOTMIRROR_DAX ||
	    !(self->rig.q.features & HOTMIRROR_HAS_DAX))
		SKIP(return, "needs dax and another kind of device memory");
	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->rig.bytes, &id));
	fd = must(hm_open(id));
	dax = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, dax);
	hm_fill(dax, self->length, 1);
	must_err(EINVAL, hm_to_dev(self->rig.fd, dax, self->length, NULL));
	/* Nor is a dax instance a target. */
	must_err(EINVAL, hm_to_dev(fd, dax, self->length, NULL));
	expect_filled(dax, self->length, 1);
	close(fd);
}

TEST_F(source, shared_memory_stays)
{
	char *shared = mmap(NULL, self->length, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	__u64 moved;

	if (self->rig.kind == HOTMIRROR_DAX)
		SKIP(return, "no private and no coherent memory on this kernel");
	ASSERT_NE(MAP_FAILED, shared);
	hm_fill(shared, self->length, 2);
	must(hm_to_dev(self->rig.fd, shared, self->length, &moved));
	EXPECT_EQ(0, moved);
	expect_filled(shared, self->length, 2);
}

HM_TEST_MAIN
