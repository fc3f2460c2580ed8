// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device memory that is mapped in PMDs, like a device-dax of 2 MiB alignment: the
 * rules of its mappings, and that one reference anywhere holds the whole PMD.
 */
#include <sys/prctl.h>

#include "dax_test.h"
#include "lib/setting.h"

FIXTURE(pmd) {
	struct region r;
};

typedef FIXTURE_DATA(pmd) data;

FIXTURE_SETUP(pmd)
{
	setup_region(_metadata, variant, &self->r, true);
}

FIXTURE_TEARDOWN(pmd)
{
	rig_teardown(_metadata, &self->r.rig);
}

static bool aligned(const struct region *r, const void *p)
{
	return !((uintptr_t)p % r->unit);
}

TEST_F(pmd, status_says_so)
{
	struct hotmirror_status st;

	must(hm_status(self->r.fd, 0, &st));
	EXPECT_EQ(self->r.rig.q.pmd_size, st.align);
	EXPECT_EQ(0, st.arena_offset % st.align);
}

/* One touch maps all of a PMD, and nothing of its neighbours. */
TEST_F(pmd, fault_maps_a_pmd)
{
	struct region *r = &self->r;

	must(hm_mirror(r->fd, r->mem, r->length, 0, NULL));
	EXPECT_EQ(0, hm_cpu_touch(r->mem + r->unit + 5 * r->page));
	for (size_t i = 0; i < r->unit; i += r->unit / 8) {
		__u32 snap = look(_metadata, r->fd, r->mem + r->unit + i);

		EXPECT_NE(0, snap & HOTMIRROR_SNAP_VALID);
		EXPECT_NE(0, snap & HOTMIRROR_SNAP_OWN);
		EXPECT_EQ(HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap));
		EXPECT_EQ(unit_order(r), HOTMIRROR_SNAP_ORDER(snap));
	}
	EXPECT_EQ(0, look(_metadata, r->fd, r->mem + r->unit - r->page) & HOTMIRROR_SNAP_VALID);
	EXPECT_EQ(0, look(_metadata, r->fd, r->mem + 2 * r->unit) & HOTMIRROR_SNAP_VALID);
}

/* Pages of one PMD are neighbours in memory, and stay in their order. */
TEST_F(pmd, contents_are_in_order)
{
	struct region *r = &self->r;
	char *all = map_dax(r->fd, r->unit, 0);

	ASSERT_NE(MAP_FAILED, all);
	for (size_t i = 0; i < r->unit; i += r->page)
		*(size_t *)(r->mem + i) = i + 1;
	for (size_t i = 0; i < r->unit; i += r->page)
		ASSERT_EQ(i + 1, *(size_t *)(all + i));
	must(hm_mirror(r->fd, all, r->unit, 0, NULL));
	must(hm_read(r->fd, all, r->buf, r->unit));
	for (size_t i = 0; i < r->unit; i += r->page)
		ASSERT_EQ(i + 1, *(size_t *)(r->buf + i));
}

TEST_F(pmd, protection_is_that_of_the_pmd)
{
	struct region *r = &self->r;
	char *last = r->mem + r->unit - r->page;
	__u32 snap;

	must(hm_mirror(r->fd, r->mem, r->unit, 0, NULL));
	ASSERT_EQ(0, mprotect(r->mem, r->unit, PROT_READ));
	EXPECT_EQ(0, hm_cpu_touch(r->mem));
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(last));
	snap = look(_metadata, r->fd, last);
	EXPECT_EQ(HOTMIRROR_SNAP_VALID, snap & (HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE));
	ASSERT_EQ(0, mprotect(r->mem, r->unit, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, hm_cpu_dirty(last));
	snap = look(_metadata, r->fd, r->mem);
	EXPECT_NE(0, snap & HOTMIRROR_SNAP_WRITE);
	EXPECT_EQ(unit_order(r), HOTMIRROR_SNAP_ORDER(snap));
}

TEST_F(pmd, address_of_the_kernels_choice_is_aligned)
{
	struct region *r = &self->r;

	for (int n = 1; n <= UNITS; n++) {
		/* Something odd in the way. */
		ASSERT_NE(MAP_FAILED, mmap(NULL, r->page, PROT_NONE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		char *p = map_dax(r->fd, n * r->unit, (UNITS - n) * r->unit);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_TRUE(aligned(r, p));
		EXPECT_EQ(0, hm_cpu_dirty(p + n * r->unit - 1));
	}
}

TEST_F(pmd, misaligned_mapping_is_einval)
{
	struct region *r = &self->r;
	char *p = reserve(2 * r->unit, r->unit);
	const struct {
		char *addr;
		size_t length;
		off_t offset;
	} bad[] = {
		{ p + r->page, r->unit, 0 },
		{ p + r->unit - r->page, r->unit, 0 },
		{ p, r->page, 0 },
		{ p, r->unit + r->page, 0 },
		{ p, r->unit - r->page, 0 },
		{ p, r->unit, r->page },
		{ p, r->unit, r->unit - r->page },
		/* Address and offset agree, but there is no whole PMD. */
		{ p + r->page, r->unit - r->page, r->page },
	};

	ASSERT_NE(NULL, p);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(MAP_FAILED, map_dax_at(bad[i].addr, r->fd, bad[i].length,
						 bad[i].offset))
			TH_LOG("row %zu", i);
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(p, map_dax_at(p, r->fd, r->unit, r->unit));
	EXPECT_EQ(0, hm_cpu_dirty(p));
}

TEST_F(pmd, private_mapping_is_einval)
{
	struct region *r = &self->r;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, r->unit, PROT_READ, MAP_PRIVATE, r->fd, 0));
	EXPECT_EQ(EINVAL, errno);
}

/* Dead comes before misaligned and private, as with device-dax. */
TEST_F(pmd, mapping_of_a_dead_one_is_enxio)
{
	struct region *r = &self->r;

	must(hm_unplug(r->rig.control, r->rig.id, HOTMIRROR_DISABLED, HM_LIMIT_MS));
	EXPECT_EQ(MAP_FAILED, map_dax(r->fd, r->unit, 0));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, map_dax(r->fd, r->page, 0));
	EXPECT_EQ(ENXIO, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, r->unit, PROT_READ, MAP_PRIVATE, r->fd, 0));
	EXPECT_EQ(ENXIO, errno);
}

/* What would leave a part of a PMD in a VMA is refused, and nothing has changed. */
TEST_F(pmd, vma_is_not_split_within_a_pmd)
{
	struct region *r = &self->r;
	char *middle = r->mem + r->unit + r->page;

	put_units(r, r->mem, UNITS, 1);
	EXPECT_EQ(-1, munmap(middle, r->page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, mprotect(middle, r->page, PROT_READ));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, madvise(middle, r->page, MADV_DONTFORK));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(middle, r->page, PROT_READ,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	/* Why it cannot unmap, mmap() does not pass on (6.1). */
	EXPECT_TRUE(errno == EINVAL || (errno == ENOMEM && hm_kernel_before(6, 12)))
		TH_LOG("%s", strerror(errno));
	expect_units(r, r->mem, UNITS, 1);
	EXPECT_EQ(0, hm_cpu_dirty(middle));
}

TEST_F(pmd, behind_the_end_is_sigbus)
{
	struct region *r = &self->r;
	char *p = map_dax(r->fd, 2 * r->unit, r->rig.bytes - r->unit);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, hm_cpu_dirty(p + r->unit - 1));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(p + r->unit));
	must(hm_mirror(r->fd, p, 2 * r->unit, 0, NULL));
	must_err(EFAULT, hm_read(r->fd, p + r->unit, r->buf, 1));
	must_err(EFAULT, hm_gup_read(p + r->unit, r->buf, 1));
}

/* Where the kernel may not use huge pages there is no PTE to fall back to. */
TEST_F(pmd, fault_of_a_small_page_is_sigbus)
{
	struct region *r = &self->r;

	must(hm_mirror(r->fd, r->mem, r->length, 0, NULL));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(r->mem));
	EXPECT_EQ(SIGBUS, hm_cpu_dirty(r->mem));
	must_err(EFAULT, hm_read(r->fd, r->mem, r->buf, 1));
	must_err(EFAULT, hm_gup_read(r->mem, r->buf, 1));
	ASSERT_EQ(0, prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	EXPECT_EQ(0, hm_cpu_dirty(r->mem));
	must(hm_read(r->fd, r->mem, r->buf, r->unit));
}

/* mremap() asks no driver: it is the fault that sees the new place. */
TEST_F(pmd, moved_to_a_misaligned_address_is_sigbus)
{
	struct region *r = &self->r;
	char *to = reserve(r->length + r->page, r->unit) + r->page;
	char *back = reserve(r->length, r->unit);

	put_units(r, r->mem, UNITS, 1);
	ASSERT_EQ(to, mremap(r->mem, r->length, r->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	for (int i = 0; i < UNITS; i++)
		EXPECT_EQ(SIGBUS, hm_cpu_touch(to + i * r->unit));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(to + r->length - 1));
	ASSERT_EQ(back, mremap(to, r->length, r->length, MREMAP_MAYMOVE | MREMAP_FIXED, back));
	expect_units(r, back, UNITS, 1);
}

/* A PMD is mapped whole or not at all: so its mirror loses all of it, too. */
TEST_F(pmd, dontneed_of_one_page_takes_the_pmd)
{
	struct region *r = &self->r;
	struct hotmirror_verify v;

	put_units(r, r->mem, UNITS, 1);
	must(hm_mirror(r->fd, r->mem, r->length, 0, NULL));
	must(hm_prefetch(r->fd, r->mem, r->length, true));
	ASSERT_EQ(0, madvise(r->mem + r->unit + r->page, r->page, MADV_DONTNEED));
	must(hm_verify(r->fd, &v));
	EXPECT_EQ(0, v.stale);
	EXPECT_EQ((UNITS - 1) * (r->unit / r->page), v.present);
	EXPECT_EQ(0, look(_metadata, r->fd, r->mem + r->unit) & HOTMIRROR_SNAP_VALID);
	expect_units(r, r->mem, UNITS, 1);
	unplug_region(_metadata, r);
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

/* References are counted for the PMD, wherever in it they are (claims S4, S5). */
TEST_F(pmd, one_page_holds_the_pmd)
{
	static const __u32 flags[] = {
		HOTMIRROR_PIN_WRITE, HOTMIRROR_PIN_GET, HOTMIRROR_PIN_LONGTERM,
		HOTMIRROR_PIN_FAST | HOTMIRROR_PIN_WRITE,
	};
	struct region *r = &self->r;
	struct hotmirror_status st;
	__u32 pins[ARRAY_SIZE(flags)];

	put_units(r, r->mem, UNITS, 1);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		must(hm_pin(r->fd, r->mem + 2 * r->unit + 7 * (i + 1) * r->page, r->page,
			    flags[i], &pins[i], NULL));
	must(hm_unplug(r->rig.control, r->rig.id, HOTMIRROR_GONE, 0));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		must(hm_wait_status(r->fd, 0, draining, &st));
		EXPECT_EQ(r->unit / r->page, st.pages_held);
		EXPECT_FALSE(hm_is_gone(r->fd));
		must(hm_unpin(r->fd, pins[i]));
	}
	must(hm_wait_gone(r->fd, HM_LIMIT_MS));
}

/* Small pages where a PMD was, and the other way round, in one place of the arena. */
TEST_F(pmd, place_changes_its_alignment)
{
	struct region *r = &self->r;
	const size_t aligns[] = { r->page, r->unit, r->page };
	struct hotmirror_status st;
	__u64 place;
	__u32 id;

	must(hm_status(r->fd, 0, &st));
	place = st.arena_offset;
	put_units(r, r->mem, UNITS, 1);
	unplug_region(_metadata, r);
	for (size_t i = 0; i < ARRAY_SIZE(aligns); i++) {
		must(hm_plug_dax(r->rig.control, r->rig.bytes, aligns[i], &id));
		int fd = must(hm_open(id));
		char *p = map_dax(fd, r->rig.bytes, 0);

		must(hm_status(fd, 0, &st));
		EXPECT_EQ(place, st.arena_offset);
		ASSERT_NE(MAP_FAILED, p);
		expect_zero(p, r->rig.bytes);
		put_units(r, p, UNITS, 2 + i);
		must(hm_pin(fd, p + r->unit - r->page, 2 * r->page, HOTMIRROR_PIN_WRITE,
			    NULL, NULL));
		/* The mapping holds the file, and that the pin. */
		ASSERT_EQ(0, munmap(p, r->rig.bytes));
		close(fd);
		must(hm_unplug(r->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	}
}

HM_TEST_MAIN
