// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arena: physical memory that was kept from the kernel at boot (memmap=) and is
 * handed out to coherent and dax instances in sub-sections, the smallest unit that
 * memremap_pages() can tell apart.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/ioport.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include "compat.h"
#include "hotmirror.h"

static DEFINE_MUTEX(hotmirror_arena_lock);
static struct resource *hotmirror_arena;
static unsigned long *hotmirror_arena_map;	/* a bit a sub-section */
static unsigned long hotmirror_arena_units;

/* <size>@<start>, both with the suffixes of memparse(). */
static int hotmirror_arena_parse(const char *spec, u64 *size, u64 *start)
{
	char *at, *end;

	*size = memparse(spec, &at);
	if (*at != '@')
		return -EINVAL;
	*start = memparse(at + 1, &end);
	if (*end || !*size || !IS_ALIGNED(*size | *start, SUBSECTION_SIZE) ||
	    *start + *size < *start)
		return -EINVAL;
	return 0;
}

int hotmirror_arena_init(const char *spec)
{
	u64 size, start;

	if (!spec || !*spec)
		return 0;
	if (hotmirror_arena_parse(spec, &size, &start)) {
		pr_err("arena=%s: want <size>@<start>, multiples of %lu MiB\n",
		       spec, SUBSECTION_SIZE >> 20);
		return -EINVAL;
	}
	if (region_intersects(start, size, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_DISJOINT) {
		pr_err("arena=%s: the kernel uses this memory; boot with memmap=<size>$<start>\n",
		       spec);
		return -EBUSY;
	}
	hotmirror_arena_units = size / SUBSECTION_SIZE;
	hotmirror_arena_map = bitmap_zalloc(hotmirror_arena_units, GFP_KERNEL);
	if (!hotmirror_arena_map)
		return -ENOMEM;
	hotmirror_arena = request_mem_region(start, size, "test_hotmirror");
	if (!hotmirror_arena) {
		pr_err("arena=%s: another driver owns this memory, see /proc/iomem\n",
		       spec);
		bitmap_free(hotmirror_arena_map);
		return -EBUSY;
	}
	return 0;
}

void hotmirror_arena_exit(void)
{
	if (!hotmirror_arena)
		return;
	WARN_ON(!bitmap_empty(hotmirror_arena_map, hotmirror_arena_units));
	release_mem_region(hotmirror_arena->start,
			   resource_size(hotmirror_arena));
	bitmap_free(hotmirror_arena_map);
}

/**
 * hotmirror_arena_alloc - take memory out of the arena, lowest address first
 * @bytes: how much, a multiple of SUBSECTION_SIZE
 * @offset: out: where it lies in the arena
 *
 * Return: 0 or -ENOSPC.
 */
int hotmirror_arena_alloc(u64 bytes, u64 *offset)
{
	unsigned long n = bytes / SUBSECTION_SIZE, unit;

	guard(mutex)(&hotmirror_arena_lock);
	unit = bitmap_find_next_zero_area(hotmirror_arena_map,
					  hotmirror_arena_units, 0, n, 0);
	if (unit >= hotmirror_arena_units)
		return -ENOSPC;
	bitmap_set(hotmirror_arena_map, unit, n);
	*offset = (u64)unit * SUBSECTION_SIZE;
	return 0;
}

void hotmirror_arena_free(u64 offset, u64 bytes)
{
	guard(mutex)(&hotmirror_arena_lock);
	bitmap_clear(hotmirror_arena_map, offset / SUBSECTION_SIZE,
		     bytes / SUBSECTION_SIZE);
}

/* Whether an instance, anybody's, has the sub-section at @offset. */
bool hotmirror_arena_used(u64 offset)
{
	guard(mutex)(&hotmirror_arena_lock);
	return test_bit(offset / SUBSECTION_SIZE, hotmirror_arena_map);
}

phys_addr_t hotmirror_arena_phys(u64 offset)
{
	return hotmirror_arena->start + offset;
}

u64 hotmirror_arena_bytes(void)
{
	return hotmirror_arena ? resource_size(hotmirror_arena) : 0;
}

u64 hotmirror_arena_unused(void)
{
	unsigned long used;

	guard(mutex)(&hotmirror_arena_lock);
	used = bitmap_weight(hotmirror_arena_map, hotmirror_arena_units);
	return (u64)(hotmirror_arena_units - used) * SUBSECTION_SIZE;
}
