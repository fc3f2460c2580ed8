// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() of a private or coherent instance: its doorbell, one page that belongs to the
 * driver and is mapped as a bare pfn, as omapdrm does it (drivers/gpu/drm/omapdrm/omap_gem.c).
 *
 * The VMA is VM_MIXEDMAP, so HMM walks it, and the PTE is special: vm_normal_page() has no
 * page for it, whatever struct page the pfn has. Nobody takes a reference, so the page lives
 * as long as the instance: the VMA keeps the file, and the file the instance.
 */
#include <linux/mm.h>
#include "compat.h"
#include "hotmirror.h"

int hotmirror_doorbell_plug(struct hotmirror_instance *inst)
{
	inst->doorbell = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return inst->doorbell ? 0 : -ENOMEM;
}

void hotmirror_doorbell_free(struct hotmirror_instance *inst)
{
	if (inst->doorbell)
		__free_page(inst->doorbell);
}

static vm_fault_t hotmirror_doorbell_fault(struct vm_fault *vmf)
{
	struct hotmirror_file *file = vmf->vma->vm_file->private_data;
	vm_fault_t ret;

	if (!hotmirror_enter(file->inst))
		return VM_FAULT_SIGBUS;
	ret = hotmirror_insert_pfn(vmf, page_to_pfn(file->inst->doorbell));
	hotmirror_leave(file->inst);
	return ret;
}

static const struct vm_operations_struct hotmirror_doorbell_vm_ops = {
	.fault = hotmirror_doorbell_fault,
};

/**
 * hotmirror_doorbell_mmap - map the doorbell; its PTE comes by fault
 * @filp: the instance file
 * @vma: the new mapping
 *
 * Return: 0, -ENXIO (unplugged), -EINVAL (MAP_PRIVATE, not the one page at offset 0).
 */
int hotmirror_doorbell_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct hotmirror_file *file = filp->private_data;

	if (!hotmirror_enter(file->inst))
		return -ENXIO;
	hotmirror_leave(file->inst);	/* checked again by the fault */
	if (!(vma->vm_flags & VM_MAYSHARE) || vma->vm_pgoff || vma_pages(vma) != 1)
		return -EINVAL;
	vma->vm_ops = &hotmirror_doorbell_vm_ops;
	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND);
	return 0;
}

/* Invalidate, under inst->lock: no fault can bring the PTE back, because disable came first. */
void hotmirror_doorbell_unmap(struct hotmirror_file *file)
{
	if (file->inst->doorbell)
		unmap_mapping_range(file->mapping, 0, PAGE_SIZE, 1);
}
