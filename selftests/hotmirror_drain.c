// SPDX-License-Identifier: GPL-2.0-only
/*
 * The drain (claims S4, S5): while somebody holds a page of the device, its memory
 * stays as it is, and the moment the last reference goes, so does the device.
 *
 * Private pages cannot be held: whoever takes a reference fetches them home first.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hm_test.h"

#define PAGES	4
#define SEED	1

FIXTURE(drain) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of SEED in device memory */
	struct hm_hold hold;	/* of the pages [1, 3) */
};

FIXTURE_VARIANT(drain) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(drain, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(drain, dax) { .kind = HOTMIRROR_DAX };

typedef FIXTURE_DATA(drain) data;

static void *device_memory(struct __test_metadata *_metadata, data *self, __u32 kind)
{
	char *mem;

	if (kind == HOTMIRROR_DAX)
		mem = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
			   self->fd, 0);
	else
		mem = hm_map(PAGES);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_NE(NULL, mem);
	hm_fill(mem, self->length, SEED);
	if (kind != HOTMIRROR_DAX)
		must(hm_to_dev(self->fd, mem, self->length, NULL));
	return mem;
}

FIXTURE_SETUP(drain)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = device_memory(_metadata, self, variant->kind);
	must(hm_hold(&self->hold, self->mem + self->page, 2 * self->page));
}

FIXTURE_TEARDOWN(drain)
{
	hm_unhold(&self->hold);
	rig_teardown(_metadata, &self->rig);
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

static void start_to_drain(struct __test_metadata *_metadata, data *self,
			   struct hotmirror_status *st)
{
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(self->fd, 0, draining, st));
}

TEST_F(drain, waits_for_the_pages_that_are_held)
{
	struct hotmirror_status st;

	start_to_drain(_metadata, self, &st);
	EXPECT_EQ(2, st.pages_held);
	must_err(ETIMEDOUT, hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 50));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DRAINING, st.state);
	EXPECT_EQ(2, st.pages_held);
	EXPECT_FALSE(hm_is_gone(self->fd));
	hm_unhold(&self->hold);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.pages_held);
	EXPECT_EQ(0, st.pages_used);
}

/* What the holder holds does not change under it. */
TEST_F(drain, held_data_stays_readable)
{
	struct hotmirror_status st;
	char *buf = hm_map(2), *expect = hm_map(PAGES);

	ASSERT_NE(NULL, buf);
	ASSERT_NE(NULL, expect);
	hm_fill(expect, self->length, SEED);
	start_to_drain(_metadata, self, &st);
	EXPECT_EQ(2 * self->page, read(self->hold.pipe[0], buf, 2 * self->page));
	EXPECT_EQ(0, memcmp(buf, expect + self->page, 2 * self->page));
	/* Reading was what emptied the pipe. */
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

static bool one_held(const struct hotmirror_status *st)
{
	return st->pages_held == 1;
}

/* Each reference that goes is seen. */
TEST_F(drain, counts_down)
{
	struct hotmirror_status st;
	char *buf = hm_map(1);

	ASSERT_NE(NULL, buf);
	start_to_drain(_metadata, self, &st);
	EXPECT_EQ(self->page, read(self->hold.pipe[0], buf, self->page));
	must(hm_wait_status(self->fd, 0, one_held, &st));
	EXPECT_EQ(HOTMIRROR_DRAINING, st.state);
	EXPECT_EQ(self->page, read(self->hold.pipe[0], buf, self->page));
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* Asked for by itself, the draining state keeps the books and does not end. */
TEST_F(drain, as_a_target_only_counts)
{
	struct hotmirror_status st;

	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_DRAINING, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(2, st.pages_held);
	hm_unhold(&self->hold);
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DRAINING, st.state);
	EXPECT_FALSE(hm_is_gone(self->fd));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
}

static bool same_memory(const struct hotmirror_status *a, const struct hotmirror_status *b)
{
	return a->arena_offset < b->arena_offset + b->bytes &&
	       b->arena_offset < a->arena_offset + a->bytes;
}

TEST_F(drain, held_memory_is_not_used_again)
{
	struct hotmirror_status st, next;
	struct hotmirror_query q;
	__u32 id;

	must(rig_settle(&self->rig));
	start_to_drain(_metadata, self, &st);
	must(hm_query(self->fd, &q));
	EXPECT_EQ(self->rig.q.arena_free, q.arena_free);
	must(hm_plug(self->rig.control, variant->kind, self->rig.bytes, &id));
	must(hm_status(self->rig.control, id, &next));
	EXPECT_FALSE(same_memory(&st, &next));
	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	hm_unhold(&self->hold);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	must(hm_query(self->fd, &q));
	EXPECT_EQ(self->rig.q.arena_free + self->rig.bytes, q.arena_free);
}

static void on_signal(int sig)
{
}

static long unplug_and_wait(void *arg)
{
	data *self = arg;

	return hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS);
}

/* Who waits for a drain can be called away; the drain goes on. */
TEST_F(drain, wait_is_interruptible)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct hotmirror_status st;
	struct hm_async waiter;
	long result;

	sigaction(SIGUSR1, &sa, NULL);
	must(hm_async_start(&waiter, unplug_and_wait, self));
	must(hm_wait_status(self->fd, 0, draining, &st));
	must(hm_wait_asleep(waiter.tid));
	EXPECT_FALSE(hm_async_done(&waiter));
	pthread_kill(waiter.thread, SIGUSR1);
	must(hm_async_join(&waiter, HM_LIMIT_MS, &result));
	EXPECT_EQ(-EINTR, result);
	hm_unhold(&self->hold);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* Nobody waits, nobody asks: closing the control file ends in the same place. */
TEST_F(drain, goes_on_without_its_owner)
{
	struct hotmirror_status st;

	close(self->rig.control);
	self->rig.control = -1;
	must(hm_wait_status(self->fd, 0, draining, &st));
	EXPECT_EQ(2, st.pages_held);
	hm_unhold(&self->hold);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* The device has its code from the module, whoever has still a file open. */
TEST_F(drain, module_stays_until_the_device_is_gone)
{
	struct hotmirror_status st;

	start_to_drain(_metadata, self, &st);
	ASSERT_EQ(0, munmap(self->mem, self->length));
	close(self->rig.control);
	self->rig.control = -1;
	close(self->rig.fd);
	self->rig.fd = -1;
	EXPECT_EQ(-1, syscall(SYS_delete_module, "test_hotmirror", O_NONBLOCK));
	/* Built in, it cannot be removed anyhow. */
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == ENOENT)
		TH_LOG("%s", strerror(errno));
}

/* The data of a held page outlives the device: it is evicted when it can be. */
TEST_F(drain, memory_is_right_after_the_wait)
{
	struct hotmirror_status st;

	start_to_drain(_metadata, self, &st);
	hm_unhold(&self->hold);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	if (variant->kind == HOTMIRROR_COHERENT) {
		expect_filled(self->mem, self->length, SEED);
		return;
	}
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem + self->page));
}

HM_TEST_MAIN
