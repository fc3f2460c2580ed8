// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whom a gate holds, whom it must not hold, and who opens it: the rules of
 * test_hotmirror_gate_uapi.h, each in a test of its own.
 */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "gate_test.h"

FIXTURE(rule) {
	struct gated g;
	struct hm_child child;
};

typedef FIXTURE_DATA(rule) data;

FIXTURE_SETUP(rule)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	gated_setup(_metadata, &self->g, 0);
}

FIXTURE_TEARDOWN(rule)
{
	hm_child_end(&self->child);
	gated_teardown(_metadata, &self->g);
}

/* ---- which hit ---- */

/* A thread that waits to be told each time before it takes a snapshot. */
struct turns {
	struct gated *g;
	int fd;			/* of the instance */
	int go;			/* eventfd, a semaphore */
	int done;		/* eventfd, one for each snapshot */
	int n;
};

static long take_turns(void *arg)
{
	struct turns *t = arg;
	eventfd_t one;
	__u32 page;

	for (int i = 0; i < t->n; i++) {
		int ret = eventfd_read(t->go, &one) ? -errno :
			  hm_snapshot(t->fd, t->g->mem, t->g->page, &page);

		if (ret || eventfd_write(t->done, 1))
			return ret ?: -errno;
	}
	return 0;
}

static void turns_start(struct __test_metadata *_metadata, struct turns *t,
			struct hm_async *a, struct gated *g, int fd, int n)
{
	t->g = g;
	t->fd = fd;
	t->n = n;
	t->go = eventfd(0, EFD_SEMAPHORE);
	t->done = eventfd(0, EFD_SEMAPHORE);
	ASSERT_LE(0, t->go);
	ASSERT_LE(0, t->done);
	must(hm_async_start(a, take_turns, t));
}

static void turn(struct __test_metadata *_metadata, struct turns *t)
{
	eventfd_t one;

	ASSERT_EQ(0, eventfd_write(t->go, 1));
	ASSERT_EQ(0, eventfd_read(t->done, &one));
}

TEST_F(rule, the_nth_hit_is_held)
{
	struct hm_gate_arm third = { .nth = 3 };
	struct gated *g = &self->g;
	struct hm_async a;
	struct turns t;

	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &third);
	turns_start(_metadata, &t, &a, g, g->fd, 4);
	turn(_metadata, &t);
	turn(_metadata, &t);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, gated_status(_metadata, g->gate).state);
	ASSERT_EQ(0, eventfd_write(t.go, 2));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	EXPECT_EQ(3, gated_status(_metadata, g->gate).hits);
	must(hm_gate_release(g->gate));
	/* The fourth is counted, and not held. */
	gated_join(_metadata, &a, 0);
	EXPECT_EQ(4, gated_status(_metadata, g->gate).hits);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, gated_status(_metadata, g->gate).state);
}

TEST_F(rule, only_the_named_thread_is_held)
{
	struct gated *g = &self->g;
	struct hm_async a, b;
	struct turns ta, tb;

	turns_start(_metadata, &ta, &a, g, g->fd, 1);
	turns_start(_metadata, &tb, &b, g, g->fd, 1);
	g->gate = must(hm_gate_open(g->fd, HOTMIRROR_GATE_SNAPSHOT_BEGIN, 0));
	must(hm_gate_arm_tid(g->gate, b.tid));
	turn(_metadata, &ta);
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
	ASSERT_EQ(0, eventfd_write(tb.go, 1));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	EXPECT_EQ(b.tid, gated_status(_metadata, g->gate).tid);
	must(hm_gate_release(g->gate));
	gated_join(_metadata, &a, 0);
	gated_join(_metadata, &b, 0);
}

/* With the inherited file, of the parent's memory, and with what it is told. */
static int snapshot_by_child(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	__u32 page;

	while (hm_hear(p))
		hm_tell(p, hm_snapshot(g->fd, g->mem, g->page, &page));
	return 0;
}

TEST_F(rule, only_the_named_process_is_held)
{
	struct gated *g = &self->g;
	struct hm_gate_arm how = {};
	__u32 page;
	long ret;

	must(hm_child_start(&self->child, snapshot_by_child, g));
	how.pid = self->child.pid;
	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &how);
	must(hm_snapshot(g->fd, g->mem, g->page, &page));
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
	must(hm_child_tell(&self->child, 1));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	EXPECT_EQ(self->child.pid, gated_status(_metadata, g->gate).tid);
	must(hm_gate_release(g->gate));
	must(hm_child_hear(&self->child, &ret));
	EXPECT_EQ(0, ret);
}

TEST_F(rule, a_gate_of_a_file_is_not_hit_by_another_file)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = {};
	int other = must(hm_open(g->rig.id)), wide;
	struct hm_async a;
	struct turns t;

	must(hm_mirror(other, g->mem, g->length, 0, NULL));
	turns_start(_metadata, &t, &a, g, other, 2);
	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &any);
	turn(_metadata, &t);
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
	wide = must(hm_gate_open(g->fd, HOTMIRROR_GATE_SNAPSHOT_BEGIN, HOTMIRROR_GATE_INSTANCE));
	must(hm_gate_arm(wide, &any));
	ASSERT_EQ(0, eventfd_write(t.go, 1));
	must(hm_gate_wait(wide, HM_LIMIT_MS));
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
	must(hm_gate_release(wide));
	gated_join(_metadata, &a, 0);
	close(wide);
	close(other);
}

TEST_F(rule, gates_at_one_place_are_stood_at_one_after_the_other)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = {};
	struct hm_async a;
	int second;

	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &any);
	second = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &any);
	must(hm_async_start(&a, op_snapshot, g));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, gated_status(_metadata, second).state);
	/* The end of the list is not lost with the gate that he stands at. */
	close(g->gate);
	g->gate = -1;
	must(hm_gate_wait(second, HM_LIMIT_MS));
	must(hm_gate_release(second));
	gated_join(_metadata, &a, 0);
	close(second);
}

TEST_F(rule, verify_stops_nowhere)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };
	struct hotmirror_verify v;

	must(hm_prefetch(g->fd, g->mem, g->length, false));
	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &any);
	must(hm_verify(g->fd, &v));
	EXPECT_EQ(PAGES, v.present);
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
}

/* ---- arming and releasing ---- */

TEST_F(rule, arming_again_begins_anew)
{
	struct gated *g = &self->g;
	struct hm_gate_arm tenth = { .nth = 10 }, first = {};
	struct hotmirror_gate_status st;
	struct hm_async a;
	__u32 page;

	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_SNAPSHOT_BEGIN, &tenth);
	must(hm_snapshot(g->fd, g->mem, g->page, &page));
	EXPECT_EQ(1, gated_status(_metadata, g->gate).hits);
	must(hm_gate_arm(g->gate, &first));
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
	must(hm_async_start(&a, op_snapshot, g));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	must_err(EBUSY, hm_gate_arm(g->gate, &first));
	must(hm_gate_release(g->gate));
	must(hm_gate_arm(g->gate, &first));
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state);
	EXPECT_EQ(0, st.tid);
	EXPECT_EQ(0, st.arrived_ns);
	gated_join(_metadata, &a, 0);
}

TEST_F(rule, release_of_an_armed_gate_disarms_it)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = {};
	__u32 page;

	g->gate = must(hm_gate_open(g->fd, HOTMIRROR_GATE_SNAPSHOT_BEGIN, 0));
	EXPECT_EQ(HOTMIRROR_GATE_IDLE, gated_status(_metadata, g->gate).state);
	must(hm_gate_release(g->gate));
	must(hm_gate_arm(g->gate, &any));
	must(hm_gate_release(g->gate));
	EXPECT_EQ(HOTMIRROR_GATE_IDLE, gated_status(_metadata, g->gate).state);
	must(hm_snapshot(g->fd, g->mem, g->page, &page));
	EXPECT_EQ(0, gated_status(_metadata, g->gate).hits);
}

TEST_F(rule, who_is_not_released_in_time_goes_on)
{
	struct hm_gate_arm brief = { .timeout_ns = 20 * HM_MSEC };
	struct gated *g = &self->g;
	struct hotmirror_gate_status st;
	struct hm_async a;

	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_POPULATE_CHECKED, &brief);
	must(hm_async_start(&a, op_read, g));
	gated_join(_metadata, &a, 0);
	expect_filled(g->buf, g->length, SEED);
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(1, st.timeouts);
	EXPECT_EQ(0, st.killed);
	EXPECT_LE(brief.timeout_ns, st.left_ns - st.arrived_ns);
}

TEST_F(rule, close_of_the_gate_releases)
{
	struct gated *g = &self->g;
	struct hm_async a;

	gated_hold(_metadata, g, HOTMIRROR_GATE_POPULATE_LOCKED, &a, op_read);
	close(g->gate);
	g->gate = -1;
	gated_join(_metadata, &a, 0);
	expect_filled(g->buf, g->length, SEED);
}

static int keep_gate(struct hm_parent *p, void *arg)
{
	hm_hear(p);
	return 0;
}

/* It is open as long as anybody has the file: fork() copies it, exec closes the copy. */
TEST_F(rule, a_forked_copy_keeps_the_gate)
{
	struct gated *g = &self->g;
	struct hm_async a;
	int status;

	gated_hold(_metadata, g, HOTMIRROR_GATE_POPULATE_BEGIN, &a, op_read);
	must(hm_child_start(&self->child, keep_gate, g));
	EXPECT_EQ(FD_CLOEXEC, fcntl(g->gate, F_GETFD));
	close(g->gate);
	g->gate = -1;
	must(hm_wait_asleep(a.tid));
	EXPECT_FALSE(hm_async_done(&a));
	must(hm_child_tell(&self->child, 0));
	gated_join(_metadata, &a, 0);
	must(hm_child_wait(&self->child, &status));
	EXPECT_EQ(0, status);
}

TEST_F(rule, epoll_reports_who_came)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = {};
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0);
	struct hm_async a;

	ASSERT_LE(0, ep);
	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_POPULATE_DONE, &any);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, g->gate, &ev));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	must(hm_async_start(&a, op_read, g));
	ASSERT_EQ(1, epoll_wait(ep, &ev, 1, HM_LIMIT_MS));
	EXPECT_EQ(EPOLLIN, ev.events);
	must(hm_gate_release(g->gate));
	EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	gated_join(_metadata, &a, 0);
	close(ep);
}

/* ---- who must not be held ---- */

static int read_until_killed(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;

	hm_tell(p, 0);
	return hm_read(g->fd, g->mem, g->buf, g->length);
}

TEST_F(rule, a_killed_task_goes_on)
{
	struct gated *g = &self->g;
	struct hm_gate_arm any = {};
	struct hotmirror_gate_status st;
	int status;

	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_POPULATE_LOCKED, &any);
	must(hm_child_start(&self->child, read_until_killed, g));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(1, st.killed);
	EXPECT_EQ(0, st.timeouts);
	/* The driver lock, which it held, is free. */
	must(hm_read(g->fd, g->mem, g->buf, g->length));
	expect_filled(g->buf, g->length, SEED);
}

/* What the instance brings home when it goes is announced to others by its worker. */
TEST_F(rule, a_kernel_thread_goes_through)
{
	struct hm_gate_arm any = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };
	struct gated *g = &self->g;
	struct hotmirror_gate_status st;
	struct gated away = *g;
	__u32 id;
	int fd;

	skip_unless(g->rig.kind != HOTMIRROR_DAX, "no private and no coherent memory");
	must(hm_plug(g->rig.control, g->rig.kind, g->rig.bytes, &id));
	fd = must(hm_open(id));
	away.fd = fd;
	must(op_to_dev(&away));
	g->gate = gated_arm(_metadata, g, HOTMIRROR_GATE_INVALIDATE_ENTER, &any);
	must(hm_unplug(g->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state);
	EXPECT_LT(0, st.passed_through);
	EXPECT_EQ(st.hits, st.passed_through);
	EXPECT_EQ(HOTMIRROR_GATE_WHY_KTHREAD, st.why);
	expect_filled(g->mem, g->length, SEED);
	close(fd);
}

/* A child that mirrors its own memory, with entries; and a gate of its own, if told to. */
struct mortal {
	struct gated *g;
	bool arms;
	int fd;			/* in the parent: the child's files */
	int gate;
};

static int mortal(struct hm_parent *p, void *arg)
{
	const struct hm_gate_arm how = {
		.flags = HOTMIRROR_GATE_ALLOW_EXIT,
		.timeout_ns = HOTMIRROR_MAX_GATE_NS,
	};
	struct mortal *m = arg;
	struct gated *g = m->g;
	int fd = hm_open(g->rig.id), gate = -1;
	int ret = fd < 0 ? fd : hm_mirror(fd, g->mem, g->length, 0, NULL);

	ret = ret ?: hm_prefetch(fd, g->mem, g->length, false);
	if (!ret && m->arms) {
		gate = hm_gate_open(fd, HOTMIRROR_GATE_INVALIDATE_ENTER, 0);
		ret = gate < 0 ? gate : hm_gate_arm(gate, &how);
	}
	hm_tell(p, ret ?: fd);
	hm_tell(p, gate);
	hm_hear(p);
	return 0;
}

static void mortal_start(struct __test_metadata *_metadata, struct mortal *m,
			 struct hm_child *child)
{
	long fd, gate;

	must(hm_child_start(child, mortal, m));
	must(hm_child_hear(child, &fd));
	must(hm_child_hear(child, &gate));
	must(fd);
	m->fd = must(hm_child_getfd(child, fd));
	m->gate = m->arms ? must(hm_child_getfd(child, gate)) :
		  must(hm_gate_open(m->fd, HOTMIRROR_GATE_INVALIDATE_ENTER, 0));
}

static void mortal_end(struct __test_metadata *_metadata, struct hm_child *child)
{
	int status;

	must(hm_child_wait(child, &status));
	EXPECT_EQ(0, status);
}

static void expect_exit_passed(struct __test_metadata *_metadata, const struct mortal *m,
			       struct hm_child *child)
{
	struct hotmirror_gate_status st;

	must(hm_child_tell(child, 0));
	mortal_end(_metadata, child);
	st = gated_status(_metadata, m->gate);
	/* The end of the notifiers, and that of the mapping. */
	EXPECT_EQ(2, st.hits);
	EXPECT_EQ(2, st.passed_through);
	EXPECT_EQ(HOTMIRROR_GATE_WHY_EXITING, st.why);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state);
	close(m->gate);
	close(m->fd);
}

TEST_F(rule, an_exiting_task_goes_through)
{
	struct hm_gate_arm any = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };
	struct mortal m = { .g = &self->g };

	mortal_start(_metadata, &m, &self->child);
	must(hm_gate_arm(m.gate, &any));
	expect_exit_passed(_metadata, &m, &self->child);
}

TEST_F(rule, an_exiting_task_goes_through_what_it_armed_itself)
{
	struct mortal m = { .g = &self->g, .arms = true };

	mortal_start(_metadata, &m, &self->child);
	expect_exit_passed(_metadata, &m, &self->child);
}

TEST_F(rule, an_exiting_task_is_held_by_another_process_that_says_so)
{
	struct hm_gate_arm exits = { .flags = HOTMIRROR_GATE_ALLOW_EXIT };
	struct mortal m = { .g = &self->g };

	mortal_start(_metadata, &m, &self->child);
	must(hm_gate_arm(m.gate, &exits));
	must(hm_child_tell(&self->child, 0));
	must(hm_gate_wait(m.gate, HM_LIMIT_MS));
	EXPECT_EQ(self->child.pid, gated_status(_metadata, m.gate).tid);
	must(hm_wait_asleep(self->child.pid));
	must(hm_gate_release(m.gate));
	mortal_end(_metadata, &self->child);
	close(m.gate);
	close(m.fd);
}

/* The child takes its memory away, for which it has to wait; then it is killed. */
static int drop_until_killed(struct hm_parent *p, void *arg)
{
	struct mortal *m = arg;
	struct gated *g = m->g;
	int fd = hm_open(g->rig.id);
	int ret = fd < 0 ? fd : hm_mirror(fd, g->mem, g->length, 0, NULL);

	hm_tell(p, ret ?: hm_prefetch(fd, g->mem, g->length, false) ?: fd);
	hm_hear(p);
	return madvise(g->mem, g->length, MADV_DONTNEED);
}

/*
 * What process_mrelease() asks for, as the oom reaper does, must not block. To be asked
 * it needs a process that is killed and still has its mm: one that waits, as long as it
 * takes, for the driver lock, which a reader from outside holds at a gate.
 */
TEST_F(rule, an_invalidation_that_must_not_block_goes_through)
{
	struct hm_gate_arm ours = { .pid = getpid(), .timeout_ns = HOTMIRROR_MAX_GATE_NS };
	struct gated *g = &self->g, outside = *g;
	struct hotmirror_gate_status st;
	struct mortal m = { .g = g };
	struct hotmirror_stats stats;
	struct hm_async a;
	int status;
	long fd;

	must(hm_child_start(&self->child, drop_until_killed, &m));
	must(hm_child_hear(&self->child, &fd));
	m.fd = must(hm_child_getfd(&self->child, must(fd)));
	outside.fd = m.fd;
	/* fork() has made it read-only, and the mm may be gone when a second try is due. */
	hm_fill(outside.buf, outside.length, OTHER);
	gated_hold(_metadata, &outside, HOTMIRROR_GATE_ACCESS_LOCKED, &a, op_read);
	g->gate = gated_arm(_metadata, &outside, HOTMIRROR_GATE_INVALIDATE_ENTER, &ours);
	must(hm_child_tell(&self->child, 0));
	must(hm_wait_stuck(self->child.pid));
	must(hm_child_kill(&self->child, SIGKILL));
	EXPECT_EQ(-1, syscall(SYS_process_mrelease, self->child.pidfd, 0));
	EXPECT_EQ(EAGAIN, errno);
	st = gated_status(_metadata, g->gate);
	EXPECT_EQ(HOTMIRROR_GATE_WHY_ATOMIC, st.why);
	EXPECT_EQ(1, st.passed_through);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state);
	/* The reader may be the last who has the mm: its end is announced by him. */
	must(hm_gate_release(g->gate));
	must(hm_gate_release(outside.gate));
	gated_join(_metadata, &a, 0);
	must(hm_child_wait(&self->child, &status));
	must(hm_stats(m.fd, &stats));
	EXPECT_EQ(1, stats.invalidates_refused);
	close(outside.gate);
	close(m.fd);
}

HM_TEST_MAIN
