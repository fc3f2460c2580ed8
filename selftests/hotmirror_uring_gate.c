// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring commands that stand at gates while they are cancelled, or their ring, their
 * process or their device goes: none stays there. And the gates in a ring: one thread
 * can wait for whoever comes.
 */
#include <poll.h>
#include <sys/wait.h>

#include "uring_test.h"

#ifdef HAVE_LIBURING
#include "gate_test.h"
#include "lib/setting.h"

enum { COMMAND, POLL, CANCEL };

FIXTURE(standing) {
	struct gated g;
	struct io_uring ring;
	union arg arg;
	struct hm_child owner;	/* of the memory: its mmap_lock may be held, not ours */
	struct hm_child child;
};

typedef FIXTURE_DATA(standing) data;

FIXTURE_VARIANT(standing) {
	__u32 gate;
	unsigned int cmd;
	void (*fill)(union arg *arg, const struct gated *g);
};

static void fill_access(union arg *arg, const struct gated *g)
{
	arg->access = (struct hotmirror_access){
		.size = sizeof(arg->access),
		.addr = at(g->mem),
		.length = g->length,
		.buf = at(g->buf),
	};
}

static void fill_migrate(union arg *arg, const struct gated *g)
{
	arg->migrate = (struct hotmirror_migrate){
		.size = sizeof(arg->migrate),
		.addr = at(g->mem),
		.length = g->length,
	};
}

static void fill_pin(union arg *arg, const struct gated *g)
{
	arg->pin = (struct hotmirror_pin){
		.size = sizeof(arg->pin),
		.addr = at(g->mem),
		.length = g->length,
	};
}

static void fill_snapshot(union arg *arg, const struct gated *g)
{
	arg->snapshot = (struct hotmirror_snapshot){
		.size = sizeof(arg->snapshot),
		.addr = at(g->mem),
		.length = g->length,
		.buf = at(g->buf),
	};
}

#define STANDING(name, GATE_, CMD, fn)					\
FIXTURE_VARIANT_ADD(standing, name) {					\
	.gate = HOTMIRROR_GATE_##GATE_,					\
	.cmd = HOTMIRROR_##CMD,						\
	.fill = fn,							\
}

STANDING(access_begin, ACCESS_BEGIN, READ, fill_access);
STANDING(access_locked, ACCESS_LOCKED, WRITE, fill_access);
STANDING(populate_faulted, POPULATE_FAULTED, READ, fill_access);
STANDING(populate_checked, POPULATE_CHECKED, WRITE, fill_access);
STANDING(snapshot_locked, SNAPSHOT_LOCKED, SNAPSHOT, fill_snapshot);
STANDING(migrate_collected, MIGRATE_COLLECTED, MIGRATE_TO_DEV, fill_migrate);
STANDING(pin_begin, PIN_BEGIN, PIN, fill_pin);

/* Has the instance open, with memory that it shares with nobody. */
static int owner(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	int fd = hm_open(g->rig.id);

	hm_fill(g->mem, g->length, SEED);
	hm_tell(p, fd < 0 ? fd : hm_mirror(fd, g->mem, g->length, 0, NULL) ?: fd);
	hm_hear(p);
	return 0;
}

static void owner_start(struct __test_metadata *_metadata, data *self)
{
	long fd;

	must(hm_child_start(&self->owner, owner, &self->g));
	must(hm_child_hear(&self->owner, &fd));
	self->g.fd = must(hm_child_getfd(&self->owner, must(fd)));
}

FIXTURE_SETUP(standing)
{
	RIG_SETUP(&self->g.rig, HM_ANY);
	skip_without_commands(&self->g.rig);
	skip_unless(variant->cmd != HOTMIRROR_MIGRATE_TO_DEV ||
		    self->g.rig.kind != HOTMIRROR_DAX, "no private and no coherent memory");
	gated_setup(_metadata, &self->g, 0);
	/* Before there is a ring, which a child would keep. */
	owner_start(_metadata, self);
	RING_SETUP(&self->ring, 8, 0);
	variant->fill(&self->arg, &self->g);
}

static void ring_close(struct io_uring *ring)
{
	if (ring->ring_fd > 0)
		io_uring_queue_exit(ring);
	ring->ring_fd = -1;
}

FIXTURE_TEARDOWN(standing)
{
	struct hotmirror_status st;

	hm_child_end(&self->child);
	must(hm_wait_status(self->g.rig.fd, 0, nobody_in, &st));
	ring_close(&self->ring);
	rig_verify_fd(_metadata, self->g.fd);
	close(self->g.fd);
	hm_child_end(&self->owner);
	gated_teardown(_metadata, &self->g);
}

static int submit(data *self, const FIXTURE_VARIANT(standing) *variant)
{
	if (!hm_ring_command(&self->ring, self->g.fd, variant->cmd, &self->arg, COMMAND))
		return -EBUSY;
	return hm_ring_submit(&self->ring);
}

/* The command stands at its gate, for a minute if nobody lets it go. */
static void stand(struct __test_metadata *_metadata, data *self,
		  const FIXTURE_VARIANT(standing) *variant)
{
	struct hm_gate_arm a_minute = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };

	self->g.gate = gated_arm(_metadata, &self->g, variant->gate, &a_minute);
	must(submit(self, variant));
	must(hm_gate_wait(self->g.gate, HM_LIMIT_MS));
	EXPECT_FALSE(hm_ring_ready(&self->ring));
}

/* It was let go, or asked to leave, and did not stay there to the end. */
static void expect_gone_on(struct __test_metadata *_metadata, int gate, int killed)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct hotmirror_gate_status st;

	do {
		hm_pause();
		st = gated_status(_metadata, gate);
	} while (st.state == HOTMIRROR_GATE_HELD && hm_left(deadline) > 0);
	EXPECT_EQ(HOTMIRROR_GATE_RELEASED, st.state);
	EXPECT_EQ(killed, st.killed);
	EXPECT_EQ(0, st.timeouts);
}

/* A worker is a thread of its process, and no kernel thread. */
TEST_F(standing, a_worker_is_held_and_let_go)
{
	struct hm_gate_arm ours = { .pid = getpid(), .timeout_ns = HOTMIRROR_MAX_GATE_NS };

	self->g.gate = gated_arm(_metadata, &self->g, variant->gate, &ours);
	must(submit(self, variant));
	must(hm_gate_wait(self->g.gate, HM_LIMIT_MS));
	EXPECT_NE(gettid(), gated_status(_metadata, self->g.gate).tid);
	must(hm_gate_release(self->g.gate));
	expect_result(_metadata, &self->ring, COMMAND, 0);
}

/* The ring that has the command waits for the gate as well: one thread does it all. */
TEST_F(standing, the_ring_waits_for_the_gate)
{
	struct hm_gate_arm any = {};
	struct io_uring_sqe *sqe = hm_ring_sqe(&self->ring, POLL);

	self->g.gate = gated_arm(_metadata, &self->g, variant->gate, &any);
	ASSERT_NE(NULL, sqe);
	io_uring_prep_poll_add(sqe, self->g.gate, POLLIN);
	sqe->user_data = POLL;
	must(submit(self, variant));
	expect_result(_metadata, &self->ring, POLL, POLLIN);
	must(hm_gate_release(self->g.gate));
	expect_result(_metadata, &self->ring, COMMAND, 0);
}

/*
 * It was running, which is EALREADY. __io_async_cancel() looks twice, and when the worker was done
 * by the second time, what it says is ENOENT; 7.3 remembers that it was running.
 */
static bool was_running(int result)
{
	return result == -EALREADY || (result == -ENOENT && hm_kernel_before(7, 3));
}

/* It leaves the gate at once. What it still does then is as for any cancelled command. */
TEST_F(standing, a_cancelled_command_goes_on)
{
	int result;
	__u64 id;

	stand(_metadata, self, variant);
	ASSERT_NE(NULL, hm_ring_cancel(&self->ring, COMMAND, CANCEL));
	must(hm_ring_submit(&self->ring));
	for (int i = 0; i < 2; i++) {
		must(hm_ring_wait(&self->ring, &id, &result));
		EXPECT_TRUE(id == CANCEL ? was_running(result) :
			    !result || result == -ECANCELED)
			TH_LOG("%llu: %s", (unsigned long long)id, strerror(-result));
	}
	expect_gone_on(_metadata, self->g.gate, 1);
}

TEST_F(standing, a_command_does_not_outlive_its_ring)
{
	stand(_metadata, self, variant);
	ring_close(&self->ring);
	expect_gone_on(_metadata, self->g.gate, 1);
}

TEST_F(standing, unplug_lets_a_command_go)
{
	int result;
	__u64 id;

	stand(_metadata, self, variant);
	must(hm_unplug(self->g.rig.control, self->g.rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_ring_wait(&self->ring, &id, &result));
	EXPECT_TRUE(!result || result == -ENODEV)
		TH_LOG("%s", strerror(-result));
	expect_gone_on(_metadata, self->g.gate, 0);
}

/* A process with a ring of its own. */
struct doomed {
	const FIXTURE_VARIANT(standing) *variant;
	data *self;
};

static int submit_and_wait(struct hm_parent *p, void *arg)
{
	struct doomed *d = arg;
	int result = hm_ring_open(&d->self->ring, 8, 0);
	__u64 id;

	hm_tell(p, result ?: submit(d->self, d->variant));
	return hm_ring_wait(&d->self->ring, &id, &result) ?: result;
}

TEST_F(standing, a_command_does_not_outlive_its_process)
{
	struct hm_gate_arm a_minute = { .timeout_ns = HOTMIRROR_MAX_GATE_NS };
	struct doomed d = { .self = self, .variant = variant };
	int status;

	ring_close(&self->ring);
	self->g.gate = gated_arm(_metadata, &self->g, variant->gate, &a_minute);
	must(hm_child_start(&self->child, submit_and_wait, &d));
	must(hm_gate_wait(self->g.gate, HM_LIMIT_MS));
	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
	expect_gone_on(_metadata, self->g.gate, 1);
}
#endif

HM_RING_TEST_MAIN
