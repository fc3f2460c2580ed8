// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of an instance: its struct pages (pgmap), and for the private and
 * coherent kinds which of its pages back somebody's memory.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "compat.h"
#include "hotmirror.h"

static struct hotmirror_instance *hotmirror_page_instance(struct page *page)
{
	return container_of(page_pgmap(page), struct hotmirror_instance, pgmap);
}

/* Under mem_lock: forget the data of a page, or of a leaf of pages, for freeing. */
static struct page *hotmirror_take_data(struct hotmirror_instance *inst,
					unsigned long index, unsigned long nr)
{
	struct page *data;

	if (!inst->backing)
		return NULL;
	data = inst->backing[index];
	memset(&inst->backing[index], 0, nr * sizeof(data));
	if (nr > 1)
		__clear_bit(index / HOTMIRROR_LEAF_PAGES, inst->large);
	return data;
}

/* The last reference to a private or coherent folio is gone; maybe in an interrupt. */
static void hotmirror_folio_free(struct folio *folio)
{
	struct hotmirror_instance *inst = hotmirror_page_instance(&folio->page);
	unsigned long index = folio_pfn(folio) - inst->first_pfn;
	unsigned long nr = folio_nr_pages(folio), flags;
	struct page *data;

	/* free_zone_device_folio(): whose the next user's page would still seem to be. */
	WARN_ON_ONCE(folio->mapping);
	spin_lock_irqsave(&inst->mem_lock, flags);
	data = hotmirror_take_data(inst, index, nr);
	bitmap_clear(inst->used, index, nr);
	WRITE_ONCE(inst->nr_used, inst->nr_used - nr);
	if (!inst->nr_used && READ_ONCE(inst->target) != HOTMIRROR_LIVE)
		wake_up_all(&inst->wait);
	spin_unlock_irqrestore(&inst->mem_lock, flags);
	if (data)
		__free_pages(data, folio_order(folio));
}

HOTMIRROR_DEFINE_FOLIO_FREE(hotmirror_folio_free)

/*
 * A large private folio falls apart. Its data is one allocation until then; from
 * now on each page is freed by itself. Called once for each new folio, with NULL
 * at the end.
 */
static void __maybe_unused hotmirror_folio_split(struct folio *head,
						 struct folio *tail)
{
	struct hotmirror_instance *inst = hotmirror_page_instance(&head->page);
	unsigned long index = folio_pfn(head) - inst->first_pfn, flags;

	spin_lock_irqsave(&inst->mem_lock, flags);
	if (__test_and_clear_bit(index / HOTMIRROR_LEAF_PAGES, inst->large))
		split_page(inst->backing[index], PMD_SHIFT - PAGE_SHIFT);
	spin_unlock_irqrestore(&inst->mem_lock, flags);
	hotmirror_split_tail(head, tail);
}

static const struct dev_pagemap_ops hotmirror_pgmap_ops = {
	HOTMIRROR_FOLIO_FREE(hotmirror_folio_free),
	HOTMIRROR_FOLIO_SPLIT(hotmirror_folio_split)
	.migrate_to_ram = hotmirror_migrate_to_ram,
};

/* Under mem_lock: a free, aligned run of pages, or nr_pages if there is none. */
static unsigned long hotmirror_find_free(struct hotmirror_instance *inst,
					 unsigned long nr)
{
	unsigned long index;

	index = bitmap_find_next_zero_area(inst->used, inst->nr_pages,
					   inst->hint, nr, nr - 1);
	if (index >= inst->nr_pages)
		index = bitmap_find_next_zero_area(inst->used, inst->nr_pages,
						   0, nr, nr - 1);
	return min(index, inst->nr_pages);
}

/* Under mem_lock: take the run, and let @data hold its bytes. */
static void hotmirror_take(struct hotmirror_instance *inst, unsigned long index,
			   unsigned long nr, struct page *data)
{
	unsigned long i;

	bitmap_set(inst->used, index, nr);
	WRITE_ONCE(inst->nr_used, inst->nr_used + nr);
	inst->hint = index + nr;
	if (!data)
		return;
	for (i = 0; i < nr; i++)
		inst->backing[index + i] = data + i;
	if (nr > 1)
		__set_bit(index / HOTMIRROR_LEAF_PAGES, inst->large);
}

/* Whether this allocation of a large folio is to fail, on either side. */
bool hotmirror_fail_large(struct hotmirror_instance *inst)
{
	if (READ_ONCE(inst->fail_large_once) && xchg(&inst->fail_large_once, false))
		return true;
	return READ_ONCE(inst->fail_large);
}

/**
 * hotmirror_devmem_alloc - take a folio of device memory
 * @inst: a private or coherent instance
 * @order: 0, or that of a PMD (private, HOTMIRROR_CAN_LARGE)
 *
 * Return: its first page, locked, with one reference, ready to be a migration
 * target; NULL if the device is full or there is no memory for the data.
 */
struct page *hotmirror_devmem_alloc(struct hotmirror_instance *inst,
				    unsigned int order)
{
	unsigned long index, nr = 1UL << order, flags;
	struct page *page, *data = NULL;

	if (order && hotmirror_fail_large(inst))
		return NULL;
	if (inst->backing) {
		data = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_NOWARN |
				   (order ? __GFP_NORETRY : 0), order);
		if (!data)
			return NULL;
	}
	spin_lock_irqsave(&inst->mem_lock, flags);
	index = hotmirror_find_free(inst, nr);
	if (index < inst->nr_pages)
		hotmirror_take(inst, index, nr, data);
	spin_unlock_irqrestore(&inst->mem_lock, flags);
	if (index >= inst->nr_pages) {
		if (data)
			__free_pages(data, order);
		return NULL;
	}
	page = pfn_to_page(inst->first_pfn + index);
	zone_device_folio_init((struct folio *)page, &inst->pgmap, order);
	return page;
}

bool hotmirror_devmem_owns(struct hotmirror_instance *inst, unsigned long pfn)
{
	return pfn - inst->first_pfn < inst->nr_pages;
}

/* The page that holds the bytes of a pfn of this instance. */
struct page *hotmirror_devmem_data(struct hotmirror_instance *inst,
				   unsigned long pfn)
{
	if (inst->backing)
		return inst->backing[pfn - inst->first_pfn];
	return pfn_to_page(pfn);
}

static int hotmirror_devmem_range(struct hotmirror_instance *inst)
{
	struct range *range = &inst->pgmap.range;
	int ret;

	if (inst->kind == HOTMIRROR_PRIVATE) {
		inst->res = request_free_mem_region(&iomem_resource, inst->bytes,
						    "test_hotmirror");
		if (IS_ERR(inst->res)) {
			ret = PTR_ERR(inst->res);
			inst->res = NULL;
			return ret;
		}
		range->start = inst->res->start;
	} else {
		ret = hotmirror_arena_alloc(inst->bytes, &inst->arena_offset);
		if (ret)
			return ret;
		range->start = hotmirror_arena_phys(inst->arena_offset);
	}
	range->end = range->start + inst->bytes - 1;
	inst->pgmap.nr_range = 1;
	inst->first_pfn = PHYS_PFN(range->start);
	return 0;
}

static void hotmirror_devmem_range_free(struct hotmirror_instance *inst)
{
	if (inst->kind == HOTMIRROR_PRIVATE)
		release_mem_region(inst->res->start, resource_size(inst->res));
	else
		hotmirror_arena_free(inst->arena_offset, inst->bytes);
}

static int hotmirror_devmem_books(struct hotmirror_instance *inst)
{
	if (inst->kind == HOTMIRROR_DAX)
		return 0;
	inst->used = bitmap_zalloc(inst->nr_pages, GFP_KERNEL);
	if (!inst->used)
		return -ENOMEM;
	if (inst->kind == HOTMIRROR_COHERENT)
		return 0;
	inst->backing = kvcalloc(inst->nr_pages, sizeof(*inst->backing),
				 GFP_KERNEL);
	inst->large = bitmap_zalloc(inst->nr_pages / HOTMIRROR_LEAF_PAGES,
				    GFP_KERNEL);
	return inst->backing && inst->large ? 0 : -ENOMEM;
}

/*
 * Whether every struct page of a PMD leads to the one that counts. In 6.12.95 the core
 * forgets most of them in a section that is shared with RAM (compound_nr_pages() does
 * not ask for early_section()); a reference to such a page goes nowhere.
 */
static bool hotmirror_devmem_sound(struct hotmirror_instance *inst)
{
	unsigned long step = 1UL << inst->pgmap.vmemmap_shift, i;
	struct page *page = pfn_to_page(inst->first_pfn);

	for (i = 0; step > 1 && i < inst->nr_pages; i++)
		if (compound_head(page + i) != page + ALIGN_DOWN(i, step))
			return false;
	return true;
}

/* Give a new instance its memory; hotmirror_devmem_free() also ends a failed one. */
int hotmirror_devmem_plug(struct hotmirror_instance *inst)
{
	static const enum memory_type types[] = {
		[HOTMIRROR_PRIVATE] = MEMORY_DEVICE_PRIVATE,
		[HOTMIRROR_COHERENT] = MEMORY_DEVICE_COHERENT,
		[HOTMIRROR_DAX] = MEMORY_DEVICE_GENERIC,
	};
	void *kaddr;
	int ret;

	inst->nr_pages = inst->bytes >> PAGE_SHIFT;
	ret = hotmirror_devmem_books(inst);
	if (ret)
		return ret;
	ret = hotmirror_devmem_range(inst);
	if (ret)
		return ret;
	inst->pgmap.type = types[inst->kind];
	if (inst->kind != HOTMIRROR_DAX)
		inst->pgmap.ops = &hotmirror_pgmap_ops;
	inst->pgmap.owner = inst;
	kaddr = memremap_pages(&inst->pgmap, NUMA_NO_NODE);
	ret = PTR_ERR_OR_ZERO(kaddr);
	if (!ret && !hotmirror_devmem_sound(inst)) {
		memunmap_pages(&inst->pgmap);
		ret = -EOPNOTSUPP;
	}
	if (ret) {
		hotmirror_devmem_range_free(inst);
		return ret;
	}
	inst->mapped = true;
	/* What the last user of this memory left must not be seen by the next. */
	if (inst->kind == HOTMIRROR_DAX)
		memset(kaddr, 0, inst->bytes);
	return 0;
}

/* Take the memory away; waits for RCU only, because no reference is left. */
void hotmirror_devmem_unmap(struct hotmirror_instance *inst)
{
	memunmap_pages(&inst->pgmap);
	hotmirror_devmem_range_free(inst);
}

void hotmirror_devmem_free(struct hotmirror_instance *inst)
{
	kvfree(inst->backing);
	bitmap_free(inst->large);
	bitmap_free(inst->used);
}
