// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bad input to every operation on memory: ranges that cannot be, holes, memory that
 * nobody mirrored, and a process that is no more. One row an operation; what it says
 * to each input is in the row, how far it got is always answered.
 */
#include <sys/mman.h>

#include "hm_test.h"

#define PAGES	4
/* A row's length in pages before a hole. */
#define GOOD	2
/* What an output holds before the call. */
#define UNWRITTEN	0x5a5a5a5a5a5a5a5aULL

FIXTURE(input) {
	struct hm_rig rig;
	size_t page, length;
	char *mem;		/* PAGES, filled, mirrored; nothing follows for long */
	char *other;		/* not mirrored */
	char *buf;		/* a page more */
	struct hm_child child;
};

typedef FIXTURE_DATA(input) data;

/*
 * The operation on [addr, addr + length), with progress in @done in the unit of the
 * row; UNWRITTEN if the call did not say.
 */
typedef int (*operation)(int fd, unsigned long addr, unsigned long length, void *buf,
			 __u64 *done);

FIXTURE_VARIANT(input) {
	operation call;
	enum { NO_PROGRESS, BYTES, WHOLE_PAGES } unit;	/* of *done */
	__u64 needs;		/* HOTMIRROR_HAS_*, all of them */
	bool migrates;
	size_t only;		/* the one length that it has; 0: any */
	/* errno, 0 is success */
	int unaligned;		/* a byte too far */
	int ragged;		/* a byte too long */
	int huge;		/* a terabyte */
	int outside;		/* mapped, not mirrored */
	int unmapped;
	int hole;		/* in the middle; got GOOD pages */
};

typedef FIXTURE_VARIANT(input) variants;

static int access_memory(int fd, unsigned int cmd, unsigned long addr,
			 unsigned long length, void *buf, __u64 *done)
{
	struct hotmirror_access arg = {
		.size = sizeof(arg),
		.addr = addr,
		.length = length,
		.buf = (uintptr_t)buf,
		.done = UNWRITTEN,
	};
	int ret = hm_ioctl(fd, cmd, &arg);

	*done = arg.done;
	return ret;
}

static int do_read(int fd, unsigned long addr, unsigned long length, void *buf, __u64 *done)
{
	return access_memory(fd, HOTMIRROR_READ, addr, length, buf, done);
}

static int do_write(int fd, unsigned long addr, unsigned long length, void *buf, __u64 *done)
{
	return access_memory(fd, HOTMIRROR_WRITE, addr, length, buf, done);
}

static int do_prefetch(int fd, unsigned long addr, unsigned long length, void *buf,
		       __u64 *done)
{
	return access_memory(fd, HOTMIRROR_PREFETCH, addr, length, NULL, done);
}

static int do_atomic(int fd, unsigned long addr, unsigned long length, void *buf,
		     __u64 *done)
{
	struct hotmirror_atomic arg = {};

	*done = 0;
	return hm_atomic(fd, (void *)addr, &arg);
}

static int do_snapshot(int fd, unsigned long addr, unsigned long length, void *buf,
		       __u64 *done)
{
	struct hotmirror_snapshot arg = {
		.size = sizeof(arg),
		.addr = addr,
		.length = length,
		.buf = (uintptr_t)buf,
		.done = UNWRITTEN,
	};
	int ret = hm_ioctl(fd, HOTMIRROR_SNAPSHOT, &arg);

	*done = arg.done;
	return ret;
}

static int migrate(int fd, unsigned int cmd, unsigned long addr, unsigned long length,
		   __u64 *done)
{
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.addr = addr,
		.length = length,
		.moved = UNWRITTEN,
		.skipped = UNWRITTEN,
	};
	int ret = hm_ioctl(fd, cmd, &arg);

	/* Both are progress: what is there already is skipped. */
	*done = arg.moved + arg.skipped;
	return ret;
}

static int do_to_dev(int fd, unsigned long addr, unsigned long length, void *buf,
		     __u64 *done)
{
	return migrate(fd, HOTMIRROR_MIGRATE_TO_DEV, addr, length, done);
}

static int do_to_sys(int fd, unsigned long addr, unsigned long length, void *buf,
		     __u64 *done)
{
	return migrate(fd, HOTMIRROR_MIGRATE_TO_SYS, addr, length, done);
}

static int do_pin(int fd, unsigned long addr, unsigned long length, void *buf, __u64 *done)
{
	struct hotmirror_pin arg = {
		.size = sizeof(arg),
		.addr = addr,
		.length = length,
		.pages = UNWRITTEN,
	};
	int ret = hm_ioctl(fd, HOTMIRROR_PIN, &arg);

	*done = arg.pages;
	return ret;
}

static int do_mirror(int fd, unsigned long addr, unsigned long length, void *buf,
		     __u64 *done)
{
	*done = 0;
	return hm_mirror(fd, (void *)addr, length, 0, NULL);
}

#define ROW(name, ...)							\
FIXTURE_VARIANT_ADD(input, name) {					\
	.call = do_##name,						\
	__VA_ARGS__							\
}

ROW(read, .unit = BYTES, .huge = ENOENT, .outside = ENOENT, .unmapped = EFAULT, .hole = EFAULT);
ROW(write, .unit = BYTES, .huge = ENOENT, .outside = ENOENT, .unmapped = EFAULT, .hole = EFAULT);
ROW(prefetch, .unit = BYTES, .huge = ENOENT, .outside = ENOENT, .unmapped = EFAULT,
    .hole = EFAULT);
ROW(atomic, .needs = HOTMIRROR_HAS_EXCLUSIVE, .only = sizeof(__u64), .unaligned = EINVAL,
    .outside = ENOENT, .unmapped = EFAULT);
/* A hole is something that a snapshot can show. */
ROW(snapshot, .unit = WHOLE_PAGES, .unaligned = EINVAL, .ragged = EINVAL, .huge = ENOENT,
    .outside = ENOENT);
ROW(to_dev, .unit = WHOLE_PAGES, .migrates = true, .unaligned = EINVAL, .ragged = EINVAL,
    .huge = EINVAL, .unmapped = EINVAL, .hole = EINVAL);
ROW(to_sys, .unit = WHOLE_PAGES, .migrates = true, .unaligned = EINVAL, .ragged = EINVAL,
    .huge = EINVAL, .unmapped = EINVAL, .hole = EINVAL);
/* Pins what is before the hole, and says so. */
ROW(pin, .unit = WHOLE_PAGES, .unaligned = EINVAL, .ragged = EINVAL, .huge = EINVAL,
    .unmapped = EFAULT);
/* A range may cover what is not there. */
ROW(mirror, .unaligned = EINVAL, .ragged = EINVAL);

/* Far below everything else, so that there is room for a huge range behind it. */
static char *map_low(size_t length)
{
	char *mem = mmap((void *)(1UL << 40), length, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

FIXTURE_SETUP(input)
{
	RIG_SETUP(&self->rig, HM_ANY);
	if (variant->needs & ~self->rig.q.features)
		SKIP(return, "kernel without CONFIG_DEVICE_PRIVATE: no device-exclusive access");
	if (variant->migrates && self->rig.kind == HOTMIRROR_DAX)
		SKIP(return, "no private and no coherent memory on this kernel");
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = map_low(self->length);
	self->other = hm_map(PAGES);
	self->buf = hm_map(PAGES + 1);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->other);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->mem, self->length, 1);
	must(hm_mirror(self->rig.fd, self->mem, self->length, 0, NULL));
}

FIXTURE_TEARDOWN(input)
{
	hm_child_end(&self->child);
	rig_teardown(_metadata, &self->rig);
}

/* The call ends with @err and has said how far it got: @pages of them. */
static void expect_call(struct __test_metadata *_metadata, data *self,
			const variants *variant, const void *addr, unsigned long length,
			int err, __u64 pages)
{
	unsigned long bytes = variant->only ?: length;
	__u64 done;

	must_err(err, variant->call(self->rig.fd, (unsigned long)addr, bytes, self->buf,
				    &done));
	if (variant->unit == NO_PROGRESS)
		return;
	EXPECT_EQ(pages, variant->unit == BYTES ? done / self->page : done)
		TH_LOG("done: %#llx", done);
}

TEST_F(input, empty_range_is_einval)
{
	if (variant->only)
		SKIP(return, "this command has no length");
	expect_call(_metadata, self, variant, self->mem, 0, EINVAL, 0);
	expect_call(_metadata, self, variant, NULL, 0, EINVAL, 0);
}

TEST_F(input, unaligned_range)
{
	expect_call(_metadata, self, variant, self->mem + 1, self->page,
		    variant->unaligned, !variant->unaligned);
	if (variant->only)
		return;
	expect_call(_metadata, self, variant, self->mem, self->page + 1,
		    variant->ragged, !variant->ragged);
}

/* The end of a range is not behind the address space, and not before its start. */
TEST_F(input, overflowing_range_is_einval)
{
	const size_t page = self->page;
	const struct { unsigned long addr, length; } bad[] = {
		{ -page, page }, { -page, 2 * page }, { -8UL, page },
		{ (unsigned long)self->mem, -page }, { (unsigned long)self->mem, -1UL },
		{ (unsigned long)self->mem, 1UL << 63 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad) - (variant->only ? 3 : 0); i++)
		expect_call(_metadata, self, variant, (void *)bad[i].addr, bad[i].length,
			    EINVAL, 0);
	expect_filled(self->mem, self->length, 1);
}

TEST_F(input, kernel_half_is_einval)
{
	const unsigned long addrs[] = {
		1UL << 63, 0xffff888000000000UL, 0xffffffff81000000UL, -self->page,
	};

	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++)
		expect_call(_metadata, self, variant, (void *)addrs[i], self->page, EINVAL, 0);
}

/* Refused, or taken as far as it goes; never as much memory as was asked for. */
TEST_F(input, huge_range)
{
	__u64 pages = variant->huge == EINVAL ? 0 : PAGES;

	if (variant->only)
		SKIP(return, "this command has no length");
	if (variant->migrates)
		pages = PAGES;
	expect_call(_metadata, self, variant, self->mem, 1UL << 40, variant->huge, pages);
}

TEST_F(input, memory_outside_of_every_range)
{
	hm_fill(self->other, self->length, 2);
	expect_call(_metadata, self, variant, self->other, self->page, variant->outside,
		    !variant->outside);
	expect_filled(self->other, self->length, 2);
}

TEST_F(input, unmapped_memory)
{
	ASSERT_EQ(0, munmap(self->mem, self->length));
	expect_call(_metadata, self, variant, self->mem, self->page, variant->unmapped,
		    !variant->unmapped);
	expect_call(_metadata, self, variant, self->mem + self->page, self->page,
		    variant->unmapped, !variant->unmapped);
}

/* What lies before the hole is done and counted, what lies behind is not. */
TEST_F(input, hole_in_the_middle)
{
	bool whole = variant->call == do_snapshot || variant->call == do_mirror;

	if (variant->only)
		SKIP(return, "this command has no length");
	ASSERT_EQ(0, munmap(self->mem + GOOD * self->page, self->page));
	expect_call(_metadata, self, variant, self->mem, self->length, variant->hole,
		    whole ? PAGES : GOOD);
	if (variant->call != do_write)
		expect_filled(self->mem, GOOD * self->page, 1);
	EXPECT_EQ(0, hm_cpu_touch(self->mem + (GOOD + 1) * self->page));
}

static int opener(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int fd = hm_open(self->rig.id);

	hm_tell(p, hm_mirror(fd, self->mem, self->length, 0, NULL));
	hm_tell(p, fd);
	hm_hear(p);
	execl("/proc/self/exe", program_invocation_short_name, "-h", NULL);
	return 1;
}

/* The file of a child that mirrors its own copy of the memory; in this process. */
static int passed_file(struct __test_metadata *_metadata, data *self)
{
	long ret, fd;

	must(hm_child_start(&self->child, opener, self));
	must(hm_child_hear(&self->child, &ret));
	EXPECT_EQ(0, ret);
	must(hm_child_hear(&self->child, &fd));
	return must(hm_child_getfd(&self->child, fd));
}

static int call_once(data *self, const variants *variant, int fd)
{
	__u64 done;

	return variant->call(fd, (unsigned long)self->mem, variant->only ?: self->page,
			     self->buf, &done);
}

TEST_F(input, passed_file_works_until_the_opener_dies)
{
	int fd = passed_file(_metadata, self);
	int status;

	must(call_once(self, variant, fd));
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	must_err(ESRCH, call_once(self, variant, fd));
	close(fd);
}

TEST_F(input, passed_file_works_until_the_opener_execs)
{
	int fd = passed_file(_metadata, self);
	long value;

	must(call_once(self, variant, fd));
	must(hm_child_tell(&self->child, 0));
	must_err(EPIPE, hm_child_hear(&self->child, &value));
	must_err(ESRCH, call_once(self, variant, fd));
	close(fd);
}

struct inherited {
	data *self;
	const variants *variant;
};

static int call_in_child(struct hm_parent *p, void *arg)
{
	struct inherited *i = arg;

	hm_tell(p, call_once(i->self, i->variant, i->self->rig.fd));
	hm_tell(p, hm_differs(i->self->mem, i->self->length, 1));
	return 0;
}

/* Of the opener's memory, not of the child's. */
TEST_F(input, inherited_file_works)
{
	struct inherited i = { self, variant };
	long ret, differs;

	must(hm_child_start(&self->child, call_in_child, &i));
	must(hm_child_hear(&self->child, &ret));
	must(hm_child_hear(&self->child, &differs));
	EXPECT_EQ(0, ret)
		TH_LOG("%s", strerror(-ret));
	EXPECT_EQ(-1, differs);
}

/* What only one operation can be asked. */
FIXTURE(refused) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, filled, mirrored */
};

typedef FIXTURE_DATA(refused) refused_data;

FIXTURE_SETUP(refused)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	hm_fill(self->mem, self->length, 1);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
}

FIXTURE_TEARDOWN(refused)
{
	rig_teardown(_metadata, &self->rig);
}

TEST_F(refused, pin_flags_that_contradict)
{
	const __u32 both = HOTMIRROR_PIN_GET | HOTMIRROR_PIN_LONGTERM;

	must_err(EINVAL, hm_pin(self->fd, self->mem, self->page, both, NULL, NULL));
	must_err(EINVAL, hm_pin(self->fd, self->mem, self->page,
				both | HOTMIRROR_PIN_WRITE, NULL, NULL));
}

TEST_F(refused, pin_for_writing_of_what_may_only_be_read)
{
	__u64 pages = UNWRITTEN;
	__u32 id;

	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	must_err(EFAULT, hm_pin(self->fd, self->mem, self->length, HOTMIRROR_PIN_WRITE,
				NULL, &pages));
	EXPECT_EQ(0, pages);
	must(hm_pin(self->fd, self->mem, self->length, 0, &id, &pages));
	EXPECT_EQ(PAGES, pages);
	must(hm_unpin(self->fd, id));
}

TEST_F(refused, pin_of_no_access)
{
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_NONE));
	must_err(EFAULT, hm_pin(self->fd, self->mem, self->page, 0, NULL, NULL));
}

TEST_F(refused, pin_of_more_than_the_limit)
{
	must_err(EINVAL, hm_pin(self->fd, self->mem, HOTMIRROR_MAX_BYTES + self->page, 0,
				NULL, NULL));
}

static int pin_fast_in_child(struct hm_parent *p, void *arg)
{
	refused_data *self = arg;

	hm_tell(p, hm_pin(self->fd, self->mem, self->page, HOTMIRROR_PIN_FAST, NULL, NULL));
	return 0;
}

/* The fast path walks the page table of who runs, not of who opened. */
TEST_F(refused, pin_fast_by_another_process)
{
	struct hm_child child;
	long ret;

	must(hm_child_start(&child, pin_fast_in_child, self));
	must(hm_child_hear(&child, &ret));
	EXPECT_EQ(-EINVAL, ret);
	hm_child_end(&child);
}

TEST_F(refused, unpin_of_what_is_not_pinned)
{
	struct hotmirror_pin arg = { .size = sizeof(arg) };
	__u32 id;

	must_err(ENOENT, hm_unpin(self->fd, 0));
	must_err(ENOENT, hm_unpin(self->fd, -1U));
	must(hm_pin(self->fd, self->mem, self->page, 0, &id, NULL));
	arg.id = id;
	arg.addr = (uintptr_t)self->mem;
	must_err(EINVAL, hm_ioctl(self->fd, HOTMIRROR_UNPIN, &arg));
	must(hm_unpin(self->fd, id));
	must_err(ENOENT, hm_unpin(self->fd, id));
}

/* A pin belongs to its file. */
TEST_F(refused, unpin_by_another_file)
{
	int other = must(hm_open(self->rig.id));
	__u32 id;

	must(hm_pin(self->fd, self->mem, self->page, 0, &id, NULL));
	must_err(ENOENT, hm_unpin(other, id));
	must(hm_unpin(self->fd, id));
	close(other);
}

#define SKIP_WITHOUT_ATOMIC()						\
	skip_unless(self->rig.q.features & HOTMIRROR_HAS_EXCLUSIVE,	\
		    "kernel without CONFIG_DEVICE_PRIVATE: no device-exclusive access")

TEST_F(refused, atomic_that_is_not_aligned)
{
	struct hotmirror_atomic arg = { .operand = 1 };

	SKIP_WITHOUT_ATOMIC();
	for (int i = 1; i < 8; i++)
		must_err(EINVAL, hm_atomic(self->fd, self->mem + i, &arg));
	expect_filled(self->mem, self->length, 1);
}

/* What would be compared, if this were a compare-and-swap. */
TEST_F(refused, atomic_add_with_an_expectation)
{
	struct hotmirror_atomic arg = { .operand = 1, .expected = 1 };

	SKIP_WITHOUT_ATOMIC();
	must_err(EINVAL, hm_atomic(self->fd, self->mem, &arg));
	expect_filled(self->mem, self->length, 1);
}

TEST_F(refused, atomic_on_what_may_only_be_read)
{
	struct hotmirror_atomic arg = { .operand = 1 };

	SKIP_WITHOUT_ATOMIC();
	ASSERT_EQ(0, mprotect(self->mem, self->page, PROT_READ));
	must_err(EFAULT, hm_atomic(self->fd, self->mem, &arg));
	expect_filled(self->mem, self->length, 1);
}

/* No device-exclusive access to what another process may map, too: not changed. */
TEST_F(refused, atomic_on_shared_memory)
{
	struct hotmirror_atomic arg = { .operand = 1 };
	char *shared = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	SKIP_WITHOUT_ATOMIC();
	ASSERT_NE(MAP_FAILED, shared);
	hm_fill(shared, self->page, 2);
	must(hm_mirror(self->fd, shared, self->page, 0, NULL));
	must_err(EOPNOTSUPP, hm_atomic(self->fd, shared, &arg));
	expect_filled(shared, self->page, 2);
}

HM_TEST_MAIN
