// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device access asleep in a user fault, and the worst that can happen to its
 * memory, its process and its device meanwhile (claims S1, S3, S5, S8). The page
 * is missing or write-protected by userfaultfd, which is the gate inside the core
 * kernel; nothing here depends on time.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "hm_test.h"

#define PAGES	4
#define HELD	1		/* the page whose access is held */
#define OLD	1		/* seed of what is in a write-protected page */
#define NEW	2		/* seed of what userfaultfd resolves a missing page with */
#define WRITTEN	3		/* seed of what the device writes */

/* A device access of one page, for a thread. */
struct io {
	int fd;
	bool write;
	char *addr;
	char *buf;
	size_t length;
};

static long do_io(void *arg)
{
	struct io *io = arg;

	return io->write ? hm_write(io->fd, io->addr, io->buf, io->length) :
			   hm_read(io->fd, io->addr, io->buf, io->length);
}

FIXTURE(uffd) {
	struct hm_rig rig;
	int fd, uffd;
	size_t page, length;
	char *mem;		/* PAGES of it, mirrored, under userfaultfd */
	char *held;		/* the page that is accessed */
	char *fresh;		/* a page of NEW to resolve with */
	char *spare;		/* PAGES, neither mirrored nor under userfaultfd */
	struct io io;
	struct hm_async access;
};

FIXTURE_VARIANT(uffd) {
	bool write;
	bool wp;
};

FIXTURE_VARIANT_ADD(uffd, missing_read) { .write = false, .wp = false };
FIXTURE_VARIANT_ADD(uffd, missing_write) { .write = true, .wp = false };
FIXTURE_VARIANT_ADD(uffd, wp_write) { .write = true, .wp = true };

typedef FIXTURE_DATA(uffd) data;
typedef FIXTURE_VARIANT(uffd) variants;

/* Ready to fault: missing pages, or present and write-protected ones. */
static void guard(struct __test_metadata *_metadata, data *self, bool wp)
{
	for (int i = 0; wp && i < PAGES; i++)
		hm_fill(self->mem + i * self->page, self->page, OLD);
	must(hm_uffd_register(self->uffd, self->mem, self->length, wp));
	if (wp)
		must(hm_uffd_protect(self->uffd, self->mem, self->length, true));
}

FIXTURE_SETUP(uffd)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->uffd = hm_uffd_open();
	if (self->uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-self->uffd));
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = hm_map(PAGES);
	self->fresh = hm_map(1);
	self->spare = hm_map(PAGES);
	self->io.buf = hm_map(1);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->fresh);
	ASSERT_NE(NULL, self->spare);
	ASSERT_NE(NULL, self->io.buf);
	self->held = self->mem + HELD * self->page;
	hm_fill(self->fresh, self->page, NEW);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	guard(_metadata, self, variant->wp);

	self->io.fd = self->fd;
	self->io.write = variant->write;
	self->io.addr = self->held;
	self->io.length = self->page;
	hm_fill(self->io.buf, self->page, WRITTEN);
}

FIXTURE_TEARDOWN(uffd)
{
	rig_teardown(_metadata, &self->rig);
}

/* Start the access and wait until it is asleep in the fault. */
static void hold_access(struct __test_metadata *_metadata, data *self, const variants *variant)
{
	struct hotmirror_status st;
	struct hm_fault f;

	must(hm_async_start(&self->access, do_io, &self->io));
	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)self->held, f.addr);
	EXPECT_EQ(variant->write, f.write);
	EXPECT_EQ(variant->wp, f.wp);
	must(hm_wait_asleep(self->access.tid));
	/* It sleeps outside of what unplug waits for. */
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(1, st.sleepers);
	EXPECT_EQ(0, st.readers);
}

/* Let the access go on as user space would: with a page, or with the right to write. */
static void resolve(struct __test_metadata *_metadata, data *self, const variants *variant)
{
	if (variant->wp)
		must(hm_uffd_protect(self->uffd, self->held, self->page, false));
	else
		must(hm_uffd_copy(self->uffd, self->held, self->fresh, self->page));
}

/* Let the fault be tried again on whatever is there now. */
static void wake(struct __test_metadata *_metadata, data *self)
{
	must(hm_uffd_wake(self->uffd, self->held, self->page));
}

static void expect_end(struct __test_metadata *_metadata, data *self, long expected)
{
	struct hotmirror_status st;
	long result;

	must(hm_async_join(&self->access, HM_LIMIT_MS, &result));
	EXPECT_EQ(expected, result)
		TH_LOG("the access ended with %s, expected %s",
		       result ? strerror(-result) : "success",
		       expected ? strerror(-expected) : "success");
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.sleepers + st.readers);
}

/* After a success: the device read @seed, or what it wrote is there. */
static void expect_data(struct __test_metadata *_metadata, data *self,
			const variants *variant, unsigned int seed)
{
	if (variant->write)
		expect_filled(self->held, self->page, WRITTEN);
	else
		expect_filled(self->io.buf, self->page, seed);
}

static void expect_no_entry(struct __test_metadata *_metadata, data *self)
{
	EXPECT_EQ(0, rig_page(_metadata, &self->rig, self->held) & HOTMIRROR_SNAP_DEVICE);
}

TEST_F(uffd, held_access_ends_when_resolved)
{
	hold_access(_metadata, self, variant);
	EXPECT_FALSE(hm_async_done(&self->access));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

/* Woken for nothing it faults again, and sleeps again. */
TEST_F(uffd, spurious_wake_faults_again)
{
	struct hm_fault f;

	hold_access(_metadata, self, variant);
	wake(_metadata, self);
	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)self->held, f.addr);
	EXPECT_FALSE(hm_async_done(&self->access));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

TEST_F(uffd, munmap_meanwhile_is_efault)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_FALSE(hm_async_done(&self->access));
	wake(_metadata, self);
	expect_end(_metadata, self, -EFAULT);
	expect_no_entry(_metadata, self);
}

TEST_F(uffd, munmap_of_the_neighbours_does_not_matter)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(0, munmap(self->mem, HELD * self->page));
	ASSERT_EQ(0, munmap(self->held + self->page, self->page));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

TEST_F(uffd, mremap_away_meanwhile_is_efault)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(self->spare, mremap(self->mem, self->length, self->length,
				      MREMAP_MAYMOVE | MREMAP_FIXED, self->spare));
	wake(_metadata, self);
	expect_end(_metadata, self, -EFAULT);
	expect_no_entry(_metadata, self);
	/* The data went along, and no device write did. */
	if (variant->wp)
		expect_filled(self->spare + HELD * self->page, self->page, OLD);
	else
		expect_zero(self->spare, self->length);
}

/* The access finds what is there when it goes on, not what was there before. */
TEST_F(uffd, other_memory_meanwhile_is_what_it_gets)
{
	hold_access(_metadata, self, variant);
	hm_fill(self->spare, self->length, 4);
	ASSERT_EQ(self->mem, mremap(self->spare, self->length, self->length,
				    MREMAP_MAYMOVE | MREMAP_FIXED, self->mem));
	wake(_metadata, self);
	expect_end(_metadata, self, 0);
	if (variant->write)
		expect_filled(self->held, self->page, WRITTEN);
	EXPECT_EQ(0, memcmp(self->io.buf, self->held, self->page));
	expect_filled(self->mem, self->page, 4);
}

TEST_F(uffd, mprotect_none_meanwhile_is_efault)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_NONE));
	wake(_metadata, self);
	expect_end(_metadata, self, -EFAULT);
	expect_no_entry(_metadata, self);
}

TEST_F(uffd, mprotect_read_meanwhile_is_efault_for_a_write)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, variant->write ? -EFAULT : 0);
	if (variant->write)
		expect_filled(self->held, self->page, variant->wp ? OLD : NEW);
	else
		expect_filled(self->io.buf, self->page, NEW);
}

/* The page that was to be copied on write, or the absence of one, is gone. */
TEST_F(uffd, dontneed_meanwhile_does_not_end_it)
{
	hold_access(_metadata, self, variant);
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	EXPECT_FALSE(hm_async_done(&self->access));
	if (variant->wp)
		wake(_metadata, self);
	else
		resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

static int just_exit(struct hm_parent *p, void *arg)
{
	return 0;
}

TEST_F(uffd, fork_meanwhile_does_not_matter)
{
	struct hm_child c;
	int status;

	hold_access(_metadata, self, variant);
	must(hm_child_start(&c, just_exit, NULL));
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status);
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

/* Nobody will ever resolve it: the kernel does, as for a CPU access. */
TEST_F(uffd, closing_userfaultfd_meanwhile_lets_it_go_on)
{
	hold_access(_metadata, self, variant);
	close(self->uffd);
	expect_end(_metadata, self, 0);
	if (variant->write)
		expect_filled(self->held, self->page, WRITTEN);
	else
		expect_zero(self->io.buf, self->page);
}

/* The range that the access was in is no more when it goes on. */
TEST_F(uffd, unmirror_meanwhile_is_enoent)
{
	struct hotmirror_verify v;

	hold_access(_metadata, self, variant);
	must(hm_unmirror(self->fd, 0));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, -ENOENT);
	must(hm_verify(self->fd, &v));
	EXPECT_EQ(0, v.present);
}

static void on_signal(int sig)
{
}

TEST_F(uffd, signal_meanwhile_is_eintr)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	hold_access(_metadata, self, variant);
	pthread_kill(self->access.thread, SIGUSR1);
	expect_end(_metadata, self, -EINTR);
	expect_no_entry(_metadata, self);
	/* It can be done again. */
	hold_access(_metadata, self, variant);
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

/* To a program that restarts its system calls the signal is no event at all. */
TEST_F(uffd, restarting_signal_meanwhile_faults_again)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct hm_fault f;

	sigaction(SIGUSR1, &sa, NULL);
	hold_access(_metadata, self, variant);
	pthread_kill(self->access.thread, SIGUSR1);
	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)self->held, f.addr);
	EXPECT_FALSE(hm_async_done(&self->access));
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

/* Two accesses wait for one page, each gets it. */
TEST_F(uffd, two_accesses_wait_for_one_page)
{
	struct io second = self->io;
	struct hm_async other;
	struct hm_fault f;
	long result;

	second.buf = self->spare;
	hm_fill(self->spare, self->page, WRITTEN);
	hold_access(_metadata, self, variant);
	must(hm_async_start(&other, do_io, &second));
	must(hm_uffd_wait(self->uffd, &f));
	resolve(_metadata, self, variant);
	must(hm_async_join(&other, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

/* What comes before the held page is done; the rest follows. */
TEST_F(uffd, access_of_many_pages_is_held_at_each)
{
	struct hm_fault f;
	char *buf = hm_map(PAGES);

	ASSERT_NE(NULL, buf);
	hm_fill(buf, self->length, WRITTEN);
	self->io.addr = self->mem;
	self->io.buf = buf;
	self->io.length = self->length;
	must(hm_async_start(&self->access, do_io, &self->io));
	for (int i = 0; i < PAGES; i++) {
		must(hm_uffd_wait(self->uffd, &f));
		EXPECT_EQ((unsigned long)self->mem + i * self->page, f.addr);
		self->held = (char *)f.addr;
		resolve(_metadata, self, variant);
	}
	expect_end(_metadata, self, 0);
	for (int i = 0; i < PAGES && !variant->write; i++)
		expect_filled(buf + i * self->page, self->page, NEW);
	if (variant->write)
		expect_filled(self->mem, self->length, WRITTEN);
}

/* The unplug neither waits for the fault to be resolved nor leaves the access asleep. */
TEST_F(uffd, unplug_meanwhile_is_enodev)
{
	hold_access(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_end(_metadata, self, -ENODEV);
}

TEST_F(uffd, disable_meanwhile_is_enodev)
{
	struct hotmirror_status st;

	hold_access(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	expect_end(_metadata, self, -ENODEV);
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DISABLED, st.state);
}

TEST_F(uffd, closing_the_control_file_meanwhile_is_enodev)
{
	hold_access(_metadata, self, variant);
	close(self->rig.control);
	self->rig.control = -1;
	expect_end(_metadata, self, -ENODEV);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* The memory that was to be accessed is as if nothing had been tried. */
TEST_F(uffd, unplug_meanwhile_leaves_the_memory_alone)
{
	hold_access(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_end(_metadata, self, -ENODEV);
	resolve(_metadata, self, variant);
	expect_filled(self->held, self->page, variant->wp ? OLD : NEW);
}

/* Write protection that comes after the device got the right to write takes it back. */
TEST_F(uffd, protection_takes_the_entry_back)
{
	if (!variant->wp) {
		must(hm_uffd_copy(self->uffd, self->held, self->fresh, self->page));
		must(hm_write(self->fd, self->held, self->io.buf, self->page));
		ASSERT_EQ(0, madvise(self->held, self->page, MADV_DONTNEED));
	} else {
		must(hm_uffd_protect(self->uffd, self->held, self->page, false));
		must(hm_write(self->fd, self->held, self->io.buf, self->page));
		must(hm_uffd_protect(self->uffd, self->held, self->page, true));
	}
	rig_verify(&self->rig);
	hm_fill(self->io.buf, self->page, WRITTEN);
	hold_access(_metadata, self, variant);
	resolve(_metadata, self, variant);
	expect_end(_metadata, self, 0);
	expect_data(_metadata, self, variant, NEW);
}

HM_TEST_MAIN
