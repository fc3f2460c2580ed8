// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring commands: every ioctl of an instance file as one, which must do what the
 * ioctl does (claim S7 among them), and what a submission and its ring may be.
 */
#include <sys/mman.h>

#include "uring_test.h"

#ifdef HAVE_LIBURING

#define OLD	1		/* seed of what is in memory */
#define NEW	2		/* seed of what userfaultfd resolves a missing page with */
#define WRITTEN	3		/* seed of what the device writes */

/* Each ioctl as a command. */

#define PAGES	4

FIXTURE(command) {
	struct hm_rig rig;
	struct io_uring ring;
	size_t page, length;
	char *mem;		/* PAGES, mirrored by each file */
	char *buf;		/* PAGES, the buffer of each operation */
};

typedef FIXTURE_DATA(command) command_data;

FIXTURE_VARIANT(command) {
	unsigned int cmd;
	__u32 size;
	bool away;		/* the memory is in the device before */
	bool works_on;		/* when the instance is gone */
	void (*fill)(const command_data *self, union arg *arg);
};

typedef FIXTURE_VARIANT(command) command_variant;

static void fill_nothing(const command_data *self, union arg *arg)
{
}

static void fill_mirror(const command_data *self, union arg *arg)
{
	arg->mirror.addr = at(self->mem);
	arg->mirror.length = self->length;
}

static void fill_access(const command_data *self, union arg *arg)
{
	arg->access.addr = at(self->mem + 1);
	arg->access.length = self->length - 2;
	arg->access.buf = at(self->buf);
}

static void fill_prefetch(const command_data *self, union arg *arg)
{
	fill_access(self, arg);
	arg->access.buf = 0;
	arg->access.flags = HOTMIRROR_ACCESS_WRITE;
}

static void fill_atomic(const command_data *self, union arg *arg)
{
	arg->atomic.addr = at(self->mem + 8);
	arg->atomic.operand = 5;
}

static void fill_pin(const command_data *self, union arg *arg)
{
	arg->pin.addr = at(self->mem);
	arg->pin.length = self->length;
	arg->pin.flags = HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_FAST;
}

static void fill_snapshot(const command_data *self, union arg *arg)
{
	arg->snapshot.addr = at(self->mem);
	arg->snapshot.length = self->length;
	arg->snapshot.buf = at(self->buf);
}

static void fill_migrate(const command_data *self, union arg *arg)
{
	arg->migrate.addr = at(self->mem);
	arg->migrate.length = self->length;
}

#define COMMAND(name, NAME, type, ...)					\
	FIXTURE_VARIANT_ADD(command, name) {				\
		.cmd = HOTMIRROR_##NAME,				\
		.size = sizeof(struct hotmirror_##type),		\
		__VA_ARGS__						\
	}

COMMAND(query, QUERY, query, .fill = fill_nothing, .works_on = true);
COMMAND(status, STATUS, status, .fill = fill_nothing, .works_on = true);
COMMAND(mirror, MIRROR, mirror, .fill = fill_mirror);
COMMAND(unmirror, UNMIRROR, mirror, .fill = fill_nothing);
COMMAND(read, READ, access, .fill = fill_access);
COMMAND(write, WRITE, access, .fill = fill_access);
COMMAND(prefetch, PREFETCH, access, .fill = fill_prefetch);
COMMAND(atomic, ATOMIC, atomic, .fill = fill_atomic);
COMMAND(snapshot, SNAPSHOT, snapshot, .fill = fill_snapshot);
COMMAND(to_dev, MIGRATE_TO_DEV, migrate, .fill = fill_migrate);
COMMAND(to_sys, MIGRATE_TO_SYS, migrate, .fill = fill_migrate, .away = true);
COMMAND(pin, PIN, pin, .fill = fill_pin);
COMMAND(unpin, UNPIN, pin, .fill = fill_nothing, .works_on = true);
COMMAND(verify, VERIFY, verify, .fill = fill_nothing);
COMMAND(stats, STATS, stats, .fill = fill_nothing, .works_on = true);
COMMAND(sabotage, SABOTAGE, sabotage, .fill = fill_nothing, .works_on = true);

FIXTURE_SETUP(command)
{
	RIG_SETUP(&self->rig, HM_ANY);
	skip_without_commands(&self->rig);
	RING_SETUP(&self->ring, 4, 0);
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = hm_map(PAGES);
	self->buf = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->buf);
}

FIXTURE_TEARDOWN(command)
{
	if (self->ring.ring_fd > 0)
		io_uring_queue_exit(&self->ring);
	rig_teardown(_metadata, &self->rig);
}

/* A file of its own for each way in: the same ranges, pins and counters before. */
static int new_file(struct __test_metadata *_metadata, command_data *self,
		    const command_variant *variant)
{
	int fd = must(hm_open(self->rig.id));

	must(hm_mirror(fd, self->mem, self->length, 0, NULL));
	must(hm_prefetch(fd, self->mem, self->page, false));
	if (variant->cmd == HOTMIRROR_UNPIN)
		must(hm_pin(fd, self->mem, self->page, 0, NULL, NULL));
	return fd;
}

/* What came of one call: all that it could change. */
struct outcome {
	int result;
	union arg arg;
	char *mem, *buf;
};

static void make_memory(struct __test_metadata *_metadata, command_data *self,
			const command_variant *variant)
{
	ASSERT_EQ(0, madvise(self->mem, self->length, MADV_DONTNEED));
	hm_fill(self->mem, self->length, OLD);
	hm_fill(self->buf, self->length, WRITTEN);
	if (variant->away)
		must(hm_to_dev(self->rig.fd, self->mem, self->length, NULL));
}

static void call(struct __test_metadata *_metadata, command_data *self,
		 const command_variant *variant, struct io_uring *ring, int fd,
		 struct outcome *out)
{
	out->result = ring ? hm_ring_ioctl(ring, fd, variant->cmd, &out->arg) :
			     hm_ioctl(fd, variant->cmd, &out->arg);
	/* The instance of the test before may be going just now. */
	if (variant->cmd == HOTMIRROR_QUERY) {
		struct hotmirror_query *q = &out->arg.query;

		q->instances = 0;
		q->arena_free = 0;
		q->controls = 0;
		q->devices = 0;
		q->leaving = 0;
		q->files = 0;
	}
	/* Times are nobody's promise. */
	if (variant->cmd == HOTMIRROR_STATS) {
		out->arg.stats.fault_ns = 0;
		out->arg.stats.invalidate_ns = 0;
	}
	out->mem = hm_map(PAGES);
	out->buf = hm_map(PAGES);
	ASSERT_NE(NULL, out->mem);
	ASSERT_NE(NULL, out->buf);
	memcpy(out->mem, self->mem, self->length);
	memcpy(out->buf, self->buf, self->length);
}

static void expect_same(struct __test_metadata *_metadata, command_data *self,
			const struct outcome *ioctl, const struct outcome *command)
{
	EXPECT_EQ(ioctl->result, command->result)
		TH_LOG("the ioctl: %s, the command: %s", strerror(-ioctl->result),
		       strerror(-command->result));
	EXPECT_EQ(0, memcmp(&ioctl->arg, &command->arg, sizeof(ioctl->arg)));
	EXPECT_EQ(0, memcmp(ioctl->mem, command->mem, self->length));
	EXPECT_EQ(0, memcmp(ioctl->buf, command->buf, self->length));
}

/* Both ways, each on memory and a file as the other; the result of both. */
static int compare(struct __test_metadata *_metadata, command_data *self,
		   const command_variant *variant, void (*bend)(union arg *arg))
{
	struct io_uring *ways[2] = { NULL, &self->ring };
	struct outcome out[2] = {};

	for (int i = 0; i < 2; i++) {
		int fd;

		make_memory(_metadata, self, variant);
		fd = new_file(_metadata, self, variant);
		out[i].arg.head[0] = variant->size;
		variant->fill(self, &out[i].arg);
		bend(&out[i].arg);
		call(_metadata, self, variant, ways[i], fd, &out[i]);
		rig_verify_fd(_metadata, fd);
		close(fd);
	}
	expect_same(_metadata, self, &out[0], &out[1]);
	return out[1].result;
}

static void straight(union arg *arg)
{
}

TEST_F(command, does_what_the_ioctl_does)
{
	bool can = variant->cmd != HOTMIRROR_ATOMIC ||
		   self->rig.q.features & HOTMIRROR_HAS_EXCLUSIVE;
	bool may = variant->cmd != HOTMIRROR_SABOTAGE ||
		   self->rig.q.features & HOTMIRROR_HAS_SABOTAGE;

	EXPECT_EQ(!can ? -EOPNOTSUPP : !may ? -EPERM : 0,
		  compare(_metadata, self, variant, straight));
}

static void make_short(union arg *arg)
{
	arg->head[0] = 8;
}

static void make_long(union arg *arg)
{
	arg->head[0] += 8;
}

static void make_newer(union arg *arg)
{
	arg->words[arg->head[0] / 8] = 1;
	arg->head[0] += 8;
}

static void add_flag(union arg *arg)
{
	arg->head[1] |= 1U << 31;
}

TEST_F(command, refuses_what_the_ioctl_refuses)
{
	EXPECT_EQ(-EINVAL, compare(_metadata, self, variant, make_short));
	EXPECT_EQ(-E2BIG, compare(_metadata, self, variant, make_newer));
	EXPECT_EQ(-EINVAL, compare(_metadata, self, variant, add_flag));
	EXPECT_NE(-E2BIG, compare(_metadata, self, variant, make_long));
	EXPECT_EQ(-EFAULT, hm_ring_ioctl(&self->ring, self->rig.fd, variant->cmd, NULL));
}

TEST_F(command, on_a_device_that_is_gone)
{
	struct outcome out[2] = {};
	int fd[2];

	make_memory(_metadata, self, variant);
	for (int i = 0; i < 2; i++)
		fd[i] = new_file(_metadata, self, variant);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	for (int i = 0; i < 2; i++) {
		out[i].arg.head[0] = variant->size;
		variant->fill(self, &out[i].arg);
		call(_metadata, self, variant, i ? &self->ring : NULL, fd[i], &out[i]);
	}
	expect_same(_metadata, self, &out[0], &out[1]);
	EXPECT_EQ(!variant->works_on, out[1].result == -ENODEV);
}

/* What a submission may say, and through which rings. */

FIXTURE(submission) {
	struct hm_rig rig;
	struct io_uring ring;
	size_t page;
	char *mem;		/* a page, mirrored */
	char *buf;
	union arg arg;		/* a READ of it */
};

typedef FIXTURE_DATA(submission) submission_data;

static void fill_read(submission_data *self)
{
	self->arg.access = (struct hotmirror_access){
		.size = sizeof(self->arg.access),
		.addr = at(self->mem),
		.length = self->page,
		.buf = at(self->buf),
	};
}

FIXTURE_SETUP(submission)
{
	RIG_SETUP(&self->rig, HM_ANY);
	skip_without_commands(&self->rig);
	RING_SETUP(&self->ring, 8, 0);
	self->page = self->rig.page;
	self->mem = hm_map(1);
	self->buf = hm_map(1);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->mem, self->page, OLD);
	must(hm_mirror(self->rig.fd, self->mem, self->page, 0, NULL));
	fill_read(self);
}

FIXTURE_TEARDOWN(submission)
{
	if (self->ring.ring_fd > 0)
		io_uring_queue_exit(&self->ring);
	rig_teardown(_metadata, &self->rig);
}

static struct io_uring_sqe *queue_read(submission_data *self, __u64 id)
{
	return hm_ring_command(&self->ring, self->rig.fd, HOTMIRROR_READ, &self->arg, id);
}

static void set_reserved(struct io_uring_sqe *sqe)
{
	((__u64 *)(sqe + 1))[-1] = 1;
}

static void set_addr(struct io_uring_sqe *sqe)
{
	sqe->addr = 1;
}

static void set_len(struct io_uring_sqe *sqe)
{
	sqe->len = 1;
}

static void set_file_index(struct io_uring_sqe *sqe)
{
	sqe->file_index = 1;
}

static void set_buf_index(struct io_uring_sqe *sqe)
{
	sqe->buf_index = 1;
}

static void set_fixed(struct io_uring_sqe *sqe)
{
	sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
}

static void set_unknown_flag(struct io_uring_sqe *sqe)
{
	sqe->uring_cmd_flags = 1U << 20;
}

TEST_F(submission, refuses_what_means_nothing)
{
	static const struct {
		const char *what;
		void (*set)(struct io_uring_sqe *sqe);
	} table[] = {
		{ "reserved", set_reserved },
		{ "addr", set_addr },
		{ "len", set_len },
		{ "file_index", set_file_index },
		{ "buf_index", set_buf_index },
		{ "unknown flag", set_unknown_flag },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct io_uring_sqe *sqe = queue_read(self, i);

		ASSERT_NE(NULL, sqe);
		table[i].set(sqe);
		must(hm_ring_submit(&self->ring));
		expect_result(_metadata, &self->ring, i, -EINVAL);
		EXPECT_EQ(0, self->arg.access.done)
			TH_LOG("%s", table[i].what);
	}
}

TEST_F(submission, registered_buffers_are_refused)
{
	struct iovec iov = { self->buf, self->page };
	struct io_uring_sqe *sqe;

	ASSERT_EQ(0, io_uring_register_buffers(&self->ring, &iov, 1));
	sqe = queue_read(self, 1);
	ASSERT_NE(NULL, sqe);
	set_fixed(sqe);
	must(hm_ring_submit(&self->ring));
	expect_result(_metadata, &self->ring, 1, -EINVAL);
}

TEST_F(submission, unknown_commands_are_enotty)
{
	static const unsigned int unknown[] = {
		0, HOTMIRROR_PLUG, HOTMIRROR_UNPLUG, HOTMIRROR_IO(0xff),
		_IO('x', HOTMIRROR_READ & 0xff),
	};

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		EXPECT_EQ(-ENOTTY, hm_ioctl(self->rig.fd, unknown[i], &self->arg));
		EXPECT_EQ(-ENOTTY, hm_ring_ioctl(&self->ring, self->rig.fd, unknown[i],
						 &self->arg));
	}
}

/* Its fault could not be interrupted, so that the exit of the ring would wait for it. */
TEST_F(submission, prefetch_by_hmm_is_refused)
{
	self->arg.access.buf = 0;
	self->arg.access.flags = HOTMIRROR_PREFETCH_BY_HMM;
	EXPECT_EQ(-EOPNOTSUPP, hm_ring_ioctl(&self->ring, self->rig.fd, HOTMIRROR_PREFETCH,
					     &self->arg));
	EXPECT_EQ(0, self->arg.access.done);
	EXPECT_EQ(0, hm_ioctl(self->rig.fd, HOTMIRROR_PREFETCH, &self->arg));
	EXPECT_EQ(self->page, self->arg.access.done);
}

TEST_F(submission, control_file_has_no_commands)
{
	EXPECT_EQ(-EOPNOTSUPP, hm_ring_ioctl(&self->ring, self->rig.control,
					     HOTMIRROR_QUERY, &self->rig.q));
}

TEST_F(submission, large_submissions_and_results)
{
	const unsigned int flags = IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
	struct io_uring ring;
	struct io_uring_sqe *sqe;

	must(hm_ring_open(&ring, 4, flags));
	EXPECT_EQ(0, hm_ring_ioctl(&ring, self->rig.fd, HOTMIRROR_READ, &self->arg));
	expect_filled(self->buf, self->page, OLD);
	sqe = hm_ring_command(&ring, self->rig.fd, HOTMIRROR_READ, &self->arg, 1);
	ASSERT_NE(NULL, sqe);
	((char *)sqe)[2 * sizeof(*sqe) - 1] = 1;
	must(hm_ring_submit(&ring));
	expect_result(_metadata, &ring, 1, -EINVAL);
	io_uring_queue_exit(&ring);
}

TEST_F(submission, polled_rings_are_refused)
{
	struct io_uring ring;

	must(hm_ring_open(&ring, 4, IORING_SETUP_IOPOLL));
	EXPECT_EQ(-EOPNOTSUPP, hm_ring_ioctl(&ring, self->rig.fd, HOTMIRROR_READ,
					     &self->arg));
	io_uring_queue_exit(&ring);
}

/* The kernel's thread submits; it has the mm of the ring's creator. */
TEST_F(submission, from_a_thread_that_polls_the_queue)
{
	struct io_uring ring;

	must(hm_ring_open(&ring, 4, IORING_SETUP_SQPOLL));
	EXPECT_EQ(0, hm_ring_ioctl(&ring, self->rig.fd, HOTMIRROR_READ, &self->arg));
	expect_filled(self->buf, self->page, OLD);
	io_uring_queue_exit(&ring);
}

TEST_F(submission, asked_to_be_asynchronous)
{
	struct io_uring_sqe *sqe = queue_read(self, 1);

	ASSERT_NE(NULL, sqe);
	sqe->flags |= IOSQE_ASYNC;
	must(hm_ring_submit(&self->ring));
	expect_result(_metadata, &self->ring, 1, 0);
	expect_filled(self->buf, self->page, OLD);
}

/* Mirror, write, read: each begins when the one before it has ended. */
TEST_F(submission, linked_commands_run_in_order)
{
	char *mem = hm_map(1), *from = hm_map(1);
	union arg arg[3] = {
		{ .mirror = { sizeof(arg[0].mirror), .addr = at(mem), .length = self->page } },
		{ .access = { sizeof(arg[1].access), .addr = at(mem), .length = self->page,
			      .buf = at(from) } },
		{ .access = { sizeof(arg[2].access), .addr = at(mem), .length = self->page,
			      .buf = at(self->buf) } },
	};
	const unsigned int cmd[3] = { HOTMIRROR_MIRROR, HOTMIRROR_WRITE, HOTMIRROR_READ };

	ASSERT_NE(NULL, mem);
	ASSERT_NE(NULL, from);
	hm_fill(from, self->page, WRITTEN);
	for (int i = 0; i < 3; i++)
		hm_ring_command(&self->ring, self->rig.fd, cmd[i], &arg[i], i)->flags |=
			i < 2 ? IOSQE_IO_LINK : 0;
	must(hm_ring_submit(&self->ring));
	for (int i = 0; i < 3; i++)
		expect_result(_metadata, &self->ring, i, 0);
	expect_filled(self->buf, self->page, WRITTEN);
	expect_filled(mem, self->page, WRITTEN);
}

TEST_F(submission, failure_cancels_what_is_linked)
{
	self->arg.access.addr = 0;
	queue_read(self, 1)->flags |= IOSQE_IO_LINK;
	queue_read(self, 2);
	must(hm_ring_submit(&self->ring));
	expect_result(_metadata, &self->ring, 1, -ENOENT);
	expect_result(_metadata, &self->ring, 2, -ECANCELED);
}

static long read_from_thread(void *arg)
{
	submission_data *self = arg;

	return hm_ring_ioctl(&self->ring, self->rig.fd, HOTMIRROR_READ, &self->arg);
}

TEST_F(submission, from_another_thread)
{
	struct hm_async other;
	long result;

	must(hm_async_start(&other, read_from_thread, self));
	must(hm_async_join(&other, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
	expect_filled(self->buf, self->page, OLD);
}

/* Reads through what it inherited, into memory of its own. */
static int inherit(struct hm_parent *p, void *arg)
{
	submission_data *self = arg;

	hm_fill(self->mem, self->page, WRITTEN);
	hm_fill(self->buf, self->page, WRITTEN);
	hm_tell(p, read_from_thread(self));
	hm_tell(p, hm_differs(self->buf, self->page, OLD));
	hm_hear(p);
	return 0;
}

/* Addresses are the opener's, buffers the submitter's. */
TEST_F(submission, from_another_process)
{
	struct hm_child child;
	long value;

	hm_fill(self->buf, self->page, NEW);
	must(hm_child_start(&child, inherit, self));
	must(hm_child_hear(&child, &value));
	EXPECT_EQ(0, value);
	must(hm_child_hear(&child, &value));
	EXPECT_EQ(-1, value);
	hm_child_end(&child);
	expect_filled(self->buf, self->page, NEW);
}

#endif

HM_RING_TEST_MAIN
