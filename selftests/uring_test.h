/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the io_uring programs share. Without liburing they are one skip each.
 */
#ifndef HOTMIRROR_URING_TEST_H
#define HOTMIRROR_URING_TEST_H

#ifdef HAVE_LIBURING
#include "hm_test.h"
#include "lib/ring.h"

/* A ring, or a skip with the reason. */
#define RING_SETUP(ring, entries, flags) do {				\
	int __ret = hm_ring_open(ring, entries, flags);			\
									\
	if (__ret < 0 && __ret != -ENOMEM)				\
		SKIP(return, "io_uring: %s", strerror(-__ret));		\
	must(__ret);							\
} while (0)

#define skip_without_commands(rig)					\
	skip_unless((rig)->q.features & HOTMIRROR_HAS_URING,		\
		    "kernel without io_uring commands that can sleep")

/* The next result is that of command @id. */
static inline void expect_result(struct __test_metadata *_metadata,
				 struct io_uring *ring, __u64 id, int expected)
{
	__u64 seen;
	int result;

	must(hm_ring_wait(ring, &seen, &result));
	EXPECT_EQ(id, seen);
	EXPECT_EQ(expected, result)
		TH_LOG("command %llu: %s, expected %s", (unsigned long long)seen,
		       strerror(-result), strerror(-expected));
}

/* For hm_wait_status(). */
static inline bool nobody_in(const struct hotmirror_status *st)
{
	return !st->sleepers && !st->readers;
}

static inline bool only_rig(const struct hotmirror_status *st)
{
	return st->mirrors == 1;
}

static __u32 wanted;

static inline bool as_many_as_wanted(const struct hotmirror_status *st)
{
	return st->sleepers == wanted && !st->readers;
}

/* So many are asleep, and none is where unplug would wait for it. */
static inline void expect_sleepers(struct __test_metadata *_metadata,
				   struct hm_rig *rig, int n)
{
	struct hotmirror_status st;

	wanted = n;
	EXPECT_EQ(0, hm_wait_status(rig->fd, 0, as_many_as_wanted, &st))
		TH_LOG("%u asleep, %u inside, expected %d", st.sleepers, st.readers, n);
}

#define HM_RING_TEST_MAIN	HM_TEST_MAIN
#else
#include "hm_kselftest.h"

#define HM_RING_TEST_MAIN						\
int main(void)								\
{									\
	ksft_print_header();						\
	ksft_exit_skip("built without liburing (Debian: liburing-dev)\n");\
}
#endif

#endif /* HOTMIRROR_URING_TEST_H */
