// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/hmm_dmirror0..3 (module loaded with dmirror=1): what upstream's hmm-tests
 * cannot see on the same devices. Above all one device opened twice, where one file
 * meets pages that the other one moved: lib/test_hmm.c oopses there.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "test_hotmirror_dmirror_uapi.h"

#define PAGES	16
#define SEED	1
#define OTHER	2

FIXTURE(dmirror) {
	struct hm_rig rig;
	int first;		/* two files of one device */
	int second;
	size_t page;
	size_t size;		/* of mem and buf */
	char *mem;
	char *buf;
};

FIXTURE_VARIANT(dmirror) {
	__u32 kind;
	unsigned int device;	/* the other one of this kind is the next */
};

FIXTURE_VARIANT_ADD(dmirror, private) {
	.kind = HOTMIRROR_PRIVATE,
	.device = 0,
};

FIXTURE_VARIANT_ADD(dmirror, coherent) {
	.kind = HOTMIRROR_COHERENT,
	.device = 2,
};

typedef FIXTURE_DATA(dmirror) data;

static int dmirror_open(unsigned int device)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/hmm_dmirror%u", device);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Any command; @out may be NULL. */
static int dmirror_cmd(int fd, unsigned int nr, void *addr, void *buf, __u64 pages,
		       struct hmm_dmirror_cmd *out)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)buf,
		.npages = pages,
	};
	int ret = ioctl(fd, nr, &cmd) ? -errno : 0;

	if (out)
		*out = cmd;
	/* Success means all of it. */
	if (!ret && nr != HMM_DMIRROR_CHECK_EXCLUSIVE && nr != HMM_DMIRROR_RELEASE &&
	    nr != HMM_DMIRROR_MIGRATE_TO_SYS && cmd.cpages != pages)
		return -EPROTO;
	return ret;
}

/* The same on all of the memory, into buf. */
static int all(data *self, int fd, unsigned int nr)
{
	return dmirror_cmd(fd, nr, self->mem, self->buf, PAGES, NULL);
}

static int read_all(data *self, int fd, struct hmm_dmirror_cmd *out)
{
	memset(self->buf, 0, self->size);
	return dmirror_cmd(fd, HMM_DMIRROR_READ, self->mem, self->buf, PAGES, out);
}

/* Pages of the memory that a snapshot of @fd shows as @prot, writable. */
static int count_prot(struct __test_metadata *_metadata, data *self, int fd, __u8 prot)
{
	__u8 seen[PAGES];
	int n = 0;

	must(dmirror_cmd(fd, HMM_DMIRROR_SNAPSHOT, self->mem, seen, PAGES, NULL));
	for (int i = 0; i < PAGES; i++)
		n += seen[i] == (prot | HMM_DMIRROR_PROT_WRITE);
	return n;
}

FIXTURE_SETUP(dmirror)
{
	rig_begin(_metadata, variant, &self->rig);
	self->first = -1;
	self->second = -1;
	skip_unless(self->rig.q.features & hm_kind(variant->kind)->feature,
		    hm_kind(variant->kind)->lacking);
	self->first = dmirror_open(variant->device);
	skip_unless(self->first != -ENOENT,
		    "no /dev/hmm_dmirror: load test_hotmirror.ko with dmirror=1");
	must(self->first);
	self->second = must(dmirror_open(variant->device));
	self->page = self->rig.page;
	self->size = PAGES * self->page;
	self->mem = hm_map(PAGES);
	self->buf = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->mem, self->size, SEED);
}

FIXTURE_TEARDOWN(dmirror)
{
	if (self->first >= 0)
		close(self->first);
	if (self->second >= 0)
		close(self->second);
	rig_end(_metadata, &self->rig);
}

static __u8 local(__u32 kind)
{
	return kind == HOTMIRROR_PRIVATE ? HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL :
					   HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL;
}

TEST_F(dmirror, second_file_reads_what_the_first_moved)
{
	struct hmm_dmirror_cmd out;

	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	must(read_all(self, self->second, &out));
	EXPECT_EQ(1, out.faults);
	expect_filled(self->buf, self->size, SEED);
	/* Reading did not move it back. */
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->second, local(variant->kind)));
}

TEST_F(dmirror, second_file_writes_what_the_first_moved)
{
	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	hm_fill(self->buf, self->size, OTHER);
	must(all(self, self->second, HMM_DMIRROR_WRITE));
	must(read_all(self, self->first, NULL));
	expect_filled(self->buf, self->size, OTHER);
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->first, local(variant->kind)));
	expect_filled(self->mem, self->size, OTHER);
}

TEST_F(dmirror, second_file_moves_back_what_the_first_moved)
{
	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	must(all(self, self->second, HMM_DMIRROR_MIGRATE_TO_SYS));
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->first, HMM_DMIRROR_PROT_NONE));
	must(read_all(self, self->first, NULL));
	expect_filled(self->buf, self->size, SEED);
}

TEST_F(dmirror, both_files_move_parts_of_one_range)
{
	for (int i = 0; i < PAGES; i++)
		must(dmirror_cmd(i % 2 ? self->first : self->second,
				 HMM_DMIRROR_MIGRATE_TO_DEV, self->mem + i * self->page,
				 self->buf, 1, NULL));
	must(read_all(self, self->second, NULL));
	expect_filled(self->buf, self->size, SEED);
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->first, local(variant->kind)));
}

/* Closing a file takes nothing from the others: not the pages, not their contents. */
TEST_F(dmirror, pages_outlive_the_file_that_moved_them)
{
	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	close(self->first);
	self->first = -1;
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->second, local(variant->kind)));
	must(read_all(self, self->second, NULL));
	expect_filled(self->buf, self->size, SEED);
	expect_filled(self->mem, self->size, SEED);
}

TEST_F(dmirror, release_by_one_file_invalidates_the_other)
{
	struct hmm_dmirror_cmd out;

	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	must(read_all(self, self->second, NULL));
	must(read_all(self, self->second, &out));
	EXPECT_EQ(0, out.faults);
	must(all(self, self->first, HMM_DMIRROR_RELEASE));
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->second, HMM_DMIRROR_PROT_NONE));
	must(read_all(self, self->second, &out));
	EXPECT_EQ(1, out.faults);
	expect_filled(self->buf, self->size, SEED);
}

/* The device goes on after RELEASE. */
TEST_F(dmirror, moves_again_after_release)
{
	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	must(all(self, self->second, HMM_DMIRROR_RELEASE));
	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	EXPECT_EQ(PAGES, count_prot(_metadata, self, self->second, local(variant->kind)));
	expect_filled(self->buf, self->size, SEED);
}

/* In the child: its own file, its own mm, the same pages, shared until written. */
static int read_in_child(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int fd = dmirror_open(hm_hear(p));

	if (fd < 0)
		return 2;
	if (read_all(self, fd, NULL))
		return 3;
	return hm_differs(self->buf, self->size, SEED) != -1;
}

TEST_F(dmirror, child_reads_what_its_parent_moved)
{
	struct hm_child child;
	int status;

	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	must(hm_child_start(&child, read_in_child, self));
	must(hm_child_tell(&child, variant->device));
	must(hm_child_wait(&child, &status));
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status))
		TH_LOG("the child's status is %#x", status);
	must(read_all(self, self->second, NULL));
	expect_filled(self->buf, self->size, SEED);
	hm_child_end(&child);
}

/* A foreign private page is never handed out: it comes home first. */
TEST_F(dmirror, another_device_reads_what_this_one_moved)
{
	int other = must(dmirror_open(variant->device + 1));
	bool home = variant->kind == HOTMIRROR_PRIVATE;

	must(all(self, self->first, HMM_DMIRROR_MIGRATE_TO_DEV));
	EXPECT_EQ(home ? 0 : PAGES, count_prot(_metadata, self, other,
					       HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE));
	must(read_all(self, other, NULL));
	expect_filled(self->buf, self->size, SEED);
	EXPECT_EQ(home ? 0 : PAGES, count_prot(_metadata, self, self->first,
					       local(variant->kind)));
	close(other);
}

TEST_F(dmirror, access_by_the_second_file_ends_exclusivity)
{
	skip_unless(self->rig.q.features & HOTMIRROR_HAS_EXCLUSIVE,
		    "this kernel has no device-exclusive entries");
	must(all(self, self->first, HMM_DMIRROR_EXCLUSIVE));
	expect_filled(self->buf, self->size, SEED);
	must_err(EPERM, all(self, self->first, HMM_DMIRROR_CHECK_EXCLUSIVE));
	must(read_all(self, self->second, NULL));
	expect_filled(self->buf, self->size, SEED);
	must(all(self, self->first, HMM_DMIRROR_CHECK_EXCLUSIVE));
}

TEST_F(dmirror, a_failed_migration_says_how_far_it_got)
{
	struct hmm_dmirror_cmd out;

	/* Page 3 is shared with nobody and yet not of a kind that can move. */
	ASSERT_EQ(self->mem + 3 * self->page,
		  mmap(self->mem + 3 * self->page, self->page, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	must_err(ENOENT, dmirror_cmd(self->first, HMM_DMIRROR_MIGRATE_TO_DEV, self->mem,
				     self->buf, PAGES, &out));
	EXPECT_EQ(3, out.cpages);
}

TEST_F(dmirror, refuses_what_makes_no_sense)
{
	must_err(EINVAL, dmirror_cmd(self->first, HMM_DMIRROR_READ, self->mem + 1,
				     self->buf, 1, NULL));
	must_err(EINVAL, dmirror_cmd(self->first, HMM_DMIRROR_READ, self->mem,
				     self->buf, 0, NULL));
	must_err(EINVAL, dmirror_cmd(self->first, HMM_DMIRROR_READ, self->mem,
				     self->buf, -1ULL, NULL));
	must_err(EFAULT, dmirror_cmd(self->first, HMM_DMIRROR_READ, self->mem, NULL, 1,
				     NULL));
	must_err(EFAULT, ioctl(self->first, HMM_DMIRROR_READ, NULL) ? -errno : 0);
	must_err(ENOTTY, dmirror_cmd(self->first, HMM_DMIRROR_IO(0x7f), self->mem,
				     self->buf, 1, NULL));
}

HM_TEST_MAIN
