/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs about gates share: an instance, memory, and the operations that
 * reach each gate.
 */
#ifndef HOTMIRROR_GATE_TEST_H
#define HOTMIRROR_GATE_TEST_H

#include <sys/mman.h>

#include "hm_test.h"
#include "lib/gate.h"

#define PAGES	4
#define SEED	1
#define OTHER	2

struct gated {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, of SEED, mirrored; of the dax kind: its own */
	char *buf;
	int gate;
};

/* An operation in a thread of its own: 0 or -errno. */
typedef long (*gated_op)(void *gated);

static inline long op_read(void *arg)
{
	struct gated *g = arg;

	return hm_read(g->fd, g->mem, g->buf, g->length);
}

/* The memory is missing: the device has to take a fault. */
static inline long op_fault(void *arg)
{
	struct gated *g = arg;

	if (madvise(g->mem, g->length, MADV_DONTNEED))
		return -errno;
	return hm_prefetch(g->fd, g->mem, g->length, true);
}

static inline long op_snapshot(void *arg)
{
	struct gated *g = arg;
	__u32 pages[PAGES];

	return hm_snapshot(g->fd, g->mem, g->length, pages);
}

static inline long op_dontneed(void *arg)
{
	struct gated *g = arg;

	return madvise(g->mem, g->length, MADV_DONTNEED) ? -errno : 0;
}

static inline long op_to_dev(void *arg)
{
	struct gated *g = arg;
	__u64 moved;
	int ret = hm_to_dev(g->fd, g->mem, g->length, &moved);

	return ret ?: moved == PAGES ? 0 : -EAGAIN;
}

static inline long op_to_sys(void *arg)
{
	struct gated *g = arg;
	__u64 moved;
	int ret = hm_to_dev(g->fd, g->mem, g->length, NULL) ?:
		  hm_to_sys(g->fd, g->mem, g->length, &moved);

	return ret ?: moved == PAGES ? 0 : -EAGAIN;
}

static inline long op_atomic(void *arg)
{
	struct gated *g = arg;
	struct hotmirror_atomic atomic = { .operand = 0 };

	return hm_atomic(g->fd, g->mem, &atomic);
}

static inline long op_pin(void *arg)
{
	struct gated *g = arg;
	__u32 id;

	return hm_pin(g->fd, g->mem, g->length, 0, &id, NULL) ?: hm_unpin(g->fd, id);
}

static inline long op_touch(void *arg)
{
	struct gated *g = arg;

	return hm_cpu_touch(g->mem) ? -EFAULT : 0;
}

/* The CPU takes home a page that is in the device. */
static inline long op_to_ram(void *arg)
{
	struct gated *g = arg;

	return hm_to_dev(g->fd, g->mem, g->length, NULL) ?: op_touch(g);
}

static inline long op_unplug(void *arg)
{
	struct gated *g = arg;

	return hm_unplug(g->rig.control, g->rig.id, HOTMIRROR_GONE, 0) ?:
	       hm_wait_gone(g->fd, HM_LIMIT_MS);
}

/* Unplug has something to bring home. */
static inline long op_evict(void *arg)
{
	struct gated *g = arg;

	return hm_to_dev(g->fd, g->mem, g->length, NULL) ?: op_unplug(g);
}

/* Wait until a thread sleeps uninterruptibly; -ETIMEDOUT. */
static inline int hm_wait_stuck(pid_t tid)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (hm_task_state(tid) != 'D') {
		if (hm_left(deadline) <= 0)
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* For FIXTURE_SETUP, behind RIG_SETUP. */
static inline void gated_setup(struct __test_metadata *_metadata, struct gated *g,
			       __u32 flags)
{
	g->gate = -1;
	g->fd = g->rig.fd;
	g->page = g->rig.page;
	g->length = rig_memory(_metadata, &g->rig, PAGES, &g->mem, &g->buf);
	if (g->rig.kind == HOTMIRROR_DAX)
		g->mem = mmap(NULL, g->length, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	ASSERT_NE(MAP_FAILED, g->mem);
	if (g->rig.kind != HOTMIRROR_DAX)
		hm_fill(g->mem, g->length, SEED);
	/* Present, so that a copy to it takes one try. */
	hm_fill(g->buf, g->length, OTHER);
	must(hm_mirror(g->fd, g->mem, g->length, flags, NULL));
}

static inline void gated_teardown(struct __test_metadata *_metadata, struct gated *g)
{
	if (g->gate >= 0)
		close(g->gate);
	rig_teardown(_metadata, &g->rig);
}

/* A gate of this kind, as wide as it has to be, and armed. */
static inline int gated_arm(struct __test_metadata *_metadata, struct gated *g, __u32 gate,
			    const struct hm_gate_arm *how)
{
	__u32 flags = hm_gate_of_instance(gate) ? HOTMIRROR_GATE_INSTANCE : 0;
	int fd = must(hm_gate_open(g->fd, gate, flags));

	must(hm_gate_arm(fd, how));
	return fd;
}

/* Let the operation run to the gate. */
static inline void gated_hold(struct __test_metadata *_metadata, struct gated *g, __u32 gate,
			      struct hm_async *a, gated_op op)
{
	static const struct hm_gate_arm any;

	g->gate = gated_arm(_metadata, g, gate, &any);
	must(hm_async_start(a, op, g));
	must(hm_gate_wait(g->gate, HM_LIMIT_MS));
}

static inline struct hotmirror_gate_status
gated_status(struct __test_metadata *_metadata, int gate)
{
	struct hotmirror_gate_status st;

	must(hm_gate_status(gate, &st));
	return st;
}

/* The operation returns, as it should. */
static inline void gated_join(struct __test_metadata *_metadata, struct hm_async *a,
			      long expected)
{
	long result;

	must(hm_async_join(a, HM_LIMIT_MS, &result));
	EXPECT_EQ(expected, result);
}

#endif /* HOTMIRROR_GATE_TEST_H */
