// SPDX-License-Identifier: GPL-2.0-only
/*
 * The access table: what each access gets in each state of the instance, row by
 * row and column by column (claims S4, S5, S7). While the instance is taken down,
 * its memory stays mapped, mirrored and in use.
 */
#include <fcntl.h>

#include "dax_test.h"

#define PRIVATE		(1 << HOTMIRROR_PRIVATE)
#define COHERENT	(1 << HOTMIRROR_COHERENT)
#define DAX		(1 << HOTMIRROR_DAX)
#define ALL		(PRIVATE | COHERENT | DAX)
#define MIGRATABLE	(PRIVATE | COHERENT)

#define SEED		1
/* Each row has pages of its own in each state, so that no access helps another. */
#define NR_PAGES	8
#define NR_RANGES	HOTMIRROR_NR_STATES

FIXTURE(access) {
	struct hm_rig rig;	/* X, the instance that is unplugged */
	int other;		/* file of another instance that mirrors device[] */
	__u32 other_id;
	size_t page;
	size_t stride;		/* from a page of device[], missing[] to the next: its unit */
	char *device;		/* dax: mapping of X; else anonymous memory in X */
	char *missing;		/* dax: mapping of X that nobody touched */
	char *own;		/* system memory mirrored by the file of X */
	char *buf;
	__u32 ranges[NR_RANGES];
	__u32 state;		/* that the access happens in */
};

FIXTURE_VARIANT(access) {
	__u32 kind;
	bool pmd;
};

FIXTURE_VARIANT_ADD(access, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(access, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(access, dax) { .kind = HOTMIRROR_DAX };
FIXTURE_VARIANT_ADD(access, dax_pmd) { .kind = HOTMIRROR_DAX, .pmd = true };

typedef FIXTURE_DATA(access) data;

/* Page @i of those for the present state. */
static char *page_at(const data *self, char *base, int i)
{
	return base + (self->state * NR_PAGES + i) * self->stride;
}

static int file_status(data *self)
{
	struct hotmirror_status st;

	return hm_status(self->rig.fd, 0, &st) ?: st.state == self->state ? 0 : -EPROTO;
}

static int control_status(data *self)
{
	struct hotmirror_status st;

	return hm_status(self->rig.control, self->rig.id, &st) ?:
	       st.state == self->state ? 0 : -EPROTO;
}

static int query(data *self)
{
	struct hotmirror_query q;

	return hm_query(self->rig.fd, &q);
}

static int stats(data *self)
{
	struct hotmirror_stats s;

	return hm_stats(self->rig.fd, &s);
}

/* How many hang-ups poll() sees. */
static int hang_up(data *self)
{
	return hm_is_gone(self->rig.fd);
}

static int open_and_close(data *self)
{
	int fd = hm_open(self->rig.id);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

static int mirror(data *self)
{
	return hm_mirror(self->rig.fd, self->own, self->page, 0, NULL);
}

static int unmirror(data *self)
{
	return hm_unmirror(self->rig.fd, self->ranges[self->state]);
}

static int device_read(data *self)
{
	return hm_read(self->rig.fd, self->own, self->buf, self->page);
}

static int device_write(data *self)
{
	return hm_write(self->rig.fd, self->own, self->buf, self->page);
}

static int prefetch(data *self)
{
	return hm_prefetch(self->rig.fd, self->own, self->page, false);
}

static int snapshot(data *self)
{
	__u32 snap;

	return hm_snapshot(self->rig.fd, self->own, self->page, &snap);
}

static int verify(data *self)
{
	struct hotmirror_verify v;

	return hm_verify(self->rig.fd, &v);
}

static int migrate_to_dev(data *self)
{
	return hm_to_dev(self->rig.fd, self->own, self->page, NULL);
}

static int migrate_to_sys(data *self)
{
	return hm_to_sys(self->rig.fd, self->own, self->page, NULL);
}

static int new_mmap(data *self)
{
	void *p = mmap(NULL, self->stride, PROT_READ | PROT_WRITE, MAP_SHARED,
		       self->rig.fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, self->stride);
	return 0;
}

static int cpu_read_present(data *self)
{
	return hm_cpu_touch(page_at(self, self->device, 0));
}

static int cpu_write_present(data *self)
{
	return hm_cpu_dirty(page_at(self, self->device, 1));
}

static int gup_present(data *self)
{
	return hm_gup_read(page_at(self, self->device, 2), self->buf, self->page);
}

static int other_mirror_present(data *self)
{
	return hm_read(self->other, page_at(self, self->device, 3), self->buf, self->page);
}

/* The other mirror has had an entry for this one since before the unplug. */
static int other_mirror_cached(data *self)
{
	return hm_read(self->other, page_at(self, self->device, 4), self->buf, self->page);
}

static int cpu_read_missing(data *self)
{
	return hm_cpu_touch(page_at(self, self->missing, 0));
}

static int cpu_write_missing(data *self)
{
	return hm_cpu_dirty(page_at(self, self->missing, 1));
}

static int gup_missing(data *self)
{
	return hm_gup_read(page_at(self, self->missing, 2), self->buf, self->page);
}

static int other_mirror_missing(data *self)
{
	return hm_read(self->other, page_at(self, self->missing, 3), self->buf, self->page);
}

/* Data of a page that lives in X: right, and where is it after the CPU's look? */
static int cpu_finds_page_in(data *self)
{
	char *p = page_at(self, self->device, 5);
	__u32 snap = 0;
	int ret;

	ret = hm_cpu_read(p, self->buf, self->page);
	if (ret)
		return ret;
	if (memcmp(self->buf, page_at(self, self->missing, 5), self->page))
		return -EIO;
	return hm_snapshot(self->other, p, self->page, &snap) ?:
	       (int)HOTMIRROR_SNAP_KIND(snap);
}

#define SYSTEM		HOTMIRROR_SNAP_KIND_SYSTEM
#define IN_PLACE	HOTMIRROR_SNAP_KIND_COHERENT

static const struct row {
	const char *access;
	unsigned int kinds;
	int (*run)(data *self);
	int expect[HOTMIRROR_NR_STATES];	/* 0, -errno, signal; live to gone */
} table[] = {
	/* A mirror operation on a file of X, MIGRATE_TO_DEV with X as the target. */
	{ "MIRROR", ALL, mirror, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "UNMIRROR", ALL, unmirror, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "READ", ALL, device_read, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "WRITE", ALL, device_write, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "PREFETCH", ALL, prefetch, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "SNAPSHOT", ALL, snapshot, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "VERIFY", ALL, verify, { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "MIGRATE_TO_DEV", MIGRATABLE, migrate_to_dev,
	  { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "MIGRATE_TO_SYS", MIGRATABLE, migrate_to_sys,
	  { 0, -ENODEV, -ENODEV, -ENODEV, -ENODEV } },
	{ "open", ALL, open_and_close, { 0, -ENODEV, -ENODEV, -ENODEV, -ENOENT } },

	/* What is about the file and not about its memory. */
	{ "QUERY", ALL, query, { 0, 0, 0, 0, 0 } },
	{ "STATS", ALL, stats, { 0, 0, 0, 0, 0 } },
	{ "STATUS of the file", ALL, file_status, { 0, 0, 0, 0, 0 } },
	{ "STATUS of the control file", ALL, control_status, { 0, 0, 0, 0, 0 } },
	{ "EPOLLHUP", ALL, hang_up, { 0, 0, 0, 0, 1 } },

	{ "new mmap", DAX, new_mmap, { 0, -ENXIO, -ENXIO, -ENXIO, -ENXIO } },

	/* X's dax memory, PTE present: disable leaves it alone (claim S4). */
	{ "CPU read, PTE present", DAX, cpu_read_present,
	  { 0, 0, SIGBUS, SIGBUS, SIGBUS } },
	{ "CPU write, PTE present", DAX, cpu_write_present,
	  { 0, 0, SIGBUS, SIGBUS, SIGBUS } },
	{ "GUP, PTE present", DAX, gup_present,
	  { 0, 0, -EFAULT, -EFAULT, -EFAULT } },
	{ "another mirror, PTE present", DAX, other_mirror_present,
	  { 0, 0, -EFAULT, -EFAULT, -EFAULT } },
	{ "another mirror, entry present", DAX, other_mirror_cached,
	  { 0, 0, -EFAULT, -EFAULT, -EFAULT } },

	/* The same, PTE missing: no new fault is served. */
	{ "CPU read, PTE missing", DAX, cpu_read_missing,
	  { 0, SIGBUS, SIGBUS, SIGBUS, SIGBUS } },
	{ "CPU write, PTE missing", DAX, cpu_write_missing,
	  { 0, SIGBUS, SIGBUS, SIGBUS, SIGBUS } },
	{ "GUP, PTE missing", DAX, gup_missing,
	  { 0, -EFAULT, -EFAULT, -EFAULT, -EFAULT } },
	{ "another mirror, PTE missing", DAX, other_mirror_missing,
	  { 0, -EFAULT, -EFAULT, -EFAULT, -EFAULT } },

	/* An anonymous page that lives in X: where the CPU finds it, data intact. */
	{ "CPU read of a page in X", PRIVATE, cpu_finds_page_in,
	  { SYSTEM, SYSTEM, SYSTEM, SYSTEM, SYSTEM } },
	{ "CPU read of a page in X", COHERENT, cpu_finds_page_in,
	  { IN_PLACE, IN_PLACE, SYSTEM, SYSTEM, SYSTEM } },
};

/* X's memory: mapped and touched (dax), or moved there from anonymous memory. */
static void make_dax(struct __test_metadata *_metadata, data *self, size_t length)
{
	self->device = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
			    self->rig.fd, 0);
	self->missing = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED,
			     self->rig.fd, length);
	ASSERT_NE(MAP_FAILED, self->device);
	ASSERT_NE(MAP_FAILED, self->missing);
	for (size_t i = 0; i < length; i += self->stride)
		hm_fill(self->device + i, self->page, SEED);
	must(hm_mirror(self->other, self->missing, length, 0, NULL));
}

static void make_anonymous(struct __test_metadata *_metadata, data *self, size_t length)
{
	__u64 moved;

	self->device = hm_map(length / self->page);
	self->missing = hm_map(length / self->page);	/* the contents to compare with */
	ASSERT_NE(NULL, self->device);
	ASSERT_NE(NULL, self->missing);
	hm_fill(self->device, length, SEED);
	hm_fill(self->missing, length, SEED);
	must(hm_to_dev(self->rig.fd, self->device, length, &moved));
	ASSERT_EQ(length / self->page, moved);
}

/* X, and the other one; false if this kernel lacks the kind. */
static bool plug_both(struct __test_metadata *_metadata, data *self,
		      const FIXTURE_VARIANT(access) *variant, size_t length)
{
	struct hm_rig *rig = &self->rig;

	if (!variant->pmd) {
		if (!rig_plug(_metadata, rig, variant->kind))
			return false;
		must(hm_plug(rig->control, variant->kind, rig->bytes, &self->other_id));
	} else {
		if (!(rig->q.features & HOTMIRROR_HAS_DAX_PMD))
			SKIP(return false, "no PMD-mapped device memory in this kernel");
		rig->kind = variant->kind;
		rig->bytes = 2 * length;
		if (!plug_dax(_metadata, rig, rig->bytes, self->stride, &rig->id))
			return false;
		rig->fd = must(hm_open(rig->id));
		must(hm_plug_dax(rig->control, self->stride, self->stride, &self->other_id));
	}
	self->other = must(hm_open(self->other_id));
	return true;
}

FIXTURE_SETUP(access)
{
	size_t length;

	rig_begin(_metadata, variant, &self->rig);
	self->other = -1;
	self->page = self->rig.page;
	self->stride = variant->pmd ? self->rig.q.pmd_size : self->page;
	length = HOTMIRROR_NR_STATES * NR_PAGES * self->stride;
	if (!plug_both(_metadata, self, variant, length)) {
		rig_end(_metadata, &self->rig);
		return;
	}
	self->own = hm_map(1);
	self->buf = hm_map(1);
	ASSERT_NE(NULL, self->own);
	ASSERT_NE(NULL, self->buf);
	hm_fill(self->own, self->page, SEED);
	for (int i = 0; i < NR_RANGES; i++)
		must(hm_mirror(self->rig.fd, self->own, self->page, 0, &self->ranges[i]));

	if (variant->kind == HOTMIRROR_DAX)
		make_dax(_metadata, self, length);
	else
		make_anonymous(_metadata, self, length);
	must(hm_mirror(self->other, self->device, length, 0, NULL));
	if (variant->kind != HOTMIRROR_DAX)
		return;
	for (int i = 0; i < HOTMIRROR_NR_STATES; i++, self->state++)
		must(hm_prefetch(self->other, page_at(self, self->device, 4), self->page,
				 true));
	self->state = HOTMIRROR_LIVE;
}

FIXTURE_TEARDOWN(access)
{
	if (self->other >= 0) {
		rig_verify_fd(_metadata, self->other);
		close(self->other);
	}
	rig_teardown(_metadata, &self->rig);
}

/* One column of the table. */
static void expect_column(struct __test_metadata *_metadata, data *self, __u32 kind)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct row *row = &table[i];
		int seen;

		if (!(row->kinds & 1 << kind))
			continue;
		seen = row->run(self);
		EXPECT_EQ(row->expect[self->state], seen)
			TH_LOG("%s of a %s instance that is %s: %d, expected %d",
			       row->access, hm_kind(kind)->name,
			       hm_state_name(self->state), seen,
			       row->expect[self->state]);
	}
}

static void go_to(struct __test_metadata *_metadata, data *self, __u32 state)
{
	must(hm_unplug(self->rig.control, self->rig.id, state, HM_LIMIT_MS));
	self->state = state;
}

TEST_F(access, step_by_step)
{
	expect_column(_metadata, self, variant->kind);
	for (__u32 s = HOTMIRROR_DISABLED; s < HOTMIRROR_NR_STATES; s++) {
		go_to(_metadata, self, s);
		expect_column(_metadata, self, variant->kind);
	}
	expect_filled(self->own, self->page, SEED);
}

TEST_F(access, in_one_go)
{
	expect_column(_metadata, self, variant->kind);
	go_to(_metadata, self, HOTMIRROR_GONE);
	expect_column(_metadata, self, variant->kind);
	expect_filled(self->own, self->page, SEED);
}

/* The steps are apart: nothing of the next one has happened. */
TEST_F(access, each_step_keeps_to_itself)
{
	struct hotmirror_status st;
	__u64 used;

	must(hm_status(self->rig.fd, 0, &st));
	used = st.pages_used;
	EXPECT_EQ(0, st.pages_held);
	go_to(_metadata, self, HOTMIRROR_DISABLED);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(used, st.pages_used);
	go_to(_metadata, self, HOTMIRROR_INVALIDATED);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(variant->kind == HOTMIRROR_PRIVATE ? used : 0, st.pages_used);
	EXPECT_EQ(0, st.readers + st.sleepers);
	go_to(_metadata, self, HOTMIRROR_GONE);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(0, st.pages_used + st.pages_held);
}

HM_TEST_MAIN
