/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dax regions under test: an instance of a few units, a unit being what it is mapped
 * in (a page or a PMD), and contents that tell the units apart. Of a PMD only the
 * first and the last page are filled and compared: under emulation a byte is dear.
 */
#ifndef HOTMIRROR_DAX_TEST_H
#define HOTMIRROR_DAX_TEST_H

#include <sys/mman.h>

#include "hm_test.h"

#define UNITS	4

struct region {
	struct hm_rig rig;
	int fd;
	size_t page, unit, length;	/* length: that of all UNITS */
	char *mem;			/* all of them, not touched */
	char *buf;			/* a unit of ordinary memory */
};

static inline void *map_dax(int fd, size_t length, off_t offset)
{
	return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
}

/* The same, at this address. */
static inline void *map_dax_at(void *addr, int fd, size_t length, off_t offset)
{
	return mmap(addr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		    offset);
}

/* Address space for @length bytes that starts at a multiple of @align, a power of 2. */
static inline char *reserve(size_t length, size_t align)
{
	char *p = mmap(NULL, length + align, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : (char *)(((uintptr_t)p + align - 1) & -align);
}

/* As hm_plug_dax(); false where a known bug of the kernel is in the way. */
static inline bool plug_dax(struct __test_metadata *_metadata, const struct hm_rig *rig,
			    __u64 bytes, __u64 align, __u32 *id)
{
	int ret = hm_plug_dax(rig->control, bytes, align, id);

	if (ret == -EOPNOTSUPP && align > rig->page) {
		rig_xfail(_metadata, "PMDs beside RAM: compound_nr_pages() forgets tail pages");
		return false;
	}
	must(ret);
	return true;
}

/* Plug and open, in place of rig_plug(); false if this kernel cannot. */
static inline bool plug_region(struct __test_metadata *_metadata, struct region *r,
			       bool pmd)
{
	struct hm_rig *rig = &r->rig;
	size_t pmds;

	if (!(rig->q.features & HOTMIRROR_HAS_DAX))
		SKIP(return false, "%s", hm_kind(HOTMIRROR_DAX)->lacking);
	if (pmd && !(rig->q.features & HOTMIRROR_HAS_DAX_PMD))
		SKIP(return false, "no PMD-mapped device memory in this kernel");
	r->page = rig->page;
	r->unit = pmd ? rig->q.pmd_size : rig->page;
	r->length = UNITS * r->unit;
	pmds = (r->length + rig->q.plug_align - 1) / rig->q.plug_align;
	rig->kind = HOTMIRROR_DAX;
	rig->bytes = pmds * rig->q.plug_align;
	if (!plug_dax(_metadata, rig, rig->bytes, r->unit, &rig->id))
		return false;
	rig->fd = must(hm_open(rig->id));
	r->fd = rig->fd;
	return true;
}

static inline bool setup_region(struct __test_metadata *_metadata, const void *variant,
				struct region *r, bool pmd)
{
	rig_begin(_metadata, variant, &r->rig);
	/* What still leaves has a place in the arena that some tests look for again. */
	must(rig_settle(&r->rig));
	if (!plug_region(_metadata, r, pmd)) {
		rig_end(_metadata, &r->rig);
		return false;
	}
	r->buf = hm_map(r->unit / r->page);
	ASSERT_NE(NULL, r->buf);
	r->mem = map_dax(r->fd, r->length, 0);
	ASSERT_NE(MAP_FAILED, r->mem);
	return true;
}

/* Give a unit its contents. */
static inline void put_unit(const struct region *r, char *unit, unsigned int seed)
{
	hm_fill(unit, r->page, seed);
	if (r->unit > r->page)
		hm_fill(unit + r->unit - r->page, r->page, seed + 1000);
}

static inline bool is_unit(const struct region *r, const char *unit, unsigned int seed)
{
	return hm_differs(unit, r->page, seed) < 0 &&
	       (r->unit == r->page ||
		hm_differs(unit + r->unit - r->page, r->page, seed + 1000) < 0);
}

/* The first @n units from @mem on, each its own. */
static inline void put_units(const struct region *r, char *mem, int n, unsigned int seed)
{
	for (int i = 0; i < n; i++)
		put_unit(r, mem + i * r->unit, seed + i);
}

/* The first of @n units that has other contents than put_units() gave it, -1: none. */
static inline int units_differ(const struct region *r, const char *mem, int n,
			       unsigned int seed)
{
	for (int i = 0; i < n; i++)
		if (!is_unit(r, mem + i * r->unit, seed + i))
			return i;
	return -1;
}

#define expect_units(r, mem, n, seed) \
	EXPECT_EQ(-1, units_differ(r, mem, n, seed))

/* What instance file @fd sees of one page. */
static inline __u32 look(struct __test_metadata *_metadata, int fd, const void *addr)
{
	__u32 snap = 0;

	must(hm_snapshot(fd, addr, hm_page_size(), &snap));
	return snap;
}

/* Order of the mapping of a unit. */
static inline unsigned int unit_order(const struct region *r)
{
	return __builtin_ctzl(r->unit / r->page);
}

/* Unplug to the end, with whatever still maps or mirrors the region. */
static inline void unplug_region(struct __test_metadata *_metadata, struct region *r)
{
	must(hm_unplug(r->rig.control, r->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
}

#endif /* HOTMIRROR_DAX_TEST_H */
