// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device-dax is the reference (claims S4, S5, S7): each row does the same to a mapping
 * of a real device-dax and to one of ours, alive and after it was taken away, and gets
 * the same. Where ours differs on purpose is one table, and it is exact.
 *
 * The real ones are made of legacy pmem ranges that only our own guest has: see
 * lib/devdax.h. Nobody else's persistent memory is ever touched.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hm_test.h"
#include "lib/devdax.h"
#include "lib/pagemap.h"

#define UNITS	2		/* of the alignment, mapped by most rows */

/* One of the two. */
struct side {
	const char *path;
	int fd;
	size_t align;
	size_t length;		/* of UNITS */
	size_t size;		/* of the device */
	char *mem;		/* mapped and touched, all of @length */
};

FIXTURE(devdax) {
	struct hm_rig rig;
	struct hm_devdax real;
	char path[32];
	struct side ours, theirs;
};

FIXTURE_VARIANT(devdax) {
	bool huge;
};

FIXTURE_VARIANT_ADD(devdax, pte) { .huge = false };
FIXTURE_VARIANT_ADD(devdax, pmd) { .huge = true };

typedef FIXTURE_DATA(devdax) data;

static void side_map(struct __test_metadata *_metadata, struct side *s)
{
	s->fd = open(s->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, s->fd) TH_LOG("%s: %s", s->path, strerror(errno));
	s->length = UNITS * s->align;
	s->mem = mmap(NULL, s->length, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);
	ASSERT_NE(MAP_FAILED, s->mem) TH_LOG("%s: %s", s->path, strerror(errno));
	hm_fill(s->mem, s->length, 1);
}

FIXTURE_SETUP(devdax)
{
	const char *why;
	int ret;

	rig_begin(_metadata, variant, &self->rig);
	why = hm_devdax_get(&self->real, variant->huge);
	if (!why && !(self->rig.q.features & hm_kind(HOTMIRROR_DAX)->feature))
		why = hm_kind(HOTMIRROR_DAX)->lacking;
	if (why) {
		rig_end(_metadata, &self->rig);
		SKIP(return, "%s", why);
	}
	ret = hm_plug_dax(self->rig.control, self->real.size, self->real.align,
			  &self->rig.id);
	if (ret == -EINVAL && variant->huge) {
		rig_end(_metadata, &self->rig);
		SKIP(return, "the module has no PMD-mapped dax memory on this kernel");
	}
	must(ret);
	self->rig.kind = HOTMIRROR_DAX;
	self->rig.fd = must(hm_open(self->rig.id));
	snprintf(self->path, sizeof(self->path), "/dev/hotmirror%u", self->rig.id);
	self->ours = (struct side){ .path = self->path, .align = self->real.align,
				    .size = self->real.size };
	self->theirs = self->ours;
	self->theirs.path = self->real.path;
	side_map(_metadata, &self->ours);
	side_map(_metadata, &self->theirs);
}

FIXTURE_TEARDOWN(devdax)
{
	rig_teardown(_metadata, &self->rig);
}

/* Take both away, as they are used. */
static void take_away(struct __test_metadata *_metadata, data *self)
{
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_devdax_unbind(&self->real));
}

/* Where ours answers otherwise, and why that is right. */
static const struct {
	const char *row;
	long ours, theirs;
	const char *why;
	bool huge;		/* with PMD-sized pages only */
} differences[] = {
	{ "mremap_grows", -EFAULT, 0, "ours sets VM_DONTEXPAND: it keeps its size", false },
	{ "gone_opens", -ENOENT, 0, "our node goes with the device", false },
	{ "maps_at_a_page", -EINVAL, 0, "it maps another page: misaligned_offset_maps_*",
	  true },
};

static void expect_same(struct __test_metadata *_metadata, const char *row, bool huge,
			long ours, long theirs)
{
	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
		if (strcmp(differences[i].row, row) || differences[i].huge > huge)
			continue;
		EXPECT_EQ(differences[i].ours, ours);
		EXPECT_EQ(differences[i].theirs, theirs)
			TH_LOG("device-dax no longer differs; it did, as %s",
			       differences[i].why);
		return;
	}
	EXPECT_EQ(theirs, ours)
		TH_LOG("%s: device-dax %ld (%s), ours %ld (%s)", row,
		       theirs, theirs < 0 ? strerror(-theirs) : "no error",
		       ours, ours < 0 ? strerror(-ours) : "no error");
}

static void compare(struct __test_metadata *_metadata, data *self, const char *row,
		    long (*fn)(struct side *s))
{
	expect_same(_metadata, row, self->real.align > hm_page_size(), fn(&self->ours),
		    fn(&self->theirs));
}

/* A row while both live, and one after both were taken away. */
#define LIVE(name)							\
static long name##_of(struct side *s);					\
TEST_F(devdax, name)							\
{									\
	compare(_metadata, self, #name, name##_of);			\
}									\
static long name##_of(struct side *s)

#define GONE(name)							\
static long name##_of(struct side *s);					\
TEST_F(devdax, gone_##name)						\
{									\
	take_away(_metadata, self);					\
	compare(_metadata, self, "gone_" #name, name##_of);		\
}									\
static long name##_of(struct side *s)

#define BOTH(name)							\
static long name##_of(struct side *s);					\
TEST_F(devdax, name)							\
{									\
	compare(_metadata, self, #name, name##_of);			\
}									\
TEST_F(devdax, gone_##name)						\
{									\
	take_away(_metadata, self);					\
	compare(_metadata, self, "gone_" #name, name##_of);		\
}									\
static long name##_of(struct side *s)

static long try_map(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	void *p = mmap(addr, length, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, length);
	return 0;
}

#define RW	(PROT_READ | PROT_WRITE)

/* Room for a mapping at an aligned address, freed by the end of the test's process. */
static char *reserve(size_t length, size_t align)
{
	uintptr_t p = (uintptr_t)mmap(NULL, length + align, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return (char *)((p + align - 1) & ~(align - 1));
}

/* ---- mmap ---- */

BOTH(maps_shared)
{
	return try_map(NULL, s->length, RW, MAP_SHARED, s->fd, 0);
}

BOTH(maps_private)
{
	return try_map(NULL, s->length, RW, MAP_PRIVATE, s->fd, 0);
}

LIVE(maps_nothing)
{
	return try_map(NULL, 0, RW, MAP_SHARED, s->fd, 0);
}

LIVE(maps_a_page)
{
	return try_map(NULL, hm_page_size(), RW, MAP_SHARED, s->fd, 0);
}

LIVE(maps_at_a_page)
{
	return try_map(NULL, s->align, RW, MAP_SHARED, s->fd, hm_page_size());
}

/* Where the address does not suit the offset. */
LIVE(maps_misaligned)
{
	char *room = reserve(2 * s->align, s->align);

	return try_map(room + hm_page_size(), s->align, RW, MAP_SHARED | MAP_FIXED, s->fd, 0);
}

/*
 * Kernel bug, 6.12.107 and 7.3.4: device-dax compares the addresses of a mapping with
 * its alignment (check_vma()), never the offset. With 2 MiB pages an offset of 4 KiB is
 * accepted and shows what is at 0; 6.12 also sets the PAT bit of the PMD, the lowest one
 * of the pfn that it inserts.
 */
TEST_F(devdax, misaligned_offset_maps_what_it_names)
{
	size_t page = hm_page_size();
	char *p = mmap(NULL, self->theirs.align, RW, MAP_SHARED, self->theirs.fd, page);

	if (p == MAP_FAILED) {
		EXPECT_EQ(EINVAL, errno);
		return;
	}
	if (memcmp(p, self->theirs.mem + page, page) == 0)
		return;
	EXPECT_TRUE(variant->huge);
	EXPECT_EQ(0, memcmp(p, self->theirs.mem, page));
	rig_xfail(_metadata, "device-dax maps offset 4 KiB of a 2 MiB page as offset 0");
}

LIVE(chooses_an_aligned_address)
{
	return (uintptr_t)s->mem & (s->align - 1);
}

/* Longer than the device: the rest is there, and nothing is in it. */
LIVE(maps_beyond_the_end)
{
	char *p = mmap(NULL, 2 * s->align, RW, MAP_SHARED, s->fd, s->size - s->align);
	long ret;

	if (p == MAP_FAILED)
		return -errno;
	ret = hm_cpu_touch(p) << 8 | hm_cpu_touch(p + s->align);
	munmap(p, 2 * s->align);
	return ret;
}

LIVE(maps_far_beyond_the_end)
{
	char *p = mmap(NULL, s->align, RW, MAP_SHARED, s->fd, 16 * s->size);
	long ret;

	if (p == MAP_FAILED)
		return -errno;
	ret = hm_cpu_touch(p);
	munmap(p, s->align);
	return ret;
}

LIVE(read_only_file_maps_no_writable)
{
	int fd = open(s->path, O_RDONLY | O_CLOEXEC);
	long ret = try_map(NULL, s->length, RW, MAP_SHARED, fd, 0);

	close(fd);
	return ret;
}

BOTH(opens)
{
	int fd = open(s->path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

LIVE(reads_as_a_file)
{
	char byte;

	return read(s->fd, &byte, 1) < 0 ? -errno : 0;
}

LIVE(writes_as_a_file)
{
	return write(s->fd, "", 1) < 0 ? -errno : 0;
}

BOTH(syncs_as_a_file)
{
	return fsync(s->fd) ? -errno : 0;
}

LIVE(truncates)
{
	return ftruncate(s->fd, 0) ? -errno : 0;
}

/* ---- the mapping ---- */

BOTH(is_read)
{
	return hm_cpu_touch(s->mem) << 8 | hm_cpu_touch(s->mem + s->length - 1);
}

BOTH(is_written)
{
	return hm_cpu_dirty(s->mem) << 8 | hm_cpu_dirty(s->mem + s->length - 1);
}

LIVE(second_mapping_shares_the_memory)
{
	char *p = mmap(NULL, s->align, RW, MAP_SHARED, s->fd, s->align);
	long ret;

	if (p == MAP_FAILED)
		return -errno;
	p[5] = 99;
	ret = s->mem[s->align + 5];
	munmap(p, s->align);
	return ret;
}

LIVE(unmaps_a_page)
{
	return munmap(s->mem, hm_page_size()) ? -errno : hm_cpu_touch(s->mem);
}

BOTH(unmaps_a_unit)
{
	if (munmap(s->mem, s->align))
		return -errno;
	return hm_cpu_touch(s->mem) << 8 | hm_cpu_touch(s->mem + s->align);
}

/* Moved, and there is what was there; -1 if it is something else. */
BOTH(mremap_moves)
{
	char *p = mremap(s->mem, s->length, s->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			 reserve(s->length, s->align));
	int sig;

	if (p == MAP_FAILED)
		return -errno;
	sig = hm_cpu_touch(p);
	return sig ?: hm_differs(p, s->length, 1) + 1;
}

LIVE(mremap_grows)
{
	char *p = mremap(s->mem, s->length, 2 * s->length, MREMAP_MAYMOVE);

	return p == MAP_FAILED ? -errno : 0;
}

LIVE(mremap_shrinks)
{
	char *p = mremap(s->mem, s->length, s->align, 0);

	return p == MAP_FAILED ? -errno : hm_cpu_touch(p) << 8 | hm_cpu_touch(p + s->align);
}

BOTH(mprotect_read_only)
{
	if (mprotect(s->mem, s->length, PROT_READ))
		return -errno;
	return hm_cpu_touch(s->mem) << 8 | hm_cpu_dirty(s->mem);
}

LIVE(mprotect_of_a_page)
{
	return mprotect(s->mem, hm_page_size(), PROT_READ) ? -errno : hm_cpu_dirty(s->mem);
}

BOTH(mlocks)
{
	return mlock(s->mem, s->length) ? -errno : 0;
}

BOTH(msyncs)
{
	return msync(s->mem, s->length, MS_SYNC) ? -errno :
	       msync(s->mem, s->length, MS_ASYNC) ? -errno :
	       msync(s->mem, s->length, MS_INVALIDATE) ? -errno : 0;
}

BOTH(is_in_core)
{
	size_t pages = s->length / hm_page_size();
	unsigned char vec[pages];

	return mincore(s->mem, s->length, vec) ? -errno :
	       (vec[0] & 1) << 1 | (vec[pages - 1] & 1);
}

/* ---- madvise ---- */

static const struct {
	const char *name;
	int advice;
} advices[] = {
	{ "madv_dontneed", MADV_DONTNEED },
	{ "madv_free", MADV_FREE },
	{ "madv_remove", MADV_REMOVE },
	{ "madv_cold", MADV_COLD },
	{ "madv_pageout", MADV_PAGEOUT },
	{ "madv_collapse", MADV_COLLAPSE },
	{ "madv_hugepage", MADV_HUGEPAGE },
	{ "madv_nohugepage", MADV_NOHUGEPAGE },
	{ "madv_mergeable", MADV_MERGEABLE },
	{ "madv_wipeonfork", MADV_WIPEONFORK },
	{ "madv_populate_read", MADV_POPULATE_READ },
	{ "madv_populate_write", MADV_POPULATE_WRITE },
	{ "madv_dontdump", MADV_DONTDUMP },
	{ "madv_willneed", MADV_WILLNEED },
};

/* What it answers, and that the memory is as it was. */
static long advise(struct side *s, int advice)
{
	if (madvise(s->mem, s->length, advice))
		return -errno;
	return hm_cpu_touch(s->mem) ?: hm_differs(s->mem, s->length, 1) + 1;
}

static void advise_both(struct __test_metadata *_metadata, data *self)
{
	for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
		expect_same(_metadata, advices[i].name, false,
			    advise(&self->ours, advices[i].advice),
			    advise(&self->theirs, advices[i].advice));
}

TEST_F(devdax, madvise)
{
	advise_both(_metadata, self);
}

TEST_F(devdax, gone_madvise)
{
	take_away(_metadata, self);
	advise_both(_metadata, self);
}

/* ---- other ways to the memory ---- */

static long in_child(long (*fn)(struct side *s), struct side *s)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid)
		_exit(fn(s));
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

static long child_writes(struct side *s)
{
	return hm_cpu_dirty(s->mem) ?: (s->mem[7] = 42, 0);
}

BOTH(child_has_it_too)
{
	long ret = in_child(child_writes, s);

	return ret ?: hm_cpu_touch(s->mem) ?: s->mem[7];
}

BOTH(gup_reads)
{
	char buf[64];

	return hm_gup_read(s->mem, buf, sizeof(buf)) ?: !!memcmp(buf, s->mem, sizeof(buf));
}

BOTH(proc_mem_reads)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char buf[64];
	long ret = pread(fd, buf, sizeof(buf), (uintptr_t)s->mem);

	ret = ret < 0 ? -errno : ret;
	close(fd);
	return ret;
}

BOTH(proc_mem_writes)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	long ret = pwrite(fd, "x", 1, (uintptr_t)s->mem);

	ret = ret < 0 ? -errno : ret;
	close(fd);
	return ret;
}

BOTH(is_spliced)
{
	struct hm_hold hold;
	long ret = hm_hold(&hold, s->mem, hm_page_size());

	if (!ret)
		hm_unhold(&hold);
	return ret;
}

/* All of pagemap but the pfn. */
BOTH(pagemap)
{
	__u64 first = hm_pagemap(s->mem) & HM_PM_BITS;
	__u64 last = hm_pagemap(s->mem + s->length - 1) & HM_PM_BITS;

	return first >> 55 << 16 | last >> 55;
}

BOTH(move_pages_asks)
{
	void *page = s->mem;
	int status = 1000;

	return syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0) ? -errno : status;
}

BOTH(move_pages_moves)
{
	void *page = s->mem;
	int status = 1000, node = 0;

	return syscall(SYS_move_pages, 0, 1, &page, &node, &status, 0) ? -errno : status;
}

static long uffd_register(struct side *s, __u64 mode)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { (uintptr_t)s->mem, s->length }, .mode = mode,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
	long ret = ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg) ? -errno : 0;

	close(fd);
	return ret;
}

LIVE(uffd_registers_missing)
{
	return uffd_register(s, UFFDIO_REGISTER_MODE_MISSING);
}

LIVE(uffd_registers_wp)
{
	return uffd_register(s, UFFDIO_REGISTER_MODE_WP);
}

LIVE(uffd_registers_minor)
{
	return uffd_register(s, UFFDIO_REGISTER_MODE_MINOR);
}

HM_TEST_MAIN
