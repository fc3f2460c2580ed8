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
#include "gate.h"

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

/*
 * Instances and control files hold the inode until their last file is closed, so
 * f_mapping is good, and rmap may go from a page to it as long as the page exists.
 */
struct inode *hotmirror_inode_get(void)
{
	struct inode *inode;

	guard(mutex)(&hotmirror_inode_lock);
	if (!hotmirror_inode_users) {
		inode = hotmirror_inode_new();
		if (IS_ERR(inode))
			return inode;
		hotmirror_inode = inode;
	}
	hotmirror_inode_users++;
	return hotmirror_inode;
}

void hotmirror_inode_put(struct inode *inode)
{
	guard(mutex)(&hotmirror_inode_lock);
	if (!inode || --hotmirror_inode_users)
		return;
	iput(inode);
	simple_release_fs(&hotmirror_mnt, &hotmirror_mnt_count);
}

/* The inode, and what maps in PMDs has a struct page in PMDs, too (compound pages). */
int hotmirror_dax_plug(struct hotmirror_instance *inst)
{
	struct inode *inode = hotmirror_inode_get();

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	inst->inode = inode;
	inst->pgmap.vmemmap_shift = ilog2(inst->align) - PAGE_SHIFT;
	return 0;
}

void hotmirror_dax_free(struct hotmirror_instance *inst)
{
	hotmirror_inode_put(inst->inode);
}

void hotmirror_dax_open(struct inode *inode, struct file *filp)
{
	filp->f_mapping = inode->i_mapping;
	filp->f_wb_err = filemap_sample_wb_err(filp->f_mapping);
}

/* Page offset of the instance in the shared inode. */
static pgoff_t hotmirror_dax_pgoff(struct hotmirror_instance *inst)
{
	return inst->arena_offset >> PAGE_SHIFT;
}

/* rmap (memory_failure, for one) finds the mappings by folio->mapping and index. */
static void hotmirror_dax_set_mapping(struct hotmirror_instance *inst,
				      struct folio *folio)
{
	if (folio->mapping)
		return;
	folio->mapping = inst->inode->i_mapping;
	folio->index = hotmirror_dax_pgoff(inst) + folio_pfn(folio) -
		       inst->first_pfn;
}

static vm_fault_t hotmirror_dax_fault_live(struct hotmirror_instance *inst,
					   struct vm_fault *vmf,
					   unsigned int order)
{
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	struct vm_area_struct *vma = vmf->vma;
	bool write = vmf->flags & FAULT_FLAG_WRITE;
	struct page *page;
	pgoff_t index;

	if (addr < vma->vm_start || addr + (PAGE_SIZE << order) > vma->vm_end)
		return VM_FAULT_SIGBUS;
	index = linear_page_index(vma, addr) - hotmirror_dax_pgoff(inst);
	if (index >= inst->nr_pages || !IS_ALIGNED(index, 1UL << order))
		return VM_FAULT_SIGBUS;
	page = pfn_to_page(inst->first_pfn + index);
	/* Real memory would raise another machine check; ours has to say it. */
	if (PageHWPoison(page))
		return VM_FAULT_HWPOISON;
	hotmirror_dax_set_mapping(inst, page_folio(page));
	if (order)
		return vmf_insert_folio_pmd(vmf, page_folio(page), write);
	return vmf_insert_page_mkwrite(vmf, page, write);
}

/**
 * hotmirror_dax_fault - map a page or a PMD of an instance, for a fault
 * @inst: the instance that the VMA has there
 * @vmf: the fault; the VMA's page offset is the offset in the arena
 * @order: 0 or PMD_ORDER
 *
 * Return: VM_FAULT_NOPAGE; VM_FAULT_SIGBUS if the instance is being unplugged, ends
 * before this page, or is mapped in PMDs and there is no aligned one here;
 * VM_FAULT_FALLBACK if it is mapped in pages; VM_FAULT_HWPOISON.
 */
vm_fault_t hotmirror_dax_fault(struct hotmirror_instance *inst,
			       struct vm_fault *vmf, unsigned int order)
{
	unsigned int want = inst->pgmap.vmemmap_shift;
	vm_fault_t ret;

	if (order != want)
		return order > want ? VM_FAULT_FALLBACK : VM_FAULT_SIGBUS;
	if (!hotmirror_enter(inst))
		return VM_FAULT_SIGBUS;
	hotmirror_gate_at(inst, NULL, HOTMIRROR_GATE_DAX_FAULT);
	ret = hotmirror_dax_fault_live(inst, vmf, order);
	hotmirror_gate_at(inst, NULL, HOTMIRROR_GATE_DAX_INSERTED);
	hotmirror_leave(inst);
	return ret;
}

static struct hotmirror_instance *hotmirror_dax_vma(struct vm_area_struct *vma)
{
	struct hotmirror_file *file = vma->vm_file->private_data;

	return file->inst;
}

static vm_fault_t hotmirror_dax_vm_huge_fault(struct vm_fault *vmf,
					      unsigned int order)
{
	return hotmirror_dax_fault(hotmirror_dax_vma(vmf->vma), vmf, order);
}

HOTMIRROR_DEFINE_HUGE_FAULT(hotmirror_dax_vm_huge_fault)

static vm_fault_t hotmirror_dax_vm_fault(struct vm_fault *vmf)
{
	return hotmirror_dax_vm_huge_fault(vmf, 0);
}

static int hotmirror_dax_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return IS_ALIGNED(addr, hotmirror_dax_vma(vma)->align) ? 0 : -EINVAL;
}

static unsigned long hotmirror_dax_pagesize(struct vm_area_struct *vma)
{
	return hotmirror_dax_vma(vma)->align;
}

static const struct vm_operations_struct hotmirror_dax_vm_ops = {
	.fault = hotmirror_dax_vm_fault,
	HOTMIRROR_HUGE_FAULT(hotmirror_dax_vm_huge_fault),
	.may_split = hotmirror_dax_may_split,
	.pagesize = hotmirror_dax_pagesize,
};

/**
 * hotmirror_dax_mmap - map the instance; pages come by fault
 * @filp: the instance file
 * @vma: the new mapping
 *
 * As with device-dax a mapping may be longer than the memory: SIGBUS behind it.
 * Unlike there, the offset must be aligned, too: it would select no whole PMD.
 *
 * Return: 0, -ENXIO (unplugged), -EINVAL (MAP_PRIVATE, not aligned, offset out of
 * range).
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
	if (!IS_ALIGNED(vma->vm_start | vma->vm_end | vma->vm_pgoff << PAGE_SHIFT,
			inst->align))
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

/* References are counted by folio: each page, or each PMD, is one. */
static unsigned long hotmirror_dax_step(struct hotmirror_instance *inst)
{
	return 1UL << inst->pgmap.vmemmap_shift;
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
	unsigned long step = hotmirror_dax_step(inst), i;

	for (i = 0; i < inst->nr_pages; i += step)
		if (!page_ref_freeze(pfn_to_page(inst->first_pfn + i), 1))
			break;
	if (i >= inst->nr_pages)
		return true;
	while (i) {
		i -= step;
		page_ref_unfreeze(pfn_to_page(inst->first_pfn + i), 1);
	}
	return false;
}
