// SPDX-License-Identifier: GPL-2.0-only
/*
 * HMM asleep in a user fault that it takes for the device (PREFETCH_BY_HMM), and the worst
 * that can happen to its memory, its process and its device meanwhile (claims S1, S3, S8).
 * Only a fatal signal wakes it. The page is missing, write-protected, or in the file and
 * not mapped; userfaultfd has its faults. A kernel whose HMM cannot wait refuses.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "hm_test.h"
#include "lib/gate.h"

#define PAGES	4
#define HELD	1		/* the page whose fault is held */
#define SEED	1		/* of what is in a write-protected page, or in the file */
#define NEW	2		/* of what userfaultfd resolves a missing page with */
#define OTHER	3		/* of memory that took the place of what was there */

FIXTURE(asleep) {
	struct hm_rig rig;
	int fd, uffd;
	size_t page, length;
	char *mem;		/* PAGES, mirrored, under userfaultfd */
	char *held;		/* the page that is prefetched */
	char *other;		/* minor: the file, mapped elsewhere */
	char *fresh;		/* a page of NEW to resolve with */
	char *spare;
	bool write;		/* as the variant's */
	struct hm_async device;
};

FIXTURE_VARIANT(asleep) {
	__u64 mode;		/* HM_UFFD_* */
	bool write;
};

FIXTURE_VARIANT_ADD(asleep, missing_read) { .mode = HM_UFFD_MISSING };
FIXTURE_VARIANT_ADD(asleep, missing_write) { .mode = HM_UFFD_MISSING, .write = true };
FIXTURE_VARIANT_ADD(asleep, minor_read) { .mode = HM_UFFD_MINOR };
FIXTURE_VARIANT_ADD(asleep, minor_write) { .mode = HM_UFFD_MINOR, .write = true };
FIXTURE_VARIANT_ADD(asleep, wp_write) { .mode = HM_UFFD_WP, .write = true };

typedef FIXTURE_DATA(asleep) sleeper;
typedef FIXTURE_VARIANT(asleep) sleepers;

/* The file's pages are there, and not in this page table. */
static void map_file(struct __test_metadata *_metadata, sleeper *self)
{
	int file = memfd_create("hotmirror", MFD_CLOEXEC);

	ASSERT_EQ(0, ftruncate(file, self->length));
	self->other = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, self->other);
	ASSERT_EQ(self->mem, mmap(self->mem, self->length, PROT_READ | PROT_WRITE,
				  MAP_SHARED | MAP_FIXED, file, 0));
	for (int i = 0; i < PAGES; i++)
		hm_fill(self->other + i * self->page, self->page, SEED);
	close(file);
}

FIXTURE_SETUP(asleep)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->uffd = hm_uffd_open();
	if (self->uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-self->uffd));
	self->page = self->rig.page;
	self->write = variant->write;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->spare);
	self->fresh = hm_map(1);
	ASSERT_NE(NULL, self->fresh);
	hm_fill(self->fresh, self->page, NEW);
	self->held = self->mem + HELD * self->page;
	if (variant->mode == HM_UFFD_MINOR)
		map_file(_metadata, self);
	else if (variant->mode == HM_UFFD_WP)
		for (int i = 0; i < PAGES; i++)
			hm_fill(self->mem + i * self->page, self->page, SEED);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	must(hm_uffd_register_mode(self->uffd, self->mem, self->length, variant->mode));
	if (variant->mode == HM_UFFD_WP)
		must(hm_uffd_protect(self->uffd, self->mem, self->length, true));
}

FIXTURE_TEARDOWN(asleep)
{
	rig_teardown(_metadata, &self->rig);
}

#define NEEDS_SLEEP							\
	skip_unless(self->rig.q.features & HOTMIRROR_HAS_HMM_SLEEPS,	\
		    "kernel without hmm_range_fault_unlocked_timeout()")

static long prefetch_held(void *arg)
{
	sleeper *self = arg;

	return hm_prefetch_by_hmm(self->fd, self->held, self->page, self->write);
}

/* HMM is in the fault of the page, outside of what unplug waits for. */
static void expect_fault(struct __test_metadata *_metadata, sleeper *self,
			 const sleepers *variant)
{
	struct hotmirror_status st;
	struct hm_fault f;

	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)self->held, f.addr);
	EXPECT_EQ(variant->mode == HM_UFFD_WP, f.wp);
	EXPECT_EQ(variant->mode == HM_UFFD_MINOR, f.minor);
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(1, st.sleepers);
	EXPECT_EQ(0, st.readers);
}

static void hold(struct __test_metadata *_metadata, sleeper *self, const sleepers *variant)
{
	must(hm_async_start(&self->device, prefetch_held, self));
	expect_fault(_metadata, self, variant);
	must(hm_wait_asleep(self->device.tid));
}

static void resolve(struct __test_metadata *_metadata, sleeper *self, const sleepers *variant)
{
	if (variant->mode == HM_UFFD_WP)
		must(hm_uffd_protect(self->uffd, self->held, self->page, false));
	else if (variant->mode == HM_UFFD_MINOR)
		must(hm_uffd_continue(self->uffd, self->held, self->page));
	else
		must(hm_uffd_copy(self->uffd, self->held, self->fresh, self->page));
}

static void expect_end(struct __test_metadata *_metadata, sleeper *self, long expected)
{
	struct hotmirror_status st;
	long ret;

	must(hm_async_join(&self->device, HM_LIMIT_MS, &ret));
	EXPECT_EQ(expected, ret)
		TH_LOG("it ended with %s, expected %s", strerror(-ret), strerror(-expected));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.sleepers + st.readers);
}

/* The device page table alone: present, and writable if that was asked for. */
static void expect_entry(struct __test_metadata *_metadata, sleeper *self, bool there,
			 bool write)
{
	__u32 entry;

	must(hm_entries(self->fd, self->held, self->page, &entry));
	EXPECT_EQ(there, !!(entry & HOTMIRROR_SNAP_DEVICE));
	if (there && write)
		EXPECT_NE(0, entry & HOTMIRROR_SNAP_DEVICE_WRITE);
}

/* Where HMM cannot wait: the documented error, at once, and nobody is told of a fault. */
static void expect_refusal(struct __test_metadata *_metadata, sleeper *self)
{
	must_err(EFAULT, prefetch_held(self));
	EXPECT_FALSE(hm_uffd_pending(self->uffd));
	expect_entry(_metadata, self, false, false);
}

TEST_F(asleep, fault_is_waited_for_or_refused)
{
	if (!(self->rig.q.features & HOTMIRROR_HAS_HMM_SLEEPS)) {
		expect_refusal(_metadata, self);
		return;
	}
	hold(_metadata, self, variant);
	EXPECT_FALSE(hm_async_done(&self->device));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_entry(_metadata, self, true, variant->write);
	expect_filled(self->held, self->page, variant->mode == HM_UFFD_MISSING ? NEW : SEED);
}

TEST_F(asleep, spurious_wake_faults_again)
{
	NEEDS_SLEEP;
	hold(_metadata, self, variant);
	must(hm_uffd_wake(self->uffd, self->held, self->page));
	expect_fault(_metadata, self, variant);
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
}

TEST_F(asleep, munmap_meanwhile_is_efault)
{
	NEEDS_SLEEP;
	hold(_metadata, self, variant);
	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_FALSE(hm_async_done(&self->device));
	must(hm_uffd_wake(self->uffd, self->held, self->page));
	expect_end(_metadata, self, -EFAULT);
	expect_entry(_metadata, self, false, false);
}

/* It looks at the memory anew: nothing of what it walked before is stored. */
TEST_F(asleep, other_memory_meanwhile_is_what_it_gets)
{
	char *buf = hm_map(PAGES);

	NEEDS_SLEEP;
	ASSERT_NE(NULL, buf);
	hold(_metadata, self, variant);
	ASSERT_EQ(0, munmap(self->mem, self->length));
	ASSERT_EQ(self->mem, mmap(self->mem, self->length, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	hm_fill(self->mem, self->length, OTHER);
	must(hm_uffd_wake(self->uffd, self->held, self->page));
	expect_end(_metadata, self, 0);
	expect_entry(_metadata, self, true, variant->write);
	rig_verify(&self->rig);
	must(hm_read(self->fd, self->mem, buf, self->length));
	expect_filled(buf, self->length, OTHER);
}

TEST_F(asleep, read_only_meanwhile_is_eperm_for_a_write)
{
	NEEDS_SLEEP;
	hold(_metadata, self, variant);
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, variant->write ? -EPERM : 0);
	expect_entry(_metadata, self, !variant->write, false);
}

TEST_F(asleep, unmirror_meanwhile_is_enoent)
{
	NEEDS_SLEEP;
	hold(_metadata, self, variant);
	must(hm_unmirror(self->fd, 0));
	EXPECT_FALSE(hm_async_done(&self->device));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, -ENOENT);
}

/* The device is gone at once; who sleeps learns it when the fault ends. */
TEST_F(asleep, unplug_meanwhile_does_not_wait)
{
	NEEDS_SLEEP;
	hold(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_FALSE(hm_async_done(&self->device));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, -ENODEV);
}

static void on_signal(int sig)
{
}

/* Killable only: to the fault this signal is none. */
TEST_F(asleep, signal_meanwhile_does_not_wake_it)
{
	struct sigaction sa = { .sa_handler = on_signal };

	NEEDS_SLEEP;
	sigaction(SIGUSR1, &sa, NULL);
	hold(_metadata, self, variant);
	pthread_kill(self->device.thread, SIGUSR1);
	must(hm_wait_asleep(self->device.tid));
	EXPECT_FALSE(hm_async_done(&self->device));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
}

/* In a process of its own, which is killed; the memory is the parent's. */
static int prefetch_main(struct hm_parent *p, void *arg)
{
	hm_tell(p, 0);
	return prefetch_held(arg);
}

TEST_F(asleep, killed_meanwhile_ends)
{
	struct hotmirror_status st;
	struct hm_child child;
	int status;
	long began;

	NEEDS_SLEEP;
	must(hm_child_start(&child, prefetch_main, self));
	must(hm_child_hear(&child, &began));
	expect_fault(_metadata, self, variant);
	must(hm_wait_asleep(child.pid));
	must(hm_child_kill(&child, SIGKILL));
	must(hm_child_wait(&child, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.sleepers + st.readers);
	expect_entry(_metadata, self, false, false);
	/* The fault can be resolved, and the memory used. */
	resolve(_metadata, self, variant);
	expect_filled(self->held, self->page, variant->mode == HM_UFFD_MISSING ? NEW : SEED);
}

/* Killed after the device went: the same, and the device is no more. */
TEST_F(asleep, killed_after_unplug_ends)
{
	struct hm_child child;
	int status;
	long began;

	NEEDS_SLEEP;
	must(hm_child_start(&child, prefetch_main, self));
	must(hm_child_hear(&child, &began));
	expect_fault(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_child_kill(&child, SIGKILL));
	must(hm_child_wait(&child, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
}

static long prefetch_all(void *arg)
{
	sleeper *self = arg;

	return hm_prefetch_by_hmm(self->fd, self->mem, self->length, self->write);
}

/* One call of many pages is held at each that is not there. */
TEST_F(asleep, pages_of_one_call_are_held_one_by_one)
{
	struct hm_fault f;

	NEEDS_SLEEP;
	must(hm_async_start(&self->device, prefetch_all, self));
	for (int i = 0; i < PAGES; i++) {
		must(hm_uffd_wait(self->uffd, &f));
		EXPECT_EQ((unsigned long)self->mem + i * self->page, f.addr);
		self->held = (char *)f.addr;
		resolve(_metadata, self, variant);
	}
	expect_end(_metadata, self, 0);
	for (int i = 0; i < PAGES; i++) {
		self->held = self->mem + i * self->page;
		expect_entry(_metadata, self, true, variant->write);
	}
}

HM_TEST_MAIN
