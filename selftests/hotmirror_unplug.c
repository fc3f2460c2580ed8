// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unplug as a state machine (claims S4, S5, S8): who may ask, what it reports,
 * what it waits for, and that it ends.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "hm_test.h"

#define PAGES	4
#define SEED	1

FIXTURE(unplug) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of SEED in device memory */
};

FIXTURE_VARIANT(unplug) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(unplug, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(unplug, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(unplug, dax) { .kind = HOTMIRROR_DAX };

typedef FIXTURE_DATA(unplug) data;

FIXTURE_SETUP(unplug)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	if (variant->kind == HOTMIRROR_DAX) {
		self->mem = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
				 self->fd, 0);
		ASSERT_NE(MAP_FAILED, self->mem);
		hm_fill(self->mem, self->length, SEED);
		return;
	}
	self->mem = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	hm_fill(self->mem, self->length, SEED);
	must(hm_to_dev(self->fd, self->mem, self->length, NULL));
}

FIXTURE_TEARDOWN(unplug)
{
	rig_teardown(_metadata, &self->rig);
}

static __u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int unplug(data *self, __u32 target, unsigned int limit_ms)
{
	return hm_unplug(self->rig.control, self->rig.id, target, limit_ms);
}

TEST_F(unplug, stops_at_the_state_asked_for)
{
	struct hotmirror_status st;

	for (__u32 s = HOTMIRROR_DISABLED; s < HOTMIRROR_NR_STATES; s++) {
		must(unplug(self, s, HM_LIMIT_MS));
		must(hm_status(self->fd, 0, &st));
		EXPECT_EQ(s, st.state);
		EXPECT_EQ(s, st.target);
		EXPECT_EQ(s == HOTMIRROR_GONE, hm_is_gone(self->fd));
	}
}

TEST_F(unplug, times_are_in_order)
{
	struct hotmirror_status st;
	__u64 before = now_ns();

	must(unplug(self, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.when_ns[HOTMIRROR_DRAINING]);
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &st));
	EXPECT_LE(st.when_ns[HOTMIRROR_LIVE], before);
	EXPECT_LE(before, st.disabling_ns);
	EXPECT_LE(st.disabling_ns, st.when_ns[HOTMIRROR_DISABLED]);
	for (int s = HOTMIRROR_DISABLED; s < HOTMIRROR_GONE; s++)
		EXPECT_LE(st.when_ns[s], st.when_ns[s + 1]);
	EXPECT_LE(st.when_ns[HOTMIRROR_GONE], now_ns());
}

TEST_F(unplug, asking_again_is_a_success)
{
	struct hotmirror_status a, b;

	must(unplug(self, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &a));
	must(unplug(self, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	must(unplug(self, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	must(unplug(self, HOTMIRROR_DISABLED, 0));
	must(hm_status(self->fd, 0, &b));
	EXPECT_EQ(0, memcmp(&a, &b, sizeof(a)));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(unplug(self, HOTMIRROR_DRAINING, HM_LIMIT_MS));
}

static char *map_doorbell(data *self)
{
	return mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
}

/* One page, all of it, and shared. */
TEST_F(unplug, doorbell_is_one_shared_page)
{
	static const struct {
		int pages, offset, flags;
	} bad[] = {
		{ 1, 0, MAP_PRIVATE },
		{ 2, 0, MAP_SHARED },
		{ 1, 1, MAP_SHARED },
		{ 2, 1, MAP_SHARED },
	};
	char *bell, *again;

	skip_unless(variant->kind != HOTMIRROR_DAX, "a dax instance has no doorbell");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(MAP_FAILED, mmap(NULL, bad[i].pages * self->page, PROT_READ,
					   bad[i].flags, self->fd, bad[i].offset * self->page));
		EXPECT_EQ(EINVAL, errno);
	}
	bell = map_doorbell(self);
	again = map_doorbell(self);
	ASSERT_NE(MAP_FAILED, bell);
	ASSERT_NE(MAP_FAILED, again);
	expect_zero(bell, self->page);
	hm_fill(bell, self->page, 2);
	expect_filled(again, self->page, 2);
	ASSERT_EQ(0, munmap(bell, self->page));
	ASSERT_EQ(0, munmap(again, self->page));
}

/* What the CPU has stays until invalidate; nothing new from disable on. */
TEST_F(unplug, doorbell_goes_with_the_device)
{
	char *used, *unused;

	skip_unless(variant->kind != HOTMIRROR_DAX, "a dax instance has no doorbell");
	used = map_doorbell(self);
	unused = map_doorbell(self);
	ASSERT_NE(MAP_FAILED, used);
	ASSERT_NE(MAP_FAILED, unused);
	ASSERT_EQ(0, hm_cpu_dirty(used));
	must(unplug(self, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	EXPECT_EQ(0, hm_cpu_dirty(used));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(unused));
	EXPECT_EQ(MAP_FAILED, map_doorbell(self));
	EXPECT_EQ(ENXIO, errno);
	must(unplug(self, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(used));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(used));
	ASSERT_EQ(0, munmap(used, self->page));
	ASSERT_EQ(0, munmap(unused, self->page));
}

TEST_F(unplug, bad_target_or_limit_is_einval)
{
	struct hotmirror_unplug arg = {
		.size = sizeof(arg),
		.id = self->rig.id,
		.target = HOTMIRROR_DISABLED,
		.timeout_ns = HOTMIRROR_MAX_WAIT_NS + 1,
	};
	struct hotmirror_status st;

	must_err(EINVAL, unplug(self, HOTMIRROR_LIVE, 0));
	must_err(EINVAL, unplug(self, HOTMIRROR_NR_STATES, 0));
	must_err(EINVAL, unplug(self, -1U, 0));
	must_err(EINVAL, hm_ioctl(self->rig.control, HOTMIRROR_UNPLUG, &arg));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_LIVE, st.target);
	expect_filled(self->mem, self->length, SEED);
}

/* A limit of 0 starts the work and does not wait for it. */
TEST_F(unplug, starts_without_waiting)
{
	struct hotmirror_status st;

	must(unplug(self, HOTMIRROR_GONE, 0));
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_GONE, st.state);
}

static long wait_gone(void *fd)
{
	return hm_wait_gone(*(int *)fd, HM_LIMIT_MS);
}

TEST_F(unplug, wakes_who_polls)
{
	struct hm_async poller;
	long result;

	must(hm_async_start(&poller, wait_gone, &self->fd));
	must(hm_wait_asleep(poller.tid));
	must(unplug(self, HOTMIRROR_DRAINING, HM_LIMIT_MS));
	EXPECT_FALSE(hm_async_done(&poller));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_async_join(&poller, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
}

TEST_F(unplug, closing_the_control_file_unplugs)
{
	close(self->rig.control);
	self->rig.control = -1;
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	must_err(ENOENT, hm_open(self->rig.id));
}

struct plugged {
	__u32 kind;
	__u64 bytes;
};

/* Plugs an instance and holds the only control file that owns it. */
static int owner(struct hm_parent *p, void *arg)
{
	struct plugged *want = arg;
	int control = hm_control_open();
	__u32 id = 0;

	hm_tell(p, control < 0 ? control : hm_plug(control, want->kind, want->bytes, &id));
	hm_tell(p, id);
	hm_hear(p);
	return 0;
}

TEST_F(unplug, killed_owner_leaves_nothing_behind)
{
	struct plugged want = { variant->kind, self->rig.bytes };
	struct hm_child c;
	int status, fd;
	long value;

	must(hm_child_start(&c, owner, &want));
	must(hm_child_hear(&c, &value));
	ASSERT_EQ(0, value);
	must(hm_child_hear(&c, &value));
	fd = must(hm_open(value));
	EXPECT_FALSE(hm_is_gone(fd));
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	must(hm_wait_gone(fd, HM_LIMIT_MS));
	close(fd);
}

/* What is mirrored is not device memory: it stays, its entries go. */
TEST_F(unplug, mirrored_memory_is_left_alone)
{
	char *own = hm_map(PAGES);

	ASSERT_NE(NULL, own);
	must(hm_mirror(self->fd, own, self->length, 0, NULL));
	hm_fill(own, self->length, 2);
	must(hm_prefetch(self->fd, own, self->length, true));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_filled(own, self->length, 2);
	/* No notifier is left that could be called back. */
	hm_fill(own, self->length, 3);
	ASSERT_EQ(0, munmap(own, self->length));
}

/* Anonymous memory survives its device; a dax mapping is dead for good. */
TEST_F(unplug, memory_after_the_end)
{
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	if (variant->kind != HOTMIRROR_DAX) {
		expect_filled(self->mem, self->length, SEED);
		EXPECT_EQ(0, hm_cpu_dirty(self->mem));
		return;
	}
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem + i * self->page));
	/* The dead mapping can still be handled like any other. */
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	ASSERT_EQ(0, munmap(self->mem, 2 * self->page));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem + 3 * self->page));
}

static int sharer(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int sig;

	hm_tell(p, 0);
	hm_hear(p);
	sig = hm_cpu_touch(self->mem);
	hm_tell(p, sig ?: hm_differs(self->mem, self->length, SEED));
	return 0;
}

/* Every process that shares the memory is treated alike: SIGBUS, or its data. */
TEST_F(unplug, forked_process_is_treated_alike)
{
	struct hm_child c;
	int status;
	long value;

	must(hm_child_start(&c, sharer, self));
	must(hm_child_hear(&c, &value));
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(variant->kind == HOTMIRROR_DAX ? SIGBUS : -1, value);
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status);
}

HM_TEST_MAIN
