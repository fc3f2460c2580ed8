// SPDX-License-Identifier: GPL-2.0-only
/*
 * One mapping over memory of several owners (claims S9, S10): two instances and
 * ordinary memory meet under one PMD and in one section of the memory map, in the
 * section that the arena shares with RAM and in one of its own. Unplug of one leaves
 * every page of the others mapped, mirrored and readable.
 *
 *	arena      | A: an instance | B: another one | nobody's |
 *	addresses        ^ PMD            ^ PMD            ^ PMD
 */
#include "dax_test.h"

/* Pages in use on each side of a border. */
#define EDGE	4
#define NR	3		/* of the owners: A, B, nobody */

FIXTURE(mixed) {
	struct hm_rig rig;	/* the instance is A */
	size_t page, unit;	/* unit: what is plugged */
	__u64 place;		/* of A in the arena */
	__u32 b_id;
	int b;
	char *mem;		/* A, B and nobody's, half a PMD off: a mapping of control */
	char *buf;
};

FIXTURE_VARIANT(mixed) {
	bool near_ram;		/* in the section that begins with RAM */
};

FIXTURE_VARIANT_ADD(mixed, section_shared_with_ram) { .near_ram = true };
FIXTURE_VARIANT_ADD(mixed, section_of_the_arena) { .near_ram = false };

typedef FIXTURE_DATA(mixed) data;

#define SECTION_SIZE	(128ULL << 20)

/* Physical address of the arena, 0 if /proc/iomem does not tell. */
static __u64 arena_start(__u64 bytes)
{
	unsigned long long start, end;
	char line[256], name[64];
	FILE *f = fopen("/proc/iomem", "r");
	__u64 found = 0;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " %llx-%llx : %63s", &start, &end, name) == 3 &&
		    !strcmp(name, "test_hotmirror") && end - start + 1 == bytes)
			found = start;
	if (f)
		fclose(f);
	return found;
}

/* Whether A is to be at the start of the arena, or behind @skip bytes of it. */
static bool find_place(struct __test_metadata *_metadata, data *self, bool near_ram,
		       __u64 *skip)
{
	__u64 start = arena_start(self->rig.q.arena_bytes);

	*skip = 0;
	if (!start)
		SKIP(return false, "/proc/iomem does not show where the arena is");
	if (near_ram && !(start % SECTION_SIZE))
		SKIP(return false, "the arena starts on a section border: no RAM in it");
	if (!near_ram)
		*skip = (SECTION_SIZE - start % SECTION_SIZE) % SECTION_SIZE;
	if (*skip + NR * self->unit > self->rig.q.arena_bytes)
		SKIP(return false, "the arena ends in its first section");
	return true;
}

/* Where page @i of those in use of @owner is: first the EDGE at its start. */
static char *edge(const data *self, char *mem, int owner, int i)
{
	size_t offset = i < EDGE ? i * self->page : self->unit - (2 * EDGE - i) * self->page;

	return mem + owner * self->unit + offset;
}

static unsigned int seed_of(int owner, int i)
{
	return 1 + owner * 2 * EDGE + i;
}

static void fill_owner(const data *self, char *mem, int owner)
{
	for (int i = 0; i < 2 * EDGE; i++)
		hm_fill(edge(self, mem, owner, i), self->page, seed_of(owner, i));
}

/* The first page in use of @owner that is not as filled, -1 if none. */
static int owner_differs(const data *self, char *mem, int owner)
{
	for (int i = 0; i < 2 * EDGE; i++)
		if (hm_differs(edge(self, mem, owner, i), self->page,
			       seed_of(owner, i)) >= 0)
			return i;
	return -1;
}

/* The same, as instance file @fd reads it, and without a single fault. */
static int device_differs(struct __test_metadata *_metadata, data *self, int fd,
			  int owner)
{
	for (int i = 0; i < 2 * EDGE; i++) {
		struct hotmirror_access out = {};

		must(hm_access(fd, HOTMIRROR_READ, edge(self, self->mem, owner, i),
			       self->buf, self->page, &out));
		EXPECT_EQ(0, out.faults);
		if (hm_differs(self->buf, self->page, seed_of(owner, i)) >= 0)
			return i;
	}
	return -1;
}

static bool mixed_plug(struct __test_metadata *_metadata, data *self, bool near_ram)
{
	struct hm_rig *rig = &self->rig;
	struct hotmirror_status st;
	__u64 skip;

	if (!(rig->q.features & HOTMIRROR_HAS_DAX))
		SKIP(return false, "%s", hm_kind(HOTMIRROR_DAX)->lacking);
	if (!find_place(_metadata, self, near_ram, &skip))
		return false;
	if (skip)
		must(hm_plug(rig->control, HOTMIRROR_COHERENT, skip, NULL));
	if (!rig_plug(_metadata, rig, HOTMIRROR_DAX))
		return false;
	must(hm_plug(rig->control, HOTMIRROR_DAX, self->unit, &self->b_id));
	self->b = must(hm_open(self->b_id));
	must(hm_status(rig->fd, 0, &st));
	self->place = st.arena_offset;
	EXPECT_EQ(skip, self->place);
	must(hm_status(self->b, 0, &st));
	EXPECT_EQ(self->place + self->unit, st.arena_offset);
	return true;
}

FIXTURE_SETUP(mixed)
{
	size_t pmd;
	char *p;

	rig_begin(_metadata, variant, &self->rig);
	/* The memory of earlier tests is back: ours is one piece. */
	must(rig_settle(&self->rig));
	self->page = self->rig.page;
	self->unit = self->rig.q.plug_align;
	self->b = -1;
	if (!mixed_plug(_metadata, self, variant->near_ram)) {
		rig_end(_metadata, &self->rig);
		return;
	}
	pmd = self->rig.q.pmd_size;
	p = reserve(NR * self->unit + pmd, pmd);
	self->buf = hm_map(EDGE * 2);
	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, self->buf);
	self->mem = p + pmd / 2;
	ASSERT_EQ(self->mem, map_dax_at(self->mem, self->rig.control, NR * self->unit,
					self->place));
	for (int owner = 0; owner < NR; owner++)
		fill_owner(self, self->mem, owner);
}

FIXTURE_TEARDOWN(mixed)
{
	/* A mapping keeps the control file open, and that the instances. */
	if (self->mem)
		munmap(self->mem, NR * self->unit);
	if (self->b >= 0) {
		rig_verify_fd(_metadata, self->b);
		close(self->b);
	}
	rig_teardown(_metadata, &self->rig);
}

/* The kind and the owner of every page in use, as instance file @fd sees them. */
static void expect_kinds(struct __test_metadata *_metadata, data *self, int fd, int own)
{
	for (int owner = 0; owner < NR; owner++)
		for (int i = 0; i < 2 * EDGE; i++) {
			__u32 snap = look(_metadata, fd, edge(self, self->mem, owner, i));

			EXPECT_EQ(HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE,
				  snap & (HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE));
			EXPECT_EQ(owner == 2 ? HOTMIRROR_SNAP_KIND_SYSTEM :
				  HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap));
			EXPECT_EQ(owner == own, !!(snap & HOTMIRROR_SNAP_OWN));
			EXPECT_EQ(0, HOTMIRROR_SNAP_ORDER(snap));
		}
}

TEST_F(mixed, every_page_is_shown_as_what_it_is)
{
	size_t all = NR * self->unit;

	must(hm_mirror(self->rig.fd, self->mem, all, 0, NULL));
	must(hm_mirror(self->b, self->mem, all, 0, NULL));
	expect_kinds(_metadata, self, self->rig.fd, 0);
	expect_kinds(_metadata, self, self->b, 1);
}

/* In one call, over both borders. */
TEST_F(mixed, one_snapshot_crosses_the_borders)
{
	size_t n = NR * self->unit / self->page, per = self->unit / self->page;
	__u32 *snap = calloc(n, sizeof(*snap));

	ASSERT_NE(NULL, snap);
	must(hm_mirror(self->b, self->mem, n * self->page, 0, NULL));
	must(hm_snapshot(self->b, self->mem, n * self->page, snap));
	for (size_t i = 0; i < n; i++) {
		bool used = i % per < EDGE || i % per >= per - EDGE;

		ASSERT_EQ(used, snap[i] & HOTMIRROR_SNAP_VALID);
		if (!used)
			continue;
		ASSERT_EQ(i / per == 2 ? HOTMIRROR_SNAP_KIND_SYSTEM :
			  HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap[i]));
		ASSERT_EQ(i / per == 1, !!(snap[i] & HOTMIRROR_SNAP_OWN));
	}
	free(snap);
}

/* 2 * EDGE pages, half of them before the border in front of @owner. */
static char *border(const data *self, int owner)
{
	return self->mem + owner * self->unit - EDGE * self->page;
}

TEST_F(mixed, accesses_cross_the_borders)
{
	size_t length = 2 * EDGE * self->page;

	must(hm_mirror(self->b, self->mem, NR * self->unit, 0, NULL));
	for (int owner = 1; owner < NR; owner++) {
		must(hm_read(self->b, border(self, owner), self->buf, length));
		EXPECT_EQ(0, memcmp(self->buf, border(self, owner), length));
		hm_fill(self->buf, length, 50 + owner);
		must(hm_write(self->b, border(self, owner), self->buf, length));
		expect_filled(border(self, owner), length, 50 + owner);
		must(hm_gup_read(border(self, owner), self->buf, length));
		expect_filled(self->buf, length, 50 + owner);
	}
}

/* The device faults all three in. */
TEST_F(mixed, device_faults_cross_the_borders)
{
	size_t length = 2 * EDGE * self->page;

	must(hm_mirror(self->b, self->mem, NR * self->unit, 0, NULL));
	ASSERT_EQ(0, madvise(self->mem, NR * self->unit, MADV_DONTNEED));
	for (int owner = 1; owner < NR; owner++)
		must(hm_prefetch(self->b, border(self, owner), length, true));
	for (int owner = 0; owner < NR; owner++)
		EXPECT_EQ(-1, owner_differs(self, self->mem, owner));
	expect_kinds(_metadata, self, self->b, 1);
}

TEST_F(mixed, instance_mapping_is_the_same_memory)
{
	int fds[] = { self->rig.fd, self->b };

	for (int owner = 0; owner < 2; owner++) {
		char *own = map_dax(fds[owner], self->unit, 0);

		ASSERT_NE(MAP_FAILED, own);
		EXPECT_EQ(-1, owner_differs(self, own - owner * self->unit, owner));
		hm_fill(own, self->page, 60);
		expect_filled(self->mem + owner * self->unit, self->page, 60);
	}
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

/* A pin over a border holds of each instance what is its own (claims S4, S5). */
TEST_F(mixed, pin_across_the_border_holds_both)
{
	static const __u32 ways[] = {
		HOTMIRROR_PIN_WRITE, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_FAST,
		HOTMIRROR_PIN_GET, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM,
	};
	__u32 ids[ARRAY_SIZE(ways)];
	struct hotmirror_status st;
	__u64 pages;

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		must(hm_pin(self->b, border(self, 1), 2 * EDGE * self->page, ways[i],
			    &ids[i], &pages));
		EXPECT_EQ(2 * EDGE, pages);
	}
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(self->rig.fd, 0, draining, &st));
	EXPECT_EQ(EDGE, st.pages_held);
	must(hm_unplug(self->rig.control, self->b_id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(self->b, 0, draining, &st));
	EXPECT_EQ(EDGE, st.pages_held);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		EXPECT_FALSE(hm_is_gone(self->rig.fd) || hm_is_gone(self->b));
		must(hm_unpin(self->b, ids[i]));
	}
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	must(hm_wait_gone(self->b, HM_LIMIT_MS));
	EXPECT_EQ(-1, owner_differs(self, self->mem, 2));
}

/* Every page of a dead owner, used or not: SIGBUS, EFAULT, never a zero. */
static void expect_dead(struct __test_metadata *_metadata, data *self, int fd, int owner)
{
	char *base = self->mem + owner * self->unit;
	__u32 snap;

	for (size_t i = 0; i < self->unit; i += self->unit / 64) {
		EXPECT_EQ(SIGBUS, hm_cpu_touch(base + i));
		EXPECT_EQ(SIGBUS, hm_cpu_dirty(base + i));
		must_err(EFAULT, hm_gup_read(base + i, self->buf, 1));
		must_err(EFAULT, hm_read(fd, base + i, self->buf, 1));
		snap = look(_metadata, fd, base + i);
		EXPECT_EQ(0, snap & (HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_DEVICE));
	}
}

/* Nobody had to fault a page of @owner again: PTEs and device entries are still there. */
static void expect_untouched(struct __test_metadata *_metadata, data *self, int fd,
			     int owner)
{
	const __u32 all = HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE |
			  HOTMIRROR_SNAP_DEVICE | HOTMIRROR_SNAP_DEVICE_WRITE;

	for (int i = 0; i < 2 * EDGE; i++)
		EXPECT_EQ(all, look(_metadata, fd, edge(self, self->mem, owner, i)) & all);
	EXPECT_EQ(-1, device_differs(_metadata, self, fd, owner));
	EXPECT_EQ(-1, owner_differs(self, self->mem, owner));
}

/* Unplug one of the two, while the other one's file mirrors all of it. */
static void unplug_one(struct __test_metadata *_metadata, data *self, int dead)
{
	int fd = dead ? self->rig.fd : self->b;
	__u32 id = dead ? self->b_id : self->rig.id;

	must(hm_mirror(fd, self->mem, NR * self->unit, 0, NULL));
	for (int owner = 0; owner < NR; owner++)
		for (int i = 0; i < 2 * EDGE; i++)
			must(hm_prefetch(fd, edge(self, self->mem, owner, i), self->page,
					 true));
	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	for (int owner = 0; owner < NR; owner++)
		if (owner != dead)
			expect_untouched(_metadata, self, fd, owner);
	expect_dead(_metadata, self, fd, dead);
	/* Also when everything has to be faulted again. */
	ASSERT_EQ(0, madvise(self->mem, NR * self->unit, MADV_DONTNEED));
	for (int owner = 0; owner < NR; owner++)
		if (owner != dead)
			EXPECT_EQ(-1, owner_differs(self, self->mem, owner));
	expect_dead(_metadata, self, fd, dead);
	rig_verify_fd(_metadata, fd);
}

TEST_F(mixed, unplug_of_the_first_leaves_the_others)
{
	unplug_one(_metadata, self, 0);
}

TEST_F(mixed, unplug_of_the_one_between_leaves_the_others)
{
	unplug_one(_metadata, self, 1);
}

TEST_F(mixed, unplug_of_both_leaves_ordinary_memory)
{
	int control = must(hm_control_open());
	__u32 id;
	int fd;

	/* A third one, another control file's, that looks on. */
	must(hm_plug(control, HOTMIRROR_DAX, self->unit, &id));
	fd = must(hm_open(id));
	must(hm_mirror(fd, self->mem, NR * self->unit, 0, NULL));
	must(hm_prefetch(fd, border(self, 1), 2 * EDGE * self->page, true));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, 0));
	must(hm_unplug(self->rig.control, self->b_id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	expect_dead(_metadata, self, fd, 0);
	expect_dead(_metadata, self, fd, 1);
	EXPECT_EQ(-1, owner_differs(self, self->mem, 2));
	rig_verify_fd(_metadata, fd);
	close(fd);
	close(control);
}

/* The steps one by one, as the access table of design section 4 has it. */
TEST_F(mixed, disabled_keeps_what_is_mapped)
{
	must(hm_mirror(self->b, self->mem, NR * self->unit, 0, NULL));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	EXPECT_EQ(-1, owner_differs(self, self->mem, 0));
	must(hm_read(self->b, border(self, 1), self->buf, 2 * EDGE * self->page));
	/* No PTE was there. */
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->mem + 2 * EDGE * self->page));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_INVALIDATED, HM_LIMIT_MS));
	expect_dead(_metadata, self, self->b, 0);
	EXPECT_EQ(-1, owner_differs(self, self->mem, 1));
}

/* A mapping is what it was when it was made; the next one shows who is there now. */
TEST_F(mixed, new_instance_is_not_in_an_old_mapping)
{
	struct hotmirror_status st;
	char *now;
	__u32 id;

	must(hm_mirror(self->b, self->mem, NR * self->unit, 0, NULL));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->unit, &id));
	must(hm_status(self->rig.control, id, &st));
	ASSERT_EQ(self->place, st.arena_offset);
	expect_dead(_metadata, self, self->b, 0);

	now = map_dax(self->rig.control, NR * self->unit, self->place);
	ASSERT_NE(MAP_FAILED, now);
	expect_zero(now, self->unit);
	fill_owner(self, now, 0);
	expect_dead(_metadata, self, self->b, 0);
	for (int owner = 0; owner < NR; owner++)
		EXPECT_EQ(-1, owner_differs(self, now, owner));
	ASSERT_EQ(0, munmap(now, NR * self->unit));
}

TEST_F(mixed, ordinary_memory_stays_when_an_instance_comes)
{
	struct hotmirror_status st;
	char *now;
	__u32 id;

	must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->unit, &id));
	must(hm_status(self->rig.control, id, &st));
	ASSERT_EQ(self->place + 2 * self->unit, st.arena_offset);
	EXPECT_EQ(-1, owner_differs(self, self->mem, 2));
	now = map_dax(self->rig.control, NR * self->unit, self->place);
	ASSERT_NE(MAP_FAILED, now);
	expect_zero(now + 2 * self->unit, self->unit);
	hm_fill(now + 2 * self->unit, self->page, 70);
	/* Its unplug takes its own pages only, though the offset is the same. */
	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(now + 2 * self->unit));
	for (int owner = 0; owner < NR; owner++)
		EXPECT_EQ(-1, owner_differs(self, self->mem, owner));
	ASSERT_EQ(0, munmap(now, NR * self->unit));
}

/* Eight in a row, unplugged out of order: the memory map is taken apart piece by piece. */
TEST_F(mixed, many_in_one_section_go_in_any_order)
{
	static const int order[] = { 3, 0, 7, 4, 1, 6, 2, 5 };
	__u32 ids[ARRAY_SIZE(order)], gone = 0;
	__u64 offset = self->place + 2 * self->unit;
	char *mem;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->unit, &ids[i]));
	mem = map_dax(self->rig.control, ARRAY_SIZE(order) * self->unit, offset);
	ASSERT_NE(MAP_FAILED, mem);
	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		hm_fill(mem + i * self->unit, self->page, i);
	for (size_t n = 0; n < ARRAY_SIZE(order); n++) {
		must(hm_unplug(self->rig.control, ids[order[n]], HOTMIRROR_GONE, HM_LIMIT_MS));
		gone |= 1 << order[n];
		for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
			EXPECT_EQ(gone & 1 << i ? SIGBUS : 0, hm_cpu_touch(mem + i * self->unit));
			if (!(gone & 1 << i))
				expect_filled(mem + i * self->unit, self->page, i);
		}
	}
	ASSERT_EQ(0, munmap(mem, ARRAY_SIZE(order) * self->unit));
	for (int owner = 0; owner < NR; owner++)
		EXPECT_EQ(-1, owner_differs(self, self->mem, owner));
}

/* Three owners, page by page, each page a VMA of its own, in one PMD. */
TEST_F(mixed, owners_alternate_page_by_page)
{
	char *p = reserve(self->rig.q.pmd_size, self->rig.q.pmd_size);
	const int n = 8 * NR;

	ASSERT_NE(NULL, p);
	for (int i = 0; i < n; i++)
		ASSERT_EQ(p + i * self->page,
			  map_dax_at(p + i * self->page, self->rig.control, self->page,
				     self->place + i % NR * self->unit +
				     (EDGE + i) * self->page));
	hm_fill(p, n * self->page, 80);
	must(hm_mirror(self->b, p, n * self->page, 0, NULL));
	must(hm_prefetch(self->b, p, n * self->page, true));
	for (int i = 0; i < n; i++) {
		__u32 snap = look(_metadata, self->b, p + i * self->page);

		EXPECT_EQ(i % NR == 2 ? HOTMIRROR_SNAP_KIND_SYSTEM : HOTMIRROR_SNAP_KIND_DAX,
			  HOTMIRROR_SNAP_KIND(snap));
		EXPECT_EQ(i % NR == 1, !!(snap & HOTMIRROR_SNAP_OWN));
	}
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	for (int i = 0; i < n; i++) {
		char *at = p + i * self->page;

		EXPECT_EQ(i % NR != 0, !!(look(_metadata, self->b, at) & HOTMIRROR_SNAP_DEVICE));
		EXPECT_EQ(i % NR ? 0 : SIGBUS, hm_cpu_touch(at));
		if (i % NR)
			must(hm_read(self->b, at, self->buf + i % 8 * self->page, self->page));
	}
	ASSERT_EQ(0, munmap(p, n * self->page));
}

/* What a VMA can go through: its copies and its pieces show the same. */
TEST_F(mixed, pieces_and_copies_show_the_same)
{
	char *to = reserve(NR * self->unit, self->rig.q.pmd_size);
	size_t half = self->unit / 2;

	ASSERT_NE(NULL, to);
	ASSERT_EQ(0, munmap(self->mem + half, self->page));
	ASSERT_EQ(0, mprotect(self->mem + self->unit + half, self->unit, PROT_READ));
	EXPECT_EQ(-1, owner_differs(self, self->mem, 1));
	ASSERT_EQ(to + half, mremap(self->mem + half + self->page,
				    self->unit - self->page, self->unit - self->page,
				    MREMAP_MAYMOVE | MREMAP_FIXED, to + half));
	/* The last half of A and the first half of B have moved. */
	for (int i = EDGE; i < 2 * EDGE; i++)
		expect_filled(edge(self, to, 0, i) - self->page, self->page, seed_of(0, i));
	for (int i = 0; i < EDGE; i++)
		expect_filled(edge(self, to, 1, i) - self->page, self->page, seed_of(1, i));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(self->mem + self->unit));
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(edge(self, self->mem, 1, EDGE)));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(edge(self, to, 0, EDGE) - self->page));
	expect_filled(edge(self, to, 1, 0) - self->page, self->page, seed_of(1, 0));
	EXPECT_EQ(MAP_FAILED, mremap(self->mem, half, 2 * half, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, munmap(to, NR * self->unit));
}

static int sharer(struct hm_parent *p, void *arg)
{
	data *self = arg;

	close(self->rig.control);
	hm_tell(p, owner_differs(self, self->mem, 1));
	hm_fill(edge(self, self->mem, 2, 0), self->page, 100);
	hm_tell(p, 0);
	hm_hear(p);
	hm_tell(p, hm_cpu_touch(self->mem));
	hm_tell(p, hm_cpu_touch(self->mem + self->unit));
	return 0;
}

TEST_F(mixed, fork_shares_all_of_it)
{
	struct hm_child c;
	long value;
	int status;

	must(hm_child_start(&c, sharer, self));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(-1, value);
	must(hm_child_hear(&c, &value));
	expect_filled(edge(self, self->mem, 2, 0), self->page, 100);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(SIGBUS, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	must(hm_child_wait(&c, &status));
}

HM_TEST_MAIN
