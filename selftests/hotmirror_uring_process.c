// SPDX-License-Identifier: GPL-2.0-only
/*
 * A process with 64 io_uring commands asleep in a user fault dies, is stopped, or becomes
 * another (claim S8): nothing waits for the fault, and no worker is left. A process can
 * only be reaped when the last of its threads is gone, workers of io_uring among them.
 */
#include <sys/wait.h>

#include "uring_test.h"

#ifdef HAVE_LIBURING
#include "lib/crowd.h"

/* What the process does when it is told. */
enum ending { REPORTS, EXITS, EXECS };

FIXTURE(process) {
	struct hm_rig rig;
	struct hm_child child;
	int uffd;		/* the child's: its faults are not resolved by its end */
	unsigned int flags;
};

FIXTURE_VARIANT(process) {
	unsigned int flags;	/* of its ring */
};

FIXTURE_VARIANT_ADD(process, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(process, sqpoll) { .flags = IORING_SETUP_SQPOLL };

/* Puts its commands to sleep, and ends as it is told. */
static int crowded(struct hm_parent *p, void *arg)
{
	FIXTURE_DATA(process) *self = arg;
	static struct hm_crowd c;
	int ret = hm_crowd_begin(&c, self->rig.id, self->rig.q.features), result = 0;
	__u64 id;

	if (!ret)
		ret = hm_ring_open(&c.ring, COMMANDS, self->flags);
	if (!ret)
		ret = hm_ring_workers(&c.ring, COMMANDS);
	if (!ret)
		ret = hm_crowd_sleep(&c, &c.ring, 0, COMMANDS);
	hm_tell(p, ret);
	hm_tell(p, c.uffd);
	switch (hm_hear(p)) {
	case EXECS:
		execl("/bin/true", "true", NULL);
		return 1;
	case REPORTS:
		for (int i = 0; i < COMMANDS; i++)
			hm_tell(p, hm_ring_wait(&c.ring, &id, &result) ?: result);
		hm_hear(p);
	}
	return 0;
}

FIXTURE_SETUP(process)
{
	struct io_uring probe;
	int uffd = hm_uffd_open();
	long value;

	RIG_SETUP(&self->rig, HM_ANY);
	skip_without_commands(&self->rig);
	if (uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-uffd));
	close(uffd);
	RING_SETUP(&probe, 1, variant->flags);
	io_uring_queue_exit(&probe);
	self->flags = variant->flags;
	must(hm_child_start(&self->child, crowded, self));
	must(hm_child_hear(&self->child, &value));
	must(value);
	must(hm_child_hear(&self->child, &value));
	self->uffd = must(hm_child_getfd(&self->child, value));
	expect_sleepers(_metadata, &self->rig, COMMANDS);
}

FIXTURE_TEARDOWN(process)
{
	hm_child_end(&self->child);
	rig_teardown(_metadata, &self->rig);
}

/* The last of its threads, workers among them, is gone when it can be waited for. */
static void expect_nothing_left(struct __test_metadata *_metadata, struct hm_rig *rig,
				struct hm_child *child, int expected)
{
	struct hotmirror_status st;
	int status;

	must(hm_child_wait(child, &status));
	EXPECT_EQ(expected, status);
	must(hm_wait_status(rig->fd, 0, only_rig, &st));
	EXPECT_EQ(0, st.sleepers + st.readers);
}

TEST_F(process, killed)
{
	must(hm_child_kill(&self->child, SIGKILL));
	expect_nothing_left(_metadata, &self->rig, &self->child, SIGKILL);
}

TEST_F(process, exits)
{
	must(hm_child_tell(&self->child, EXITS));
	expect_nothing_left(_metadata, &self->rig, &self->child, 0);
}

TEST_F(process, executes_another_program)
{
	must(hm_child_tell(&self->child, EXECS));
	expect_nothing_left(_metadata, &self->rig, &self->child, 0);
}

TEST_F(process, killed_and_unplugged_at_once)
{
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_child_kill(&self->child, SIGKILL));
	expect_nothing_left(_metadata, &self->rig, &self->child, SIGKILL);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

/* Workers stop as the other threads do, hence are interrupted. */
TEST_F(process, stopped_is_eintr)
{
	struct hotmirror_status st;
	long value;

	must(hm_child_kill(&self->child, SIGSTOP));
	must(hm_wait_status(self->rig.fd, 0, nobody_in, &st));
	must(hm_child_kill(&self->child, SIGCONT));
	must(hm_child_tell(&self->child, REPORTS));
	for (int i = 0; i < COMMANDS; i++) {
		must(hm_child_hear(&self->child, &value));
		EXPECT_EQ(-EINTR, value)
			TH_LOG("%s", strerror(-value));
	}
}

#endif

HM_RING_TEST_MAIN
