// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two devices and one piece of memory: neither is handed the other's private pages,
 * both pull at it without standing still, one goes away while it is used, and the
 * books of the process are right after every journey.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/gate.h"
#include "lib/group.h"

#define PAGES	16
#define SEED	1

/* One of the two. */
struct device {
	__u32 id;
	int fd;
};

FIXTURE(pair) {
	struct hm_rig rig;
	struct device devices[2];	/* the first is the rig's */
	size_t page, length;
	char *mem;			/* PAGES of SEED, mirrored by both */
	char *buf;
	bool grouped;			/* in a cgroup of its own */
};

FIXTURE_VARIANT(pair) {
	__u32 kind;
	bool cpu_moves_it;		/* anybody else's access brings the page home */
};

FIXTURE_VARIANT_ADD(pair, private) {
	.kind = HOTMIRROR_PRIVATE,
	.cpu_moves_it = true,
};

FIXTURE_VARIANT_ADD(pair, coherent) {
	.kind = HOTMIRROR_COHERENT,
	.cpu_moves_it = false,
};

typedef FIXTURE_DATA(pair) data;

FIXTURE_SETUP(pair)
{
	struct device *second = &self->devices[1];

	RIG_SETUP(&self->rig, variant->kind);
	self->devices[0] = (struct device){ .id = self->rig.id, .fd = self->rig.fd };
	must(hm_plug(self->rig.control, variant->kind, self->rig.bytes, &second->id));
	second->fd = must(hm_open(second->id));
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	for (int i = 0; i < 2; i++)
		must(hm_mirror(self->devices[i].fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, SEED);
}

FIXTURE_TEARDOWN(pair)
{
	if (self->grouped)
		EXPECT_EQ(0, hm_group_end());
	rig_verify_fd(_metadata, self->devices[1].fd);
	close(self->devices[1].fd);
	rig_teardown(_metadata, &self->rig);
}

static __u64 pages_used(struct __test_metadata *_metadata, const struct device *d)
{
	struct hotmirror_status st;

	must(hm_status(d->fd, 0, &st));
	return st.pages_used;
}

static void to_dev(struct __test_metadata *_metadata, data *self, int owner, int page,
		   int pages)
{
	__u64 moved;

	must(hm_to_dev(self->devices[owner].fd, self->mem + page * self->page,
		       pages * self->page, &moved));
	ASSERT_EQ(pages, moved);
}

static void snapshot(struct __test_metadata *_metadata, data *self, int viewer, __u32 *snap)
{
	must(hm_snapshot(self->devices[viewer].fd, self->mem, self->length, snap));
}

/* Owners of the pages, in turn: a device, or nobody. */
static int owner_of(int page)
{
	return page % 3;
}

#define NOBODY	2

/* What @viewer is to see of a page. */
static __u32 expected(const struct hm_kind *kind, bool secret, int viewer, int page)
{
	if (owner_of(page) == NOBODY)
		return HOTMIRROR_SNAP_VALID;
	if (owner_of(page) == viewer)
		return HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_OWN | kind->snap << 8;
	return secret ? 0 : HOTMIRROR_SNAP_VALID | kind->snap << 8;
}

#define LOOKED_AT	(HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_OWN | 0xf << 8)

static void scatter(struct __test_metadata *_metadata, data *self)
{
	for (int i = 0; i < PAGES; i++)
		if (owner_of(i) != NOBODY)
			to_dev(_metadata, self, owner_of(i), i, 1);
}

/* Each is shown its own private pages and nobody else's (claim S10). */
TEST_F(pair, each_sees_its_own_pages)
{
	__u32 snap[PAGES];

	scatter(_metadata, self);
	for (int viewer = 0; viewer < 2; viewer++) {
		snapshot(_metadata, self, viewer, snap);
		for (int i = 0; i < PAGES; i++) {
			EXPECT_EQ(expected(hm_kind(variant->kind), variant->cpu_moves_it,
					   viewer, i), snap[i] & LOOKED_AT)
				TH_LOG("page %d, seen by device %d", i, viewer);
		}
	}
}

/* A foreign private page is fetched home, not handed out; a coherent one is used there. */
TEST_F(pair, foreign_pages_are_fetched_home)
{
	__u64 used;

	scatter(_metadata, self);
	used = pages_used(_metadata, &self->devices[1]);
	must(hm_read(self->devices[0].fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	EXPECT_EQ(variant->cpu_moves_it ? 0 : used, pages_used(_metadata, &self->devices[1]));
	/* Its own stayed where they were. */
	EXPECT_EQ((PAGES + 2) / 3, pages_used(_metadata, &self->devices[0]));
	must(hm_read(self->devices[1].fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, SEED);
	EXPECT_EQ(variant->cpu_moves_it ? 0 : (PAGES + 2) / 3,
		  pages_used(_metadata, &self->devices[0]));
	expect_filled(self->mem, self->length, SEED);
}

TEST_F(pair, foreign_pages_are_no_migration_source)
{
	__u64 moved;

	to_dev(_metadata, self, 0, 0, PAGES);
	must(hm_to_dev(self->devices[1].fd, self->mem, self->length, &moved));
	EXPECT_EQ(0, moved);
	must(hm_to_sys(self->devices[1].fd, self->mem, self->length, &moved));
	EXPECT_EQ(0, moved);
	EXPECT_EQ(PAGES, pages_used(_metadata, &self->devices[0]));
	expect_filled(self->mem, self->length, SEED);
}

/* A device that pulls the memory to itself, works on it, and lets it go, in a thread. */
struct puller {
	struct hm_async async;
	data *self;
	int which;
	__u64 moved;
	__u64 rounds;
};

#define PULL_PAGES	(20 * PAGES)	/* what each has to get */

static __u64 *word_of(data *self, int which, int page)
{
	return (__u64 *)(self->mem + page * self->page) + which;
}

/* Its word of every page, one more than before. */
static int count_up(struct puller *p, int fd)
{
	for (int i = 0; i < PAGES; i++) {
		__u64 *word = word_of(p->self, p->which, i), value;
		int ret = hm_read(fd, word, &value, sizeof(value));

		if (!ret && value != p->rounds)
			ret = -EILSEQ;
		value++;
		ret = ret ?: hm_write(fd, word, &value, sizeof(value));
		if (ret)
			return ret;
	}
	p->rounds++;
	return 0;
}

static long pull(void *arg)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct puller *p = arg;
	data *self = p->self;
	int fd = self->devices[p->which].fd, ret = 0;

	while (!ret && p->moved < PULL_PAGES) {
		__u64 moved;

		ret = hm_to_dev(fd, self->mem, self->length, &moved);
		p->moved += moved;
		ret = ret ?: count_up(p, fd);
		ret = ret ?: hm_to_sys(fd, self->mem, self->length, NULL);
		if (!ret && !hm_left(deadline))
			ret = -ETIMEDOUT;
	}
	return ret;
}

/* Both get all that they want, and nobody's writes are lost on the way. */
TEST_F(pair, both_pull_at_one_range)
{
	struct puller pullers[2] = {};
	long ret;

	memset(self->mem, 0, self->length);
	for (int i = 0; i < 2; i++) {
		pullers[i].self = self;
		pullers[i].which = i;
		must(hm_async_start(&pullers[i].async, pull, &pullers[i]));
	}
	for (int i = 0; i < 2; i++) {
		must(hm_async_join(&pullers[i].async, 2 * HM_LIMIT_MS, &ret));
		EXPECT_EQ(0, ret)
			TH_LOG("device %d: %s after %llu pages in %llu rounds", i,
			       strerror(-ret), pullers[i].moved, pullers[i].rounds);
		EXPECT_LE(PULL_PAGES, pullers[i].moved);
	}
	for (int i = 0; i < 2 * PAGES; i++)
		EXPECT_EQ(pullers[i % 2].rounds, *word_of(self, i % 2, i / 2));
	for (int i = 0; i < 2; i++) {
		must(hm_to_sys(self->devices[i].fd, self->mem, self->length, NULL));
		EXPECT_EQ(0, pages_used(_metadata, &self->devices[i]));
	}
}

/* Counts up a word through a device until that is refused. */
struct user {
	struct hm_async async;
	int fd;
	__u64 *word;
	atomic_ullong written;	/* the last value that was */
	atomic_bool stop;
};

static long use(void *arg)
{
	struct user *u = arg;
	__u64 value;
	int ret = 0;

	while (!ret && !atomic_load(&u->stop)) {
		ret = hm_read(u->fd, u->word, &value, sizeof(value));
		if (!ret && value != u->written)
			return -EILSEQ;
		value = u->written + 1;
		ret = ret ?: hm_write(u->fd, u->word, &value, sizeof(value));
		if (!ret)
			atomic_store(&u->written, value);
	}
	return ret;
}

static int wait_for_use(struct user *u)
{
	unsigned long long seen = atomic_load(&u->written);
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (atomic_load(&u->written) < seen + 3) {
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/*
 * The whole device goes while its own file and another device use what is in it. The
 * first is refused from some moment on, the second never; no write is lost.
 */
TEST_F(pair, eviction_of_a_device_in_use)
{
	struct user users[2] = {};
	long ret;

	memset(self->mem, 0, self->length);
	to_dev(_metadata, self, 0, 0, PAGES);
	for (int i = 0; i < 2; i++) {
		users[i].fd = self->devices[i].fd;
		users[i].word = word_of(self, i, 5);
		must(hm_async_start(&users[i].async, use, &users[i]));
		must(wait_for_use(&users[i]));
	}
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(wait_for_use(&users[1]));
	atomic_store(&users[1].stop, true);
	for (int i = 0; i < 2; i++) {
		must(hm_async_join(&users[i].async, HM_LIMIT_MS, &ret));
		EXPECT_EQ(i ? 0 : -ENODEV, ret)
			TH_LOG("device %d: %s", i, strerror(-ret));
		EXPECT_EQ(users[i].written, *users[i].word);
	}
	EXPECT_EQ(0, pages_used(_metadata, &self->devices[0]));
}

/* A mirror that is made while pages are taken away: what goes, it may not begin with. */
struct latecomer {
	struct hm_async async;
	data *self;
	int fd;
	int go;			/* eventfd: a new thread needs mmap_lock, which is taken */
};

static long come_late(void *arg)
{
	struct latecomer *late = arg;
	eventfd_t one;

	if (eventfd_read(late->go, &one))
		return -errno;
	return hm_read(late->fd, late->self->mem, late->self->buf, late->self->length);
}

static long take_away(void *arg)
{
	data *self = arg;

	return madvise(self->mem, self->length, MADV_DONTNEED) ? -errno : 0;
}

/* It reads, or waits uninterruptibly in mmu_interval_read_begin(). */
static int wait_for_its_turn(const struct latecomer *late)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (!hm_async_done(&late->async) && hm_task_state(late->async.tid) != 'D') {
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* The new notifier is not called for it: __mmu_interval_notifier_insert() marks it instead. */
TEST_F(pair, mirror_made_during_an_invalidation_waits_for_its_end)
{
	struct latecomer late = { .self = self, .go = eventfd(0, EFD_CLOEXEC) };
	struct hm_async taker;
	long ret;
	int gate;

	hm_fill(self->buf, self->length, SEED + 1);
	late.fd = must(hm_open(self->devices[1].id));
	must(hm_async_start(&late.async, come_late, &late));
	gate = must(hm_gate_open(self->devices[0].fd, HOTMIRROR_GATE_INVALIDATE_DONE, 0));
	must(hm_gate_arm_tid(gate, 0));
	must(hm_async_start(&taker, take_away, self));
	must(hm_gate_wait(gate, HM_LIMIT_MS));
	must(hm_mirror(late.fd, self->mem, self->length, 0, NULL));
	ASSERT_EQ(0, eventfd_write(late.go, 1));
	must(wait_for_its_turn(&late));
	EXPECT_FALSE(hm_async_done(&late.async));
	close(gate);
	must(hm_async_join(&taker, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	must(hm_async_join(&late.async, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	expect_zero(self->buf, self->length);
	rig_verify_fd(_metadata, late.fd);
	close(late.fd);
	close(late.go);
}

/* Books that are kept approximately differ by less than one journey of these. */
#define BOOK_PAGES	512
#define BOOK_SLACK	(BOOK_PAGES / 2)
#define JOURNEYS	4

/* The second number of statm, in pages. */
static long long resident(void)
{
	return hm_number_in("/proc/self/statm", " ");
}

/*
 * Anonymous pages, counted one by one when it is read. Not Rss: a fault of this
 * program's own code maps 16 pages around it, at any time.
 */
static long long rolled_up(data *self)
{
	return hm_number_in("/proc/self/smaps_rollup", "\nAnonymous:") * 1024 /
	       (long long)self->page;
}

static char *map_books(struct __test_metadata *_metadata, data *self)
{
	char *mem = hm_map(BOOK_PAGES);

	ASSERT_NE(NULL, mem);
	memset(mem, 1, BOOK_PAGES * self->page);
	return mem;
}

static void travel(struct __test_metadata *_metadata, data *self, char *mem, bool by_fault)
{
	size_t length = BOOK_PAGES * self->page;
	int fd = self->devices[0].fd;
	__u64 moved;

	must(hm_to_dev(fd, mem, length, &moved));
	ASSERT_EQ(BOOK_PAGES, moved);
	for (int i = 0; by_fault && i < BOOK_PAGES; i++)
		ASSERT_EQ(0, hm_cpu_touch(mem + i * self->page));
	must(hm_to_sys(fd, mem, length, &moved));
	EXPECT_EQ(by_fault && self->rig.kind == HOTMIRROR_PRIVATE ? 0 : BOOK_PAGES, moved);
}

TEST_F(pair, rss_is_unchanged_by_a_round_trip)
{
	char *mem = map_books(_metadata, self);
	long long before = resident(), exact;

	/* The first time each of these may fault in a page of this program, or of its stack. */
	travel(_metadata, self, mem, true);
	rolled_up(self);
	exact = rolled_up(self);
	ASSERT_LE(BOOK_PAGES, before);
	ASSERT_LE(BOOK_PAGES, exact);
	for (int i = 0; i < JOURNEYS; i++)
		travel(_metadata, self, mem, i % 2);
	EXPECT_EQ(exact, rolled_up(self));
	EXPECT_GT(BOOK_SLACK, llabs(resident() - before));
	/* Nor while it is away. */
	must(hm_to_dev(self->devices[0].fd, mem, BOOK_PAGES * self->page, NULL));
	EXPECT_GT(BOOK_SLACK, llabs(resident() - before));
	ASSERT_EQ(0, munmap(mem, BOOK_PAGES * self->page));
	EXPECT_GT(BOOK_SLACK, llabs(before - BOOK_PAGES - resident()));
}

static long long charged(data *self)
{
	return hm_number_in(HM_GROUP "/memory.current", "") / (long long)self->page;
}

TEST_F(pair, memcg_charge_is_unchanged_by_a_round_trip)
{
	long long before, with;
	char *mem;
	int ret = hm_group_begin();

	if (ret)
		SKIP(return, "no cgroup2 with a memory controller at " HM_CGROUP ": %s",
		     strerror(-ret));
	self->grouped = true;
	before = charged(self);
	mem = map_books(_metadata, self);
	with = charged(self);
	EXPECT_LT(BOOK_PAGES - BOOK_SLACK, with - before);
	for (int i = 0; i < JOURNEYS; i++)
		travel(_metadata, self, mem, i % 2);
	EXPECT_GT(BOOK_SLACK, llabs(charged(self) - with))
		TH_LOG("%lld pages charged, then %lld", with, charged(self));
	/* What is away is still charged to who has it. */
	must(hm_to_dev(self->devices[0].fd, mem, BOOK_PAGES * self->page, NULL));
	EXPECT_LT(with - BOOK_SLACK, charged(self));
	ASSERT_EQ(0, munmap(mem, BOOK_PAGES * self->page));
	EXPECT_GT(BOOK_SLACK, llabs(charged(self) - before))
		TH_LOG("%lld pages charged before all, then %lld", before, charged(self));
}

static long all_to_first(void *arg)
{
	data *self = arg;
	__u64 moved;
	int ret = hm_to_dev(self->devices[0].fd, self->mem, self->length, &moved);

	return ret ?: moved == PAGES ? 0 : -EAGAIN;
}

/* Where there is no page none is unmapped: the notifier of migrate_vma_pages() is the last. */
TEST_F(pair, zero_page_of_another_goes_when_a_page_comes)
{
	__u32 entry[PAGES];
	struct hm_async migration;
	long ret;
	int gate;

	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	gate = must(hm_gate_open(self->devices[0].fd, HOTMIRROR_GATE_MIGRATE_COLLECTED, 0));
	must(hm_gate_arm_tid(gate, 0));
	must(hm_async_start(&migration, all_to_first, self));
	must(hm_gate_wait(gate, HM_LIMIT_MS));
	must(hm_prefetch(self->devices[1].fd, self->mem, self->length, false));
	must(hm_gate_release(gate));
	must(hm_async_join(&migration, HM_LIMIT_MS, &ret));
	EXPECT_EQ(0, ret);
	must(hm_entries(self->devices[1].fd, self->mem, self->length, entry));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_EQ(0, entry[i] & HOTMIRROR_SNAP_DEVICE)
			TH_LOG("page %d: %#x", i, entry[i]);
	}
	close(gate);
}

HM_TEST_MAIN
