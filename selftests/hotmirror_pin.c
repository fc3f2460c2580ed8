// SPDX-License-Identifier: GPL-2.0-only
/*
 * get_user_pages() and pin_user_pages() on every kind of memory: what a page that is
 * pinned does (stay), where it is first (at home, if it must be or if it is to stay
 * long), and how long its device waits for it (claims S4, S5).
 */
#include <sys/mman.h>

#include "hm_test.h"

#define PAGES	4
#define SEED	1

/* Each way to take references. */
static const struct how {
	const char *name;
	__u32 flags;
} hows[] = {
	{ "pin", 0 },
	{ "pin, write", HOTMIRROR_PIN_WRITE },
	{ "pin, fast", HOTMIRROR_PIN_FAST },
	{ "pin, fast, write", HOTMIRROR_PIN_FAST | HOTMIRROR_PIN_WRITE },
	{ "get", HOTMIRROR_PIN_GET },
	{ "get, write", HOTMIRROR_PIN_GET | HOTMIRROR_PIN_WRITE },
	{ "get, fast", HOTMIRROR_PIN_GET | HOTMIRROR_PIN_FAST },
	{ "longterm", HOTMIRROR_PIN_LONGTERM },
	{ "longterm, write", HOTMIRROR_PIN_LONGTERM | HOTMIRROR_PIN_WRITE },
	{ "longterm, fast", HOTMIRROR_PIN_LONGTERM | HOTMIRROR_PIN_FAST |
			    HOTMIRROR_PIN_WRITE },
};

FIXTURE(pin) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES of SEED where the variant says, mirrored */
	char *buf;
};

FIXTURE_VARIANT(pin) {
	__u32 kind;		/* of the instance */
	bool away;		/* the memory is in it */
	__u32 before;		/* HOTMIRROR_SNAP_KIND_* of the memory */
	__u32 pinned;		/* and when it is pinned, */
	__u32 longterm;		/* or that for long */
};

FIXTURE_VARIANT_ADD(pin, anon) {
	.kind = HM_ANY,
	.before = HOTMIRROR_SNAP_KIND_SYSTEM,
	.pinned = HOTMIRROR_SNAP_KIND_SYSTEM,
	.longterm = HOTMIRROR_SNAP_KIND_SYSTEM,
};

/* No CPU can reach it, so nobody but its driver can hold it. */
FIXTURE_VARIANT_ADD(pin, private) {
	.kind = HOTMIRROR_PRIVATE,
	.away = true,
	.before = HOTMIRROR_SNAP_KIND_PRIVATE,
	.pinned = HOTMIRROR_SNAP_KIND_SYSTEM,
	.longterm = HOTMIRROR_SNAP_KIND_SYSTEM,
};

/* In place, but who stays long has to stay somewhere else. */
FIXTURE_VARIANT_ADD(pin, coherent) {
	.kind = HOTMIRROR_COHERENT,
	.away = true,
	.before = HOTMIRROR_SNAP_KIND_COHERENT,
	.pinned = HOTMIRROR_SNAP_KIND_COHERENT,
	.longterm = HOTMIRROR_SNAP_KIND_SYSTEM,
};

FIXTURE_VARIANT_ADD(pin, dax) {
	.kind = HOTMIRROR_DAX,
	.away = true,
	.before = HOTMIRROR_SNAP_KIND_DAX,
	.pinned = HOTMIRROR_SNAP_KIND_DAX,
	.longterm = HOTMIRROR_SNAP_KIND_DAX,
};

typedef FIXTURE_DATA(pin) data;
typedef FIXTURE_VARIANT(pin) variants;

static void settle(struct __test_metadata *_metadata, data *self, const variants *variant)
{
	__u64 moved;

	if (!variant->away || variant->kind == HOTMIRROR_DAX)
		return;
	must(hm_to_dev(self->fd, self->mem, self->length, &moved));
	ASSERT_EQ(PAGES, moved);
}

/* Whatever became of the pages: back to where a test begins. */
static void again(struct __test_metadata *_metadata, data *self, const variants *variant)
{
	if (variant->kind != HOTMIRROR_DAX)
		must(hm_to_sys(self->fd, self->mem, self->length, NULL));
	settle(_metadata, self, variant);
}

FIXTURE_SETUP(pin)
{
	RIG_SETUP(&self->rig, variant->kind);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->buf = hm_map(PAGES);
	if (variant->kind == HOTMIRROR_DAX)
		self->mem = mmap(NULL, self->length, PROT_READ | PROT_WRITE, MAP_SHARED,
				 self->fd, 0);
	else
		self->mem = hm_map(PAGES);
	ASSERT_NE(NULL, self->buf);
	ASSERT_NE(NULL, self->mem);
	ASSERT_NE(MAP_FAILED, self->mem);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
	hm_fill(self->mem, self->length, SEED);
	settle(_metadata, self, variant);
}

FIXTURE_TEARDOWN(pin)
{
	rig_teardown(_metadata, &self->rig);
}

/* Pages of mem[] that a snapshot shows as of @kind. */
static int count(struct __test_metadata *_metadata, data *self, __u32 kind)
{
	__u32 snap[PAGES];
	int n = 0;

	must(hm_snapshot(self->fd, self->mem, self->length, snap));
	for (int i = 0; i < PAGES; i++)
		n += (snap[i] & HOTMIRROR_SNAP_VALID) &&
		     HOTMIRROR_SNAP_KIND(snap[i]) == kind;
	return n;
}

static __u32 kind_when(const variants *variant, __u32 flags)
{
	return flags & HOTMIRROR_PIN_LONGTERM ? variant->longterm : variant->pinned;
}

static __u32 pin(struct __test_metadata *_metadata, data *self, __u32 flags)
{
	__u64 pages;
	__u32 id;

	must(hm_pin(self->fd, self->mem, self->length, flags, &id, &pages));
	EXPECT_EQ(PAGES, pages);
	return id;
}

TEST_F(pin, takes_the_pages_where_they_may_stay)
{
	for (int i = 0; i < ARRAY_SIZE(hows); i++) {
		__u32 kind = kind_when(variant, hows[i].flags), id;

		EXPECT_EQ(PAGES, count(_metadata, self, variant->before));
		id = pin(_metadata, self, hows[i].flags);
		EXPECT_EQ(PAGES, count(_metadata, self, kind))
			TH_LOG("%s", hows[i].name);
		must(hm_read(self->fd, self->mem, self->buf, self->length));
		expect_filled(self->buf, self->length, SEED);
		expect_filled(self->mem, self->length, SEED);
		must(hm_unpin(self->fd, id));
		again(_metadata, self, variant);
	}
}

/* The pinned page is the one that everybody sees: by CPU and device, in both directions. */
TEST_F(pin, data_stays_one)
{
	__u32 id = pin(_metadata, self, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM);

	hm_fill(self->mem, self->length, 2);
	must(hm_read(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->buf, self->length, 2);
	hm_fill(self->buf, self->length, 3);
	must(hm_write(self->fd, self->mem, self->buf, self->length));
	expect_filled(self->mem, self->length, 3);
	must(hm_unpin(self->fd, id));
	expect_filled(self->mem, self->length, 3);
}

static int idle(struct hm_parent *p, void *arg)
{
	return hm_hear(p);
}

/*
 * A page that a child has, too, is made the parent's own by FOLL_PIN, or the next write of
 * the parent would go to a copy that the device does not have.
 */
TEST_F(pin, sees_what_is_written_after_a_fork)
{
	static const __u32 ways[] = { 0, HOTMIRROR_PIN_FAST, HOTMIRROR_PIN_LONGTERM };

	for (int i = 0; i < ARRAY_SIZE(ways); i++) {
		struct hotmirror_pin arg = { .size = sizeof(arg) };
		struct hm_child c;

		must(hm_child_start(&c, idle, NULL));
		arg.id = pin(_metadata, self, ways[i]);
		hm_fill(self->mem, self->length, 2 + i);
		must(hm_ioctl(self->fd, HOTMIRROR_UNPIN, &arg));
		EXPECT_EQ(*(__u64 *)self->mem, arg.word)
			TH_LOG("flags %#x", ways[i]);
		hm_child_end(&c);
	}
}

TEST_F(pin, unpin_is_once)
{
	__u32 first = pin(_metadata, self, 0), second = pin(_metadata, self, 0);

	EXPECT_NE(first, second);
	must(hm_unpin(self->fd, first));
	must_err(ENOENT, hm_unpin(self->fd, first));
	must(hm_unpin(self->fd, second));
	must_err(ENOENT, hm_unpin(self->fd, second));
}

/* To where the pages are not. */
static int away(data *self, __u32 now, __u64 *moved)
{
	return now == HOTMIRROR_SNAP_KIND_SYSTEM ?
	       hm_to_dev(self->fd, self->mem, self->length, moved) :
	       hm_to_sys(self->fd, self->mem, self->length, moved);
}

static void expect_moved(struct __test_metadata *_metadata, data *self, __u32 kind,
			 __u64 pages, const char *how)
{
	__u64 moved;

	if (self->rig.kind == HOTMIRROR_DAX) {
		must_err(EINVAL, away(self, kind, NULL));
		return;
	}
	must(away(self, kind, &moved));
	EXPECT_EQ(pages, moved)
		TH_LOG("%s", how);
}

TEST_F(pin, pinned_pages_do_not_migrate)
{
	for (int i = 0; i < ARRAY_SIZE(hows); i++) {
		__u32 kind = kind_when(variant, hows[i].flags);
		__u32 id = pin(_metadata, self, hows[i].flags);

		expect_moved(_metadata, self, kind, 0, hows[i].name);
		EXPECT_EQ(PAGES, count(_metadata, self, kind));
		must(hm_unpin(self->fd, id));
		expect_moved(_metadata, self, kind, PAGES, hows[i].name);
		expect_filled(self->mem, self->length, SEED);
		again(_metadata, self, variant);
	}
}

static void expect_unpin(struct __test_metadata *_metadata, int fd, __u32 id)
{
	struct hotmirror_pin arg = { .size = sizeof(arg), .id = id };

	must(hm_ioctl(fd, HOTMIRROR_UNPIN, &arg));
	EXPECT_EQ(PAGES, arg.pages);
}

static __u64 pages_used(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;

	must(hm_status(self->fd, 0, &st));
	return st.pages_used;
}

/* Who holds the page keeps it, whatever happens to the address. */
TEST_F(pin, outlives_munmap)
{
	bool there = variant->pinned == HOTMIRROR_SNAP_KIND_COHERENT;
	__u32 id = pin(_metadata, self, 0);

	ASSERT_EQ(0, munmap(self->mem, self->length));
	EXPECT_EQ(there ? PAGES : 0, pages_used(_metadata, self));
	must_err(EFAULT, hm_pin(self->fd, self->mem, self->length, 0, NULL, NULL));
	expect_unpin(_metadata, self->fd, id);
	EXPECT_EQ(0, pages_used(_metadata, self));
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

/*
 * Unplug while pages of @kind are held. The drain waits for device memory, all of it
 * and nothing else: what is held in system memory is no business of the device.
 */
static void unplug_with(struct __test_metadata *_metadata, data *self, __u32 kind)
{
	struct hotmirror_status st;

	if (kind == HOTMIRROR_SNAP_KIND_SYSTEM) {
		must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
		return;
	}
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(self->fd, 0, draining, &st));
	EXPECT_EQ(PAGES, st.pages_held);
	must_err(ETIMEDOUT, hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 20));
}

/* Giving back works in every state, and ends the drain. */
static void pin_unplug_unpin(struct __test_metadata *_metadata, data *self,
			     const variants *variant, __u32 flags)
{
	__u32 id = pin(_metadata, self, flags);

	unplug_with(_metadata, self, kind_when(variant, flags));
	must_err(ENODEV, hm_pin(self->fd, self->mem, self->length, 0, NULL, NULL));
	expect_unpin(_metadata, self->fd, id);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

TEST_F(pin, unplug_waits_for_pins_of_its_memory)
{
	pin_unplug_unpin(_metadata, self, variant, HOTMIRROR_PIN_WRITE);
}

TEST_F(pin, unplug_waits_for_plain_references_to_its_memory)
{
	pin_unplug_unpin(_metadata, self, variant, HOTMIRROR_PIN_GET);
}

TEST_F(pin, unplug_waits_for_longterm_pins_of_its_memory)
{
	pin_unplug_unpin(_metadata, self, variant, HOTMIRROR_PIN_LONGTERM);
}

TEST_F(pin, unplug_waits_for_unmapped_pages_of_its_memory)
{
	__u32 id = pin(_metadata, self, 0);

	ASSERT_EQ(0, munmap(self->mem, self->length));
	unplug_with(_metadata, self, variant->pinned);
	expect_unpin(_metadata, self->fd, id);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* The last close gives back what is left. */
TEST_F(pin, close_gives_back)
{
	int fd = must(hm_open(self->rig.id));

	must(hm_pin(fd, self->mem, self->length, HOTMIRROR_PIN_WRITE, NULL, NULL));
	unplug_with(_metadata, self, variant->pinned);
	close(fd);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/*
 * A process of its own whose file holds the pages: after fork() they are the same
 * ones for FOLL_GET only, FOLL_PIN would get copies.
 */
static int holder(struct hm_parent *p, void *arg)
{
	data *self = arg;
	__u32 flags = hm_hear(p), id = 0;
	int fd = hm_open(self->rig.id), ret;

	close(self->rig.control);
	ret = hm_pin(fd, self->mem, self->length, flags, &id, NULL);
	hm_tell(p, ret);
	hm_tell(p, fd);
	hm_tell(p, id);
	return hm_hear(p);
}

/* Its file, in this process. */
static int start_holder(struct __test_metadata *_metadata, data *self, struct hm_child *c,
			__u32 flags, __u32 *id)
{
	long ret, fd, pin_id;

	must(hm_child_start(c, holder, self));
	must(hm_child_tell(c, flags));
	must(hm_child_hear(c, &ret));
	must(hm_child_hear(c, &fd));
	must(hm_child_hear(c, &pin_id));
	must(ret);
	*id = pin_id;
	return must(hm_child_getfd(c, fd));
}

static void kill_holder(struct __test_metadata *_metadata, struct hm_child *c)
{
	int status;

	must(hm_child_kill(c, SIGKILL));
	must(hm_child_wait(c, &status));
}

TEST_F(pin, killed_process_gives_back)
{
	struct hm_child c;
	__u32 id;

	close(start_holder(_metadata, self, &c, HOTMIRROR_PIN_GET, &id));
	unplug_with(_metadata, self, variant->pinned);
	kill_holder(_metadata, &c);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

/* The file is what holds: in other hands it outlives the process. */
TEST_F(pin, outlives_the_process_in_another_ones_hands)
{
	struct hm_child c;
	__u32 id;
	int fd;

	fd = start_holder(_metadata, self, &c, HOTMIRROR_PIN_GET, &id);
	kill_holder(_metadata, &c);
	must_err(ESRCH, hm_pin(fd, self->mem, self->length, 0, NULL, NULL));
	unplug_with(_metadata, self, variant->pinned);
	expect_unpin(_metadata, fd, id);
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
	close(fd);
}

/* pin_user_pages_fast() walks the page table of whoever calls it. */
TEST_F(pin, fast_is_for_the_opener_only)
{
	struct hm_child c;
	__u64 pages;
	__u32 id;
	int fd = start_holder(_metadata, self, &c, HOTMIRROR_PIN_FAST, &id);

	must_err(EINVAL, hm_pin(fd, self->mem, self->length, HOTMIRROR_PIN_FAST, NULL, &pages));
	EXPECT_EQ(0, pages);
	must(hm_pin(fd, self->mem, self->length, 0, NULL, &pages));
	EXPECT_EQ(PAGES, pages);
	close(fd);
	kill_holder(_metadata, &c);
}

HM_TEST_MAIN
