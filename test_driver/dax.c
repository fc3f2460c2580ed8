// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dax kind: mmap() of an instance, as device-dax does it (drivers/dax/device.c).
 *
 * All instances share one inode, with the offset in the arena as the page offset,
 * so that one mapping can cover several of them. It is a character device for the
 * rules of memory_failure() and FOLL_LONGTERM, and S_DAX so that migrate_vma_setup()
 * and a PMD split take its VMAs for what they are.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pagemap.h>
#include <linux/pseudo_fs.h>
#include "compat.h"
#include "hotmirror.h"

#define HOTMIRROR_FS_MAGIC	0x686f746d	/* "hotm" */

static int hotmirror_fs_context(struct fs_context *fc)
{
	return init_pseudo(fc, HOTMIRROR_FS_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type hotmirror_fs = {
	.name = "test_hotmirror",
	.owner = THIS_MODULE,
	.init_fs_context = hotmirror_fs_context,
	.kill_sb = kill_anon_super,
};

static DEFINE_MUTEX(hotmirror_inode_lock);
static struct inode *hotmirror_inode;
static struct vfsmount *hotmirror_mnt;
static int hotmirror_mnt_count;
static unsigned int hotmirror_inode_users;

static struct inode *hotmirror_inode_new(void)
{
	struct inode *inode;
	int ret;

	ret = simple_pin_fs(&hotmirror_fs, &hotmirror_mnt, &hotmirror_mnt_count);
	if (ret)
		return ERR_PTR(ret);
	inode = alloc_anon_inode(hotmirror_mnt->mnt_sb);
	if (IS_ERR(inode)) {
		simple_release_fs(&hotmirror_mnt, &hotmirror_mnt_count);
		return inode;
	}
	inode->i_mode |= S_IFCHR;
	inode->i_flags |= S_DAX;
	return inode;
}

/* An instance holds the inode until its last file is closed, so f_mapping is good. */
int hotmirror_dax_plug(struct hotmirror_instance *inst)
{
	struct inode *inode;

	guard(mutex)(&hotmirror_inode_lock);
	if (!hotmirror_inode_users) {
		inode = hotmirror_inode_new();
		if (IS_ERR(inode))
			return PTR_ERR(inode);
		hotmirror_inode = inode;
	}
	hotmirror_inode_users++;
	inst->inode = hotmirror_inode;
	return 0;
}

void hotmirror_dax_free(struct hotmirror_instance *inst)
{
	guard(mutex)(&hotmirror_inode_lock);
	if (!inst->inode || --hotmirror_inode_users)
		return;
	iput(hotmirror_inode);
	simple_release_fs(&hotmirror_mnt, &hotmirror_mnt_count);
}

void hotmirror_dax_open(struct hotmirror_instance *inst, struct file *filp)
{
	filp->f_mapping = inst->inode->i_mapping;
	filp->f_wb_err = filemap_sample_wb_err(filp->f_mapping);
}

/* Page offset of the instance in the shared inode. */
static pgoff_t hotmirror_dax_pgoff(struct hotmirror_instance *inst)
{
	return inst->arena_offset >> PAGE_SHIFT;
}

/* rmap (memory_failure, for one) finds the mappings by folio->mapping and index. */
static void hotmirror_dax_set_mapping(struct folio *folio, struct vm_fault *vmf)
{
	if (folio->mapping)
		return;
	folio->mapping = vmf->vma->vm_file->f_mapping;
	folio->index = vmf->pgoff;
}

static vm_fault_t hotmirror_dax_fault_live(struct hotmirror_instance *inst,
					   struct vm_fault *vmf)
{
	pgoff_t index = vmf->pgoff - hotmirror_dax_pgoff(inst);
	struct page *page;

	if (index >= inst->nr_pages)
		return VM_FAULT_SIGBUS;
	page = pfn_to_page(inst->first_pfn + index);
	hotmirror_dax_set_mapping(page_folio(page), vmf);
	return vmf_insert_page_mkwrite(vmf, page, vmf->flags & FAULT_FLAG_WRITE);
}

static vm_fault_t hotmirror_dax_fault(struct vm_fault *vmf)
{
	struct hotmirror_file *file = vmf->vma->vm_file->private_data;
	vm_fault_t ret;

	if (!hotmirror_enter(file->inst))
		return VM_FAULT_SIGBUS;
	ret = hotmirror_dax_fault_live(file->inst, vmf);
	hotmirror_leave(file->inst);
	return ret;
}

static const struct vm_operations_struct hotmirror_dax_vm_ops = {
	.fault = hotmirror_dax_fault,
};

/**
 * hotmirror_dax_mmap - map the instance; pages come by fault
 * @filp: the instance file
 * @vma: the new mapping
 *
 * As with device-dax a mapping may be longer than the memory: SIGBUS behind it.
 *
 * Return: 0, -ENXIO (unplugged), -EINVAL (MAP_PRIVATE, offset out of range).
 */
int hotmirror_dax_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_instance *inst = file->inst;
	pgoff_t pgoff = vma->vm_pgoff + hotmirror_dax_pgoff(inst);

	if (!hotmirror_enter(inst))
		return -ENXIO;
	hotmirror_leave(inst);		/* checked again by every fault */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (pgoff + vma_pages(vma) < vma->vm_pgoff)
		return -EINVAL;
	vma->vm_pgoff = pgoff;
	vma->vm_ops = &hotmirror_dax_vm_ops;
	vm_flags_set(vma, VM_DONTEXPAND);
	return 0;
}

/* Invalidate: no fault can bring a PTE back, because disable came first. */
void hotmirror_dax_unmap(struct hotmirror_instance *inst)
{
	unmap_mapping_range(inst->inode->i_mapping, inst->arena_offset,
			    inst->bytes, 1);
}

/* Pages with a reference beside the driver's own. */
unsigned long hotmirror_dax_held(struct hotmirror_instance *inst)
{
	unsigned long i, held = 0;

	for (i = 0; i < inst->nr_pages; i++)
		held += page_count(pfn_to_page(inst->first_pfn + i)) > 1;
	return held;
}

/**
 * hotmirror_dax_freeze - take every page's last reference, or none
 * @inst: an invalidated instance
 *
 * memunmap_pages() does not wait for GUP references on GENERIC memory: after it the
 * struct page is gone under the holder. A frozen page has no reference and nobody
 * can get one, so it is safe to call it once all are frozen. They stay frozen: the
 * memmap is initialised anew by the next plug.
 *
 * Return: false if a page is still held.
 */
bool hotmirror_dax_freeze(struct hotmirror_instance *inst)
{
	unsigned long i;

	for (i = 0; i < inst->nr_pages; i++)
		if (!page_ref_freeze(pfn_to_page(inst->first_pfn + i), 1))
			break;
	if (i == inst->nr_pages)
		return true;
	while (i--)
		page_ref_unfreeze(pfn_to_page(inst->first_pfn + i), 1);
	return false;
}
