// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls of "nothing left": each thing that a test could leave behind is
 * left on purpose, and seen; what the kernel itself has lost count of, too.
 */
#include "hm_test.h"
#include "lib/gate.h"

#define PAGES	4

FIXTURE(left) {
	struct hm_rig rig;
	int fd;
	size_t page, length;
	char *mem;		/* PAGES, mirrored, filled */
};

typedef FIXTURE_DATA(left) data;

static void set_up(struct __test_metadata *_metadata, data *self)
{
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->length = PAGES * self->page;
	self->mem = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	hm_fill(self->mem, self->length, 1);
	must(hm_mirror(self->fd, self->mem, self->length, 0, NULL));
}

FIXTURE_SETUP(left)
{
	RIG_SETUP(&self->rig, HM_ANY);
	must(rig_settle(&self->rig));
	set_up(_metadata, self);
}

FIXTURE_TEARDOWN(left)
{
	rig_teardown(_metadata, &self->rig);
}

/* What the lines of hm_books_compare() name, one after the other. */
struct names {
	char text[256];
};

static void add_name(const char *line, void *arg)
{
	struct names *names = arg;
	size_t used = strlen(names->text);

	snprintf(names->text + used, sizeof(names->text) - used, "%s%.*s",
		 used ? ", " : "", (int)strcspn(line, ":"), line);
}

static const char *compare(const struct hm_books *before, const struct hm_books *now,
			   struct names *names)
{
	names->text[0] = '\0';
	hm_books_compare(before, before, now, add_name, names);
	return names->text;
}

/* The verdict that the judge would give on this test, were it over. */
static int verdict(const struct __test_metadata *_metadata, const struct hm_books *before)
{
	struct __test_metadata test = *_metadata;

	test_set_code(&test, KSFT_PASS);
	judge_left(&test, before, 1);
	return test_code(&test);
}

FIXTURE(kept) {
	data left;
	int what;		/* a file or a number, of what is kept */
};

FIXTURE_VARIANT(kept) {
	int (*keep)(data *left);
	int (*drop)(data *left, int what);
	const char *names;
	bool uses_memory;	/* of a device that it can be migrated to */
};

static int keep_control(data *left)
{
	return hm_control_open();
}

static int drop_file(data *left, int what)
{
	return close(what);
}

static int keep_instance(data *left)
{
	__u32 id = 0;
	int ret = hm_plug(left->rig.control, left->rig.kind, left->rig.bytes, &id);

	return ret ?: (int)id;
}

static int drop_instance(data *left, int what)
{
	return hm_unplug(left->rig.control, what, HOTMIRROR_GONE, 0);
}

static int keep_file(data *left)
{
	return hm_open(left->rig.id);
}

static int keep_range(data *left)
{
	__u32 id = 0;
	int ret = hm_mirror(left->fd, left->mem, left->page, 0, &id);

	return ret ?: (int)id;
}

static int drop_range(data *left, int what)
{
	return hm_unmirror(left->fd, what);
}

static int keep_pin(data *left)
{
	__u32 id = 0;
	int ret = hm_pin(left->fd, left->mem, left->page, 0, &id, NULL);

	return ret ?: (int)id;
}

static int drop_pin(data *left, int what)
{
	return hm_unpin(left->fd, what);
}

static int keep_gate(data *left)
{
	return hm_gate_open(left->fd, HOTMIRROR_GATE_POPULATE_BEGIN, 0);
}

static int keep_page(data *left)
{
	return hm_to_dev(left->fd, left->mem, left->page, NULL);
}

static int drop_page(data *left, int what)
{
	return hm_to_sys(left->fd, left->mem, left->page, NULL);
}

FIXTURE_VARIANT_ADD(kept, control) {
	.keep = keep_control, .drop = drop_file, .names = "control files",
};

FIXTURE_VARIANT_ADD(kept, instance) {
	.keep = keep_instance, .drop = drop_instance, .names = "instances",
};

FIXTURE_VARIANT_ADD(kept, file) {
	.keep = keep_file, .drop = drop_file, .names = "instance files",
};

FIXTURE_VARIANT_ADD(kept, range) {
	.keep = keep_range, .drop = drop_range,
	.names = "mirrored ranges (notifier subscriptions)",
};

FIXTURE_VARIANT_ADD(kept, pin) {
	.keep = keep_pin, .drop = drop_pin, .names = "pins",
};

FIXTURE_VARIANT_ADD(kept, gate) {
	.keep = keep_gate, .drop = drop_file, .names = "gate files",
};

FIXTURE_VARIANT_ADD(kept, page) {
	.keep = keep_page, .drop = drop_page, .names = "device pages in use",
	.uses_memory = true,
};

FIXTURE_SETUP(kept)
{
	RIG_SETUP(&self->left.rig, HM_ANY);
	if (variant->uses_memory && self->left.rig.kind == HOTMIRROR_DAX)
		SKIP(return, "no private and no coherent memory on this kernel");
	must(rig_settle(&self->left.rig));
	set_up(_metadata, &self->left);
}

FIXTURE_TEARDOWN(kept)
{
	rig_teardown(_metadata, &self->left.rig);
}

TEST_F(kept, is_seen)
{
	struct hm_books before, now;
	struct names names;
	int what;

	must(hm_books_open(&before));
	EXPECT_EQ(KSFT_PASS, verdict(_metadata, &before));
	what = must(variant->keep(&self->left));
	if (!variant->uses_memory)
		must_err(ETIMEDOUT, hm_books_settle(&before, false, 1, &now));
	must(hm_books_open(&now));
	EXPECT_STREQ(variant->names, compare(&before, &now, &names));
	EXPECT_EQ(KSFT_FAIL, verdict(_metadata, &before));

	must(variant->drop(&self->left, what));
	must(hm_books_settle(&before, false, HM_LIMIT_MS, &now));
	EXPECT_STREQ("", compare(&before, &now, &names));
	EXPECT_EQ(KSFT_PASS, verdict(_metadata, &before));
}

/*
 * The books of physical memory: an instance is on them until it is gone. The memmap of
 * the arena may be there already, where it shares a section with RAM.
 */
TEST_F(left, memory_of_an_instance_is_on_the_books)
{
	static const struct {
		__u32 kind;
		const char *names;
	} rows[] = {
		{ HOTMIRROR_PRIVATE, "instances, entries of /proc/iomem, pages of memmap" },
		{ HOTMIRROR_COHERENT, "instances, bytes of the arena" },
		{ HOTMIRROR_DAX, "instances, bytes of the arena" },
	};
	struct hm_books before, now;
	struct names names;
	__u32 id;

	must(hm_books_all(&before));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!(before.q.features & hm_kind(rows[i].kind)->feature))
			continue;
		must(hm_plug(self->rig.control, rows[i].kind, self->rig.bytes, &id));
		must(hm_books_all(&now));
		if (rows[i].kind != HOTMIRROR_PRIVATE)
			now.memmap = before.memmap;
		EXPECT_STREQ(rows[i].names, compare(&before, &now, &names));
		must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
		must(hm_books_all(&now));
		EXPECT_STREQ("", compare(&before, &now, &names));
	}
}

/* Each page in use has one reference, and there is no other. */
TEST_F(left, pgmap_references_are_those_of_the_pages)
{
	struct hotmirror_status st;

	skip_unless(self->rig.kind != HOTMIRROR_DAX,
		    "no private and no coherent memory on this kernel");
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(0, st.pgmap_refs);
	must(hm_to_dev(self->fd, self->mem, self->length, NULL));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(PAGES, st.pages_used);
	EXPECT_EQ(PAGES, st.pgmap_refs);
	must(hm_to_sys(self->fd, self->mem, self->page, NULL));
	must(hm_status(self->fd, 0, &st));
	EXPECT_EQ(PAGES - 1, st.pgmap_refs);
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

/* A reference that no page explains: no kernel thread blocks on it, and it has a name. */
TEST_F(left, forgotten_pgmap_reference_holds_the_drain)
{
	struct hm_books before, now;
	struct hotmirror_status st;
	struct names names;

	skip_unless(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE,
		    "module loaded without sabotage=1");
	must(hm_books_open(&before));
	must(hm_sabotage(self->fd, HOTMIRROR_SABOTAGE_KEEP_PGMAP));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(self->fd, 0, draining, &st));
	EXPECT_EQ(0, st.pages_held);
	EXPECT_EQ(1, st.pgmap_refs);
	EXPECT_FALSE(rig_drained(&st));
	must(hm_books_open(&now));
	/* Its range went with the invalidation, the instance stays. */
	EXPECT_STREQ("mirrored ranges (notifier subscriptions)",
		     compare(&before, &now, &names));

	must(hm_sabotage(self->fd, 0));
	must(hm_wait_gone(self->fd, HM_LIMIT_MS));
}

static int miscount(struct hm_parent *p, void *arg)
{
	data *self = arg;
	int fd = hm_open(self->rig.id);

	return fd < 0 || hm_sabotage(fd, HOTMIRROR_SABOTAGE_RSS);
}

static void count_rss(const char *line, void *arg)
{
	*(int *)arg += strstr(line, "Bad rss-counter") && strstr(line, "MM_ANONPAGES");
}

/* What migration does to the rss counters, the kernel checks at the end of a process. */
TEST_F(left, miscounted_rss_is_a_complaint)
{
	struct hm_child c;
	int status, seen = 0;

	skip_unless(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE,
		    "module loaded without sabotage=1");
	skip_unless(test_log.fd >= 0, "no access to /dev/kmsg");
	must(hm_child_start(&c, miscount, self));
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status);
	must(hm_visit_cpus(NULL));
	EXPECT_EQ(1, hm_log_read(&test_log, count_rss, &seen));
	EXPECT_EQ(1, seen);
}

static long settle(void *arg)
{
	struct hm_books now;

	return hm_books_settle(arg, false, HM_LIMIT_MS, &now);
}

/* The wait ends when the last thing too much goes, and not before. */
TEST_F(left, settle_waits_for_the_last)
{
	struct hm_books before;
	struct hm_async waiter;
	long result;
	int fd;

	must(hm_books_open(&before));
	fd = must(hm_open(self->rig.id));
	must(hm_async_start(&waiter, settle, &before));
	must(hm_wait_asleep(waiter.tid));
	EXPECT_FALSE(hm_async_done(&waiter));
	close(fd);
	must(hm_async_join(&waiter, HM_LIMIT_MS, &result));
	EXPECT_EQ(0, result);
}

TEST_F(left, settle_refuses_an_endless_wait)
{
	struct hotmirror_settle arg = {
		.size = sizeof(arg),
		.timeout_ns = HOTMIRROR_MAX_WAIT_NS + 1,
	};

	must_err(EINVAL, hm_ioctl(self->rig.control, HOTMIRROR_SETTLE, &arg));
	EXPECT_LE(4, arg.left);		/* those of the rig, and its range */
	arg.timeout_ns = 0;
	must_err(ETIMEDOUT, hm_ioctl(self->rig.control, HOTMIRROR_SETTLE, &arg));
}

HM_TEST_MAIN
