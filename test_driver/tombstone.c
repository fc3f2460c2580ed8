// SPDX-License-Identifier: GPL-2.0-only
/*
 * Surprise removal: the contents of the instance's private and coherent pages are
 * gone, and their owners must be told. Anonymous pages have no inode whose mappings
 * could be revoked, so each is migrated into a *tombstone*: a private device page
 * that has no contents and answers every CPU access with SIGBUS. To everyone else
 * (fork, munmap, mremap, MADV_DONTNEED, exit) it is a device page like any other.
 *
 * The tombstones of one instance are one pgmap, its grave, as large as the instance:
 * a page is buried at its own offset, so that burying needs no memory and cannot
 * fail. The grave outlives the instance until its last tombstone is freed, and holds
 * a module reference until then: rmmod is refused, and nothing ever waits for it.
 */
#include <linux/ioport.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "compat.h"
#include "hotmirror.h"

struct hotmirror_grave {
	struct dev_pagemap pgmap;
	struct resource *res;
	atomic_long_t refs;		/* one a tombstone page, one of the instance */
	struct work_struct work;
};

/* Pages, of all graves. */
static atomic_long_t hotmirror_tombstones = ATOMIC_LONG_INIT(0);

u64 hotmirror_nr_tombstones(void)
{
	return atomic_long_read(&hotmirror_tombstones);
}

static struct hotmirror_grave *hotmirror_page_grave(struct page *page)
{
	return container_of(page_pgmap(page), struct hotmirror_grave, pgmap);
}

static void hotmirror_grave_free(struct hotmirror_grave *grave)
{
	if (grave->res)
		release_mem_region(grave->res->start, resource_size(grave->res));
	kfree(grave);
	hotmirror_count(HOTMIRROR_LEAVING, -1);
	module_put(THIS_MODULE);
}

/* No tombstone is left, so this waits for RCU only. */
static void hotmirror_grave_work(struct work_struct *work)
{
	struct hotmirror_grave *grave =
		container_of(work, struct hotmirror_grave, work);

	memunmap_pages(&grave->pgmap);
	hotmirror_grave_free(grave);
}

static void hotmirror_grave_put(struct hotmirror_grave *grave, long nr)
{
	if (!atomic_long_sub_and_test(nr, &grave->refs))
		return;
	hotmirror_count(HOTMIRROR_LEAVING, 1);
	hotmirror_count(HOTMIRROR_DEVICES, -1);
	queue_work(hotmirror_wq, &grave->work);
}

/* Its last owner is gone; maybe in an interrupt. */
static void hotmirror_tombstone_free(struct folio *folio)
{
	long nr = folio_nr_pages(folio);

	atomic_long_sub(nr, &hotmirror_tombstones);
	hotmirror_grave_put(hotmirror_page_grave(&folio->page), nr);
}

HOTMIRROR_DEFINE_FOLIO_FREE(hotmirror_tombstone_free)

static vm_fault_t hotmirror_tombstone_fault(struct vm_fault *vmf)
{
	return VM_FAULT_SIGBUS;
}

static const struct dev_pagemap_ops hotmirror_grave_ops = {
	HOTMIRROR_FOLIO_FREE(hotmirror_tombstone_free),
	.migrate_to_ram = hotmirror_tombstone_fault,
};

static int hotmirror_grave_map(struct hotmirror_grave *grave, u64 bytes)
{
	struct dev_pagemap *pgmap = &grave->pgmap;
	struct resource *res;

	res = request_free_mem_region(&iomem_resource, bytes,
				      "test_hotmirror tombstones");
	if (IS_ERR(res))
		return PTR_ERR(res);
	grave->res = res;
	pgmap->type = MEMORY_DEVICE_PRIVATE;
	pgmap->ops = &hotmirror_grave_ops;
	pgmap->owner = grave;		/* nobody's: no migration selects them */
	pgmap->range.start = res->start;
	pgmap->range.end = res->end;
	pgmap->nr_range = 1;
	return PTR_ERR_OR_ZERO(memremap_pages(pgmap, NUMA_NO_NODE));
}

static struct hotmirror_grave *hotmirror_grave_new(u64 bytes)
{
	struct hotmirror_grave *grave = kzalloc_obj(*grave, GFP_KERNEL);

	if (!grave)
		return NULL;
	atomic_long_set(&grave->refs, 1);
	INIT_WORK(&grave->work, hotmirror_grave_work);
	__module_get(THIS_MODULE);
	hotmirror_count(HOTMIRROR_DEVICES, 1);
	if (!hotmirror_grave_map(grave, bytes))
		return grave;
	hotmirror_count(HOTMIRROR_LEAVING, 1);
	hotmirror_count(HOTMIRROR_DEVICES, -1);
	hotmirror_grave_free(grave);
	return NULL;
}

/**
 * hotmirror_lose - from now on this instance's pages are lost, not brought home
 * @inst: the instance, in any state
 *
 * What is home already stays so. Dax memory has no owner to be told: its mappings
 * are dead after any unplug.
 *
 * Return: 0, -ENOMEM (no room for the tombstones) or -EOPNOTSUPP (no private
 * device memory in this kernel).
 */
int hotmirror_lose(struct hotmirror_instance *inst)
{
	struct hotmirror_grave *grave;

	if (inst->kind == HOTMIRROR_DAX || READ_ONCE(inst->grave))
		return 0;
	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;
	grave = hotmirror_grave_new(inst->bytes);
	if (!grave)
		return -ENOMEM;
	mutex_lock(&inst->lock);
	if (inst->mapped && !inst->grave) {
		WRITE_ONCE(inst->grave, grave);
		grave = NULL;
	}
	mutex_unlock(&inst->lock);
	if (grave)
		hotmirror_grave_put(grave, 1);
	return 0;
}

/* Every page is buried: the grave now lives as long as its tombstones. */
void hotmirror_lose_end(struct hotmirror_instance *inst)
{
	struct hotmirror_grave *grave;

	mutex_lock(&inst->lock);
	grave = inst->grave;
	inst->grave = NULL;
	mutex_unlock(&inst->lock);
	if (grave)
		hotmirror_grave_put(grave, 1);
}

/* The tombstone of a folio: as large, at the same offset, locked. */
struct page *hotmirror_bury(struct hotmirror_instance *inst, struct page *src,
			    unsigned int order)
{
	struct hotmirror_grave *grave = inst->grave;
	struct page *page;

	page = pfn_to_page(PHYS_PFN(grave->res->start) + page_to_pfn(src) -
			   inst->first_pfn);
	atomic_long_add(1 << order, &grave->refs);
	atomic_long_add(1 << order, &hotmirror_tombstones);
	zone_device_folio_init((struct folio *)page, &grave->pgmap, order);
	return page;
}
