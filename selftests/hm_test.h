/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests are written with: the kselftest harness, the library, the
 * asserting forms of its calls, and the rig that every test stands on.
 *
 *	must(call)		the call succeeds, else the test ends; its value
 *	must_err(errno, call)	the call fails with this errno; the test goes on
 *
 * The rig holds the control file, one instance, one file of it, and the place in
 * the kernel log where the test began. Its tear-down is an oracle of its own: no
 * stale device entry, an instance that goes away, a kernel that did not complain.
 */
#ifndef HOTMIRROR_HM_TEST_H
#define HOTMIRROR_HM_TEST_H

#include "kselftest_harness.h"

#include <signal.h>

#include "lib/dev.h"
#include "lib/kmsg.h"
#include "lib/mem.h"
#include "lib/task.h"
#include "lib/uffd.h"

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
	struct hm_log log;
	size_t page;
	__u64 bytes;		/* size of the instance */
	int control;		/* -1: none */
	int fd;			/* of the instance; -1: none */
	__u32 kind;
	__u32 id;
};

/* A hang is reported by us, with stacks, before the harness kills the test. */
#define HM_WATCHDOG_MS	((TEST_TIMEOUT_DEFAULT - 5) * 1000)

static inline void rig_name(const struct __test_metadata *_metadata,
			    const void *variant, char *buf, size_t size)
{
	const struct __fixture_variant_metadata *v;
	const char *name = "";

	for (v = _metadata->fixture->variant; v; v = v->next)
		if (v->data == variant)
			name = v->name;
	snprintf(buf, size, "%s:%s%s%s.%s", program_invocation_short_name,
		 _metadata->fixture->name, *name ? "." : "", name, _metadata->name);
}

/* Open the control file and mark the log. */
static inline void rig_begin(struct __test_metadata *_metadata, const void *variant,
			     struct hm_rig *rig)
{
	char name[256];

	*rig = (struct hm_rig){ .fd = -1, .page = hm_page_size() };
	signal(SIGPIPE, SIG_IGN);
	rig_name(_metadata, variant, name, sizeof(name));
	if (hm_log_begin(&rig->log, name) < 0)
		TH_LOG("no access to /dev/kmsg: the kernel log is not judged");
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
 * later; they are most of the time of a test, so main() waits for the last of them.
 */
static inline bool rig_drained(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_GONE ||
	       (st->state == HOTMIRROR_DRAINING && !st->pages_held);
}

/* Give up the instance and see it go. A test that failed may well hold it: no wait. */
static inline void rig_leave(struct __test_metadata *_metadata, struct hm_rig *rig)
{
	struct hotmirror_status st = {};
	int ret = 0;

	if (rig->control >= 0)
		close(rig->control);
	if (rig->fd < 0)
		return;
	if (_metadata->exit_code != KSFT_FAIL)
		ret = hm_wait_status(rig->fd, 0, rig_drained, &st);
	EXPECT_EQ(0, ret)
		TH_LOG("instance %u is %s, %u readers, %u sleepers, %llu pages held",
		       rig->id, hm_state_name(st.state), st.readers, st.sleepers,
		       st.pages_held);
	close(rig->fd);
}

static inline void rig_accuse(const char *line, void *arg)
{
	struct __test_metadata *_metadata = arg;

	TH_LOG("kernel: %s", line);
}

static inline void rig_end(struct __test_metadata *_metadata, struct hm_rig *rig)
{
	int bad;

	rig_leave(_metadata, rig);
	bad = hm_log_end(&rig->log, rig_accuse, _metadata);
	EXPECT_EQ(0, bad)
		TH_LOG("%s", bad < 0 ? "the kernel log overran: cannot judge it" :
		       "the kernel complained during this test");
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
	if (_metadata->exit_code == KSFT_FAIL)
		return;
	snprintf(_metadata->results->reason, sizeof(_metadata->results->reason), "%s",
		 reason);
	_metadata->exit_code = KSFT_XFAIL;
}

/* Instances that are not ours, since before the first test. */
static __u32 instances_before;

/* Wait until the instances of all tests are gone but @left of them. */
static inline int rig_settle(struct hotmirror_query *q, __u32 left)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	int control = hm_control_open();
	int ret;

	while (!(ret = hm_query(control, q)) && q->instances > instances_before + left) {
		if (!hm_left(deadline))
			ret = -ETIMEDOUT;
		if (ret)
			break;
		hm_pause();
	}
	close(control);
	return ret;
}

/*
 * Skip the whole program, with the remedy, if there is no module to test. False
 * if none is needed, to list the tests.
 */
static inline bool need_module(int argc, char **argv)
{
	struct hotmirror_query q = {};
	int fd;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "-l") || !strcmp(argv[i], "-h"))
			return false;
	fd = hm_control_open();
	if (fd < 0) {
		ksft_print_header();
		ksft_exit_skip(HM_CONTROL ": %s; %s\n", strerror(-fd),
			       fd == -ENOENT ? "load test_hotmirror.ko" : "run as root");
	}
	if (hm_query(fd, &q) || q.abi != HOTMIRROR_ABI_VERSION) {
		ksft_print_header();
		ksft_exit_skip("the module has ABI %u, these tests %u: build both from one tree\n",
			       q.abi, HOTMIRROR_ABI_VERSION);
	}
	close(fd);
	instances_before = q.instances;
	return true;
}

/* After the last test: every instance is gone, or the program fails. */
static inline void see_all_gone(void)
{
	struct hotmirror_query q;
	int ret = rig_settle(&q, 0);

	if (!ret)
		return;
	fprintf(stderr, "# %u instances are left that no test owns: %s\n",
		q.instances - instances_before, strerror(-ret));
	fflush(NULL);
	_exit(KSFT_FAIL);
}

#define HM_TEST_MAIN							\
int main(int argc, char **argv)						\
{									\
	if (need_module(argc, argv))					\
		atexit(see_all_gone);					\
	return test_harness_run(argc, argv);				\
}

#endif /* HOTMIRROR_HM_TEST_H */
