// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() of the control file: what a range of the arena shows (an instance of this
 * file, ordinary memory where there is none, nothing of anybody else's), and for how
 * long. What happens where owners meet is in hotmirror_mixed.
 */
#include "dax_test.h"

#define PAGES	4

FIXTURE(arena_map) {
	struct hm_rig rig;	/* the instance is at @place, nobody is behind it */
	size_t page, unit;
	__u64 place;
	char *buf;
	char *maps[4];		/* of the control file, for the tear-down */
	size_t lengths[4];
};

typedef FIXTURE_DATA(arena_map) data;

FIXTURE_SETUP(arena_map)
{
	struct hotmirror_status st;

	rig_begin(_metadata, variant, &self->rig);
	must(rig_settle(&self->rig));
	if (!rig_plug(_metadata, &self->rig, HOTMIRROR_DAX)) {
		rig_end(_metadata, &self->rig);
		return;
	}
	must(hm_status(self->rig.fd, 0, &st));
	self->place = st.arena_offset;
	self->page = self->rig.page;
	self->unit = self->rig.q.plug_align;
	self->buf = hm_map(PAGES);
	ASSERT_NE(NULL, self->buf);
}

static void unmap_all(data *self)
{
	for (size_t i = 0; i < ARRAY_SIZE(self->maps); i++) {
		if (self->maps[i])
			munmap(self->maps[i], self->lengths[i]);
		self->maps[i] = NULL;
	}
}

FIXTURE_TEARDOWN(arena_map)
{
	/* A mapping keeps the control file open, and that the instances. */
	unmap_all(self);
	rig_teardown(_metadata, &self->rig);
}

/* The arena from @offset behind the instance on, unmapped by the tear-down. */
static char *map_arena(struct __test_metadata *_metadata, data *self, size_t length,
		       __u64 offset)
{
	size_t i = 0;

	while (self->maps[i])
		ASSERT_GT(ARRAY_SIZE(self->maps), ++i);
	self->lengths[i] = length;
	self->maps[i] = map_dax(self->rig.control, length, self->place + offset);
	ASSERT_NE(MAP_FAILED, self->maps[i]);
	return self->maps[i];
}

/* Memory that belongs to nobody: the mappings of one control file share it. */
TEST_F(arena_map, nobodys_place_is_ordinary_memory)
{
	char *one = map_arena(_metadata, self, PAGES * self->page, self->unit);
	char *two = map_arena(_metadata, self, self->page, self->unit + self->page);

	expect_zero(one, PAGES * self->page);
	hm_fill(one + self->page, self->page, 1);
	expect_filled(two, self->page, 1);
	must(hm_mirror(self->rig.fd, one, PAGES * self->page, 0, NULL));
	for (int i = 0; i < PAGES; i++) {
		__u32 snap = look(_metadata, self->rig.fd, one + i * self->page);

		EXPECT_NE(0, snap & HOTMIRROR_SNAP_VALID);
		EXPECT_EQ(HOTMIRROR_SNAP_KIND_SYSTEM, HOTMIRROR_SNAP_KIND(snap));
	}
}

TEST_F(arena_map, ordinary_memory_outlives_its_mappings)
{
	char *p = map_arena(_metadata, self, self->page, self->unit);

	hm_fill(p, self->page, 1);
	unmap_all(self);
	p = map_arena(_metadata, self, self->page, self->unit);
	expect_filled(p, self->page, 1);
}

TEST_F(arena_map, ordinary_memory_is_no_other_control_files)
{
	int control = must(hm_control_open());
	char *mine = map_arena(_metadata, self, self->page, self->unit), *other;

	hm_fill(mine, self->page, 1);
	other = map_dax(control, self->page, self->place + self->unit);
	ASSERT_NE(MAP_FAILED, other);
	expect_zero(other, self->page);
	hm_fill(other, self->page, 2);
	expect_filled(mine, self->page, 1);
	ASSERT_EQ(0, munmap(other, self->page));
	close(control);
}

/* A pin keeps the page, not the file. */
TEST_F(arena_map, pinned_ordinary_memory_outlives_its_control_file)
{
	int control = must(hm_control_open());
	char *p = map_dax(control, self->page, self->place + self->unit);
	__u32 id;

	ASSERT_NE(MAP_FAILED, p);
	hm_fill(p, self->page, 1);
	must(hm_pin(self->rig.fd, p, self->page, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM,
		    &id, NULL));
	ASSERT_EQ(0, munmap(p, self->page));
	close(control);
	must(hm_unpin(self->rig.fd, id));
}

/* Not even the kind of what others have there can be seen. */
TEST_F(arena_map, other_control_files_instance_is_sigbus)
{
	int control = must(hm_control_open());
	char *p = map_dax(control, 2 * self->unit, self->place);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
	EXPECT_EQ(SIGBUS, hm_cpu_dirty(p + self->unit - 1));
	must_err(EFAULT, hm_gup_read(p, self->buf, 1));
	EXPECT_EQ(0, hm_cpu_dirty(p + self->unit));
	/* Nor when it is nobody's any more: the mapping is older. */
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
	ASSERT_EQ(0, munmap(p, 2 * self->unit));
	close(control);
}

TEST_F(arena_map, coherent_memory_is_sigbus)
{
	struct hotmirror_status st;
	__u32 id;
	char *p;

	must(hm_plug(self->rig.control, HOTMIRROR_COHERENT, self->unit, &id));
	must(hm_status(self->rig.control, id, &st));
	ASSERT_EQ(self->place + self->unit, st.arena_offset);
	p = map_arena(_metadata, self, 3 * self->unit, 0);
	EXPECT_EQ(0, hm_cpu_dirty(p));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p + self->unit));
	EXPECT_EQ(SIGBUS, hm_cpu_dirty(p + 2 * self->unit - 1));
	EXPECT_EQ(0, hm_cpu_dirty(p + 2 * self->unit));
}

/* Not ENXIO as the mapping of the instance: there may be others in the range. */
TEST_F(arena_map, instance_on_its_way_out_is_sigbus)
{
	char *p, *q;

	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	p = map_arena(_metadata, self, 2 * self->unit, 0);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
	EXPECT_EQ(0, hm_cpu_touch(p + self->unit));
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
	/* Now it is nobody's, for who asks now. */
	q = map_arena(_metadata, self, self->unit, 0);
	EXPECT_EQ(0, hm_cpu_dirty(q));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
}

TEST_F(arena_map, bad_mapping_is_einval)
{
	const struct {
		size_t length;
		off_t offset;
		int flags;
	} bad[] = {
		{ self->page, self->place, MAP_PRIVATE },
		{ self->page, self->rig.q.arena_bytes, MAP_SHARED },
		{ 2 * self->page, self->rig.q.arena_bytes - self->page, MAP_SHARED },
		{ self->rig.q.arena_bytes + self->page, 0, MAP_SHARED },
		{ self->page, 1LL << 50, MAP_SHARED },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(MAP_FAILED, mmap(NULL, bad[i].length, PROT_READ, bad[i].flags,
					   self->rig.control, bad[i].offset))
			TH_LOG("row %zu", i);
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, hm_cpu_touch(map_arena(_metadata, self, self->page, 0)));
}

TEST_F(arena_map, all_of_the_arena_can_be_mapped)
{
	size_t length = self->rig.q.arena_bytes;
	char *p = map_dax(self->rig.control, length, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, hm_cpu_dirty(p + self->place));
	EXPECT_EQ(0, hm_cpu_dirty(p + length - 1));
	ASSERT_EQ(0, munmap(p, length));
}

/* Closing it unplugs: with the last mapping, not before. */
TEST_F(arena_map, mapping_keeps_the_control_file_open)
{
	struct hotmirror_status st;
	char *p = map_arena(_metadata, self, self->unit, 0);

	close(self->rig.control);
	self->rig.control = -1;
	hm_fill(p, self->page, 1);
	must(hm_status(self->rig.fd, 0, &st));
	EXPECT_EQ(HOTMIRROR_LIVE, st.target);
	unmap_all(self);
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
}

/* The instance is gone and so is its file, the mapping is not. */
TEST_F(arena_map, mapping_of_what_is_no_more)
{
	char *p = map_arena(_metadata, self, 2 * self->unit, 0);

	hm_fill(p, self->page, 1);
	hm_fill(p + self->unit, self->page, 2);
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	close(self->rig.fd);
	self->rig.fd = -1;
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
	ASSERT_EQ(0, mprotect(p, self->page, PROT_READ));
	ASSERT_EQ(0, munmap(p, self->unit / 2));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p + self->unit / 2));
	expect_filled(p + self->unit, self->page, 2);
}

#define ROUNDS		6

/* Threads that fault a mapping of the instance and of ordinary memory, over and over. */
struct faulter {
	char *mem;
	size_t page, unit;
	bool stop;
	long dead, alive;	/* touches of the instance */
};

static long fault_all(void *arg)
{
	struct faulter *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		int sig = hm_cpu_touch(f->mem + f->unit - f->page);

		if (sig && sig != SIGBUS)
			return -EFAULT;
		if (!sig && f->dead)
			return -EEXIST;
		f->dead += sig == SIGBUS;
		__atomic_add_fetch(&f->alive, !sig, __ATOMIC_RELAXED);
		if (hm_differs(f->mem + f->unit, f->page, 1) >= 0)
			return -EBADMSG;
		madvise(f->mem, 2 * f->unit, MADV_DONTNEED);
	}
	return 0;
}

static int wait_alive(struct faulter *f)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	while (!__atomic_load_n(&f->alive, __ATOMIC_RELAXED)) {
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* Once it is seen dead it stays dead; what is beside it never is. */
TEST_F(arena_map, faults_race_with_unplug)
{
	struct faulter f[2] = {};
	struct hm_async a[2];
	__u32 id = self->rig.id;
	long result;

	for (int round = 0; round < ROUNDS; round++) {
		char *p = map_arena(_metadata, self, 2 * self->unit, 0);

		hm_fill(p + self->unit, self->page, 1);
		for (int i = 0; i < 2; i++) {
			f[i] = (struct faulter){ p, self->page, self->unit, false, 0, 0 };
			must(hm_async_start(&a[i], fault_all, &f[i]));
			must(wait_alive(&f[i]));
		}
		must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
		for (int i = 0; i < 2; i++) {
			__atomic_store_n(&f[i].stop, true, __ATOMIC_RELAXED);
			must(hm_async_join(&a[i], HM_LIMIT_MS, &result));
			EXPECT_EQ(0, result);
		}
		EXPECT_EQ(SIGBUS, hm_cpu_touch(p));
		unmap_all(self);
		must(hm_plug(self->rig.control, HOTMIRROR_DAX, self->unit, &id));
	}
}

/* A PMD beside pages: what is aligned is a PMD, the neighbours are not (S10). */
TEST_F(arena_map, pmd_beside_pages_beside_ordinary_memory)
{
	size_t pmd = self->rig.q.pmd_size, edge = self->unit - self->page;
	int fd = self->rig.fd;
	struct hotmirror_status st;
	char *p, *off;
	__u32 id;

	skip_unless(self->rig.q.features & HOTMIRROR_HAS_DAX_PMD,
		    "no PMD-mapped device memory in this kernel");
	if (!plug_dax(_metadata, &self->rig, pmd, pmd, &id))
		return;
	must(hm_status(self->rig.control, id, &st));
	ASSERT_EQ(self->place + self->unit, st.arena_offset);
	p = map_arena(_metadata, self, 2 * self->unit + pmd, 0);
	hm_fill(p + edge, 2 * self->page, 1);
	hm_fill(p + self->unit + pmd, self->page, 2);
	must(hm_mirror(fd, p, 2 * self->unit + pmd, 0, NULL));
	EXPECT_EQ(0, HOTMIRROR_SNAP_ORDER(look(_metadata, fd, p + edge)));
	EXPECT_EQ(__builtin_ctzl(pmd / self->page),
		  HOTMIRROR_SNAP_ORDER(look(_metadata, fd, p + self->unit + pmd / 2)));
	EXPECT_EQ(0, HOTMIRROR_SNAP_ORDER(look(_metadata, fd, p + self->unit + pmd)));
	must(hm_read(fd, p + edge, self->buf, 2 * self->page));
	expect_filled(self->buf, 2 * self->page, 1);

	/* Half a PMD off there is no PTE for it, but for the others. */
	off = reserve(3 * pmd, pmd) + pmd / 2;
	ASSERT_EQ(off, map_dax_at(off, self->rig.control, 2 * pmd, self->place + self->unit));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(off));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(off + pmd - 1));
	expect_filled(off + pmd, self->page, 2);
	ASSERT_EQ(0, munmap(off, 2 * pmd));

	/* A part of the PMD, and a VMA that ends in it. */
	ASSERT_EQ(0, madvise(p + self->unit, self->page, MADV_DONTNEED));
	expect_filled(p + self->unit - self->page, 2 * self->page, 1);
	ASSERT_EQ(0, munmap(p + self->unit + self->page, self->page));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p + self->unit));
	expect_filled(p + edge, self->page, 1);

	must(hm_unplug(self->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	expect_filled(p + edge, self->page, 1);
	expect_filled(p + self->unit + pmd, self->page, 2);
}

HM_TEST_MAIN
