// SPDX-License-Identifier: GPL-2.0-only
/*
 * Faults that HMM takes for the device, as most drivers have it: PREFETCH_BY_HMM. What
 * one page gets, on which memory and in which state, is in hotmirror_cpu (*_by_hmm);
 * here are several pages in one call, and what a page does to those beside it (claims
 * S1, S2, S5).
 */
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/gate.h"

#define PAGES	8
#define SEED	1
#define OTHER	2		/* seed of what the device writes */

FIXTURE(hmm) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, mirrored, not touched */
	char *buf;
};

typedef FIXTURE_DATA(hmm) data;

static char *page_at(data *self, int i)
{
	return self->mem + i * self->page;
}

FIXTURE_SETUP(hmm)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
}

FIXTURE_TEARDOWN(hmm)
{
	rig_teardown(_metadata, &self->rig);
}

/* PREFETCH_BY_HMM of all pages: its result, with its outputs. */
static int prefetch(data *self, bool write, struct hotmirror_access *out)
{
	*out = (struct hotmirror_access){
		.flags = HOTMIRROR_PREFETCH_BY_HMM | (write ? HOTMIRROR_ACCESS_WRITE : 0),
	};
	return hm_access(self->fd, HOTMIRROR_PREFETCH, self->mem, NULL, self->length, out);
}

/* Pages [first, first + n) have device entries, writable ones if @write; none else has. */
static void expect_entries(struct __test_metadata *_metadata, data *self, int first, int n,
			   bool write)
{
	__u32 wanted = HOTMIRROR_SNAP_DEVICE | (write ? HOTMIRROR_SNAP_DEVICE_WRITE : 0);
	__u32 entry[PAGES];

	must(hm_entries(self->fd, self->mem, self->length, entry));
	for (int i = 0; i < PAGES; i++) {
		bool in = i >= first && i < first + n;

		EXPECT_EQ(in ? wanted : 0, entry[i] & wanted)
			TH_LOG("page %d: %#x", i, entry[i]);
	}
}

TEST_F(hmm, missing_pages_are_faulted)
{
	struct hotmirror_access out;

	must(prefetch(self, true, &out));
	EXPECT_EQ(self->length, out.done);
	/* None of them by the device itself. */
	EXPECT_EQ(0, out.faults);
	expect_entries(_metadata, self, 0, PAGES, true);
	expect_zero(self->mem, self->length);
}

/* Nobody asked for more than to read. */
TEST_F(hmm, reading_leaves_the_zero_page)
{
	struct hotmirror_access out;
	__u32 snap;

	must(prefetch(self, false, &out));
	expect_entries(_metadata, self, 0, PAGES, false);
	snap = rig_page(_metadata, &self->rig, self->mem);
	EXPECT_EQ(HOTMIRROR_SNAP_KIND_ZERO, HOTMIRROR_SNAP_KIND(snap));
	EXPECT_EQ(0, snap & (HOTMIRROR_SNAP_WRITE | HOTMIRROR_SNAP_DEVICE_WRITE));
	/* The next one does. */
	must(prefetch(self, true, &out));
	expect_entries(_metadata, self, 0, PAGES, true);
}

static int look_and_exit(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_hear(p);
	for (int i = 0; i < PAGES; i += 2)
		if (hm_differs(page_at(self, i), self->page, SEED + i) != -1)
			return 1;
	return 0;
}

/* Missing, zero page, shared with a child, a private page that is away: each as it must be. */
TEST_F(hmm, pages_of_many_kinds_in_one_call)
{
	struct hotmirror_access out;
	struct hm_child child;
	int status;

	for (int i = 0; i < PAGES; i += 2)
		hm_fill(page_at(self, i), self->page, SEED + i);
	EXPECT_EQ(0, hm_cpu_touch(page_at(self, 1)));
	must(hm_child_start(&child, look_and_exit, self));
	if (self->rig.kind != HOTMIRROR_DAX)
		must(hm_to_dev(self->fd, page_at(self, 3), self->page, NULL));
	must(prefetch(self, true, &out));
	expect_entries(_metadata, self, 0, PAGES, true);
	/* Through the entries: the child has what it had. */
	hm_fill(self->buf, self->length, OTHER);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->mem, self->length, OTHER);
	must(hm_child_tell(&child, 0));
	must(hm_child_wait(&child, &status));
	EXPECT_EQ(0, status);
}

/* One page of the eight is bad: how far it got, and with which error. */
FIXTURE(bad) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;
	char *buf;
	int file;
};

FIXTURE_VARIANT(bad) {
	int at;			/* the bad page */
	bool write;
	bool file;		/* that ends before the bad page */
	bool doorbell;		/* the bad page is a bare pfn, and there */
	int prot;		/* of the bad page; -1: unmapped */
	int error;
};

#define RW	(PROT_READ | PROT_WRITE)

#define ROW(name, ...)							\
FIXTURE_VARIANT_ADD(bad, name) {					\
	__VA_ARGS__							\
}

ROW(hole, .at = 3, .prot = -1, .error = EFAULT);
ROW(hole_first, .at = 0, .prot = -1, .error = EFAULT);
ROW(hole_last, .at = PAGES - 1, .prot = -1, .write = true, .error = EFAULT);
ROW(none, .at = 5, .prot = PROT_NONE, .error = EFAULT);
ROW(none_write, .at = 5, .prot = PROT_NONE, .write = true, .error = EFAULT);
ROW(read_only, .at = 2, .prot = PROT_READ, .write = true, .error = EPERM);
ROW(read_only_first, .at = 0, .prot = PROT_READ, .write = true, .error = EPERM);
ROW(bare_pfn, .at = 3, .doorbell = true, .error = EFAULT);
ROW(bare_pfn_write, .at = 6, .write = true, .doorbell = true, .error = EFAULT);
ROW(end_of_file, .at = 4, .file = true, .prot = RW, .error = EFAULT);
ROW(end_of_file_write, .at = 1, .write = true, .file = true, .prot = RW, .error = EFAULT);

FIXTURE_SETUP(bad)
{
	char *bad;

	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	bad = self->mem + variant->at * self->page;
	if (variant->file) {
		self->file = memfd_create("hotmirror", MFD_CLOEXEC);
		ASSERT_EQ(0, ftruncate(self->file, variant->at * self->page));
		ASSERT_EQ(self->mem, mmap(self->mem, self->length, PROT_READ | PROT_WRITE,
					  MAP_SHARED | MAP_FIXED, self->file, 0));
	} else if (variant->doorbell) {
		skip_unless(self->rig.kind != HOTMIRROR_DAX, "a dax instance has no doorbell");
		ASSERT_EQ(bad, mmap(bad, self->page, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_FIXED, self->fd, 0));
		ASSERT_EQ(0, hm_cpu_dirty(bad));
	} else if (variant->prot == -1) {
		ASSERT_EQ(0, munmap(bad, self->page));
	} else {
		ASSERT_EQ(0, mprotect(bad, self->page, variant->prot));
	}
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
}

FIXTURE_TEARDOWN(bad)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(bad, page_ends_it_there)
{
	struct hotmirror_access out = {
		.flags = HOTMIRROR_PREFETCH_BY_HMM |
			 (variant->write ? HOTMIRROR_ACCESS_WRITE : 0),
	};
	__u32 entry[PAGES];

	must_err(variant->error, hm_access(self->fd, HOTMIRROR_PREFETCH, self->mem, NULL,
					   self->length, &out));
	EXPECT_EQ(variant->at * self->page, out.done);
	/* It is HMM that says so. */
	EXPECT_EQ(0, out.faults);
	must(hm_entries(self->fd, self->mem, self->length, entry));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(i < variant->at, !!(entry[i] & HOTMIRROR_SNAP_DEVICE))
			TH_LOG("page %d: %#x", i, entry[i]);
	}
}

/* Device-private memory: reported where it is ours, brought home where it is not. */

static bool is_private(data *self)
{
	return self->rig.q.features & HOTMIRROR_HAS_PRIVATE;
}

static void to_dev(struct __test_metadata *_metadata, data *self, char *mem, size_t length)
{
	__u64 moved;

	must(hm_to_dev(self->fd, mem, length, &moved));
	ASSERT_EQ(length / self->page, moved);
}

TEST_F(hmm, own_private_pages_stay)
{
	struct hotmirror_access out;

	skip_unless(is_private(self), "kernel without CONFIG_DEVICE_PRIVATE");
	hm_fill(self->mem, self->length, SEED);
	to_dev(_metadata, self, self->mem, self->length);
	must(prefetch(self, true, &out));
	expect_entries(_metadata, self, 0, PAGES, true);
	for (int i = 0; i < PAGES; i++)
		EXPECT_NE(0, rig_page(_metadata, &self->rig, page_at(self, i)) &
			  HOTMIRROR_SNAP_OWN);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

/* HMM faults what follows a missing page, too, ours or not: wherever it is, it is right. */
TEST_F(hmm, own_private_pages_behind_a_missing_one)
{
	struct hotmirror_access out;
	int own = 0;

	skip_unless(is_private(self), "kernel without CONFIG_DEVICE_PRIVATE");
	hm_fill(page_at(self, 1), self->length - self->page, SEED);
	to_dev(_metadata, self, page_at(self, 1), self->length - self->page);
	must(prefetch(self, true, &out));
	expect_entries(_metadata, self, 0, PAGES, true);
	for (int i = 1; i < PAGES; i++)
		own += !!(rig_page(_metadata, &self->rig, page_at(self, i)) &
			  HOTMIRROR_SNAP_OWN);
	TH_LOG("%d of %d stay in the device", own, PAGES - 1);
	must(hm_read(self->fd, page_at(self, 1), self->buf, self->length - self->page));
	expect_filled(self->buf, self->length - self->page, SEED);
	expect_zero(self->mem, self->page);
}

/* HMM reports them without the right to write, whatever it was asked for. */
TEST_F(hmm, own_private_pages_that_a_child_shares_are_copied)
{
	struct hotmirror_access out;
	struct hm_child child;
	int status;

	skip_unless(is_private(self), "kernel without CONFIG_DEVICE_PRIVATE");
	for (int i = 0; i < PAGES; i++)
		hm_fill(page_at(self, i), self->page, SEED + i);
	to_dev(_metadata, self, self->mem, self->length);
	must(hm_child_start(&child, look_and_exit, self));
	must(prefetch(self, true, &out));
	expect_entries(_metadata, self, 0, PAGES, true);
	hm_fill(self->buf, self->length, OTHER);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	must(hm_child_tell(&child, 0));
	must(hm_child_wait(&child, &status));
	EXPECT_EQ(0, status);
	/* "The output must have HMM_PFN_WRITE or hmm_range_fault() will fail" */
	if (out.faults)
		rig_xfail(_metadata, "hmm_vma_handle_pte() reports an own private page that is "
			  "read-only to who asks for HMM_PFN_REQ_WRITE");
}

static long do_migrate(void *arg)
{
	data *self = arg;

	return hm_to_dev(self->fd, self->mem, self->length, NULL);
}

static long do_prefetch(void *arg)
{
	data *self = arg;
	struct hotmirror_access out;

	return prefetch(self, true, &out);
}

/* The device waits for its own migration, and gets what came of it. */
TEST_F(hmm, migration_entry_is_waited_for)
{
	struct hm_async mover, device;
	int enter, copied;
	long ret;

	skip_unless(self->rig.kind != HOTMIRROR_DAX, "no memory to migrate to");
	hm_fill(self->mem, self->length, SEED);
	enter = must(hm_gate_open(self->fd, HOTMIRROR_GATE_FAULT_ENTER, 0));
	copied = must(hm_gate_open(self->fd, HOTMIRROR_GATE_MIGRATE_COPIED, 0));
	/* Both threads are there before one of them has mmap_lock. */
	must(hm_gate_arm_tid(enter, 0));
	must(hm_gate_arm_tid(copied, 0));
	must(hm_async_start(&device, do_prefetch, self));
	must(hm_gate_wait(enter, HM_LIMIT_MS));
	must(hm_async_start(&mover, do_migrate, self));
	must(hm_gate_wait(copied, HM_LIMIT_MS));
	must(hm_gate_release(enter));
	must(hm_wait_asleep(device.tid));
	EXPECT_FALSE(hm_async_done(&device));
	must(hm_gate_release(copied));
	must(hm_async_join(&mover, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	must(hm_async_join(&device, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	expect_entries(_metadata, self, 0, PAGES, true);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
}

/* What was invalidated behind HMM's back is not stored. */
TEST_F(hmm, invalidation_after_the_fault_starts_it_again)
{
	struct hm_async device;
	struct hotmirror_stats stats;
	long ret;
	int gate = must(hm_gate_open(self->fd, HOTMIRROR_GATE_POPULATE_FAULTED, 0));

	hm_fill(self->mem, self->length, SEED);
	must(hm_gate_arm_tid(gate, 0));
	must(hm_async_start(&device, do_prefetch, self));
	must(hm_gate_wait(gate, HM_LIMIT_MS));
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	must(hm_gate_release(gate));
	must(hm_async_join(&device, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	must(hm_stats(self->fd, &stats));
	EXPECT_LE(1, stats.retries);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_zero(self->buf, self->length);
}

HM_TEST_MAIN
