// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device atomics: for the time of one the CPU has no PTE, whatever it does next
 * takes the page back, and no increment is lost between any number of devices and
 * CPUs.
 */
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/pagemap.h"

#define PAGES	4
#define TARGET	1		/* the page with the word; its neighbours have none */
#define START	40

FIXTURE(exclusive) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, mirrored; the word holds START */
	char *buf;
	__u64 *word;		/* in the middle of page TARGET */
};

typedef FIXTURE_DATA(exclusive) data;

FIXTURE_SETUP(exclusive)
{
	RIG_SETUP(&self->rig, HM_ANY);
	skip_unless(self->rig.q.features & HOTMIRROR_HAS_EXCLUSIVE,
		    "kernel without CONFIG_DEVICE_PRIVATE: no device-exclusive access");
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = rig_memory(_metadata, &self->rig, PAGES, &self->mem, &self->buf);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, 1);
	self->word = (__u64 *)(self->mem + TARGET * self->page + self->page / 2);
	*self->word = START;
}

FIXTURE_TEARDOWN(exclusive)
{
	rig_teardown(_metadata, &self->rig);
}

static int add(int fd, const __u64 *word, __u64 n, __u64 *old)
{
	struct hotmirror_atomic arg = { .operand = n };
	int ret = hm_atomic(fd, word, &arg);

	if (old)
		*old = arg.old;
	return ret;
}

static int compare_and_swap(int fd, const __u64 *word, __u64 expected, __u64 n, __u64 *old)
{
	struct hotmirror_atomic arg = {
		.flags = HOTMIRROR_ATOMIC_CAS,
		.operand = n,
		.expected = expected,
	};
	int ret = hm_atomic(fd, word, &arg);

	*old = arg.old;
	return ret;
}

static __u64 exclusives(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_stats s;

	must(hm_stats(self->fd, &s));
	return s.exclusives;
}

static bool is_exclusive(struct __test_metadata *_metadata, data *self, int page)
{
	return rig_page(_metadata, &self->rig, self->mem + page * self->page) &
	       HOTMIRROR_SNAP_DEVICE_EXCLUSIVE;
}

/* A second device, or a second file of the same one, that mirrors the memory, too. */
static int another(struct __test_metadata *_metadata, data *self, bool instance)
{
	__u32 id = self->rig.id;
	int fd;

	if (instance)
		must(hm_plug(self->rig.control, self->rig.kind, self->rig.bytes, &id));
	fd = must(hm_open(id));
	must(hm_mirror(fd, self->mem, self->length, 0, NULL));
	return fd;
}

TEST_F(exclusive, add_returns_the_old_value)
{
	__u64 old;

	must(add(self->fd, self->word, 2, &old));
	EXPECT_EQ(START, old);
	must(add(self->fd, self->word, -3, &old));
	EXPECT_EQ(START + 2, old);
	EXPECT_EQ(START - 1, *self->word);
}

TEST_F(exclusive, cas_stores_what_it_was_asked_to)
{
	__u64 old;

	must(compare_and_swap(self->fd, self->word, START, 7, &old));
	EXPECT_EQ(START, old);
	EXPECT_EQ(7, *self->word);
}

TEST_F(exclusive, cas_leaves_what_differs)
{
	__u64 old;

	must(compare_and_swap(self->fd, self->word, START + 1, 7, &old));
	EXPECT_EQ(START, old);
	EXPECT_EQ(START, *self->word);
}

/* The rest of the page, and the other pages, are as they were. */
TEST_F(exclusive, changes_one_word)
{
	char *expect = hm_map(PAGES);

	ASSERT_NE(NULL, expect);
	hm_fill(expect, self->length, 1);
	*(__u64 *)(expect + ((char *)self->word - self->mem)) = START + 1;
	must(add(self->fd, self->word, 1, NULL));
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	EXPECT_EQ(0, memcmp(expect, self->buf, self->length));
	EXPECT_EQ(0, memcmp(expect, self->mem, self->length));
}

TEST_F(exclusive, takes_the_page_from_the_cpu)
{
	__u32 snap;

	must(add(self->fd, self->word, 1, NULL));
	snap = rig_page(_metadata, &self->rig, self->mem + TARGET * self->page);
	EXPECT_TRUE(snap & HOTMIRROR_SNAP_DEVICE_EXCLUSIVE);
	EXPECT_TRUE(snap & HOTMIRROR_SNAP_DEVICE_WRITE);
	EXPECT_FALSE(snap & HOTMIRROR_SNAP_VALID);
	EXPECT_FALSE(is_exclusive(_metadata, self, TARGET - 1));
	EXPECT_FALSE(is_exclusive(_metadata, self, TARGET + 1));
	EXPECT_EQ(1, exclusives(_metadata, self));
}

/* As long as nobody touches the page, it is ours: no fault, no conversion. */
TEST_F(exclusive, stays_until_it_is_touched)
{
	struct hotmirror_atomic arg = { .operand = 1 };

	for (int i = 0; i < 10; i++)
		must(hm_atomic(self->fd, self->word, &arg));
	EXPECT_EQ(0, arg.faults);
	EXPECT_EQ(1, exclusives(_metadata, self));
	EXPECT_EQ(START + 10, *self->word);
}

/* The same file's own plain accesses need nobody's leave. */
TEST_F(exclusive, own_accesses_leave_it)
{
	__u64 value = 0;

	must(add(self->fd, self->word, 1, NULL));
	must(hm_read(self->fd, self->word, &value, sizeof(value)));
	EXPECT_EQ(START + 1, value);
	value = 90;
	must(hm_write(self->fd, self->word, &value, sizeof(value)));
	EXPECT_TRUE(is_exclusive(_metadata, self, TARGET));
	must(add(self->fd, self->word, 1, &value));
	EXPECT_EQ(90, value);
	EXPECT_EQ(1, exclusives(_metadata, self));
	EXPECT_EQ(91, *self->word);
}

/* Who else may touch the page, without changing it. */
static int cpu_read(data *self)
{
	return hm_cpu_touch(self->word);
}

static int cpu_write(data *self)
{
	__atomic_fetch_add(self->word, 0, __ATOMIC_SEQ_CST);
	return 0;
}

static int gup(data *self)
{
	__u64 value;

	return hm_gup_read(self->word, &value, sizeof(value));
}

static int other_file(data *self)
{
	int fd = hm_open(self->rig.id);
	__u64 value;
	int ret = hm_mirror(fd, self->mem, self->length, 0, NULL) ?:
		  hm_read(fd, self->word, &value, sizeof(value));

	close(fd);
	return ret;
}

static int idle_child(struct hm_parent *p, void *arg)
{
	return 0;
}

static int fork_child(data *self)
{
	struct hm_child c;
	int status, ret = hm_child_start(&c, idle_child, self);

	return ret ?: hm_child_wait(&c, &status);
}

static int protect_and_open(data *self)
{
	return mprotect(self->mem, self->length, PROT_READ) ||
	       mprotect(self->mem, self->length, PROT_READ | PROT_WRITE) ||
	       hm_cpu_touch(self->word);
}

static const struct touch {
	const char *name;
	int (*fn)(data *self);
} touches[] = {
	{ "a read by the CPU", cpu_read },
	{ "a write by the CPU", cpu_write },
	{ "get_user_pages()", gup },
	{ "a read by another mirror", other_file },
	{ "fork()", fork_child },
	{ "mprotect() and a read", protect_and_open },
};

TEST_F(exclusive, whoever_touches_the_page_takes_it_back)
{
	for (int i = 0; i < ARRAY_SIZE(touches); i++) {
		struct hotmirror_atomic arg = { .operand = 1 };
		__u64 before = exclusives(_metadata, self);

		must(add(self->fd, self->word, 1, NULL));
		EXPECT_TRUE(is_exclusive(_metadata, self, TARGET));
		ASSERT_EQ(0, touches[i].fn(self))
			TH_LOG("%s failed", touches[i].name);
		EXPECT_FALSE(is_exclusive(_metadata, self, TARGET))
			TH_LOG("%s left it to the device", touches[i].name);
		must(hm_atomic(self->fd, self->word, &arg));
		EXPECT_EQ(START + 2 * i + 1, arg.old);
		EXPECT_LT(0, arg.faults);
		EXPECT_EQ(before + 2, exclusives(_metadata, self));
		EXPECT_EQ(START + 2 * i + 2, *self->word);
	}
}

TEST_F(exclusive, read_only_memory_is_efault)
{
	must(add(self->fd, self->word, 1, NULL));
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ));
	must_err(EFAULT, add(self->fd, self->word, 1, NULL));
	EXPECT_EQ(START + 1, *self->word);
	must_err(EFAULT, add(self->fd, self->word, 1, NULL));
	ASSERT_EQ(0, mprotect(self->mem, self->length, PROT_READ | PROT_WRITE));
	must(add(self->fd, self->word, 1, NULL));
	EXPECT_EQ(START + 2, *self->word);
}

TEST_F(exclusive, shared_memory_is_eopnotsupp)
{
	__u64 *shared = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, shared);
	must(hm_mirror(self->fd, shared, self->page, 0, NULL));
	*shared = START;
	must_err(EOPNOTSUPP, add(self->fd, shared, 1, NULL));
	EXPECT_EQ(START, *shared);
}

/* The child's value, seen when the parent says so. */
static int look(struct hm_parent *p, void *arg)
{
	data *self = arg;
	__u64 n = hm_hear(p);

	if (n)
		__atomic_fetch_add(self->word, n, __ATOMIC_SEQ_CST);
	hm_tell(p, *self->word);
	return 0;
}

static __u64 child_sees(struct __test_metadata *_metadata, struct hm_child *c, long n)
{
	long value;
	int status;

	must(hm_child_tell(c, n));
	must(hm_child_hear(c, &value));
	must(hm_child_wait(c, &status));
	return value;
}

TEST_F(exclusive, atomic_after_fork_leaves_the_child_alone)
{
	struct hm_child c;
	__u64 old;

	must(add(self->fd, self->word, 1, NULL));
	must(hm_child_start(&c, look, self));
	must(add(self->fd, self->word, 10, &old));
	EXPECT_EQ(START + 1, old);
	EXPECT_EQ(START + 1, child_sees(_metadata, &c, 0));
	EXPECT_EQ(START + 11, *self->word);
}

TEST_F(exclusive, child_write_leaves_the_device_alone)
{
	struct hm_child c;
	__u64 old;

	must(add(self->fd, self->word, 1, NULL));
	must(hm_child_start(&c, look, self));
	EXPECT_EQ(START + 6, child_sees(_metadata, &c, 5));
	must(add(self->fd, self->word, 1, &old));
	EXPECT_EQ(START + 1, old);
	EXPECT_EQ(START + 2, *self->word);
}

/* A page of device memory is fetched home first: the atomic is on system memory. */
TEST_F(exclusive, works_on_what_was_in_device_memory)
{
	__u64 old;

	skip_unless(self->rig.kind != HOTMIRROR_DAX, "no private or coherent memory");
	must(hm_to_dev(self->fd, self->mem, self->length, NULL));
	must(add(self->fd, self->word, 1, &old));
	EXPECT_EQ(START, old);
	must(add(self->fd, self->word, 1, NULL));
	EXPECT_EQ(START + 2, *self->word);
}

/* An exclusive entry has the bit, too, and gives it to the page that the CPU takes back. */
TEST_F(exclusive, write_protection_comes_back_with_the_page)
{
	char *page = self->mem + TARGET * self->page;
	int uffd = hm_uffd_open();
	__u64 seen;

	skip_unless(uffd >= 0, "no userfaultfd for the kernel's faults");
	must(hm_uffd_register(uffd, self->mem, self->length, true));
	must(add(self->fd, self->word, 1, NULL));
	must(hm_uffd_protect(uffd, self->mem, self->length, true));
	EXPECT_FALSE(hm_pagemap(page) & HM_PM_PRESENT);
	EXPECT_EQ(0, hm_cpu_load(self->word, &seen));
	EXPECT_EQ(START + 1, seen);
	EXPECT_EQ(HM_PM_PRESENT | HM_PM_UFFD_WP,
		  hm_pagemap(page) & (HM_PM_PRESENT | HM_PM_UFFD_WP));
	close(uffd);
}

#define TURNS	30

TEST_F(exclusive, mirrors_take_turns)
{
	int fds[] = {
		self->fd,
		another(_metadata, self, false),
		another(_metadata, self, true),
	};
	__u64 old;

	for (int i = 0; i < TURNS; i++) {
		must(add(fds[i % ARRAY_SIZE(fds)], self->word, 1, &old));
		EXPECT_EQ(START + i, old);
	}
	EXPECT_EQ(START + TURNS, *self->word);
	for (int i = 1; i < ARRAY_SIZE(fds); i++) {
		rig_verify_fd(_metadata, fds[i]);
		close(fds[i]);
	}
}

/* A device that adds, in a thread of its own. */
struct adder {
	struct hm_async async;
	data *self;
	int fd;
	int end;		/* how many to add; 0: until an error or stop */
	atomic_int done;
	atomic_bool stop;
};

static long add_many(void *arg)
{
	struct adder *a = arg;
	int ret = 0;

	while (!ret && !atomic_load(&a->stop) && (!a->end || a->done < a->end)) {
		ret = add(a->fd, a->self->word, 1, NULL);
		if (!ret)
			atomic_fetch_add(&a->done, 1);
	}
	return ret;
}

static void start_adding(struct __test_metadata *_metadata, data *self, struct adder *a,
			 int fd, int end)
{
	*a = (struct adder){ .self = self, .fd = fd, .end = end };
	must(hm_async_start(&a->async, add_many, a));
}

static long end_adding(struct __test_metadata *_metadata, struct adder *a)
{
	long ret;

	must(hm_async_join(&a->async, HM_LIMIT_MS, &ret));
	return ret;
}

#define ADDS	150

/* Both devices and the CPU want the page all the time, until each has had its share. */
TEST_F(exclusive, parallel_increments_all_count)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct adder adders[2];
	int cpu = 0, devices = 0;

	start_adding(_metadata, self, &adders[0], self->fd, 0);
	start_adding(_metadata, self, &adders[1], another(_metadata, self, true), 0);
	while ((cpu < ADDS || adders[0].done < ADDS || adders[1].done < ADDS) &&
	       hm_left(deadline)) {
		__atomic_fetch_add(self->word, 1, __ATOMIC_SEQ_CST);
		cpu++;
		sched_yield();
	}
	for (int i = 0; i < ARRAY_SIZE(adders); i++) {
		atomic_store(&adders[i].stop, true);
		EXPECT_EQ(0, end_adding(_metadata, &adders[i]));
		EXPECT_LE(ADDS, adders[i].done);
		devices += adders[i].done;
		rig_verify_fd(_metadata, adders[i].fd);
	}
	EXPECT_EQ(START + devices + cpu, *self->word);
	close(adders[1].fd);
}

/* Wait until the device has added @n times more than @seen; how often it has. */
static int wait_for_more(struct __test_metadata *_metadata, struct adder *a, int seen, int n)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (atomic_load(&a->done) < seen + n && hm_left(deadline))
		sched_yield();
	EXPECT_LE(seen + n, atomic_load(&a->done));
	return atomic_load(&a->done);
}

#define ROUNDS	100
#define BURST	4

/* Take the page away, and again while the device is about to get it back. */
static void take_away(struct __test_metadata *_metadata, data *self, int round)
{
	for (int i = 0; i < BURST; i++) {
		ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
		for (int spin = 0; spin < round * 50; spin++)
			atomic_signal_fence(memory_order_seq_cst);
	}
}

/*
 * What was added after the page was taken away is in the page that came instead; an
 * add that landed before may be counted after, but one only.
 */
TEST_F(exclusive, survives_dontneed_and_munmap)
{
	struct adder a;
	int seen;

	start_adding(_metadata, self, &a, self->fd, 0);
	wait_for_more(_metadata, &a, 0, 1);
	for (int i = 0; i < ROUNDS; i++) {
		take_away(_metadata, self, i);
		seen = atomic_load(&a.done);
		seen = wait_for_more(_metadata, &a, seen, 3) - seen;
		EXPECT_LE(seen - 1, *self->word);
	}
	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_EQ(-EFAULT, end_adding(_metadata, &a));
}

TEST_F(exclusive, munmap_frees_the_page)
{
	must(add(self->fd, self->word, 1, NULL));
	ASSERT_EQ(0, munmap(self->mem, self->length));
	must_err(EFAULT, add(self->fd, self->word, 1, NULL));
}

/* An atomic held in userfaultfd, on a page that is missing. */
static void hold_atomic(struct __test_metadata *_metadata, data *self, int uffd,
			struct adder *a)
{
	struct hm_fault f;

	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	must(hm_uffd_register(uffd, self->mem, self->length, false));
	start_adding(_metadata, self, a, self->fd, 1);
	must(hm_uffd_wait(uffd, &f));
	EXPECT_EQ((unsigned long)self->mem + TARGET * self->page, f.addr);
	EXPECT_TRUE(f.write);
	must(hm_wait_asleep(a->async.tid));
}

static void resolve(struct __test_metadata *_metadata, data *self, int uffd)
{
	char *page = self->mem + TARGET * self->page;

	hm_fill(self->buf, self->page, 3);
	*(__u64 *)(self->buf + self->page / 2) = 70;
	must(hm_uffd_copy(uffd, page, self->buf, self->page));
}

TEST_F(exclusive, held_in_userfaultfd_then_resolved)
{
	int uffd = hm_uffd_open();
	struct adder a;

	skip_unless(uffd >= 0, "no userfaultfd for the kernel's faults");
	hold_atomic(_metadata, self, uffd, &a);
	resolve(_metadata, self, uffd);
	EXPECT_EQ(0, end_adding(_metadata, &a));
	EXPECT_EQ(71, *self->word);
}

TEST_F(exclusive, held_in_userfaultfd_when_unplugged)
{
	int uffd = hm_uffd_open();
	struct adder a;

	skip_unless(uffd >= 0, "no userfaultfd for the kernel's faults");
	hold_atomic(_metadata, self, uffd, &a);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(-ENODEV, end_adding(_metadata, &a));
	resolve(_metadata, self, uffd);
	EXPECT_EQ(70, *self->word);
}

HM_TEST_MAIN
