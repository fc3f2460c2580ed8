// SPDX-License-Identifier: GPL-2.0-only
/*
 * Core gates: a task is held at the entry of a function of the kernel, and the function
 * then does what it would have done. What holds whom, for how long, and what is left.
 */
#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>

#include "core_test.h"
#include "lib/group.h"

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

/* A thread that reads through the device stands at @function. */
static void hold(struct __test_metadata *_metadata, struct gated *g, struct worker *w,
		 const char *function)
{
	g->gate = must(hm_gate_core(g->rig.control, function));
	worker_start(_metadata, w, op_read, g);
	worker_hold(_metadata, w, g->gate);
}

#define hold_reader(worker, function) do {				\
	need_core_gates(&self->g.rig);					\
	hold(_metadata, &self->g, worker, function);			\
} while (0)

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

static int read_and_be_killed(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	int fd;

	fd = hm_open(g->rig.id);
	if (fd < 0 || hm_mirror(fd, g->mem, g->length, 0, NULL))
		return 1;
	hm_hear(p);
	return hm_read(fd, g->mem, g->buf, g->length) ? 2 : 0;
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

TEST_F(core, bad_input)
{
	struct hotmirror_core_gate arg = { .size = sizeof(arg), .name = "hmm_range_fault" };
	int control = self->g.rig.control;

	need_core_gates(&self->g.rig);
	must_err(ENOENT, hm_gate_core(control, ""));
	must_err(ENOENT, hm_gate_core(control, "hmm_range_faul"));
	must_err(ENOENT, hm_gate_core(control, "schedule"));
	/* Its callers have the PTE mapped. */
	must_err(ENOENT, hm_gate_core(control, "do_swap_page"));
	must_err(ENOTTY, hm_gate_core(self->g.fd, "hmm_range_fault"));
	arg.reserved = 1;
	must_err(EINVAL, hm_ioctl(control, HOTMIRROR_GATE_CORE, &arg));
	EXPECT_EQ(-1, arg.fd);
	arg = (struct hotmirror_core_gate){ .size = sizeof(arg) };
	memset(arg.name, 'x', sizeof(arg.name));
	must_err(EINVAL, hm_ioctl(control, HOTMIRROR_GATE_CORE, &arg));
}

/* Each kernel has one of the two, under the name of its time. */
TEST_F(core, function_of_another_kernel_is_enxio)
{
	static const char * const names[] = { "zap_page_range_single", "zap_vma_range" };
	int fds[2], missing;

	need_core_gates(&self->g.rig);
	for (int i = 0; i < 2; i++)
		fds[i] = hm_gate_core(self->g.rig.control, names[i]);
	missing = fds[0] < 0 ? 0 : 1;
	EXPECT_EQ(-ENXIO, fds[missing]);
	close(must(fds[!missing]));
}

/* More functions than there are slots: one that nobody uses any more makes room. */
TEST_F(core, ninth_function_is_ebusy)
{
	static const char * const names[] = {
		"migrate_vma_setup", "migrate_vma_pages", "migrate_vma_finalize",
		"try_to_migrate", "hmm_range_fault", "mmu_interval_read_begin",
		"unmap_vmas", "exit_mmap",
	};
	int fds[8];

	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	for (int i = 0; i < 8; i++)
		fds[i] = must(hm_gate_core(self->g.rig.control, names[i]));
	must_err(EBUSY, hm_gate_core(self->g.rig.control, "change_protection"));
	close(fds[2]);
	EXPECT_EQ(1, is_traced(names[2]));
	fds[2] = must(hm_gate_core(self->g.rig.control, "change_protection"));
	EXPECT_EQ(0, is_traced(names[2]));
	for (int i = 0; i < 8; i++)
		close(fds[i]);
}

TEST_F(core, last_control_file_leaves_nothing)
{
	int control, gate;

	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	EXPECT_EQ(0, is_traced("migrate_vma_setup"));
	control = must(hm_control_open());
	gate = must(hm_gate_core(control, "migrate_vma_setup"));
	EXPECT_EQ(1, is_traced("migrate_vma_setup"));
	/* It stays there for the next one, and goes although a gate file is open. */
	close(gate);
	EXPECT_EQ(1, is_traced("migrate_vma_setup"));
	gate = must(hm_gate_core(control, "migrate_vma_setup"));
	close(control);
	EXPECT_EQ(0, is_traced("migrate_vma_setup"));
	close(gate);
}

static int hold_and_be_killed(struct hm_parent *p, void *arg)
{
	struct hm_gate_arm how = { .pid = getpid() };
	struct gated *g = arg;
	int gate = hm_gate_core(hm_control_open(), "hmm_range_fault");

	if (gate < 0 || hm_gate_arm(gate, &how))
		return 1;
	hm_tell(p, 0);
	return read_and_be_killed(p, g);
}

/* The task, its gate and the control file of that, all at once. */
TEST_F(core, killed_owner_leaves_nothing)
{
	struct hm_child c;
	int status;
	long n;

	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	must(hm_child_start(&c, hold_and_be_killed, &self->g));
	must(hm_child_hear(&c, &n));
	must(hm_child_tell(&c, 0));
	EXPECT_EQ(1, is_traced("hmm_range_fault"));
	must(hm_wait_asleep(c.pid));
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, is_traced("hmm_range_fault"));
}

/* A probe at the function itself, as bpftrace makes them; its hits. -errno. */
static long probe_hits(const char *probe)
{
	return hm_number_in(TRACEFS "/kprobe_profile", probe);
}

#define PROBES	TRACEFS "/kprobe_events"
#define PROBE(name)	TRACEFS "/events/kprobes/" name "/enable"

static void probe_on(struct __test_metadata *_metadata)
{
	must(hm_put_text(PROBES, "p:hm_before hmm_range_fault"));
	must(hm_put_text(PROBE("hm_before"), "1"));
	must(hm_put_text(PROBES, "r:hm_after hmm_range_fault"));
	must(hm_put_text(PROBE("hm_after"), "1"));
}

static void probe_off(struct __test_metadata *_metadata)
{
	must(hm_put_text(PROBE("hm_before"), "0"));
	must(hm_put_text(PROBE("hm_after"), "0"));
	must(hm_put_text(PROBES, "-:hm_before"));
	must(hm_put_text(PROBES, "-:hm_after"));
}

/* Entry and return are seen once each, the wait in between. */
static void pass_a_probe(struct __test_metadata *_metadata, struct gated *g)
{
	struct worker w;

	worker_start(_metadata, &w, op_read, g);
	worker_hold(_metadata, &w, g->gate);
	EXPECT_EQ(1, probe_hits("hm_before"));
	EXPECT_EQ(0, probe_hits("hm_after"));
	must(hm_gate_release(g->gate));
	worker_join(_metadata, &w, 0);
	EXPECT_EQ(1, probe_hits("hm_before"));
	EXPECT_EQ(1, probe_hits("hm_after"));
	expect_filled(g->buf, g->length, SEED);
}

TEST_F(core, probe_that_is_there_goes_on)
{
	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	probe_on(_metadata);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	pass_a_probe(_metadata, &self->g);
	close(self->g.gate);
	self->g.gate = -1;
	probe_off(_metadata);
}

TEST_F(core, probe_can_come_later)
{
	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	probe_on(_metadata);
	pass_a_probe(_metadata, &self->g);
	probe_off(_metadata);
}

/* Not a gate that holds nobody. */
TEST_F(core, ftrace_switched_off_is_ebusy)
{
	const char *path = "/proc/sys/kernel/ftrace_enabled";
	struct hm_setting off = {};
	int ret;

	need_core_gates(&self->g.rig);
	ret = hm_setting_set(&off, path, 0);
	skip_unless(ret != -EOPNOTSUPP, "on this kernel ftrace cannot be switched off");
	must(ret);
	must_err(EBUSY, hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	hm_setting_restore(&off);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	must_err(EBUSY, hm_setting_set(&off, path, 0));
	hm_setting_restore(&off);
}

HM_TEST_MAIN
