// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device page table: an xarray of leaves, one for what a PMD spans, each an
 * array of plain words. Invalidation costs per leaf, not per page, and a populate
 * stores words under the driver lock. Leaves stay until the mirror goes: nothing
 * is allocated or freed under that lock, which reclaim takes through invalidate.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include "compat.h"
#include "hotmirror.h"

static unsigned long hotmirror_slot(unsigned long addr)
{
	return (addr >> PAGE_SHIFT) & (HOTMIRROR_LEAF_PAGES - 1);
}

static struct hotmirror_leaf *hotmirror_leaf_alloc(void)
{
	struct hotmirror_leaf *leaf = kzalloc_obj(*leaf, GFP_KERNEL_ACCOUNT);

	if (!leaf)
		return NULL;
	leaf->entry = kvcalloc(HOTMIRROR_LEAF_PAGES, sizeof(*leaf->entry),
			       GFP_KERNEL_ACCOUNT);
	if (leaf->entry)
		return leaf;
	kfree(leaf);
	return NULL;
}

static void hotmirror_leaf_free(struct hotmirror_leaf *leaf)
{
	kvfree(leaf->entry);
	kfree(leaf);
}

/**
 * hotmirror_dpt_reserve - make sure that entries around an address can be stored
 * @file: the mirror
 * @addr: the address
 *
 * Return: the leaf, good until hotmirror_dpt_destroy(), or NULL without memory.
 */
struct hotmirror_leaf *hotmirror_dpt_reserve(struct hotmirror_file *file,
					     unsigned long addr)
{
	unsigned long index = addr >> PMD_SHIFT;
	struct hotmirror_leaf *leaf, *old;

	leaf = xa_load(&file->leaves, index);
	if (leaf)
		return leaf;
	leaf = hotmirror_leaf_alloc();
	if (!leaf)
		return NULL;
	old = xa_cmpxchg(&file->leaves, index, NULL, leaf, GFP_KERNEL_ACCOUNT);
	if (!old)
		return leaf;
	hotmirror_leaf_free(leaf);
	return xa_is_err(old) ? NULL : old;
}

unsigned long hotmirror_dpt_get(struct hotmirror_file *file, unsigned long addr)
{
	struct hotmirror_leaf *leaf = xa_load(&file->leaves, addr >> PMD_SHIFT);

	return leaf ? leaf->entry[hotmirror_slot(addr)] : 0;
}

/* The entries of [start, end), 0 for what is not there. */
void hotmirror_dpt_copy(struct hotmirror_file *file, unsigned long start,
			unsigned long end, unsigned long *entries)
{
	struct hotmirror_leaf *leaf;
	unsigned long next, n;

	for (; start < end; start = next, entries += n) {
		next = min(end, (start & PMD_MASK) + PMD_SIZE);
		n = (next - start) >> PAGE_SHIFT;
		leaf = xa_load(&file->leaves, start >> PMD_SHIFT);
		if (leaf && leaf->present)
			memcpy(entries, &leaf->entry[hotmirror_slot(start)],
			       n * sizeof(*entries));
		else
			memset(entries, 0, n * sizeof(*entries));
	}
}

/* @n entries, none of them 0, from @addr on; all in the leaf. */
void hotmirror_dpt_store(struct hotmirror_leaf *leaf, unsigned long addr,
			 const unsigned long *entries, unsigned long n)
{
	unsigned long *slot = &leaf->entry[hotmirror_slot(addr)], i, added = 0;

	for (i = 0; i < n; i++) {
		added += !slot[i];
		slot[i] = entries[i];
	}
	leaf->present += added;
}

static unsigned long hotmirror_leaf_clear(struct hotmirror_leaf *leaf,
					  unsigned long first,
					  unsigned long last)
{
	unsigned long i, cleared = 0;

	for (i = first; leaf->present && i <= last; i++) {
		if (!leaf->entry[i])
			continue;
		leaf->entry[i] = 0;
		leaf->present--;
		cleared++;
	}
	return cleared;
}

/**
 * hotmirror_dpt_clear - drop the entries of a range and no other
 * @file: the mirror
 * @start: first byte of the range
 * @end: first byte behind it
 *
 * Return: how many entries were present.
 */
unsigned long hotmirror_dpt_clear(struct hotmirror_file *file,
				  unsigned long start, unsigned long end)
{
	unsigned long last = end - 1, index, first, cleared = 0;
	struct hotmirror_leaf *leaf;

	xa_for_each_range(&file->leaves, index, leaf, start >> PMD_SHIFT,
			  last >> PMD_SHIFT) {
		first = max(start, index << PMD_SHIFT);
		cleared += hotmirror_leaf_clear(leaf, hotmirror_slot(first),
				hotmirror_slot(min(last, (index << PMD_SHIFT) + PMD_SIZE - 1)));
	}
	return cleared;
}

void hotmirror_dpt_destroy(struct hotmirror_file *file)
{
	struct hotmirror_leaf *leaf;
	unsigned long index;

	xa_for_each(&file->leaves, index, leaf)
		hotmirror_leaf_free(leaf);
	xa_destroy(&file->leaves);
}
