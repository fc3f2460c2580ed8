// SPDX-License-Identifier: GPL-2.0-only
/*
 * Core gates and the text of the kernel, which they change: what they can be attached
 * to, together with whom, and that nothing of it is left.
 */
#include <errno.h>

#include "core_test.h"
#include "lib/group.h"

FIXTURE(core_text) {
	struct gated g;
};

FIXTURE_SETUP(core_text)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	gated_setup(_metadata, &self->g, 0);
}

FIXTURE_TEARDOWN(core_text)
{
	gated_teardown(_metadata, &self->g);
}

struct load {
	struct gated *g;
	bool over;
	long errors;
};

static long protect_all_the_time(void *arg)
{
	struct load *load = arg;
	struct gated *g = load->g;
	long n = 0;

	while (!__atomic_load_n(&load->over, __ATOMIC_RELAXED)) {
		load->errors += mprotect(g->buf, g->page, n & 1 ? PROT_READ : PROT_NONE) != 0;
		n++;
	}
	return n;
}

/* The text of a function is patched while it runs, and the hits are held as they come. */
TEST_F(core_text, comes_and_goes_under_load)
{
	struct load load = { .g = &self->g };
	struct hm_async a[2];
	long n;

	need_core_gates(&self->g.rig);
	for (int i = 0; i < 2; i++)
		must(hm_async_start(&a[i], protect_all_the_time, &load));
	for (int i = 0; i < 10; i++) {
		int control = must(hm_control_open());
		int gate = must(hm_gate_core(control, "change_protection"));

		must(hm_gate_arm_tid(gate, a[i % 2].tid));
		must(hm_gate_wait(gate, HM_LIMIT_MS));
		/* Whoever stands there is let go by what takes the stub away. */
		close(i % 4 < 2 ? control : gate);
		close(i % 4 < 2 ? gate : control);
	}
	__atomic_store_n(&load.over, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++) {
		must(hm_async_join(&a[i], HM_LIMIT_MS, &n));
		EXPECT_LT(0, n);
	}
	EXPECT_EQ(0, load.errors);
}

TEST_F(core_text, bad_input)
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
TEST_F(core_text, function_of_another_kernel_is_enxio)
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
TEST_F(core_text, ninth_function_is_ebusy)
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

TEST_F(core_text, last_control_file_leaves_nothing)
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
TEST_F(core_text, killed_owner_leaves_nothing)
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

TEST_F(core_text, probe_that_is_there_goes_on)
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

TEST_F(core_text, probe_can_come_later)
{
	need_core_gates(&self->g.rig);
	need_tracefs(_metadata);
	self->g.gate = must(hm_gate_core(self->g.rig.control, "hmm_range_fault"));
	probe_on(_metadata);
	pass_a_probe(_metadata, &self->g);
	probe_off(_metadata);
}

/* Not a gate that holds nobody. */
TEST_F(core_text, ftrace_switched_off_is_ebusy)
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
