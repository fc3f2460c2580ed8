// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() of the control file: one VMA over a range of the arena, and with it over
 * whatever is plugged there (claims S9, S10). Its pages may come from several
 * instances and from ordinary memory, side by side under one PMD.
 *
 * What the VMA shows in each sub-section of the arena is decided once, by mmap(), and
 * kept in a layout: a later plug or unplug never changes what kind of memory is at an
 * address, so a dead page is never followed by a zeroed one.
 */
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include "compat.h"
#include "hotmirror.h"

/* Pages in a sub-section, the smallest thing that can be plugged. */
#define HOTMIRROR_UNIT_PAGES	(SUBSECTION_SIZE >> PAGE_SHIFT)

struct hotmirror_layout {
	struct kref ref;
	struct hotmirror_control *control;	/* the VMA's file keeps it */
	pgoff_t first;				/* unit of the arena */
	unsigned long nr;
	/* NULL: ordinary memory; ERR_PTR(): nothing; else referenced */
	struct hotmirror_instance *unit[] __counted_by(nr);
};

int hotmirror_mixed_open(struct hotmirror_control *control, struct file *filp)
{
	struct inode *inode;

	xa_init(&control->pages);
	if (!hotmirror_arena_bytes() || !IS_ENABLED(CONFIG_FS_DAX))
		return 0;
	inode = hotmirror_inode_get();
	if (IS_ERR(inode))
		return PTR_ERR(inode);
	control->inode = inode;
	hotmirror_dax_open(inode, filp);
	return 0;
}

/* No mapping is left. Who has pinned a page keeps it. */
void hotmirror_mixed_release(struct hotmirror_control *control)
{
	struct page *page;
	unsigned long i;

	xa_for_each(&control->pages, i, page)
		put_page(page);
	xa_destroy(&control->pages);
	hotmirror_inode_put(control->inode);
}

/* Who has this sub-section of the arena now. Under control->lock. */
static struct hotmirror_instance *
hotmirror_layout_unit(struct hotmirror_control *control, u64 offset)
{
	struct hotmirror_instance *inst;

	list_for_each_entry(inst, &control->instances, node) {
		if (inst->kind != HOTMIRROR_DAX ||
		    READ_ONCE(inst->target) != HOTMIRROR_LIVE ||
		    offset - inst->arena_offset >= inst->bytes)
			continue;
		hotmirror_get(inst);
		return inst;
	}
	return hotmirror_arena_used(offset) ? ERR_PTR(-ENXIO) : NULL;
}

static struct hotmirror_layout *
hotmirror_layout_new(struct hotmirror_control *control, struct vm_area_struct *vma)
{
	pgoff_t first = vma->vm_pgoff / HOTMIRROR_UNIT_PAGES;
	pgoff_t end = DIV_ROUND_UP(vma->vm_pgoff + vma_pages(vma),
				   HOTMIRROR_UNIT_PAGES);
	struct hotmirror_layout *layout;
	unsigned long i;

	layout = kvzalloc(struct_size(layout, unit, end - first),
			  GFP_KERNEL_ACCOUNT);
	if (!layout)
		return NULL;
	kref_init(&layout->ref);
	layout->control = control;
	layout->first = first;
	layout->nr = end - first;
	guard(mutex)(&control->lock);
	for (i = 0; i < layout->nr; i++)
		layout->unit[i] = hotmirror_layout_unit(control,
							(first + i) * SUBSECTION_SIZE);
	hotmirror_count(HOTMIRROR_LAYOUTS, 1);
	return layout;
}

static void hotmirror_layout_free(struct kref *ref)
{
	struct hotmirror_layout *layout =
		container_of(ref, struct hotmirror_layout, ref);
	unsigned long i;

	for (i = 0; i < layout->nr; i++)
		if (!IS_ERR_OR_NULL(layout->unit[i]))
			hotmirror_put(layout->unit[i]);
	kvfree(layout);
	hotmirror_count(HOTMIRROR_LAYOUTS, -1);
}

/* The ordinary page at an offset, a new one if there is none. */
static struct page *hotmirror_mixed_page(struct hotmirror_control *control,
					 pgoff_t pgoff)
{
	struct page *page = xa_load(&control->pages, pgoff), *old;

	if (page)
		return page;
	page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!page)
		return NULL;
	old = xa_cmpxchg(&control->pages, pgoff, NULL, page, GFP_KERNEL);
	if (!old)
		return page;
	__free_page(page);
	return xa_is_err(old) ? NULL : old;
}

static vm_fault_t hotmirror_mixed_ordinary(struct hotmirror_control *control,
					   struct vm_fault *vmf)
{
	struct page *page = hotmirror_mixed_page(control, vmf->pgoff);

	if (!page)
		return VM_FAULT_OOM;
	get_page(page);
	vmf->page = page;
	return 0;
}

static vm_fault_t hotmirror_mixed_huge_fault(struct vm_fault *vmf,
					     unsigned int order)
{
	struct hotmirror_layout *layout = vmf->vma->vm_private_data;
	struct hotmirror_instance *inst;

	inst = layout->unit[vmf->pgoff / HOTMIRROR_UNIT_PAGES - layout->first];
	if (!IS_ERR_OR_NULL(inst))
		return hotmirror_dax_fault(inst, vmf, order);
	if (order)
		return VM_FAULT_FALLBACK;
	if (inst)
		return VM_FAULT_SIGBUS;
	return hotmirror_mixed_ordinary(layout->control, vmf);
}

HOTMIRROR_DEFINE_HUGE_FAULT(hotmirror_mixed_huge_fault)

static vm_fault_t hotmirror_mixed_fault(struct vm_fault *vmf)
{
	return hotmirror_mixed_huge_fault(vmf, 0);
}

static void hotmirror_mixed_vm_open(struct vm_area_struct *vma)
{
	struct hotmirror_layout *layout = vma->vm_private_data;

	kref_get(&layout->ref);
}

static void hotmirror_mixed_vm_close(struct vm_area_struct *vma)
{
	struct hotmirror_layout *layout = vma->vm_private_data;

	kref_put(&layout->ref, hotmirror_layout_free);
}

static const struct vm_operations_struct hotmirror_mixed_vm_ops = {
	.open = hotmirror_mixed_vm_open,
	.close = hotmirror_mixed_vm_close,
	.fault = hotmirror_mixed_fault,
	HOTMIRROR_HUGE_FAULT(hotmirror_mixed_huge_fault),
};

/**
 * hotmirror_mixed_mmap - map a range of the arena; pages come by fault
 * @filp: the control file
 * @vma: the new mapping
 *
 * Return: 0, -ENODEV (no dax kind), -EINVAL (MAP_PRIVATE, not in the arena), -ENOMEM.
 */
int hotmirror_mixed_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct hotmirror_control *control = filp->private_data;
	pgoff_t end = vma->vm_pgoff + vma_pages(vma);
	struct hotmirror_layout *layout;

	if (!control->inode)
		return -ENODEV;
	if (!(vma->vm_flags & VM_MAYSHARE) || end < vma->vm_pgoff ||
	    end > hotmirror_arena_bytes() >> PAGE_SHIFT)
		return -EINVAL;
	layout = hotmirror_layout_new(control, vma);
	if (!layout)
		return -ENOMEM;
	vma->vm_private_data = layout;
	vma->vm_ops = &hotmirror_mixed_vm_ops;
	vm_flags_set(vma, VM_DONTEXPAND);
	return 0;
}
