// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registered buffers: pins for long that io_uring holds (claims S4, S5). Those of dax
 * memory keep the device, with their data, until the last of them goes. Memory of the
 * other kinds is fetched home to be registered, and keeps nothing.
 */
#include <sys/mman.h>

#include "uring_test.h"

#ifdef HAVE_LIBURING

#define PAGES	4
#define OLD	1		/* seed of what is in memory */
#define NEW	2		/* seed of what is read into the buffer */

FIXTURE(buffer) {
	struct hm_rig rig;
	struct io_uring ring;
	size_t page, length;
	char *mem;		/* PAGES of OLD in device memory */
	char *missing;		/* dax: a page of it that nobody touched */
	char *copy;		/* PAGES */
	int pipe[2];		/* holds what goes through the buffer */
};

FIXTURE_VARIANT(buffer) {
	__u32 kind;
	bool holds;		/* the device */
};

FIXTURE_VARIANT_ADD(buffer, private) { .kind = HOTMIRROR_PRIVATE, .holds = false };
FIXTURE_VARIANT_ADD(buffer, coherent) { .kind = HOTMIRROR_COHERENT, .holds = false };
FIXTURE_VARIANT_ADD(buffer, dax) { .kind = HOTMIRROR_DAX, .holds = true };

typedef FIXTURE_DATA(buffer) data;
typedef FIXTURE_VARIANT(buffer) variants;

static char *map_dax(data *self, size_t length, off_t offset)
{
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, self->rig.fd,
		       offset);

	return p == MAP_FAILED ? NULL : p;
}

static void make_memory(struct __test_metadata *_metadata, data *self,
			const variants *variant)
{
	__u64 moved;

	if (variant->kind == HOTMIRROR_DAX) {
		self->mem = map_dax(self, self->length, 0);
		self->missing = map_dax(self, self->page, self->length);
		ASSERT_NE(NULL, self->missing);
	} else {
		self->mem = hm_map(PAGES);
	}
	ASSERT_NE(NULL, self->mem);
	hm_fill(self->mem, self->length, OLD);
	if (variant->kind == HOTMIRROR_DAX)
		return;
	must(hm_to_dev(self->rig.fd, self->mem, self->length, &moved));
	ASSERT_EQ(PAGES, moved);
}

static int register_at(struct io_uring *ring, char *mem, size_t length)
{
	struct iovec iov = { mem, length };

	return io_uring_register_buffers(ring, &iov, 1);
}

FIXTURE_SETUP(buffer)
{
	int ret;

	RIG_SETUP(&self->rig, variant->kind);
	RING_SETUP(&self->ring, 8, 0);
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->copy = hm_map(PAGES);
	ASSERT_NE(NULL, self->copy);
	ASSERT_EQ(0, pipe(self->pipe));
	make_memory(_metadata, self, variant);
	/* Only that kind is a file's, and others would leave the device for it. */
	if (variant->kind != HOTMIRROR_DAX)
		return;
	ret = register_at(&self->ring, self->mem, self->length);
	skip_unless(ret != -EOPNOTSUPP, "io_uring that registers no memory of a file (before 6.5)");
	must(ret);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
}

static void ring_close(struct io_uring *ring)
{
	if (ring->ring_fd > 0)
		io_uring_queue_exit(ring);
	ring->ring_fd = -1;
}

FIXTURE_TEARDOWN(buffer)
{
	ring_close(&self->ring);
	rig_teardown(_metadata, &self->rig);
}

/* Move the contents of a buffer to the pipe (@op IORING_OP_WRITE_FIXED) or back. */
static void queue_transfer(struct __test_metadata *_metadata, data *self,
			   struct io_uring *ring, int op, char *mem, size_t length)
{
	struct io_uring_sqe *sqe = hm_ring_sqe(ring, 1);

	ASSERT_NE(NULL, sqe);
	if (op == IORING_OP_WRITE_FIXED)
		io_uring_prep_write_fixed(sqe, self->pipe[1], mem, length, 0, 0);
	else
		io_uring_prep_read_fixed(sqe, self->pipe[0], mem, length, 0, 0);
	sqe->user_data = 1;
	must(hm_ring_submit(ring));
}

static void transfer(struct __test_metadata *_metadata, data *self,
		     struct io_uring *ring, int op, char *mem, size_t length)
{
	queue_transfer(_metadata, self, ring, op, mem, length);
	expect_result(_metadata, ring, 1, length);
}

/* What the holder sees through its buffer. The address need not be mapped any more. */
static void expect_held(struct __test_metadata *_metadata, data *self,
			struct io_uring *ring, size_t length, unsigned int seed)
{
	transfer(_metadata, self, ring, IORING_OP_WRITE_FIXED, self->mem, length);
	ASSERT_EQ(length, read(self->pipe[0], self->copy, length));
	expect_filled(self->copy, length, seed);
}

/* Put something else there, through the buffer. */
static void put_held(struct __test_metadata *_metadata, data *self,
		     struct io_uring *ring, unsigned int seed)
{
	hm_fill(self->copy, self->length, seed);
	ASSERT_EQ(self->length, write(self->pipe[1], self->copy, self->length));
	transfer(_metadata, self, ring, IORING_OP_READ_FIXED, self->mem, self->length);
}

static void go_to(struct __test_metadata *_metadata, data *self, __u32 state)
{
	must(hm_unplug(self->rig.control, self->rig.id, state, HM_LIMIT_MS));
}

static void expect_pages_held(struct __test_metadata *_metadata, data *self, int pages)
{
	struct hotmirror_status st;

	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(pages, st.pages_held)
		TH_LOG("%s", hm_state_name(st.state));
}

/* Ask for the end. It comes at once, or not before the holder lets go. */
static void start_to_end(struct __test_metadata *_metadata, data *self, bool held)
{
	if (!held) {
		go_to(_metadata, self, HOTMIRROR_GONE);
		return;
	}
	go_to(_metadata, self, HOTMIRROR_DRAINING);
	must_err(ETIMEDOUT, hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 20));
	EXPECT_FALSE(hm_is_gone(self->rig.fd));
}

TEST_F(buffer, keeps_its_data_in_every_state)
{
	int held = variant->holds ? PAGES : 0;

	must(register_at(&self->ring, self->mem, self->length));
	expect_held(_metadata, self, &self->ring, self->length, OLD);
	for (__u32 s = HOTMIRROR_DISABLED; s <= HOTMIRROR_DRAINING; s++) {
		go_to(_metadata, self, s);
		expect_pages_held(_metadata, self, s < HOTMIRROR_INVALIDATED ? 0 : held);
		expect_held(_metadata, self, &self->ring, self->length, s - 1 + OLD);
		put_held(_metadata, self, &self->ring, s + OLD);
	}
	start_to_end(_metadata, self, variant->holds);
	expect_held(_metadata, self, &self->ring, self->length, HOTMIRROR_DRAINING + OLD);
	expect_pages_held(_metadata, self, held);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	EXPECT_EQ(variant->holds ? SIGBUS : 0, hm_cpu_touch(self->mem));
	if (!variant->holds)
		expect_filled(self->mem, self->length, HOTMIRROR_DRAINING + OLD);
}

/* Where PTEs are left a pin for long can still be taken: at disabled (claim S4). */
TEST_F(buffer, is_refused_when_the_memory_is_gone)
{
	int err = variant->kind == HOTMIRROR_DAX ? -EFAULT : 0;

	must(register_at(&self->ring, self->mem, self->length));
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	go_to(_metadata, self, HOTMIRROR_DISABLED);
	if (self->missing)
		must_err(EFAULT, register_at(&self->ring, self->missing, self->page));
	must(register_at(&self->ring, self->mem, self->length));
	expect_held(_metadata, self, &self->ring, self->length, OLD);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	for (__u32 s = HOTMIRROR_INVALIDATED; s <= HOTMIRROR_GONE; s++) {
		go_to(_metadata, self, s);
		EXPECT_EQ(err, register_at(&self->ring, self->mem, self->length))
			TH_LOG("%s", hm_state_name(s));
		if (!err)
			must(io_uring_unregister_buffers(&self->ring));
	}
}

/* Registering is a pin for long: such pages have to be in system memory. */
TEST_F(buffer, is_where_pins_for_long_may_be)
{
	__u32 kind = variant->holds ? HOTMIRROR_SNAP_KIND_DAX : HOTMIRROR_SNAP_KIND_SYSTEM;

	must(hm_mirror(self->rig.fd, self->mem, self->length, 0, NULL));
	EXPECT_NE(HOTMIRROR_SNAP_KIND_SYSTEM,
		  HOTMIRROR_SNAP_KIND(rig_page(_metadata, &self->rig, self->mem)));
	must(register_at(&self->ring, self->mem, self->length));
	EXPECT_EQ(kind, HOTMIRROR_SNAP_KIND(rig_page(_metadata, &self->rig, self->mem)));
	/* The device and the buffer are of one memory. */
	hm_fill(self->copy, self->length, NEW);
	must(hm_write(self->rig.fd, self->mem, self->copy, self->length));
	expect_held(_metadata, self, &self->ring, self->length, NEW);
}

TEST_F(buffer, outlives_the_mapping)
{
	must(register_at(&self->ring, self->mem, self->length));
	ASSERT_EQ(0, munmap(self->mem, self->length));
	start_to_end(_metadata, self, variant->holds);
	expect_held(_metadata, self, &self->ring, self->length, OLD);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

TEST_F(buffer, ends_with_its_ring)
{
	must(register_at(&self->ring, self->mem, self->length));
	start_to_end(_metadata, self, variant->holds);
	ring_close(&self->ring);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

/* Two rings: the second one keeps what it has, no more and no less. */
TEST_F(buffer, each_ring_counts)
{
	struct io_uring other;

	must(hm_ring_open(&other, 4, 0));
	must(register_at(&other, self->mem, 2 * self->page));
	must(register_at(&self->ring, self->mem, self->length));
	start_to_end(_metadata, self, variant->holds);
	expect_pages_held(_metadata, self, variant->holds ? PAGES : 0);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	expect_pages_held(_metadata, self, variant->holds ? 2 : 0);
	EXPECT_EQ(!variant->holds, hm_is_gone(self->rig.fd));
	expect_held(_metadata, self, &other, 2 * self->page, OLD);
	ring_close(&other);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

/* A read into the buffer that begins before the unplug and ends in the drain. */
TEST_F(buffer, transfer_in_flight_arrives)
{
	must(register_at(&self->ring, self->mem, self->length));
	queue_transfer(_metadata, self, &self->ring, IORING_OP_READ_FIXED, self->mem,
		       self->length);
	start_to_end(_metadata, self, variant->holds);
	EXPECT_FALSE(hm_ring_ready(&self->ring));
	hm_fill(self->copy, self->length, NEW);
	ASSERT_EQ(self->length, write(self->pipe[1], self->copy, self->length));
	expect_result(_metadata, &self->ring, 1, self->length);
	expect_held(_metadata, self, &self->ring, self->length, NEW);
	ASSERT_EQ(0, io_uring_unregister_buffers(&self->ring));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

static int hold_buffer(struct hm_parent *p, void *arg)
{
	struct io_uring ring;
	data *self = arg;
	int ret;

	ret = hm_ring_open(&ring, 4, 0) ?: register_at(&ring, self->mem, self->length);
	hm_tell(p, ret);
	hm_hear(p);
	return 0;
}

TEST_F(buffer, ends_with_its_process)
{
	struct hm_child child;
	long ret;
	int status;

	must(hm_child_start(&child, hold_buffer, self));
	must(hm_child_hear(&child, &ret));
	EXPECT_EQ(0, ret);
	start_to_end(_metadata, self, variant->holds);
	expect_pages_held(_metadata, self, variant->holds ? PAGES : 0);
	must(hm_child_kill(&child, SIGKILL));
	must(hm_child_wait(&child, &status));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

#endif

HM_RING_TEST_MAIN
