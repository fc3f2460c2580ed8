/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Anonymous memory that is away, in a device, when that is unplugged: what the tests
 * of eviction and of surprise removal stand on, for each kind of device memory.
 */
#ifndef HOTMIRROR_AWAY_H
#define HOTMIRROR_AWAY_H

#include <sys/mman.h>
#include <sys/syscall.h>

#include "hm_test.h"
#include "lib/pagemap.h"

#define AWAY_PAGES	8
#define SEED		1
#define OTHER		2

struct away {
	struct hm_rig rig;
	int fd;
	bool large;		/* a PMD-sized private folio, else AWAY_PAGES pages */
	size_t page, length;
	int pages;
	char *mem;		/* of SEED */
};

/* Every word tells its page and its place there. */
static inline __u64 away_word(int page, int word, int seed)
{
	return ((__u64)seed << 32 | (page + 1)) * 0x9e3779b97f4a7c15ULL + word;
}

static inline void away_put(const struct away *a, char *mem, int from, int to, int seed)
{
	int words = a->page / sizeof(__u64);

	for (int i = from; i < to; i++)
		for (int w = 0; w < words; w++)
			((__u64 *)(mem + i * a->page))[w] = away_word(i, w, seed);
}

/* The first of the pages [from, to) that is not as put, -1 if all are. */
static inline int away_wrong(const struct away *a, const char *mem, int from, int to,
			     int seed)
{
	int words = a->page / sizeof(__u64);

	for (int i = from; i < to; i++)
		for (int w = 0; w < words; w++)
			if (((const __u64 *)(mem + i * a->page))[w] != away_word(i, w, seed))
				return i;
	return -1;
}

static inline int away_differs(const struct away *a, int from, int to, int seed)
{
	return away_wrong(a, a->mem, from, to, seed);
}

#define expect_put(a, from, to, seed)					\
	EXPECT_EQ(-1, away_differs(a, from, to, seed))

/* As much memory again, in the same kind of pages, untouched. */
static inline char *away_map(const struct away *a)
{
	return a->large ? hm_map_huge(a->length) : hm_map(a->pages);
}

/* Move it to the device behind @fd; pages that went, or -errno. */
static inline long away_send(const struct away *a, int fd, char *mem)
{
	__u64 moved;
	int ret = hm_migrate(fd, HOTMIRROR_MIGRATE_TO_DEV, mem, a->length,
			     a->large ? HOTMIRROR_MIGRATE_LARGE : 0, &moved);

	return ret ?: (long)moved;
}

static inline struct hotmirror_status away_status(struct __test_metadata *_metadata,
						  const struct away *a)
{
	struct hotmirror_status st;

	must(hm_status(a->fd, 0, &st));
	return st;
}

/* What most tests begin with: all of it is in the device. */
static inline void away_settle(struct __test_metadata *_metadata, struct away *a)
{
	struct hotmirror_stats s;

	ASSERT_EQ(a->pages, must(away_send(a, a->fd, a->mem)));
	ASSERT_EQ(a->pages, away_status(_metadata, a).pages_used);
	must(hm_stats(a->fd, &s));
	ASSERT_EQ(a->large, s.large_to_dev);
}

static inline int away_unplug(struct away *a, __u32 target, __u32 flags)
{
	return hm_unplug_flags(a->rig.control, a->rig.id, target, HM_LIMIT_MS, flags);
}

static inline void go_home(struct __test_metadata *_metadata, struct away *a)
{
	must(away_unplug(a, HOTMIRROR_GONE, 0));
}

/* For FIXTURE_SETUP, behind RIG_SETUP. */
static inline void away_setup(struct __test_metadata *_metadata, struct away *a, bool large)
{
	a->fd = a->rig.fd;
	a->page = a->rig.page;
	a->large = large;
	a->length = large ? a->rig.q.pmd_size : AWAY_PAGES * a->page;
	a->pages = a->length / a->page;
	skip_unless(!large || a->rig.q.features & HOTMIRROR_HAS_LARGE,
		    "kernel without large device-private folios");
	a->mem = away_map(a);
	ASSERT_NE(NULL, a->mem);
	away_put(a, a->mem, 0, a->pages, SEED);
	skip_unless(!large || hm_page_flags(a->mem) & HM_KPF_THP, "no huge page to be had");
}

static inline void away_teardown(struct __test_metadata *_metadata, struct away *a)
{
	/* What a test broke must not keep the instance. */
	if (a->rig.q.features & HOTMIRROR_HAS_SABOTAGE && a->rig.fd >= 0)
		hm_sabotage(a->rig.fd, 0);
	rig_teardown(_metadata, &a->rig);
}

/* A fixture of one struct away, for each kind of memory that can be away. */
#define AWAY_FIXTURE(name)						\
FIXTURE(name) { struct away a; };					\
FIXTURE_VARIANT(name) { __u32 kind; bool large; };			\
FIXTURE_VARIANT_ADD(name, private) { .kind = HOTMIRROR_PRIVATE };	\
FIXTURE_VARIANT_ADD(name, coherent) { .kind = HOTMIRROR_COHERENT };	\
FIXTURE_VARIANT_ADD(name, private_large) {				\
	.kind = HOTMIRROR_PRIVATE,					\
	.large = true,							\
};									\
FIXTURE_SETUP(name)							\
{									\
	RIG_SETUP(&self->a.rig, variant->kind);				\
	away_setup(_metadata, &self->a, variant->large);		\
}									\
FIXTURE_TEARDOWN(name)							\
{									\
	away_teardown(_metadata, &self->a);				\
}

#define need_sabotage(a)						\
	skip_unless((a)->rig.q.features & HOTMIRROR_HAS_SABOTAGE,	\
		    "module loaded without sabotage=1")

/*
 * 7.3.4: zap_huge_pmd_folio() of mm/huge_memory.c looks at the folio, not at the entry:
 * for a migration entry of a device-private folio it removes an rmap that is not there
 * and gives back a reference that nobody took. Without the one that the module holds
 * just in case, the folio is freed while it is being copied.
 */
static inline void expect_not_robbed(struct __test_metadata *_metadata, struct away *a,
				     __u64 robbed)
{
	if (a->large && robbed)
		rig_xfail(_metadata, "7.3: zap_huge_pmd_folio() takes the migration entry of a "
			  "large device-private folio for the folio, drops a reference too many");
	else
		EXPECT_EQ(0, robbed);
}

/* A relative of the test that does with the memory what it is asked to. */
enum { LOOK, PUT, TOUCH, DROP, LEAVE };

/* The pages that a CPU access gets SIGBUS for. */
static inline int away_dead(const struct away *a, char *mem)
{
	int dead = 0;

	for (int i = 0; i < a->pages; i++)
		dead += hm_cpu_touch(mem + i * a->page) == SIGBUS;
	return dead;
}

static inline int relative(struct hm_parent *p, void *arg)
{
	struct away *a = arg;

	for (;;) {
		long op = hm_hear(p), seed = op >> 8, ret = 0;

		op &= 0xff;
		if (op == LOOK)
			ret = away_wrong(a, a->mem, 0, a->pages, seed);
		else if (op == PUT)
			away_put(a, a->mem, 0, a->pages, seed);
		else if (op == TOUCH)
			ret = away_dead(a, a->mem);
		else if (op == DROP)
			ret = madvise(a->mem, a->length, MADV_DONTNEED);
		hm_tell(p, ret);
		if (op == LEAVE)
			return 0;
	}
}

static inline long ask(struct __test_metadata *_metadata, struct hm_child *c, int op, int seed)
{
	long answer;

	must(hm_child_tell(c, op | seed << 8));
	must(hm_child_hear(c, &answer));
	return answer;
}

/* The relative ends. */
static inline void dismiss(struct __test_metadata *_metadata, struct hm_child *c)
{
	int status;

	ask(_metadata, c, LEAVE, 0);
	must(hm_child_wait(c, &status));
	EXPECT_EQ(0, status);
}

#endif /* HOTMIRROR_AWAY_H */
