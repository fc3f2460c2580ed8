// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bad input of the gates' ioctls, and of ENTRIES: refused, and nothing comes of it. What
 * all ioctls have in common is in hotmirror_abi.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "gate_test.h"

FIXTURE(input) {
	struct gated g;
};

FIXTURE_SETUP(input)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	gated_setup(_metadata, &self->g, 0);
	self->g.gate = must(hm_gate_open(self->g.fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0));
}

FIXTURE_TEARDOWN(input)
{
	gated_teardown(_metadata, &self->g);
}

TEST_F(input, every_gate_has_a_name_of_its_own)
{
	for (__u32 gate = 1; gate < HOTMIRROR_GATE_END; gate++) {
		ASSERT_NE(NULL, hm_gate_name(gate));
		EXPECT_EQ(gate, hm_gate_number(hm_gate_name(gate)));
	}
	EXPECT_EQ(NULL, hm_gate_name(0));
	EXPECT_EQ(NULL, hm_gate_name(HOTMIRROR_GATE_END));
	EXPECT_EQ(0, hm_gate_number("populate"));
}

TEST_F(input, there_are_no_other_gates)
{
	static const __u32 none[] = { 0, HOTMIRROR_GATE_END, 0x80000000, -1U };

	for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
		must_err(EINVAL, hm_gate_open(self->g.fd, none[i], 0));
		must_err(EINVAL, hm_gate_open(self->g.fd, none[i], HOTMIRROR_GATE_INSTANCE));
	}
}

/* What knows no file has no gate of one; everything has one of the instance. */
TEST_F(input, a_gate_is_of_the_instance_where_no_file_is_known)
{
	int fd = self->g.fd;

	for (__u32 gate = 1; gate < HOTMIRROR_GATE_END; gate++) {
		if (hm_gate_of_instance(gate))
			must_err(EINVAL, hm_gate_open(fd, gate, 0));
		else
			close(must(hm_gate_open(fd, gate, 0)));
		close(must(hm_gate_open(fd, gate, HOTMIRROR_GATE_INSTANCE)));
	}
}

static pid_t nobody(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	waitpid(pid, NULL, 0);
	return pid;
}

TEST_F(input, bad_arming_is_refused_and_leaves_the_gate_alone)
{
	static const struct {
		struct hotmirror_gate_arm arm;
		int err;
	} bad[] = {
		{ { .nth = 0, .timeout_ns = 1 }, EINVAL },
		{ { .nth = 1, .timeout_ns = 0 }, EINVAL },
		{ { .nth = 1, .timeout_ns = HOTMIRROR_MAX_GATE_NS + 1 }, EINVAL },
		{ { .nth = 1, .timeout_ns = -1ULL }, EINVAL },
		{ { .nth = 1, .timeout_ns = 1, .tid = -1 }, EINVAL },
		{ { .nth = 1, .timeout_ns = 1, .pid = -1 }, EINVAL },
		{ { .nth = 1, .timeout_ns = 1, .tid = 1 << 30 }, ESRCH },
		{ { .nth = 1, .timeout_ns = 1, .pid = 1 << 30 }, ESRCH },
		{ { .nth = 1, .timeout_ns = 1, .pid = 1, .tid = 1 << 30 }, ESRCH },
	};
	struct hm_gate_arm dead = { .tid = nobody() };
	struct gated *g = &self->g;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct hotmirror_gate_arm arm = bad[i].arm;

		arm.size = sizeof(arm);
		must_err(bad[i].err, hm_ioctl(g->gate, HOTMIRROR_GATE_ARM, &arm));
		EXPECT_EQ(HOTMIRROR_GATE_IDLE, gated_status(_metadata, g->gate).state);
	}
	must_err(ESRCH, hm_gate_arm(g->gate, &dead));
	must(hm_prefetch(g->fd, g->mem, g->length, false));
}

/* The longest limit, the last hit, and a thread that is both: taken. */
TEST_F(input, extremes_are_taken)
{
	struct hm_gate_arm most = {
		.nth = -1U,
		.timeout_ns = HOTMIRROR_MAX_GATE_NS,
		.tid = getpid(),
		.pid = getpid(),
	};
	struct gated *g = &self->g;

	must(hm_gate_arm(g->gate, &most));
	must(hm_prefetch(g->fd, g->mem, g->length, false));
	EXPECT_EQ(1, gated_status(_metadata, g->gate).hits);
	EXPECT_EQ(HOTMIRROR_GATE_ARMED, gated_status(_metadata, g->gate).state);
}

TEST_F(input, a_workers_gate_is_for_no_thread)
{
	struct hm_gate_arm tid = { .tid = getpid() }, pid = { .pid = getpid() };
	struct hm_gate_arm any = {};

	for (__u32 nr = HOTMIRROR_GATE_UNPLUG_DISABLED; nr < HOTMIRROR_GATE_END; nr++) {
		int gate = must(hm_gate_open(self->g.fd, nr, HOTMIRROR_GATE_INSTANCE));

		must_err(EINVAL, hm_gate_arm(gate, &tid));
		must_err(EINVAL, hm_gate_arm(gate, &pid));
		must(hm_gate_arm(gate, &any));
		close(gate);
	}
}

/* No descriptor is to be had: no gate is left, and those that are there work. */
TEST_F(input, no_room_for_a_descriptor)
{
	struct rlimit none = { .rlim_cur = 0, .rlim_max = 1024 };
	struct gated *g = &self->g;
	struct hotmirror_query q;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	must_err(EMFILE, hm_gate_open(g->fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0));
	must(hm_query(g->rig.control, &q));
	EXPECT_EQ(books_before.q.gates + 1, q.gates);
	must(hm_gate_arm_tid(g->gate, 0));
	must(hm_gate_release(g->gate));
}

/* Many at one place, armed for what never comes: only slow. */
TEST_F(input, many_gates)
{
	enum { GATES = 500 };
	struct gated *g = &self->g;
	struct hm_gate_arm never = { .nth = -1U };
	int gates[GATES];

	for (int i = 0; i < GATES; i++) {
		gates[i] = must(hm_gate_open(g->fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0));
		must(hm_gate_arm(gates[i], &never));
	}
	must(hm_prefetch(g->fd, g->mem, g->length, false));
	for (int i = 0; i < GATES; i++) {
		EXPECT_EQ(1, gated_status(_metadata, gates[i]).hits);
		close(gates[i]);
	}
}

/* A gate file is for its ioctls and poll() only. */
TEST_F(input, a_gate_is_no_other_kind_of_file)
{
	int gate = self->g.gate;
	char byte = 0;

	EXPECT_EQ(-1, read(gate, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(gate, &byte, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, self->g.page, PROT_READ, MAP_SHARED, gate, 0));
	EXPECT_EQ(ENODEV, errno);
}

TEST_F(input, bad_ranges_of_entries)
{
	struct gated *g = &self->g;
	__u32 entries[PAGES];
	char *top = (char *)-g->page;

	must_err(EINVAL, hm_entries(g->fd, g->mem + 1, g->page, entries));
	must_err(EINVAL, hm_entries(g->fd, g->mem, g->page + 1, entries));
	must_err(EINVAL, hm_entries(g->fd, g->mem, 0, entries));
	must_err(EINVAL, hm_entries(g->fd, top, g->page, entries));
	must_err(EINVAL, hm_entries(g->fd, top, 2 * g->page, entries));
	must_err(EINVAL, hm_entries(g->fd, g->mem, -g->page, entries));
	must_err(EFAULT, hm_entries(g->fd, g->mem, g->length, NULL));
	/* Nothing is mirrored there, and nothing is wrong with that. */
	entries[0] = 1;
	must(hm_entries(g->fd, NULL, g->page, entries));
	EXPECT_EQ(0, entries[0]);
}

/* As much as was written is said, and no more was. */
TEST_F(input, entries_say_how_far_they_got)
{
	struct gated *g = &self->g;
	size_t leaf = g->rig.q.pmd_size, words = leaf / g->page;
	char *buf = hm_map(1) + g->page - words * sizeof(__u32);
	struct hotmirror_entries arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)g->mem & -leaf,
		.length = 2 * leaf,
		.buf = (uintptr_t)buf,
	};

	must_err(EFAULT, hm_ioctl(g->fd, HOTMIRROR_ENTRIES, &arg));
	EXPECT_EQ(words, arg.done);
}

HM_TEST_MAIN
