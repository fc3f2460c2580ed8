// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whose memory it is: a file mirrors its opener, whoever uses the file, and for
 * as long as the opener lives; its death leaves nothing behind.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include "hm_test.h"

#define PAGES	4

FIXTURE(process) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* filled with seed 1, mirrored */
	char *buf;
	struct hm_child child;
};

typedef FIXTURE_DATA(process) data;

FIXTURE_SETUP(process)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, 1);
}

FIXTURE_TEARDOWN(process)
{
	hm_child_end(&self->child);
	rig_teardown(_metadata, &self->rig);
}

static int read_by_child(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_hear(p);
	/* Its own memory at this address still has seed 1. */
	hm_tell(p, hm_read(self->fd, self->mem, self->buf, self->length));
	hm_tell(p, hm_differs(self->buf, self->length, 2));
	hm_tell(p, hm_differs(self->mem, self->length, 1));
	return 0;
}

TEST_F(process, inherited_file_reads_the_openers_memory)
{
	static const long expected[] = { 0, -1, -1 };
	int status;
	long value;

	must(hm_child_start(&self->child, read_by_child, self));
	hm_fill(self->mem, self->length, 2);
	must(hm_child_tell(&self->child, 0));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		must(hm_child_hear(&self->child, &value));
		EXPECT_EQ(expected[i], value);
	}
	must(hm_child_wait(&self->child, &status));
	EXPECT_EQ(0, status);
}

static int write_by_child(struct hm_parent *p, void *arg)
{
	data *self = arg;

	hm_fill(self->buf, self->length, 3);
	hm_tell(p, hm_write(self->fd, self->mem, self->buf, self->length));
	hm_tell(p, hm_differs(self->mem, self->length, 1));
	return 0;
}

TEST_F(process, inherited_file_writes_the_openers_memory)
{
	int status;
	long value;

	must(hm_child_start(&self->child, write_by_child, self));
	must(hm_child_hear(&self->child, &value));
	EXPECT_EQ(0, value);
	must(hm_child_hear(&self->child, &value));
	EXPECT_EQ(-1, value)
		TH_LOG("the device's write reached the child's memory");
	must(hm_child_wait(&self->child, &status));
	expect_filled(self->mem, self->length, 3);
}

/* Opens the instance itself, mirrors, fills, migrates if it can, and waits. */
static int opener(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int fd = hm_open(self->rig.id);
	char *mem = hm_map(PAGES);
	int ret = fd < 0 ? fd : hm_mirror(fd, mem, self->length, 0, NULL);

	hm_fill(mem, self->length, 4);
	if (!ret && self->rig.kind != HOTMIRROR_DAX)
		ret = hm_to_dev(fd, mem, self->length, NULL);
	if (!ret)
		ret = hm_prefetch(fd, mem, self->length, true);
	hm_tell(p, ret);
	hm_tell(p, fd);
	hm_tell(p, (long)mem);
	hm_hear(p);
	return 0;
}

struct opened {
	int fd;			/* the child's file, in this process */
	char *mem;		/* an address of the child's */
};

static struct opened start_opener(struct __test_metadata *_metadata, data *self)
{
	struct opened o;
	long value;

	must(hm_child_start(&self->child, opener, self));
	must(hm_child_hear(&self->child, &value));
	EXPECT_EQ(0, value)
		TH_LOG("%s", strerror(-value));
	must(hm_child_hear(&self->child, &value));
	o.fd = must(hm_child_getfd(&self->child, value));
	must(hm_child_hear(&self->child, &value));
	o.mem = (char *)value;
	return o;
}

TEST_F(process, passed_file_reads_the_openers_memory)
{
	struct opened o = start_opener(_metadata, self);

	must(hm_read(o.fd, o.mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 4);
	close(o.fd);
}

static bool nothing_used(const struct hotmirror_status *st)
{
	return !st->pages_used;
}

TEST_F(process, dead_opener_is_esrch)
{
	struct opened o = start_opener(_metadata, self);
	struct hotmirror_status st;
	struct hotmirror_stats s;
	__u32 snap[PAGES];
	int status;

	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	must_err(ESRCH, hm_read(o.fd, o.mem, self->buf, self->length));
	must_err(ESRCH, hm_write(o.fd, o.mem, self->buf, self->length));
	must_err(ESRCH, hm_prefetch(o.fd, o.mem, self->length, false));
	must_err(ESRCH, hm_snapshot(o.fd, o.mem, self->length, snap));
	must_err(ESRCH, hm_mirror(o.fd, o.mem, self->length, 0, NULL));
	if (self->rig.kind != HOTMIRROR_DAX)
		must_err(ESRCH, hm_to_dev(o.fd, o.mem, self->length, NULL));
	/* What is not about the dead process goes on. */
	must(hm_stats(o.fd, &s));
	must(hm_status(o.fd, 0, &st));
	close(o.fd);
}

/* Told to, it becomes another program: its pipe closes on exec. */
static int executor(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int fd = hm_open(self->rig.id);
	char *mem = hm_map(PAGES);

	hm_tell(p, hm_mirror(fd, mem, self->length, 0, NULL));
	hm_tell(p, fd);
	hm_tell(p, (long)mem);
	hm_hear(p);
	execl("/proc/self/exe", program_invocation_short_name, "-h", NULL);
	return 1;
}

/* The file mirrors the memory that was, not the program that is. */
TEST_F(process, opener_that_execs_is_esrch)
{
	long value, fd, mem;
	int file;

	must(hm_child_start(&self->child, executor, self));
	must(hm_child_hear(&self->child, &value));
	EXPECT_EQ(0, value);
	must(hm_child_hear(&self->child, &fd));
	must(hm_child_hear(&self->child, &mem));
	file = must(hm_child_getfd(&self->child, fd));
	must(hm_read(file, (void *)mem, self->buf, self->page));
	must(hm_child_tell(&self->child, 0));
	must_err(EPIPE, hm_child_hear(&self->child, &value));
	must_err(ESRCH, hm_read(file, (void *)mem, self->buf, self->page));
	close(file);
}

/* Exit frees the device memory that the process used. */
TEST_F(process, dead_opener_gives_its_device_memory_back)
{
	struct opened o = start_opener(_metadata, self);
	struct hotmirror_status st;
	int status;

	if (self->rig.kind == HOTMIRROR_DAX)
		SKIP(return, "no private and no coherent memory on this kernel");
	must(hm_status(o.fd, 0, &st));
	EXPECT_EQ(PAGES, st.pages_used);
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	must(hm_wait_status(self->fd, 0, nothing_used, &st));
	close(o.fd);
}

static bool one_mirror(const struct hotmirror_status *st)
{
	return st->mirrors == 1;
}

TEST_F(process, killed_opener_closes_its_file)
{
	struct opened o = start_opener(_metadata, self);
	struct hotmirror_status st;
	int status;

	close(o.fd);
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(2, st.mirrors);
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	must(hm_wait_status(self->fd, 0, one_mirror, &st));
}

HM_TEST_MAIN
