// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls of unplug (claims S4, S8): the two waits of the state machine, for
 * who is inside an operation (disable) and for who holds a page (drain). Each is shown
 * to wait, and with the wait left out the same check says so.
 *
 * An operation is held inside without a gate: it wants the mmap_lock of the mirrored
 * process. That is read-locked by an access to /proc/PID/mem, which waits for a page of
 * a disk that does not answer; a writer that queues behind it keeps everybody else out.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/nbd.h"

#define PAGES	4
#define SEED	1

FIXTURE(skipped) {
	struct hm_rig rig;
	size_t page;
};

FIXTURE_VARIANT(skipped) {
	__u64 sabotage;
};

FIXTURE_VARIANT_ADD(skipped, nothing) { .sabotage = 0 };
FIXTURE_VARIANT_ADD(skipped, disable) { .sabotage = HOTMIRROR_SABOTAGE_SKIP_DISABLE };
FIXTURE_VARIANT_ADD(skipped, drain) { .sabotage = HOTMIRROR_SABOTAGE_DRAIN_EARLY };

typedef FIXTURE_DATA(skipped) data;

FIXTURE_SETUP(skipped)
{
	RIG_SETUP(&self->rig, HOTMIRROR_DAX);
	if (!(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE))
		SKIP(return, "module loaded without sabotage=1");
	self->page = self->rig.page;
	must(hm_sabotage(self->rig.fd, variant->sabotage));
}

FIXTURE_TEARDOWN(skipped)
{
	rig_teardown(_metadata, &self->rig);
}

static int unplug(data *self, __u32 target, unsigned int limit_ms)
{
	return hm_unplug(self->rig.control, self->rig.id, target, limit_ms);
}

/* ---- somebody inside ---- */

struct inside {
	__u32 id;
	size_t page;
	struct hm_nbd disk;
	struct hm_child victim;
	int fd;			/* the victim's instance file */
	int mem;		/* its /proc/PID/mem */
	char *slow;		/* a page of the disk, in the victim */
	char *own;		/* one that is mirrored */
	struct hm_async reader, access;
};

/* Mirrors a page, maps the disk; told to, becomes the writer who waits for mmap_lock. */
static int victim(struct hm_parent *p, void *arg)
{
	struct inside *in = arg;
	char *own = hm_map(2);
	int fd = hm_open(in->id);
	char *slow = mmap(NULL, in->page, PROT_READ, MAP_SHARED, in->disk.disk, 0);
	int ret = fd < 0 ? fd : slow == MAP_FAILED ? -errno : 0;

	hm_fill(own, 2 * in->page, SEED);
	hm_tell(p, ret ?: hm_mirror(fd, own, in->page, 0, NULL));
	hm_tell(p, fd);
	hm_tell(p, (long)slow);
	hm_tell(p, (long)own);
	hm_hear(p);
	hm_tell(p, munmap(own + in->page, in->page) ? -errno : 0);
	return hm_hear(p);
}

static long read_slow(void *arg)
{
	struct inside *in = arg;
	char byte;

	return pread(in->mem, &byte, 1, (off_t)in->slow) < 0 ? -errno : byte;
}

static long prefetch_own(void *arg)
{
	struct inside *in = arg;

	return hm_prefetch(in->fd, in->own, in->page, false);
}

static long hear(struct __test_metadata *_metadata, struct inside *in)
{
	long value;

	must(hm_child_hear(&in->victim, &value));
	return value;
}

static void start_victim(struct __test_metadata *_metadata, data *self, struct inside *in)
{
	char path[64];

	in->id = self->rig.id;
	in->page = self->page;
	must(hm_child_start(&in->victim, victim, in));
	must(hear(_metadata, in));
	in->fd = must(hm_child_getfd(&in->victim, hear(_metadata, in)));
	in->slow = (char *)hear(_metadata, in);
	in->own = (char *)hear(_metadata, in);
	snprintf(path, sizeof(path), "/proc/%d/mem", in->victim.pid);
	in->mem = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, in->mem);
}

/* Asleep where no signal but a deadly one reaches it: in wait for mmap_lock. */
static void wait_deep(struct __test_metadata *_metadata, pid_t tid)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (hm_task_state(tid) != 'D' && hm_left(deadline))
		hm_pause();
	ASSERT_EQ('D', hm_task_state(tid));
}

static bool one_inside(const struct hotmirror_status *st)
{
	return st->readers == 1;
}

/* An operation stands in wait for the mmap_lock of the victim. */
static void stand_inside(struct __test_metadata *_metadata, data *self, struct inside *in)
{
	struct hotmirror_status st;

	start_victim(_metadata, self, in);
	must(hm_async_start(&in->reader, read_slow, in));
	must(hm_nbd_wait(&in->disk));
	must(hm_child_tell(&in->victim, 0));
	wait_deep(_metadata, in->victim.pid);
	must(hm_async_start(&in->access, prefetch_own, in));
	must(hm_wait_status(self->rig.fd, 0, one_inside, &st));
	wait_deep(_metadata, in->access.tid);
}

static void let_out(struct __test_metadata *_metadata, struct inside *in)
{
	long result;

	hm_nbd_answer(&in->disk);
	must(hm_async_join(&in->reader, HM_LIMIT_MS, &result));
	EXPECT_EQ(HM_NBD_BYTE, result);
	EXPECT_EQ(0, hear(_metadata, in));
	must(hm_async_join(&in->access, HM_LIMIT_MS, &result));
	hm_child_end(&in->victim);
	close(in->mem);
	close(in->fd);
	hm_nbd_stop(&in->disk);
}

/* DISABLED means that nobody is inside any more, and does not come before. */
TEST_F(skipped, disabled_while_somebody_is_inside)
{
	bool skips = variant->sabotage == HOTMIRROR_SABOTAGE_SKIP_DISABLE;
	struct inside in = {};
	struct hotmirror_status st;
	int ret = hm_nbd_start(&in.disk, self->page);

	if (ret == -ENODEV)
		SKIP(return, "no network block device: kernel without CONFIG_BLK_DEV_NBD");
	must(ret);
	stand_inside(_metadata, self, &in);
	must_err(skips ? 0 : ETIMEDOUT, unplug(self, HOTMIRROR_DISABLED, skips ? HM_LIMIT_MS : 50));
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DISABLED, st.target);
	EXPECT_EQ(skips ? HOTMIRROR_DISABLED : HOTMIRROR_LIVE, st.state);
	EXPECT_EQ(1, st.readers);
	/* The drain makes up for it: it does not begin before. */
	must_err(ETIMEDOUT, unplug(self, HOTMIRROR_GONE, 50));
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(1, st.readers);
	let_out(_metadata, &in);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(0, st.readers);
}

/* ---- somebody who holds a page ---- */

static bool is_drained(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_GONE && !st->pages_held;
}

/* What is free when all of it is, or at the limit. With DRAIN_EARLY no state tells. */
static __u64 arena_free(struct __test_metadata *_metadata, data *self)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct hotmirror_query q;

	do {
		hm_pause();
		must(hm_query(self->rig.control, &q));
	} while (q.arena_free < self->rig.q.arena_free && hm_left(deadline));
	return q.arena_free;
}

/* GONE means that nobody holds a page any more, and does not come before. */
TEST_F(skipped, gone_while_somebody_holds_a_page)
{
	bool skips = variant->sabotage == HOTMIRROR_SABOTAGE_DRAIN_EARLY;
	char *mem = mmap(NULL, PAGES * self->page, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->rig.fd, 0), *buf = hm_map(1);
	struct hotmirror_status st, next;
	struct hm_hold hold;
	__u32 id;

	ASSERT_NE(MAP_FAILED, mem);
	hm_fill(mem, self->page, SEED);
	must(hm_hold(&hold, mem, self->page));
	must_err(skips ? 0 : ETIMEDOUT, unplug(self, HOTMIRROR_GONE, skips ? HM_LIMIT_MS : 50));
	EXPECT_EQ(skips, hm_is_gone(self->rig.fd));
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(skips ? HOTMIRROR_GONE : HOTMIRROR_DRAINING, st.state);
	EXPECT_EQ(1, st.pages_held);

	/* The memory is its holder's nevertheless. */
	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->rig.bytes, &id));
	must(hm_status(self->rig.control, id, &next));
	EXPECT_NE(st.arena_offset, next.arena_offset);
	EXPECT_EQ(self->page, read(hold.pipe[0], buf, self->page));
	expect_filled(buf, self->page, SEED);
	hm_unhold(&hold);
	must(hm_wait_status(self->rig.fd, 0, is_drained, &st));
	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_LE(self->rig.q.arena_free, arena_free(_metadata, self));
}

HM_TEST_MAIN
