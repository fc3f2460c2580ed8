/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests are written with: the kselftest harness, the library, the
 * asserting forms of its calls, and the rig that every test stands on.
 *
 *	must(call)		the call succeeds, else the test ends; its value
 *	must_err(errno, call)	the call fails with this errno; the test goes on
 *
 * The rig holds the control file, one instance and one file of it. Its tear-down is an
 * oracle of its own: no stale device entry, an instance that goes away. What every
 * test is judged by when it is over is in hm_judge.h.
 */
#ifndef HOTMIRROR_HM_TEST_H
#define HOTMIRROR_HM_TEST_H

#include "hm_harness.h"

#include <signal.h>

#include "lib/dev.h"
#include "lib/kmsg.h"
#include "lib/left.h"
#include "lib/mem.h"
#include "lib/task.h"
#include "lib/uffd.h"

#include "hm_judge.h"

#define must(call) ({							\
	long __ret = (call);						\
									\
	ASSERT_LE(0, __ret)						\
		TH_LOG("%s: %s", #call, strerror(-__ret));		\
	__ret;								\
})

#define must_err(err, call) do {					\
	long __ret = (call);						\
									\
	EXPECT_EQ(-(err), __ret)					\
		TH_LOG("%s: %s, expected %s", #call,			\
		       __ret < 0 ? strerror(-__ret) : "no error",	\
		       strerror(err));					\
} while (0)

/* Contents: as hm_fill() made them, or zero. */
#define expect_filled(mem, length, seed) do {				\
	EXPECT_EQ(-1, hm_differs(mem, length, seed));			\
} while (0)

#define expect_zero(mem, length) do {					\
	EXPECT_EQ(-1, hm_not_zero(mem, length));			\
} while (0)

#define skip_unless(cond, why) do {					\
	if (!(cond))							\
		SKIP(return, "%s", why);				\
} while (0)

struct hm_rig {
	struct hotmirror_query q;
	size_t page;
	__u64 bytes;		/* size of the instance */
	int control;		/* -1: none */
	int fd;			/* of the instance; -1: none */
	__u32 kind;
	__u32 id;
};

/* A hang is reported by us, with stacks, before the harness kills the test. */
#define HM_WATCHDOG_MS	((TEST_TIMEOUT_DEFAULT - 5) * 1000 * hm_slowness())

/* Open the control file. */
static inline void rig_begin(struct __test_metadata *_metadata, const void *variant,
			     struct hm_rig *rig)
{
	*rig = (struct hm_rig){ .fd = -1, .page = hm_page_size() };
	signal(SIGPIPE, SIG_IGN);
	must(hm_watchdog_start(HM_WATCHDOG_MS));
	rig->control = must(hm_control_open());
	must(hm_query(rig->control, &rig->q));
}

/* Plug an instance of @kind and open it; false if this kernel has no such kind. */
static inline bool rig_plug(struct __test_metadata *_metadata, struct hm_rig *rig,
			    __u32 kind)
{
	if (kind == HM_ANY)
		kind = hm_any_kind(&rig->q);
	if (!kind || !(rig->q.features & hm_kind(kind)->feature))
		SKIP(return false, "%s", kind ? hm_kind(kind)->lacking :
		     "no kind of device memory on this kernel");
	rig->kind = kind;
	rig->bytes = rig->q.plug_align;
	must(hm_plug(rig->control, kind, rig->bytes, &rig->id));
	rig->fd = must(hm_open(rig->id));
	return true;
}

/* The memory of a fixture: @pages to mirror, as many beside them; their length. */
static inline size_t rig_memory(struct __test_metadata *_metadata,
				const struct hm_rig *rig, size_t pages, char **mem,
				char **buf)
{
	*mem = hm_map(pages);
	*buf = hm_map(pages);
	ASSERT_NE(NULL, *mem);
	ASSERT_NE(NULL, *buf);
	return pages * rig->page;
}

/* No device entry that the CPU page table does not justify (claim S2). */
static inline void rig_verify_fd(struct __test_metadata *_metadata, int fd)
{
	struct hotmirror_verify v;
	int ret = hm_verify(fd, &v);

	/* Nothing can be stale in an instance or a process that is no more. */
	if (ret == -ENODEV || ret == -ESRCH)
		return;
	EXPECT_EQ(0, ret)
		TH_LOG("VERIFY: %s", strerror(-ret));
	EXPECT_EQ(0, v.stale)
		TH_LOG("of %llu entries %llu are stale, the first at %#llx",
		       v.present, v.stale, v.first);
}

#define rig_verify(rig)	rig_verify_fd(_metadata, (rig)->fd)

/*
 * Nothing keeps the instance any more. It will be gone a few RCU grace periods
 * later (hm_judge.h waits for the last of them).
 */
static inline bool rig_drained(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_GONE ||
	       (st->state == HOTMIRROR_DRAINING && !st->pages_held && !st->pgmap_refs);
}

/* Give up the instance and see it go. A test that failed may well hold it: no wait. */
static inline void rig_end(struct __test_metadata *_metadata, struct hm_rig *rig)
{
	struct hotmirror_status st = {};
	int ret = 0;

	if (rig->control >= 0)
		close(rig->control);
	if (rig->fd < 0)
		return;
	if (test_code(_metadata) != KSFT_FAIL)
		ret = hm_wait_status(rig->fd, 0, rig_drained, &st);
	EXPECT_EQ(0, ret)
		TH_LOG("instance %u is %s, %u readers, %u sleepers, %llu pages, %llu pgmap refs",
		       rig->id, hm_state_name(st.state), st.readers, st.sleepers,
		       st.pages_held, st.pgmap_refs);
	close(rig->fd);
}

/* For FIXTURE_SETUP: both, and leave it if the kind is missing. */
#define RIG_SETUP(rig, kind) do {					\
	rig_begin(_metadata, variant, rig);				\
	if (!rig_plug(_metadata, rig, kind)) {				\
		rig_end(_metadata, rig);				\
		return;							\
	}								\
} while (0)

/* For FIXTURE_TEARDOWN of tests that mirror memory. */
static inline void rig_teardown(struct __test_metadata *_metadata, struct hm_rig *rig)
{
	if (rig->fd >= 0)
		rig_verify(rig);
	rig_end(_metadata, rig);
}

/* What a snapshot says about one page. */
static inline __u32 rig_page(struct __test_metadata *_metadata, struct hm_rig *rig,
			     const void *addr)
{
	__u32 page = 0;

	must(hm_snapshot(rig->fd, addr, rig->page, &page));
	return page;
}

/* As SKIP() at the end of a test, with the other directive; a failure it does not hide. */
static inline void rig_xfail(struct __test_metadata *_metadata, const char *reason)
{
	if (test_code(_metadata) == KSFT_FAIL)
		return;
	snprintf(_metadata->results->reason, sizeof(_metadata->results->reason), "%s",
		 reason);
	test_set_code(_metadata, KSFT_XFAIL);
}

/* Wait until the instances of all earlier tests are gone, and look again. */
static inline int rig_settle(struct hm_rig *rig)
{
	struct hm_books before = books_before, now;
	int ret;

	/* What the rig itself has by now. */
	before.q.controls += rig->control >= 0;
	before.q.devices += rig->fd >= 0;
	before.q.files += rig->fd >= 0;
	ret = hm_books_settle(&before, true, HM_LIMIT_MS, &now);
	rig->q = now.q;
	return ret;
}

#define HM_TEST_MAIN							\
int main(int argc, char **argv)						\
{									\
	need_module(argc, argv);					\
	return test_harness_run(argc, argv);				\
}

#endif /* HOTMIRROR_HM_TEST_H */
