// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory that is mapped like device-dax: shared by every mapping, mirrored
 * by its own and by other instances, never a migration source.
 */
#include <sys/mman.h>

#include "hm_test.h"

#define PAGES	8

FIXTURE(dax) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* the first PAGES of the instance, not touched */
	char *buf;
};

typedef FIXTURE_DATA(dax) data;

static void *map_dax(int fd, size_t length, off_t offset)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

FIXTURE_SETUP(dax)
{
	RIG_SETUP(&self->rig, HOTMIRROR_DAX);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->buf = hm_map(PAGES);
	ASSERT_NE(NULL, self->buf);
	self->mem = map_dax(self->fd, self->length, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(dax)
{
	rig_teardown(_metadata, &self->rig);
}

/* Another dax instance's file, or a skip that rig_plug() has said. */
static int other_instance(struct __test_metadata *_metadata, data *self, __u32 *id)
{
	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->rig.bytes, id));
	return must(hm_open(*id));
}

TEST_F(dax, is_zero_when_plugged)
{
	char *all = map_dax(self->fd, self->rig.bytes, 0);
	__u32 id;
	int fd;

	ASSERT_NE(MAP_FAILED, all);
	expect_zero(all, self->rig.bytes);
	/* Not just because nobody has used this memory before. */
	hm_fill(all, self->rig.bytes, 1);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	fd = other_instance(_metadata, self, &id);
	all = map_dax(fd, self->rig.bytes, 0);
	ASSERT_NE(MAP_FAILED, all);
	expect_zero(all, self->rig.bytes);
	close(fd);
}

TEST_F(dax, keeps_what_is_written)
{
	hm_fill(self->mem, self->length, 1);
	expect_filled(self->mem, self->length, 1);
	/* Also without any mapping. */
	ASSERT_EQ(0, munmap(self->mem, self->length));
	self->mem = map_dax(self->fd, self->length, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	expect_filled(self->mem, self->length, 1);
}

TEST_F(dax, every_mapping_is_the_same_memory)
{
	char *second = map_dax(self->fd, self->length - self->page, self->page);
	int fd = must(hm_open(self->rig.id));
	char *third = map_dax(fd, self->length, 0);

	ASSERT_NE(MAP_FAILED, second);
	ASSERT_NE(MAP_FAILED, third);
	hm_fill(self->mem, self->length, 2);
	EXPECT_EQ(0, memcmp(self->mem + self->page, second, self->length - self->page));
	expect_filled(third, self->length, 2);
	second[0] = ~second[0];
	EXPECT_EQ(second[0], third[self->page]);
	close(fd);
	/* The mapping holds the file. */
	expect_zero(self->buf, self->length);
	EXPECT_EQ(second[0], third[self->page]);
}

TEST_F(dax, offset_is_the_offset_in_the_instance)
{
	char *last = map_dax(self->fd, self->page, self->rig.bytes - self->page);
	char *all = map_dax(self->fd, self->rig.bytes, 0);

	ASSERT_NE(MAP_FAILED, last);
	ASSERT_NE(MAP_FAILED, all);
	hm_fill(last, self->page, 3);
	expect_filled(all + self->rig.bytes - self->page, self->page, 3);
	expect_zero(all, self->rig.bytes - self->page);
}

TEST_F(dax, private_mapping_is_einval)
{
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_PRIVATE,
				   self->fd, 0));
	EXPECT_EQ(EINVAL, errno);
}

/* As with device-dax a mapping may be longer than the memory, which ends it with SIGBUS. */
TEST_F(dax, behind_the_end_is_sigbus)
{
	size_t bytes = self->rig.bytes;
	__u32 snap, id;
	int fd = other_instance(_metadata, self, &id);
	char *next = map_dax(fd, bytes, 0);
	char *all = map_dax(self->fd, 2 * bytes, 0);

	ASSERT_NE(MAP_FAILED, next);
	ASSERT_NE(MAP_FAILED, all);
	/* The memory behind the end may be another instance's: it is there, and touched. */
	hm_fill(next, bytes, 1);
	EXPECT_EQ(0, hm_cpu_touch(all + bytes - 1));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(all + bytes));
	EXPECT_EQ(SIGBUS, hm_cpu_dirty(all + 2 * bytes - 1));
	must(hm_mirror(self->fd, all, 2 * bytes, 0, NULL));
	must_err(EFAULT, hm_read(self->fd, all + bytes, self->buf, 1));
	must(hm_snapshot(self->fd, all + bytes, self->page, &snap));
	EXPECT_EQ(0, snap & HOTMIRROR_SNAP_VALID);
	expect_filled(next, bytes, 1);
	close(fd);
}

/* What can be mapped of the others is a doorbell, one page. */
TEST_F(dax, memory_of_other_kinds_cannot_be_mapped)
{
	static const __u32 kinds[] = { HOTMIRROR_PRIVATE, HOTMIRROR_COHERENT };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		__u32 id;
		int fd;

		if (!(self->rig.q.features & hm_kind(kinds[i])->feature))
			continue;
		must(hm_plug(self->rig.control, kinds[i], self->rig.bytes, &id));
		fd = must(hm_open(id));
		EXPECT_EQ(MAP_FAILED, map_dax(fd, 2 * self->page, 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(MAP_FAILED, map_dax(fd, self->page, self->page));
		EXPECT_EQ(EINVAL, errno);
		close(fd);
	}
}

TEST_F(dax, partial_munmap_leaves_the_rest)
{
	hm_fill(self->mem, self->length, 4);
	ASSERT_EQ(0, munmap(self->mem + 2 * self->page, 2 * self->page));
	expect_filled(self->mem, 2 * self->page, 4);
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(self->mem + 2 * self->page));
	EXPECT_EQ(0, hm_cpu_touch(self->mem + 4 * self->page));
}

TEST_F(dax, mprotect_is_obeyed)
{
	hm_fill(self->mem, self->length, 5);
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(self->mem));
	expect_filled(self->mem, self->length, 5);
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, hm_cpu_dirty(self->mem));
	/* A page first mapped read-only becomes writable by its own fault. */
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	EXPECT_EQ(0, hm_cpu_touch(self->mem + self->page));
	EXPECT_EQ(0, hm_cpu_dirty(self->mem + self->page));
}

TEST_F(dax, mremap_moves_the_mapping)
{
	char *to = hm_map(PAGES);

	ASSERT_NE(NULL, to);
	hm_fill(self->mem, self->length, 6);
	ASSERT_EQ(to, mremap(self->mem, self->length, self->length,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	expect_filled(to, self->length, 6);
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(self->mem));
}

static int dax_child(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_tell(p, hm_differs(self->mem, self->length, 7));
	hm_fill(self->mem, self->length, 8);
	return 0;
}

TEST_F(dax, fork_shares_the_memory)
{
	struct hm_child c;
	long differs;
	int status;

	hm_fill(self->mem, self->length, 7);
	must(hm_child_start(&c, dax_child, self));
	must(hm_child_hear(&c, &differs));
	EXPECT_EQ(-1, differs);
	must(hm_child_wait(&c, &status));
	expect_filled(self->mem, self->length, 8);
}

TEST_F(dax, system_calls_read_and_write_it)
{
	int p[2];

	ASSERT_EQ(0, pipe(p));
	hm_fill(self->mem, self->page, 9);
	EXPECT_EQ(64, write(p[1], self->mem, 64));
	EXPECT_EQ(64, read(p[0], self->mem + self->page, 64));
	EXPECT_EQ(0, memcmp(self->mem, self->mem + self->page, 64));
	must(hm_gup_read(self->mem, self->buf, self->page));
	expect_filled(self->buf, self->page, 9);
}

/* The instance mirrors its own mapping, or another one does: data both ways. */
static void mirror_both_ways(struct __test_metadata *_metadata, data *self, int fd)
{
	__u32 snap[PAGES];

	must(hm_mirror(fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, 10);
	must(hm_read(fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 10);
	hm_fill(self->buf, self->length, 11);
	must(hm_write(fd, self->mem, self->buf, self->length));
	expect_filled(self->mem, self->length, 11);
	must(hm_snapshot(fd, self->mem, self->length, snap));
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap[i]));
}

TEST_F(dax, is_mirrored_by_itself)
{
	mirror_both_ways(_metadata, self, self->fd);
}

TEST_F(dax, is_mirrored_by_another_instance)
{
	__u32 id;
	int fd = other_instance(_metadata, self, &id);

	mirror_both_ways(_metadata, self, fd);
	rig_verify_fd(_metadata, fd);
	close(fd);
}

/* The device faults pages in that no CPU has touched. */
TEST_F(dax, device_access_faults_it_in)
{
	struct hotmirror_access out = {};

	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	must(hm_access(self->fd, HOTMIRROR_READ, self->mem, self->buf, self->length, &out));
	EXPECT_LE(1, out.faults);
	expect_zero(self->buf, self->length);
	hm_fill(self->buf, self->page, 12);
	must(hm_write(self->fd, self->mem + 3 * self->page, self->buf, self->page));
	expect_filled(self->mem + 3 * self->page, self->page, 12);
}

TEST_F(dax, munmap_takes_the_device_entries)
{
	struct hotmirror_verify v;

	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	must(hm_prefetch(self->fd, self->mem, self->length, true));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(PAGES, v.present);
	ASSERT_EQ(0, munmap(self->mem, self->page));
	ASSERT_EQ(0, madvise(self->mem + self->page, self->page, MADV_DONTNEED));
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(PAGES - 2, v.present);
	EXPECT_EQ(0, v.stale);
	must_err(EFAULT, hm_read(self->fd, self->mem, self->buf, 1));
	must(hm_read(self->fd, self->mem + self->page, self->buf, self->page));
}

/* One mirror over device memory, the zero page, RAM and another device (S9, S10). */
TEST_F(dax, one_mirror_covers_all_kinds_of_memory)
{
	char *area = hm_map(PAGES);
	__u32 snap[4], id;
	int fd = other_instance(_metadata, self, &id);

	ASSERT_NE(NULL, area);
	ASSERT_EQ(area, mmap(area, self->page, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, self->fd, 0));
	ASSERT_EQ(area + 2 * self->page, mmap(area + 2 * self->page, self->page,
					      PROT_READ | PROT_WRITE,
					      MAP_SHARED | MAP_FIXED, fd, 0));
	hm_fill(area, 3 * self->page, 13);
	EXPECT_EQ(0, hm_cpu_touch(area + 3 * self->page));
	must(hm_mirror(self->fd, area, 4 * self->page, 0, NULL));
	must(hm_snapshot(self->fd, area, 4 * self->page, snap));
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap[0]));
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_SYSTEM, HOTMIRROR_SNAP_KIND(snap[1]));
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap[2]));
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_ZERO, HOTMIRROR_SNAP_KIND(snap[3]));
	must(hm_read(self->fd, area, self->buf, 4 * self->page));
	expect_filled(self->buf, 3 * self->page, 13);
	expect_zero(self->buf + 3 * self->page, self->page);
	close(fd);
}

HM_TEST_MAIN
