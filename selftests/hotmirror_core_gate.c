// SPDX-License-Identifier: GPL-2.0-only
/*
 * Core gates: a task is held at the entry of a function of the kernel, and the function
 * then does what it would have done. Who is held, for how long, and who passes.
 */
#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>

#include "core_test.h"
#include "lib/devdax.h"

FIXTURE(core) {
	struct gated g;
};

FIXTURE_SETUP(core)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	gated_setup(_metadata, &self->g, 0);
}

FIXTURE_TEARDOWN(core)
{
	gated_teardown(_metadata, &self->g);
}

static long op_read_page(void *arg)
{
	struct gated *g = arg;

	return hm_read(g->fd, g->mem, g->buf, g->page);
}

TEST_F(core, goes_on_with_its_arguments)
{
	struct hotmirror_gate_status st;
	struct worker w;

	hold_reader(&w, "hmm_range_fault");
	expect_filled(self->g.buf, self->g.length, OTHER);
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &w, 0);
	expect_filled(self->g.buf, self->g.length, SEED);
	st = gated_status(_metadata, self->g.gate);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(0, st.timeouts + st.killed + st.passed_through);
	EXPECT_LT(st.arrived_ns, st.left_ns);
}

/* So that a schedule can tell where everybody is. */
TEST_F(core, stack_shows_function_and_caller)
{
	struct worker w;
	char path[64];

	hold_reader(&w, "hmm_range_fault");
	snprintf(path, sizeof(path), "/proc/self/task/%d/stack", w.async.tid);
	EXPECT_EQ(1, file_says(path, "hmm_range_fault+"));
	EXPECT_EQ(1, file_says(path, "hotmirror_walk+"));
	EXPECT_EQ(1, file_says(path, "x64_sys_ioctl+"));
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &w, 0);
}

TEST_F(core, goes_on_when_time_is_up)
{
	struct hm_gate_arm how = { .timeout_ns = 20 * HM_MSEC };
	struct worker w;

	need_core_gates(&self->g.rig);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	worker_start(_metadata, &w, op_read, &self->g);
	how.tid = w.async.tid;
	must(hm_gate_arm(self->g.gate, &how));
	worker_begin(_metadata, &w);
	worker_join(_metadata, &w, 0);
	expect_filled(self->g.buf, self->g.length, SEED);
	EXPECT_EQ(1, gated_status(_metadata, self->g.gate).timeouts);
}

TEST_F(core, other_threads_pass)
{
	struct gated other = self->g;
	struct worker w, passes;

	other.buf = hm_map(PAGES);
	ASSERT_NE(NULL, other.buf);
	hold_reader(&w, "mmu_interval_read_begin");
	worker_start(_metadata, &passes, op_read, &other);
	worker_begin(_metadata, &passes);
	worker_join(_metadata, &passes, 0);
	EXPECT_FALSE(hm_async_done(&w.async));
	EXPECT_EQ(1, gated_status(_metadata, self->g.gate).hits);
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &w, 0);
}

/* Two at once, of which one has mmap_lock: nothing in between takes it. */
TEST_F(core, two_stand_at_two_functions)
{
	struct worker reader, zapper;
	int gate;

	hold_reader(&reader, "mmu_interval_read_begin");
	gate = must(hm_gate_core(self->g.rig.control,
				 "__mmu_notifier_invalidate_range_start"));
	worker_start(_metadata, &zapper, op_dontneed, &self->g);
	worker_hold(_metadata, &zapper, gate);
	EXPECT_FALSE(hm_async_done(&reader.async));
	must(hm_gate_release(gate));
	worker_join(_metadata, &zapper, 0);
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &reader, 0);
	expect_zero(self->g.buf, self->g.length);
	close(gate);
}

TEST_F(core, one_stands_at_two_functions_in_turn)
{
	struct worker w;
	int gate;

	need_core_gates(&self->g.rig);
	gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	worker_start(_metadata, &w, op_read, &self->g);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "mmu_interval_read_begin"));
	must(hm_gate_arm_tid(gate, w.async.tid));
	worker_hold(_metadata, &w, self->g.gate);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, gated_status(_metadata, gate).state);
	must(hm_gate_release(self->g.gate));
	must(hm_gate_wait(gate, HM_LIMIT_MS));
	must(hm_gate_release(gate));
	worker_join(_metadata, &w, 0);
	expect_filled(self->g.buf, self->g.length, SEED);
	close(gate);
}

/* Held twice: by us before it has told anyone, and by userfaultfd until it is filled. */
TEST_F(core, stands_before_userfaultfd)
{
	struct gated *g = &self->g;
	struct hm_fault fault;
	struct worker w;
	int uffd = hm_uffd_open();

	need_core_gates(&g->rig);
	skip_unless(uffd >= 0, "no userfaultfd");
	ASSERT_EQ(0, madvise(g->mem, g->length, MADV_DONTNEED));
	must(hm_uffd_register(uffd, g->mem, g->length, false));
	hm_fill(g->buf, g->length, OTHER);
	g->gate = must(hm_gate_core(g->rig.control, "handle_userfault"));
	worker_start(_metadata, &w, op_read_page, g);
	worker_hold(_metadata, &w, g->gate);
	EXPECT_FALSE(hm_uffd_pending(uffd));
	must(hm_gate_release(g->gate));
	must(hm_uffd_wait(uffd, &fault));
	must(hm_uffd_copy(uffd, g->mem, g->buf + g->page, g->page));
	worker_join(_metadata, &w, 0);
	EXPECT_EQ(0, memcmp(g->buf, g->buf + g->page, g->page));
}

/* A function can have any number of gates. */
TEST_F(core, two_stand_at_one_function)
{
	struct worker w[2];
	int gates[2];

	need_core_gates(&self->g.rig);
	for (int i = 0; i < 2; i++) {
		gates[i] = must(hm_gate_core(self->g.rig.control, "mmu_interval_read_begin"));
		worker_start(_metadata, &w[i], op_read, &self->g);
		worker_hold(_metadata, &w[i], gates[i]);
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_FALSE(hm_async_done(&w[i].async));
		must(hm_gate_release(gates[i]));
		worker_join(_metadata, &w[i], 0);
		close(gates[i]);
	}
}

TEST_F(core, rearmed_without_end)
{
	struct worker w;

	hold_reader(&w, "hmm_range_fault");
	for (int i = 0; i < 100; i++) {
		must_err(EBUSY, hm_gate_arm_tid(self->g.gate, w.async.tid));
		must(hm_gate_release(self->g.gate));
		worker_join(_metadata, &w, 0);
		ASSERT_EQ(0, mprotect(self->g.mem, self->g.length, PROT_READ));
		ASSERT_EQ(0, mprotect(self->g.mem, self->g.length, PROT_READ | PROT_WRITE));
		worker_start(_metadata, &w, op_read, &self->g);
		worker_hold(_metadata, &w, self->g.gate);
	}
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &w, 0);
}

TEST_F(core, close_lets_go)
{
	struct worker w;

	hold_reader(&w, "hmm_range_fault");
	close(self->g.gate);
	self->g.gate = -1;
	worker_join(_metadata, &w, 0);
	expect_filled(self->g.buf, self->g.length, SEED);
}

/* The control file that the gate came from, which is not that of the instance. */
TEST_F(core, close_of_control_lets_go_for_good)
{
	struct pollfd p = { .events = POLLIN };
	struct worker w;
	int control;

	need_core_gates(&self->g.rig);
	control = must(hm_control_open());
	self->g.gate = must(hm_gate_core(control, "hmm_range_fault"));
	p.fd = self->g.gate;
	worker_start(_metadata, &w, op_read, &self->g);
	worker_hold(_metadata, &w, self->g.gate);
	close(control);
	worker_join(_metadata, &w, 0);
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLHUP, p.revents);
	must_err(ENODEV, hm_gate_arm_tid(self->g.gate, 0));
}

TEST_F(core, killed_task_goes_on_and_dies)
{
	struct hotmirror_gate_status st;
	struct hm_child c;
	int status;

	need_core_gates(&self->g.rig);
	must(hm_child_start(&c, read_and_be_killed, &self->g));
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	must(hm_gate_arm(self->g.gate, &(struct hm_gate_arm){ .pid = c.pid }));
	must(hm_child_tell(&c, 0));
	must(hm_gate_wait(self->g.gate, HM_LIMIT_MS));
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	st = gated_status(_metadata, self->g.gate);
	EXPECT_EQ(1, st.killed);
	EXPECT_EQ(0, st.timeouts);
}

static int just_exit(struct hm_parent *p, void *arg)
{
	hm_hear(p);
	return 0;
}

/* exit_mm() comes before exit_files(): it could not let itself go. */
TEST_F(core, exiting_task_passes)
{
	struct hotmirror_gate_status st;
	struct hm_child c;
	int status;

	need_core_gates(&self->g.rig);
	must(hm_child_start(&c, just_exit, NULL));
	self->g.gate = must(hm_gate_core(self->g.rig.control, "unmap_vmas"));
	must(hm_gate_arm(self->g.gate, &(struct hm_gate_arm){ .pid = c.pid }));
	must(hm_child_tell(&c, 0));
	must(hm_child_wait(&c, &status));
	st = gated_status(_metadata, self->g.gate);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state);
	EXPECT_LT(0, st.passed_through);
	EXPECT_EQ(st.hits, st.passed_through);
	EXPECT_EQ(HOTMIRROR_GATE_WHY_EXITING, st.why);
}

TEST_F(core, exiting_task_is_held_if_asked_for)
{
	struct hm_gate_arm how = { .flags = HOTMIRROR_GATE_ALLOW_EXIT };
	struct hm_child c;
	int status;

	need_core_gates(&self->g.rig);
	must(hm_child_start(&c, just_exit, NULL));
	self->g.gate = must(hm_gate_core(self->g.rig.control, "exit_mmap"));
	how.pid = c.pid;
	must(hm_gate_arm(self->g.gate, &how));
	must(hm_child_tell(&c, 0));
	must(hm_gate_wait(self->g.gate, HM_LIMIT_MS));
	must(hm_gate_release(self->g.gate));
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status);
}

/* Unplug's worker, in every function of the list that it calls. */
TEST_F(core, kernel_thread_passes)
{
	static const char * const names[] = {
		"migrate_device_range", "migrate_device_pages", "migrate_device_finalize",
		"memunmap_pages",
	};
	struct hotmirror_gate_status st;
	int fds[4];

	need_core_gates(&self->g.rig);
	skip_unless(self->g.rig.kind != HOTMIRROR_DAX, "no private or coherent memory");
	must(op_to_dev(&self->g));
	for (int i = 0; i < 4; i++) {
		fds[i] = must(hm_gate_core(self->g.rig.control, names[i]));
		must(hm_gate_arm_tid(fds[i], 0));
	}
	must(hm_unplug(self->g.rig.control, self->g.rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	for (int i = 0; i < 4; i++) {
		st = gated_status(_metadata, fds[i]);
		EXPECT_EQ(HOTMIRROR_GATE_ARMED, st.state) TH_LOG("%s", names[i]);
		EXPECT_LT(0, st.passed_through) TH_LOG("%s", names[i]);
		EXPECT_EQ(HOTMIRROR_GATE_WHY_KTHREAD, st.why) TH_LOG("%s", names[i]);
		close(fds[i]);
	}
	expect_filled(self->g.mem, self->g.length, SEED);
}

/* Unplug of somebody else's device is a matter of the task that asks for it. */
static long unbind(void *real)
{
	return hm_devdax_unbind(real);
}

TEST_F(core, unbind_of_a_device_dax_is_held)
{
	struct hm_devdax real;
	const char *why;
	struct worker w;

	need_core_gates(&self->g.rig);
	why = hm_devdax_get(&real, false);
	skip_unless(!why, why);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "memunmap_pages"));
	worker_start(_metadata, &w, unbind, &real);
	worker_hold(_metadata, &w, self->g.gate);
	EXPECT_FALSE(hm_async_done(&w.async));
	must(hm_gate_release(self->g.gate));
	worker_join(_metadata, &w, 0);
}

/* The child takes its memory away, for which it has to wait; then it is killed. */
static int drop_until_killed(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	int fd = hm_open(g->rig.id);

	if (fd < 0 || hm_mirror(fd, g->mem, g->length, 0, NULL) ||
	    hm_prefetch(fd, g->mem, g->length, false))
		return 1;
	hm_tell(p, fd);
	hm_hear(p);
	return op_dontneed(g);
}

struct reaper {
	struct hm_child child;
	int gate;
	struct hotmirror_gate_status st;
};

/* The thread's own end has invalidations, too, which the gate would hold. */
static long reap(void *arg)
{
	struct reaper *r = arg;
	int ret = syscall(SYS_process_mrelease, r->child.pidfd, 0) ? -errno : 0;

	return hm_gate_status(r->gate, &r->st) ?: hm_gate_release(r->gate) ?: ret;
}

/*
 * What process_mrelease() asks for must not block, as the oom reaper's. It needs a
 * process that is killed and still has its mm: one that waits for the driver lock, which
 * a reader from outside holds at a gate.
 */
TEST_F(core, invalidation_that_must_not_block_passes)
{
	struct gated *g = &self->g, outside = self->g;
	struct hm_async reader;
	struct reaper r = {};
	struct worker w;
	int status;
	long fd;

	need_core_gates(&g->rig);
	must(hm_child_start(&r.child, drop_until_killed, g));
	must(hm_child_hear(&r.child, &fd));
	outside.fd = must(hm_child_getfd(&r.child, fd));
	/* One page, and a buffer that fork() made read-only: no second try in a dying mm. */
	hm_fill(outside.buf, outside.length, OTHER);
	gated_hold(_metadata, &outside, HOTMIRROR_GATE_ACCESS_LOCKED, &reader, op_read_page);
	must(hm_child_tell(&r.child, 0));
	must(hm_wait_asleep(r.child.pid));
	must(hm_child_kill(&r.child, SIGKILL));
	g->gate = must(hm_gate_core(g->rig.control, "__mmu_notifier_invalidate_range_start"));
	r.gate = g->gate;
	worker_start(_metadata, &w, reap, &r);
	must(hm_gate_arm_tid(g->gate, w.async.tid));
	worker_begin(_metadata, &w);
	worker_join(_metadata, &w, -EAGAIN);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, r.st.state);
	EXPECT_LT(0, r.st.passed_through);
	EXPECT_EQ(r.st.hits, r.st.passed_through);
	EXPECT_EQ(HOTMIRROR_GATE_WHY_ATOMIC, r.st.why);
	must(hm_gate_release(outside.gate));
	gated_join(_metadata, &reader, 0);
	must(hm_child_wait(&r.child, &status));
	close(outside.gate);
	close(outside.fd);
}

HM_TEST_MAIN
