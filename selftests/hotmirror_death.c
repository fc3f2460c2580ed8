// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process dies while a device access is asleep in its memory: its own access,
 * or one that another process makes through its file (claims S3, S8). It must die
 * at once, the access must end, and neither leaves a trace.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "hm_test.h"

#define SEED	1

FIXTURE(death) {
	struct hm_rig rig;
	struct hm_child child;
	size_t page;
	char *buf;
	/* What the child has, in this process: */
	int fd;			/* its instance file */
	int uffd;		/* its userfaultfd */
	char *addr;		/* an address of its memory, missing */
	bool write;
};

FIXTURE_VARIANT(death) {
	bool write;
};

FIXTURE_VARIANT_ADD(death, read) { .write = false };
FIXTURE_VARIANT_ADD(death, write) { .write = true };

typedef FIXTURE_DATA(death) data;

/* Opens an instance file, mirrors a page that is missing, and accesses it if told to. */
static int victim(struct hm_parent *p, void *arg)
{
	data *self = arg;
	char *mem = hm_map(1);
	int fd = hm_open(self->rig.id);
	int uffd = hm_uffd_open();
	int ret = uffd < 0 ? uffd : fd < 0 ? fd : 0;

	if (!ret)
		ret = hm_mirror(fd, mem, self->page, 0, NULL);
	if (!ret)
		ret = hm_uffd_register(uffd, mem, self->page, false);
	hm_tell(p, ret);
	hm_tell(p, fd);
	hm_tell(p, uffd);
	hm_tell(p, (long)mem);
	if (hm_hear(p))
		ret = self->write ? hm_write(fd, mem, self->buf, self->page) :
				    hm_read(fd, mem, self->buf, self->page);
	hm_tell(p, ret);
	hm_hear(p);
	return 0;
}

static long hear(struct __test_metadata *_metadata, data *self)
{
	long value;

	must(hm_child_hear(&self->child, &value));
	return value;
}

FIXTURE_SETUP(death)
{
	int uffd;

	RIG_SETUP(&self->rig, HM_ANY);
	uffd = hm_uffd_open();
	if (uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-uffd));
	close(uffd);
	self->page = self->rig.page;
	self->write = variant->write;
	self->buf = hm_map(1);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->buf, self->page, SEED);
	must(hm_child_start(&self->child, victim, self));
	ASSERT_EQ(0, hear(_metadata, self));
	self->fd = must(hm_child_getfd(&self->child, hear(_metadata, self)));
	self->uffd = must(hm_child_getfd(&self->child, hear(_metadata, self)));
	self->addr = (char *)hear(_metadata, self);
}

FIXTURE_TEARDOWN(death)
{
	hm_child_end(&self->child);
	rig_teardown(_metadata, &self->rig);
}

/* The child's own access is asleep. */
static void hold_in_child(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;
	struct hm_fault f;

	must(hm_child_tell(&self->child, 1));
	must(hm_uffd_wait(self->uffd, &f));
	EXPECT_EQ((unsigned long)self->addr, f.addr);
	must(hm_wait_asleep(self->child.pid));
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(1, st.sleepers);
}

static bool nobody_sleeps(const struct hotmirror_status *st)
{
	return !st->sleepers && !st->readers;
}

static void kill_child(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;
	int status;

	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	must(hm_wait_status(self->rig.fd, 0, nobody_sleeps, &st));
}

/* Its files are still open here, its userfaultfd too: nothing wakes it but the signal. */
TEST_F(death, killed_in_its_own_access)
{
	hold_in_child(_metadata, self);
	kill_child(_metadata, self);
	must_err(ESRCH, hm_read(self->fd, self->addr, self->buf, self->page));
	close(self->fd);
	close(self->uffd);
}

static bool one_mirror(const struct hotmirror_status *st)
{
	return st->mirrors == 1;
}

TEST_F(death, killed_with_all_its_files)
{
	struct hotmirror_status st;

	hold_in_child(_metadata, self);
	close(self->fd);
	close(self->uffd);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(2, st.mirrors);
	kill_child(_metadata, self);
	must(hm_wait_status(self->rig.fd, 0, one_mirror, &st));
}

/* First the device, then the process: the access has ended with ENODEV in between. */
TEST_F(death, unplugged_then_killed)
{
	hold_in_child(_metadata, self);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(-ENODEV, hear(_metadata, self));
	kill_child(_metadata, self);
	close(self->fd);
	close(self->uffd);
}

TEST_F(death, killed_then_unplugged)
{
	hold_in_child(_metadata, self);
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	kill_child(_metadata, self);
	close(self->fd);
	close(self->uffd);
}

static long access_of_child(void *arg)
{
	data *self = arg;

	return self->write ? hm_write(self->fd, self->addr, self->buf, self->page) :
			     hm_read(self->fd, self->addr, self->buf, self->page);
}

static void hold_in_parent(struct __test_metadata *_metadata, data *self,
			   struct hm_async *access)
{
	struct hm_fault f;

	must(hm_async_start(access, access_of_child, self));
	must(hm_uffd_wait(self->uffd, &f));
	must(hm_wait_asleep(access->tid));
}

/*
 * The access keeps the address space alive, so it can still be resolved, exactly
 * as a CPU access of a second thread could; the process itself is gone at once.
 */
TEST_F(death, owner_killed_during_somebody_elses_access)
{
	struct hm_async access;
	int status;
	long result;
	char *page = hm_map(1);

	ASSERT_NE(NULL, page);
	hm_fill(page, self->page, 2);
	hold_in_parent(_metadata, self, &access);
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_FALSE(hm_async_done(&access));
	must(hm_uffd_copy(self->uffd, self->addr, page, self->page));
	must(hm_async_join(&access, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	if (!variant->write)
		expect_filled(self->buf, self->page, 2);
	/* With the access the last user of the address space is gone. */
	must_err(ESRCH, hm_read(self->fd, self->addr, self->buf, self->page));
	close(self->fd);
	close(self->uffd);
}

/* Nobody is left to resolve it: the last userfaultfd is closed by the death itself. */
TEST_F(death, owner_killed_with_the_only_userfaultfd)
{
	struct hm_async access;
	int status;
	long result;

	hold_in_parent(_metadata, self, &access);
	close(self->uffd);
	EXPECT_FALSE(hm_async_done(&access));
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	must(hm_async_join(&access, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	if (!variant->write)
		expect_zero(self->buf, self->page);
	close(self->fd);
}

TEST_F(death, unplugged_during_somebody_elses_access)
{
	struct hm_async access;
	long result;

	hold_in_parent(_metadata, self, &access);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_async_join(&access, HM_LIMIT_MS, &result));
	EXPECT_EQ(-ENODEV, result);
	close(self->fd);
	close(self->uffd);
}

HM_TEST_MAIN
