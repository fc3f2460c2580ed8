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

static void hotmirror_free_index(struct hotmirror_instance *inst,
				 unsigned long index)
{
	struct page *data = NULL;

	spin_lock(&inst->mem_lock);
	if (inst->backing) {
		data = inst->backing[index];
		inst->backing[index] = NULL;
	}
	__clear_bit(index, inst->used);
	WRITE_ONCE(inst->nr_used, inst->nr_used - 1);
	if (!inst->nr_used && READ_ONCE(inst->target) != HOTMIRROR_LIVE)
		wake_up_all(&inst->wait);
	spin_unlock(&inst->mem_lock);
	if (data)
		__free_page(data);
}

/* The last reference to a private or coherent page is gone. */
static void hotmirror_folio_free(struct folio *folio)
{
	struct hotmirror_instance *inst = hotmirror_page_instance(&folio->page);

	hotmirror_free_index(inst, folio_pfn(folio) - inst->first_pfn);
}

HOTMIRROR_DEFINE_FOLIO_FREE(hotmirror_folio_free)

static const struct dev_pagemap_ops hotmirror_pgmap_ops = {
	HOTMIRROR_FOLIO_FREE(hotmirror_folio_free),
	.migrate_to_ram = hotmirror_migrate_to_ram,
};

/**
 * hotmirror_devmem_alloc - take a page of device memory
 * @inst: a private or coherent instance
 *
 * Return: the page, locked, with one reference, ready to be a migration target;
 * NULL if the device is full or there is no memory for the data.
 */
struct page *hotmirror_devmem_alloc(struct hotmirror_instance *inst)
{
	struct page *page, *data = NULL;
	unsigned long index;

	if (inst->backing) {
		data = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
		if (!data)
			return NULL;
	}
	spin_lock(&inst->mem_lock);
	index = find_first_zero_bit(inst->used, inst->nr_pages);
	if (index < inst->nr_pages) {
		__set_bit(index, inst->used);
		WRITE_ONCE(inst->nr_used, inst->nr_used + 1);
		if (inst->backing)
			inst->backing[index] = data;
	}
	spin_unlock(&inst->mem_lock);
	if (index >= inst->nr_pages) {
		if (data)
			__free_page(data);
		return NULL;
	}
	page = pfn_to_page(inst->first_pfn + index);
	zone_device_page_init(page, &inst->pgmap, 0);
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
	return inst->backing ? 0 : -ENOMEM;
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
	if (IS_ERR(kaddr)) {
		hotmirror_devmem_range_free(inst);
		return PTR_ERR(kaddr);
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
	bitmap_free(inst->used);
}
