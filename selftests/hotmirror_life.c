// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end at any point of an instance's life (claim S8). A process is taken to a point
 * (plugged, mirrored, asleep in a fault, draining, ...) and killed there: its instance
 * goes, whoever had it open. While it is there the module cannot be removed.
 *
 * Then what else may be going on when an instance is unplugged: operations asleep that
 * hotmirror_uffd does not have, threads that fault its mapping, another unplug.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hm_test.h"

#define PAGES	4
#define SEED	1

/* ---- killed at a point ---- */

enum point {
	PLUGGED,
	OPENED,
	MIRRORED,
	POPULATED,
	IN_DEVICE_MEMORY,	/* dax: mapped and touched; others: migrated */
	PINNED,
	ASLEEP,			/* a device access, in userfaultfd */
	DISABLED,
	INVALIDATED,
	DRAINING,		/* with a page that is held */
};

FIXTURE(point) {
	struct hm_rig rig;	/* no instance */
	struct hm_child child;
	__u32 kind;
	enum point point;
	__u32 id;
};

FIXTURE_VARIANT(point) {
	enum point point;
};

FIXTURE_VARIANT_ADD(point, plugged) { .point = PLUGGED };
FIXTURE_VARIANT_ADD(point, opened) { .point = OPENED };
FIXTURE_VARIANT_ADD(point, mirrored) { .point = MIRRORED };
FIXTURE_VARIANT_ADD(point, populated) { .point = POPULATED };
FIXTURE_VARIANT_ADD(point, in_device_memory) { .point = IN_DEVICE_MEMORY };
FIXTURE_VARIANT_ADD(point, pinned) { .point = PINNED };
FIXTURE_VARIANT_ADD(point, asleep) { .point = ASLEEP };
FIXTURE_VARIANT_ADD(point, disabled) { .point = DISABLED };
FIXTURE_VARIANT_ADD(point, invalidated) { .point = INVALIDATED };
FIXTURE_VARIANT_ADD(point, draining) { .point = DRAINING };

typedef FIXTURE_DATA(point) at_point;

/* What the process has, as far as it got. */
struct life {
	at_point *self;
	int control, fd, uffd;
	__u32 id;
	size_t page;
	char *own;		/* ordinary memory, PAGES */
	char *mem;		/* PAGES in device memory */
	char *lazy;		/* a page that only userfaultfd gives */
	struct hm_async access;
};

static int plug_it(struct life *l)
{
	l->page = hm_page_size();
	l->own = hm_map(PAGES);
	l->control = hm_control_open();
	return l->control < 0 ? l->control :
	       hm_plug(l->control, l->self->kind, l->self->rig.q.plug_align, &l->id);
}

static int open_it(struct life *l)
{
	l->fd = hm_open(l->id);
	return l->fd < 0 ? l->fd : 0;
}

static int mirror_it(struct life *l)
{
	return hm_mirror(l->fd, l->own, PAGES * l->page, 0, NULL);
}

static int populate_it(struct life *l)
{
	hm_fill(l->own, PAGES * l->page, SEED);
	return hm_prefetch(l->fd, l->own, PAGES * l->page, true);
}

static int fill_it(struct life *l)
{
	if (l->self->kind == HOTMIRROR_DAX) {
		l->mem = mmap(NULL, PAGES * l->page, PROT_READ | PROT_WRITE, MAP_SHARED,
			      l->fd, 0);
		if (l->mem == MAP_FAILED)
			return -errno;
		hm_fill(l->mem, PAGES * l->page, SEED);
		return 0;
	}
	l->mem = hm_map(PAGES);
	hm_fill(l->mem, PAGES * l->page, SEED);
	return hm_to_dev(l->fd, l->mem, PAGES * l->page, NULL);
}

static int pin_it(struct life *l)
{
	return hm_pin(l->fd, l->mem, l->page, HOTMIRROR_PIN_WRITE, NULL, NULL);
}

static long read_lazy(void *arg)
{
	struct life *l = arg;

	return hm_read(l->fd, l->lazy, l->own, l->page);
}

static int sleep_in_it(struct life *l)
{
	struct hm_fault f;
	int ret;

	l->uffd = hm_uffd_open();
	if (l->uffd < 0)
		return l->uffd;
	l->lazy = hm_map(1);
	ret = hm_mirror(l->fd, l->lazy, l->page, 0, NULL) ?:
	      hm_uffd_register(l->uffd, l->lazy, l->page, false) ?:
	      hm_async_start(&l->access, read_lazy, l) ?: hm_uffd_wait(l->uffd, &f);
	return ret ?: hm_wait_asleep(l->access.tid);
}

static int disable_it(struct life *l)
{
	return hm_unplug(l->control, l->id, HOTMIRROR_DISABLED, HM_LIMIT_MS);
}

static int invalidate_it(struct life *l)
{
	return hm_unplug(l->control, l->id, HOTMIRROR_INVALIDATED, HM_LIMIT_MS);
}

/* The pin of before holds it. Private memory cannot be held, nor is it: it may be gone. */
static int drain_it(struct life *l)
{
	int ret = hm_unplug(l->control, l->id, HOTMIRROR_GONE, 20);

	return ret == -ETIMEDOUT ? 0 : ret;
}

/* In the order of enum point; each goes on from the one before. */
static int (* const steps[])(struct life *l) = {
	plug_it, open_it, mirror_it, populate_it, fill_it, pin_it, sleep_in_it, disable_it,
	invalidate_it, drain_it,
};

static int live(struct hm_parent *p, void *arg)
{
	struct life l = { .self = arg };
	int ret = 0;

	for (int i = 0; i <= l.self->point && !ret; i++)
		ret = steps[i](&l);
	hm_tell(p, ret);
	hm_tell(p, l.id);
	return hm_hear(p);
}

FIXTURE_SETUP(point)
{
	int uffd = hm_uffd_open();

	rig_begin(_metadata, variant, &self->rig);
	self->point = variant->point;
	if (uffd < 0 && variant->point >= ASLEEP)
		SKIP(return, "userfaultfd(): %s", strerror(-uffd));
	close(uffd);
}

FIXTURE_TEARDOWN(point)
{
	hm_child_end(&self->child);
	rig_end(_metadata, &self->rig);
}

/* A process is at the point, with an instance of @kind; false if there is no such kind. */
static bool go(struct __test_metadata *_metadata, at_point *self, __u32 kind)
{
	long value;

	if (!(self->rig.q.features & hm_kind(kind)->feature))
		SKIP(return false, "%s", hm_kind(kind)->lacking);
	self->kind = kind;
	must(hm_child_start(&self->child, live, self));
	must(hm_child_hear(&self->child, &value));
	must(value);
	must(hm_child_hear(&self->child, &value));
	self->id = value;
	return true;
}

static void kill_it(struct __test_metadata *_metadata, at_point *self)
{
	int status;

	must(hm_child_kill(&self->child, SIGKILL));
	must(hm_child_wait(&self->child, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

/* Nobody but the process has it open: the judge waits until nothing of it is left. */
static void kill_alone(struct __test_metadata *_metadata, at_point *self, __u32 kind)
{
	struct hm_books before, now;

	must(hm_books_open(&before));
	if (!go(_metadata, self, kind))
		return;
	kill_it(_metadata, self);
	must(hm_books_settle(&before, true, HM_LIMIT_MS, &now));
	must_err(ENOENT, hm_open(self->id));
}

TEST_F(point, killed_with_private_memory)
{
	kill_alone(_metadata, self, HOTMIRROR_PRIVATE);
}

TEST_F(point, killed_with_coherent_memory)
{
	kill_alone(_metadata, self, HOTMIRROR_COHERENT);
}

TEST_F(point, killed_with_dax_memory)
{
	kill_alone(_metadata, self, HOTMIRROR_DAX);
}

/* Who has it open sees it go, and has a file that still answers. */
TEST_F(point, killed_under_another_opener)
{
	struct hotmirror_status st;
	int fd;

	if (!go(_metadata, self, HOTMIRROR_DAX))
		return;
	fd = hm_open(self->id);
	if (fd == -ENODEV && variant->point >= DISABLED) {
		kill_it(_metadata, self);
		return;
	}
	must(fd);
	EXPECT_FALSE(hm_is_gone(fd));
	kill_it(_metadata, self);
	must(hm_wait_gone(fd, HM_LIMIT_MS));
	must(hm_status(fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_GONE, st.state);
	EXPECT_EQ(0, st.readers + st.sleepers + st.pages_held);
	EXPECT_EQ(1, st.mirrors);
	must_err(ENODEV, hm_prefetch(fd, self, 1, false));
	close(fd);
}

/* Nothing of this process keeps the module. */
TEST_F(point, module_is_not_removed)
{
	if (!go(_metadata, self, HOTMIRROR_DAX))
		return;
	close(self->rig.control);
	self->rig.control = -1;
	EXPECT_EQ(-1, syscall(SYS_delete_module, "test_hotmirror", O_NONBLOCK));
	/* Built in, it cannot be removed anyhow. */
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == ENOENT)
		TH_LOG("%s", strerror(errno));
}

/* ---- what else goes on ---- */

FIXTURE(busy) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of dax memory */
};

typedef FIXTURE_DATA(busy) data;

FIXTURE_SETUP(busy)
{
	RIG_SETUP(&self->rig, HOTMIRROR_DAX);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(busy)
{
	rig_teardown(_metadata, &self->rig);
}

static int unplug(data *self, __u32 target, unsigned int limit_ms)
{
	return hm_unplug(self->rig.control, self->rig.id, target, limit_ms);
}

/* An operation on a page that only userfaultfd gives. */
struct asleep {
	int fd, uffd;
	char *lazy;
	size_t page;
};

static long prefetch_read(void *arg)
{
	struct asleep *a = arg;

	return hm_prefetch(a->fd, a->lazy, a->page, false);
}

static long prefetch_write(void *arg)
{
	struct asleep *a = arg;

	return hm_prefetch(a->fd, a->lazy, a->page, true);
}

static long pin(void *arg)
{
	struct asleep *a = arg;

	return hm_pin(a->fd, a->lazy, a->page, HOTMIRROR_PIN_WRITE, NULL, NULL);
}

static long pin_fast(void *arg)
{
	struct asleep *a = arg;

	return hm_pin(a->fd, a->lazy, a->page, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_FAST, NULL,
		      NULL);
}

static long get(void *arg)
{
	struct asleep *a = arg;

	return hm_pin(a->fd, a->lazy, a->page, HOTMIRROR_PIN_GET, NULL, NULL);
}

static long pin_for_long(void *arg)
{
	struct asleep *a = arg;

	return hm_pin(a->fd, a->lazy, a->page, HOTMIRROR_PIN_LONGTERM, NULL, NULL);
}

/* Unplug ends it while the fault stays unresolved, and does not wait for that. */
static void unplug_asleep(struct __test_metadata *_metadata, data *self, long (*op)(void *arg))
{
	struct asleep a = {
		.fd = self->fd, .uffd = hm_uffd_open(), .lazy = hm_map(1), .page = self->page,
	};
	struct hotmirror_status st;
	struct hm_async async;
	struct hm_fault f;
	long result;

	if (a.uffd < 0)
		SKIP(return, "userfaultfd(): %s", strerror(-a.uffd));
	must(hm_mirror(a.fd, a.lazy, a.page, 0, NULL));
	must(hm_uffd_register(a.uffd, a.lazy, a.page, false));
	must(hm_async_start(&async, op, &a));
	must(hm_uffd_wait(a.uffd, &f));
	must(hm_wait_asleep(async.tid));
	must(hm_status(a.fd, 0, &st));
	EXPECT_EQ(1, st.sleepers);
	EXPECT_EQ(0, st.readers);
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_async_join(&async, HM_LIMIT_MS, &result));
	EXPECT_EQ(-ENODEV, result);
	close(a.uffd);
	expect_zero(a.lazy, a.page);
}

TEST_F(busy, unplug_meanwhile_ends_a_prefetch)
{
	unplug_asleep(_metadata, self, prefetch_read);
}

TEST_F(busy, unplug_meanwhile_ends_a_prefetch_for_writing)
{
	unplug_asleep(_metadata, self, prefetch_write);
}

TEST_F(busy, unplug_meanwhile_ends_a_pin)
{
	unplug_asleep(_metadata, self, pin);
}

TEST_F(busy, unplug_meanwhile_ends_a_fast_pin)
{
	unplug_asleep(_metadata, self, pin_fast);
}

TEST_F(busy, unplug_meanwhile_ends_a_get)
{
	unplug_asleep(_metadata, self, get);
}

TEST_F(busy, unplug_meanwhile_ends_a_longterm_pin)
{
	unplug_asleep(_metadata, self, pin_for_long);
}

/* Threads that fault the mapping until they get SIGBUS; the pages are taken each time. */
struct faulting {
	data *self;
	struct hm_async async;
	int touched;		/* the first fault was good */
	char *page;
};

static long fault_until_sigbus(void *arg)
{
	struct faulting *f = arg;
	int sig;

	while (!(sig = hm_cpu_dirty(f->page))) {
		__atomic_store_n(&f->touched, 1, __ATOMIC_RELEASE);
		if (madvise(f->page, f->self->page, MADV_DONTNEED))
			return -errno;
	}
	return sig;
}

TEST_F(busy, unplug_under_faults_of_the_mapping)
{
	struct faulting f[PAGES];
	long long deadline = hm_deadline(HM_LIMIT_MS);
	long result;

	for (int i = 0; i < PAGES; i++) {
		f[i] = (struct faulting){ .self = self, .page = self->mem + i * self->page };
		must(hm_async_start(&f[i].async, fault_until_sigbus, &f[i]));
	}
	for (int i = 0; i < PAGES; i++)
		while (!__atomic_load_n(&f[i].touched, __ATOMIC_ACQUIRE) && hm_left(deadline))
			hm_pause();
	must(unplug(self, HOTMIRROR_GONE, HM_LIMIT_MS));
	for (int i = 0; i < PAGES; i++) {
		EXPECT_TRUE(f[i].touched);
		must(hm_async_join(&f[i].async, HM_LIMIT_MS, &result));
		EXPECT_EQ(SIGBUS, result);
	}
}

/* ---- two unplugs at once ---- */

struct request {
	data *self;
	__u32 target;
	struct hm_async async;
};

static long ask(void *arg)
{
	struct request *r = arg;

	return unplug(r->self, r->target, HM_LIMIT_MS);
}

/* A page is held, so that both are asked before either is over. */
static void two_at_once(struct __test_metadata *_metadata, data *self, __u32 first,
			__u32 second)
{
	struct request r[] = {
		{ .self = self, .target = first }, { .self = self, .target = second },
	};
	struct hotmirror_status st;
	struct hm_hold hold;
	long result;

	hm_fill(self->mem, self->page, SEED);
	must(hm_hold(&hold, self->mem, self->page));
	for (int i = 0; i < 2; i++)
		must(hm_async_start(&r[i].async, ask, &r[i]));
	for (int i = 0; i < 2; i++) {
		if (r[i].target == HOTMIRROR_GONE)
			continue;
		must(hm_async_join(&r[i].async, HM_LIMIT_MS, &result));
		EXPECT_EQ(0, result);
	}
	must_err(ETIMEDOUT, unplug(self, HOTMIRROR_GONE, 20));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_DRAINING, st.state);
	EXPECT_EQ(1, st.pages_held);
	hm_unhold(&hold);
	for (int i = 0; i < 2; i++) {
		if (r[i].target != HOTMIRROR_GONE)
			continue;
		must(hm_async_join(&r[i].async, HM_LIMIT_MS, &result));
		EXPECT_EQ(0, result);
	}
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

TEST_F(busy, two_unplugs_to_the_end)
{
	two_at_once(_metadata, self, HOTMIRROR_GONE, HOTMIRROR_GONE);
}

TEST_F(busy, unplug_to_the_end_and_disable)
{
	two_at_once(_metadata, self, HOTMIRROR_GONE, HOTMIRROR_DISABLED);
}

TEST_F(busy, invalidate_and_unplug_to_the_end)
{
	two_at_once(_metadata, self, HOTMIRROR_INVALIDATED, HOTMIRROR_GONE);
}

TEST_F(busy, disable_and_drain)
{
	two_at_once(_metadata, self, HOTMIRROR_DISABLED, HOTMIRROR_DRAINING);
}

HM_TEST_MAIN
