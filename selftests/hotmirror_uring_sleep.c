// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring commands that are asleep in a user fault, many at a time, while they are
 * cancelled, or their ring, their thread, their memory or their device goes (claims S3,
 * S8). Each of them ends, with the result that the header promises, and the fault stays
 * unresolved.
 */
#include <sys/mman.h>

#include "uring_test.h"

#ifdef HAVE_LIBURING
#include "lib/crowd.h"

FIXTURE(asleep) {
	struct hm_rig rig;
	struct hm_crowd c;
};

typedef FIXTURE_DATA(asleep) data;

FIXTURE_VARIANT(asleep) {
	unsigned int flags;	/* of the ring */
};

FIXTURE_VARIANT_ADD(asleep, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(asleep, deferred) {
	.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
};

FIXTURE_VARIANT_ADD(asleep, sqpoll) { .flags = IORING_SETUP_SQPOLL };

/* For FIXTURE_SETUP: the rig, and a crowd that is not asleep yet. */
#define CROWD_SETUP(rig, c, flags) do {					\
	int __err;							\
									\
	RIG_SETUP(rig, HM_ANY);						\
	skip_without_commands(rig);					\
	__err = hm_crowd_begin(c, (rig)->id, (rig)->q.features);	\
	if ((c)->uffd < 0)						\
		SKIP(return, "userfaultfd(): %s", strerror(-(c)->uffd)); \
	must(__err);							\
	RING_SETUP(&(c)->ring, 2 * COMMANDS, flags);			\
} while (0)

static void ring_close(struct io_uring *ring)
{
	if (ring->ring_fd > 0)
		io_uring_queue_exit(ring);
	ring->ring_fd = -1;
}

/* Nobody is left asleep, and nobody has the file open any more. */
static void crowd_leave(struct __test_metadata *_metadata, struct hm_rig *rig,
			struct hm_crowd *c)
{
	struct hotmirror_status st;

	must(hm_wait_status(rig->fd, 0, nobody_in, &st));
	rig_verify_fd(_metadata, c->fd);
	ring_close(&c->ring);
	close(c->fd);
	must(hm_wait_status(rig->fd, 0, only_rig, &st));
	rig_teardown(_metadata, rig);
}

FIXTURE_SETUP(asleep)
{
	CROWD_SETUP(&self->rig, &self->c, variant->flags);
	must(hm_ring_workers(&self->c.ring, COMMANDS));
	must(hm_crowd_sleep(&self->c, &self->c.ring, 0, COMMANDS));
	expect_sleepers(_metadata, &self->rig, COMMANDS);
	EXPECT_FALSE(hm_ring_ready(&self->c.ring));
}

FIXTURE_TEARDOWN(asleep)
{
	crowd_leave(_metadata, &self->rig, &self->c);
}

/* Results of all commands, each once; those of cancellations, if there are any. */
static void expect_results(struct __test_metadata *_metadata, struct hm_crowd *c,
			   int n, int expected, int cancellations)
{
	bool seen[2 * COMMANDS] = {};
	int result;
	__u64 id;

	while (n--) {
		must(hm_ring_wait(&c->ring, &id, &result));
		ASSERT_GT(2 * COMMANDS, id);
		EXPECT_FALSE(seen[id]);
		seen[id] = true;
		if (id >= COMMANDS && result == -ENOENT && c->cancel_is_enoent)
			result = -EALREADY;
		/* How a cancellation of all counts is the kernel's business. */
		if (id >= COMMANDS && result > 0)
			result = 0;
		EXPECT_EQ(id < COMMANDS ? expected : cancellations, result)
			TH_LOG("command %llu: %s", (unsigned long long)id,
			       strerror(-result));
	}
	EXPECT_FALSE(hm_ring_ready(&c->ring));
}

/* All commands ended like this, and did nothing; no fault was resolved. */
static void expect_nothing_done(struct __test_metadata *_metadata, struct hm_crowd *c)
{
	for (int i = 0; i < COMMANDS; i++) {
		EXPECT_EQ(0, hm_crowd_done(c, i))
			TH_LOG("command %d", i);
	}
	must(hm_crowd_resolve(c, 0, COMMANDS));
	expect_filled(c->mem, COMMANDS * c->page, HM_CROWD_NEW);
}

TEST_F(asleep, all_end_when_resolved)
{
	struct hm_crowd *c = &self->c;

	must(hm_crowd_resolve(c, 0, COMMANDS));
	expect_results(_metadata, c, COMMANDS, 0, 0);
	for (int i = 0; i < COMMANDS; i++) {
		EXPECT_EQ(c->page, hm_crowd_done(c, i));
		EXPECT_TRUE(hm_crowd_right(c, i))
			TH_LOG("command %d", i);
	}
}

/*
 * A command that runs cannot be taken out of its queue: EALREADY, then its result. On
 * 6.12 who cancels through IORING_SETUP_SQPOLL is told ENOENT, with the same effect.
 */
TEST_F(asleep, each_can_be_cancelled)
{
	struct hm_crowd *c = &self->c;

	c->cancel_is_enoent = variant->flags & IORING_SETUP_SQPOLL;
	for (int i = 0; i < COMMANDS; i++) {
		ASSERT_NE(NULL, hm_ring_cancel(&c->ring, i, COMMANDS + i))
			TH_LOG("no room in the queue");
	}
	must(hm_ring_submit(&c->ring));
	expect_results(_metadata, c, 2 * COMMANDS, -ECANCELED, -EALREADY);
	expect_nothing_done(_metadata, c);
}

TEST_F(asleep, all_can_be_cancelled_at_once)
{
	struct hm_crowd *c = &self->c;
	struct io_uring_sqe *sqe = hm_ring_cancel(&c->ring, 0, COMMANDS);

	ASSERT_NE(NULL, sqe);
	sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY;
	must(hm_ring_submit(&c->ring));
	expect_results(_metadata, c, COMMANDS + 1, -ECANCELED, 0);
	expect_nothing_done(_metadata, c);
}

/* The ring goes; nobody is there to take results. */
TEST_F(asleep, none_outlives_the_ring)
{
	struct hotmirror_status st;

	ring_close(&self->c.ring);
	must(hm_wait_status(self->rig.fd, 0, nobody_in, &st));
	expect_nothing_done(_metadata, &self->c);
}

TEST_F(asleep, unplug_ends_all)
{
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_results(_metadata, &self->c, COMMANDS, -ENODEV, 0);
	expect_nothing_done(_metadata, &self->c);
}

TEST_F(asleep, disable_ends_all)
{
	struct hotmirror_status st;

	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	expect_results(_metadata, &self->c, COMMANDS, -ENODEV, 0);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DISABLED, st.state);
	expect_nothing_done(_metadata, &self->c);
}

TEST_F(asleep, closing_the_control_file_ends_all)
{
	close(self->rig.control);
	self->rig.control = -1;
	expect_results(_metadata, &self->c, COMMANDS, -ENODEV, 0);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	expect_nothing_done(_metadata, &self->c);
}

/* As a CPU access would: the memory is no more. */
TEST_F(asleep, unmapped_memory_is_efault)
{
	struct hm_crowd *c = &self->c;

	ASSERT_EQ(0, munmap(c->mem, COMMANDS * c->page));
	must(hm_uffd_wake(c->uffd, c->mem, COMMANDS * c->page));
	expect_results(_metadata, c, COMMANDS, -EFAULT, 0);
}

/* Few commands, one thing at a time. */

FIXTURE(sleeper) {
	struct hm_rig rig;
	struct hm_crowd c;
};

FIXTURE_SETUP(sleeper)
{
	CROWD_SETUP(&self->rig, &self->c, 0);
}

FIXTURE_TEARDOWN(sleeper)
{
	crowd_leave(_metadata, &self->rig, &self->c);
}

/* Without workers to spare commands wait; the ring does not. */
TEST_F(sleeper, others_wait_for_a_worker)
{
	struct hm_crowd *c = &self->c;

	must(hm_ring_workers(&c->ring, 2));
	for (int i = 0; i < 4; i++) {
		ASSERT_NE(NULL, hm_crowd_queue(c, &c->ring, i))
			TH_LOG("no room in the queue");
	}
	must(hm_ring_submit(&c->ring));
	must(hm_crowd_asleep(c, 2));
	ASSERT_NE(NULL, hm_ring_sqe(&c->ring, 9));
	must(hm_ring_submit(&c->ring));
	expect_result(_metadata, &c->ring, 9, 0);
	expect_sleepers(_metadata, &self->rig, 2);
	must(hm_crowd_resolve(c, 0, 4));
	expect_results(_metadata, c, 4, 0, 0);
}

/* One that did not begin is taken out, and its struct was not looked at. */
TEST_F(sleeper, waiting_command_is_cancelled_at_once)
{
	struct hm_crowd *c = &self->c;

	must(hm_ring_workers(&c->ring, 1));
	must(hm_crowd_sleep(c, &c->ring, 0, 1));
	ASSERT_NE(NULL, hm_crowd_queue(c, &c->ring, 1));
	c->args[1].access.done = 7;
	must(hm_ring_submit(&c->ring));
	ASSERT_NE(NULL, hm_ring_cancel(&c->ring, 1, COMMANDS + 1));
	must(hm_ring_submit(&c->ring));
	expect_results(_metadata, c, 2, -ECANCELED, 0);
	EXPECT_EQ(7, c->args[1].access.done);
	expect_sleepers(_metadata, &self->rig, 1);
	must(hm_crowd_resolve(c, 0, 1));
	expect_results(_metadata, c, 1, 0, 0);
}

TEST_F(sleeper, cancelled_too_late_has_its_own_result)
{
	struct hm_crowd *c = &self->c;

	must(hm_crowd_sleep(c, &c->ring, 0, 1));
	must(hm_crowd_resolve(c, 0, 1));
	expect_results(_metadata, c, 1, 0, 0);
	ASSERT_NE(NULL, hm_ring_cancel(&c->ring, 0, 9));
	must(hm_ring_submit(&c->ring));
	expect_result(_metadata, &c->ring, 9, -ENOENT);
	EXPECT_EQ(c->page, c->args[0].access.done);
}

/* A cancelled command can be submitted again, and does its work then. */
TEST_F(sleeper, cancelled_can_be_tried_again)
{
	struct hm_crowd *c = &self->c;

	must(hm_crowd_sleep(c, &c->ring, 1, 1));
	ASSERT_NE(NULL, hm_ring_cancel(&c->ring, 1, COMMANDS));
	must(hm_ring_submit(&c->ring));
	expect_results(_metadata, c, 2, -ECANCELED, -EALREADY);
	must(hm_crowd_sleep(c, &c->ring, 1, 1));
	must(hm_crowd_resolve(c, 1, 1));
	expect_results(_metadata, c, 1, 0, 0);
	EXPECT_TRUE(hm_crowd_right(c, 1));
}

/*
 * ETIME if the command had not begun. If it runs the kernel finds it, ends it, and
 * says ENOENT (7.3.4, 6.12.107).
 */
static bool timed_out(int result)
{
	return result == -ETIME || result == -EALREADY || result == -ENOENT;
}

/* A device access with a deadline. */
TEST_F(sleeper, linked_timeout_cancels)
{
	struct __kernel_timespec soon = { .tv_nsec = 1000000 };
	struct hm_crowd *c = &self->c;
	struct io_uring_sqe *sqe;
	int result;
	__u64 id;

	hm_crowd_queue(c, &c->ring, 0)->flags |= IOSQE_IO_LINK;
	sqe = hm_ring_sqe(&c->ring, COMMANDS);
	ASSERT_NE(NULL, sqe);
	io_uring_prep_link_timeout(sqe, &soon, 0);
	sqe->user_data = COMMANDS;
	must(hm_ring_submit(&c->ring));
	for (int i = 0; i < 2; i++) {
		must(hm_ring_wait(&c->ring, &id, &result));
		if (id == COMMANDS) {
			EXPECT_TRUE(timed_out(result))
				TH_LOG("the timeout: %s", strerror(-result));
		} else {
			EXPECT_EQ(-ECANCELED, result)
				TH_LOG("%s", strerror(-result));
		}
	}
	EXPECT_EQ(0, c->args[0].access.done);
}

/* 0, or why it was not done, of IORING_REGISTER_SYNC_CANCEL of everything. */
static int cancel_all(struct hm_crowd *c)
{
	struct io_uring_sync_cancel_reg reg = {
		.flags = IORING_ASYNC_CANCEL_ANY,
		.timeout = { .tv_sec = HM_LIMIT_MS / 1000 },
	};

	return io_uring_register_sync_cancel(&c->ring, &reg);
}

TEST_F(sleeper, synchronous_cancellation)
{
	struct hm_crowd *c = &self->c;

	must(hm_crowd_sleep(c, &c->ring, 0, 4));
	EXPECT_EQ(0, cancel_all(c));
	expect_results(_metadata, c, 4, -ECANCELED, 0);
}

#define SQPOLL_BUG	\
	"kernel bug: IORING_REGISTER_SYNC_CANCEL misses the commands of an SQPOLL ring"

/*
 * Kernel bug: io_sync_cancel() looks at the io-wq of every task on ctx->tctx_list, but the
 * thread of IORING_SETUP_SQPOLL, to which the commands belong, is not on it. So it
 * answers 0, which is "none is left", and all of them go on.
 */
TEST_F(sleeper, synchronous_cancellation_with_sqpoll)
{
	struct hm_crowd *c = &self->c;
	int result;
	__u64 id;

	ring_close(&c->ring);
	must(hm_ring_open(&c->ring, 4, IORING_SETUP_SQPOLL));
	must(hm_crowd_sleep(c, &c->ring, 0, 1));
	EXPECT_EQ(0, cancel_all(c));
	/* A command that was told to end does not finish its work any more. */
	must(hm_crowd_resolve(c, 0, 1));
	must(hm_ring_wait(&c->ring, &id, &result));
	if (!result && c->args[0].access.done == c->page) {
		rig_xfail(_metadata, SQPOLL_BUG);
		return;
	}
	EXPECT_EQ(-ECANCELED, result);
}

/* What is linked behind it does not run. */
TEST_F(sleeper, unplug_cancels_what_is_linked)
{
	struct hm_crowd *c = &self->c;

	hm_crowd_queue(c, &c->ring, 0)->flags |= IOSQE_IO_LINK;
	ASSERT_NE(NULL, hm_crowd_queue(c, &c->ring, 1));
	must(hm_ring_submit(&c->ring));
	must(hm_crowd_asleep(c, 1));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_result(_metadata, &c->ring, 0, -ENODEV);
	expect_result(_metadata, &c->ring, 1, -ECANCELED);
}

/* A ring that goes takes its own commands along, and no others. */
TEST_F(sleeper, other_ring_does_not_matter)
{
	struct hotmirror_status st;
	struct hm_crowd *c = &self->c;
	struct io_uring other;

	must(hm_ring_open(&other, 4, 0));
	must(hm_crowd_sleep(c, &other, 0, 2));
	must(hm_crowd_sleep(c, &c->ring, 2, 2));
	expect_sleepers(_metadata, &self->rig, 4);
	ring_close(&other);
	must(hm_crowd_resolve(c, 2, 2));
	expect_results(_metadata, c, 2, 0, 0);
	must(hm_wait_status(self->rig.fd, 0, nobody_in, &st));
	EXPECT_EQ(0, c->args[0].access.done + c->args[1].access.done);
}

static long submit_and_exit(void *arg)
{
	return hm_crowd_sleep(arg, &((struct hm_crowd *)arg)->ring, 0, 2);
}

TEST_F(sleeper, none_outlives_its_thread)
{
	struct hm_crowd *c = &self->c;
	struct hm_async thread;
	long result;

	must(hm_async_start(&thread, submit_and_exit, c));
	must(hm_async_join(&thread, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	expect_results(_metadata, c, 2, -ECANCELED, 0);
}

#endif

HM_RING_TEST_MAIN
