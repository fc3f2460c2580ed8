// SPDX-License-Identifier: GPL-2.0-only
/*
 * An eviction, held half way (claims S2, S5): the pages are collected, locked and
 * unmapped, and not copied yet. Everyone who meets them now finds a migration entry.
 */
#include <errno.h>
#include <sys/eventfd.h>

#include "away.h"

AWAY_FIXTURE(held)

static bool is_held(const struct hotmirror_status *st)
{
	return st->evict_held;
}

/* All pages, in the middle of their eviction. */
static void hold(struct __test_metadata *_metadata, struct away *a)
{
	struct hotmirror_status st;

	away_settle(_metadata, a);
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_EVICT_HOLD));
	must(hm_unplug(a->rig.control, a->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(a->fd, 0, is_held, &st));
	ASSERT_EQ(a->pages, st.evict_held);
	ASSERT_EQ(a->pages, st.pages_used);
}

/* On with it, to the end. */
static void release(struct __test_metadata *_metadata, struct away *a)
{
	must(hm_sabotage(a->fd, 0));
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	EXPECT_EQ(0, away_status(_metadata, a).pages_used);
}

#define need_hold(a)							\
	skip_unless((a)->rig.q.features & HOTMIRROR_HAS_SABOTAGE,	\
		    "module loaded without sabotage=1")

static long touch(void *p)
{
	return hm_cpu_touch(p);
}

/* Of a thread that is there already: nobody can begin one while a fault has mmap_lock (6.1). */
struct turn {
	char *page;
	int go;
};

static long dirty_in_turn(void *arg)
{
	struct turn *turn = arg;
	eventfd_t one;

	return eventfd_read(turn->go, &one) ? -errno : hm_cpu_dirty(turn->page);
}

TEST_F(held, cpu_waits_for_the_page)
{
	struct away *a = &self->a;
	struct turn turn = { .page = a->mem + a->page, .go = eventfd(0, EFD_CLOEXEC) };
	struct hm_async reader, writer;
	long result;

	need_hold(a);
	hold(_metadata, a);
	must(hm_async_start(&writer, dirty_in_turn, &turn));
	must(hm_async_start(&reader, touch, a->mem));
	must(hm_wait_asleep(reader.tid));
	ASSERT_EQ(0, eventfd_write(turn.go, 1));
	must(hm_wait_asleep(writer.tid));
	EXPECT_FALSE(hm_async_done(&reader));
	EXPECT_FALSE(hm_async_done(&writer));
	release(_metadata, a);
	must(hm_async_join(&reader, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	must(hm_async_join(&writer, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	EXPECT_EQ(0x5a, a->mem[a->page]);
	expect_put(a, 0, 1, SEED);
	expect_put(a, 2, a->pages, SEED);
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_evicted);
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

struct device_read {
	struct hm_async async;
	struct away *a;
	char *buf;
	int fd;
};

static long read_it(void *arg)
{
	struct device_read *r = arg;

	return hm_read(r->fd, r->a->mem, r->buf, r->a->length);
}

TEST_F(held, other_device_waits_for_the_page)
{
	struct device_read r = { .a = &self->a, .buf = away_map(&self->a) };
	struct away *a = &self->a;
	long result;
	__u32 id;

	need_hold(a);
	ASSERT_NE(NULL, r.buf);
	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	r.fd = must(hm_open(id));
	must(hm_mirror(r.fd, a->mem, a->length, 0, NULL));
	hold(_metadata, a);
	must(hm_async_start(&r.async, read_it, &r));
	must(hm_wait_asleep(r.async.tid));
	EXPECT_FALSE(hm_async_done(&r.async));
	release(_metadata, a);
	must(hm_async_join(&r.async, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	EXPECT_EQ(-1, away_wrong(a, r.buf, 0, a->pages, SEED));
	rig_verify_fd(_metadata, r.fd);
	close(r.fd);
}

/* Locked: another migration leaves it alone. */
TEST_F(held, other_migrations_skip_the_page)
{
	struct away *a = &self->a;
	__u32 id;
	int fd;

	need_hold(a);
	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	fd = must(hm_open(id));
	hold(_metadata, a);
	EXPECT_EQ(0, must(away_send(a, fd, a->mem)));
	release(_metadata, a);
	EXPECT_LT(0, must(away_send(a, fd, a->mem)));
	must(hm_unplug(a->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(fd);
	expect_put(a, 0, a->pages, SEED);
}

TEST_F(held, munmap_is_the_end_of_it)
{
	struct away *a = &self->a;

	need_hold(a);
	hold(_metadata, a);
	ASSERT_EQ(0, munmap(a->mem, a->length));
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_used);
	release(_metadata, a);
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

TEST_F(held, munmap_of_a_part_leaves_the_rest)
{
	struct away *a = &self->a;
	int half = a->pages / 2;

	need_hold(a);
	hold(_metadata, a);
	ASSERT_EQ(0, munmap(a->mem + half * a->page, a->length / 2));
	release(_metadata, a);
	expect_put(a, 0, half, SEED);
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(a->mem + half * a->page));
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

TEST_F(held, dontneed_makes_room_for_new_pages)
{
	struct away *a = &self->a;

	need_hold(a);
	hold(_metadata, a);
	ASSERT_EQ(0, madvise(a->mem, a->length, MADV_DONTNEED));
	expect_zero(a->mem, a->length);
	away_put(a, a->mem, 0, a->pages, OTHER);
	release(_metadata, a);
	expect_put(a, 0, a->pages, OTHER);
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

TEST_F(held, mremap_takes_them_along)
{
	struct away *a = &self->a;
	char *spare = away_map(a);

	need_hold(a);
	ASSERT_NE(NULL, spare);
	hold(_metadata, a);
	ASSERT_EQ(spare, mremap(a->mem, a->length, a->length,
				MREMAP_MAYMOVE | MREMAP_FIXED, spare));
	release(_metadata, a);
	EXPECT_EQ(-1, away_wrong(a, spare, 0, a->pages, SEED));
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

TEST_F(held, mprotect_holds)
{
	struct away *a = &self->a;

	need_hold(a);
	hold(_metadata, a);
	ASSERT_EQ(0, mprotect(a->mem, a->length, PROT_READ));
	release(_metadata, a);
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(a->mem));
	expect_put(a, 0, a->pages, SEED);
	ASSERT_EQ(0, mprotect(a->mem, a->length, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, hm_cpu_dirty(a->mem));
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

/* The child copies the migration entries, and each has its own page after a write. */
TEST_F(held, fork_shares_them)
{
	struct away *a = &self->a;
	struct hm_child c;

	need_hold(a);
	hold(_metadata, a);
	must(hm_child_start(&c, relative, a));
	release(_metadata, a);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, SEED));
	away_put(a, a->mem, 0, a->pages, OTHER);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, SEED));
	ask(_metadata, &c, PUT, 3);
	expect_put(a, 0, a->pages, OTHER);
	dismiss(_metadata, &c);
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

TEST_F(held, owner_is_killed)
{
	struct away *a = &self->a;
	struct hm_child c;
	int status;

	need_hold(a);
	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_EVICT_HOLD));
	must(hm_unplug(a->rig.control, a->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(a->fd, 0, is_held, &(struct hotmirror_status){}));
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	release(_metadata, a);
	expect_not_robbed(_metadata, a, away_status(_metadata, a).pages_robbed);
}

/* Nobody lets go, and it goes on all the same. */
TEST_F(held, not_for_ever)
{
	struct away *a = &self->a;

	need_hold(a);
	skip_unless(variant->kind == HOTMIRROR_COHERENT, "it takes two seconds: one kind will do");
	hold(_metadata, a);
	must(hm_wait_gone(a->fd, HM_LIMIT_MS));
	expect_put(a, 0, a->pages, SEED);
}

HM_TEST_MAIN
