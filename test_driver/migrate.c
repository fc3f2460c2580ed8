// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration between system memory and device memory, in both directions and for
 * three reasons: two ioctls and a CPU fault on a private page. The fourth, unplug,
 * is in evict.c.
 *
 * The device page table is never updated here. Every migration invalidates the
 * mirrors it concerns, ours included, and the next access populates again.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

static enum migrate_vma_direction hotmirror_select(struct hotmirror_instance *inst)
{
	return inst->kind == HOTMIRROR_PRIVATE ? MIGRATE_VMA_SELECT_DEVICE_PRIVATE :
						 MIGRATE_VMA_SELECT_DEVICE_COHERENT;
}

#define HOTMIRROR_PMD_ORDER	(PMD_SHIFT - PAGE_SHIFT)

/* Pages that one element of a migration array stands for. */
unsigned long hotmirror_nr(unsigned long mpfn)
{
	return mpfn & MIGRATE_PFN_COMPOUND ? HOTMIRROR_LEAF_PAGES : 1;
}

/*
 * A folio of system memory with the contents of ours, locked. NULL without memory,
 * and for a hole: the core collects those in both directions.
 */
static struct page *hotmirror_copy_to_sys(struct hotmirror_instance *inst,
					  struct page *src, unsigned int order)
{
	struct folio *folio;
	unsigned long i;

	if (!src || (order && hotmirror_fail_large(inst)))
		return NULL;
	folio = folio_alloc(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN |
			    (order ? __GFP_NORETRY : 0), order);
	if (!folio)
		return NULL;
	folio_lock(folio);
	for (i = 0; i < 1UL << order; i++)
		copy_highpage(folio_page(folio, i),
			      hotmirror_devmem_data(inst, page_to_pfn(src) + i));
	return &folio->page;
}

/* A folio of ours with the contents of @src, or zeroes for what is not there yet. */
static struct page *hotmirror_copy_to_dev(struct hotmirror_instance *inst,
					  struct page *src, unsigned int order)
{
	struct page *page = hotmirror_devmem_alloc(inst, order), *data;
	unsigned long i;

	if (!page)
		return NULL;
	for (i = 0; i < 1UL << order; i++) {
		data = hotmirror_devmem_data(inst, page_to_pfn(page) + i);
		if (src)
			copy_highpage(data, src + i);
		else
			clear_highpage(data);
	}
	return page;
}

/*
 * Give one folio that was collected its target: a folio as large, else single
 * pages, for which the core splits the source. No target: the page stays.
 */
static void hotmirror_copy_folio(struct hotmirror_instance *inst,
				 unsigned long mpfn, unsigned long *dst,
				 hotmirror_copy_fn copy)
{
	struct page *src = migrate_pfn_to_page(mpfn), *page;
	unsigned long i, nr = hotmirror_nr(mpfn), write = 0;

	/* For a page that is not there yet this asks for a writable PTE. */
	if (mpfn & MIGRATE_PFN_WRITE || !src)
		write = MIGRATE_PFN_WRITE;
	if (nr > 1) {
		page = copy(inst, src, HOTMIRROR_PMD_ORDER);
		if (page) {
			*dst = migrate_pfn(page_to_pfn(page)) | write |
			       MIGRATE_PFN_COMPOUND;
			return;
		}
	}
	for (i = 0; i < nr; i++) {
		page = copy(inst, src ? src + i : NULL, 0);
		if (page)
			dst[i] = migrate_pfn(page_to_pfn(page)) | write;
	}
}

/* More than there are processes that share a folio. */
#define HOTMIRROR_GUARDS	1024

/* A large private folio that was collected; NULL: something else. */
static struct folio *hotmirror_large(unsigned long mpfn)
{
	struct page *page = migrate_pfn_to_page(mpfn);

	if (!page || !(mpfn & MIGRATE_PFN_MIGRATE) || hotmirror_nr(mpfn) == 1 ||
	    !is_device_private_page(page))
		return NULL;
	return page_folio(page);
}

/**
 * hotmirror_guard - keep large private folios that have migration entries only
 * @inst: their instance
 * @src: as the core collected them; what is lost already is not to migrate any more
 * @n: its elements
 *
 * The core's own reference should keep them. But zap_huge_pmd_folio() of 7.3 tells a
 * device-private entry by the kind of the folio, so munmap() and MADV_DONTNEED of a
 * migration entry give back a reference that was never taken, and the folio is freed
 * while it is copied. Some of ours, one for each process that may do so, stand in for
 * that. They cannot stay for long: the core counts references before it moves a folio.
 * From then on nobody needs the data.
 */
void hotmirror_guard(struct hotmirror_instance *inst, unsigned long *src,
		     unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i += hotmirror_nr(src[i])) {
		struct folio *folio = hotmirror_large(src[i]);

		if (!folio)
			continue;
		if (folio_try_get(folio)) {
			folio_ref_add(folio, HOTMIRROR_GUARDS - 1);
			continue;
		}
		src[i] &= ~MIGRATE_PFN_MIGRATE;
		atomic64_add(hotmirror_nr(src[i]), &inst->pages_robbed);
	}
}

void hotmirror_unguard(struct hotmirror_instance *inst, const unsigned long *src,
		       unsigned long n)
{
	unsigned long i;
	int robbed;

	for (i = 0; i < n; i += hotmirror_nr(src[i])) {
		struct folio *folio = hotmirror_large(src[i]);

		if (!folio)
			continue;
		robbed = max(HOTMIRROR_GUARDS + 1 - folio_ref_count(folio), 0);
		folio_put_refs(folio, HOTMIRROR_GUARDS - robbed);
		if (robbed)
			atomic64_add(hotmirror_nr(src[i]), &inst->pages_robbed);
	}
}

/**
 * hotmirror_gate_migrate - a gate between the collection and the end of a migration
 * @inst: the instance on one side of it
 * @file: the mirror whose operation it is, NULL if none
 * @gate: HOTMIRROR_GATE_*
 * @src: as the core collected it
 * @n: its elements
 */
void hotmirror_gate_migrate(struct hotmirror_instance *inst, struct hotmirror_file *file,
			    u32 gate, unsigned long *src, unsigned long n)
{
	if (list_empty(&inst->gates))
		return;
	hotmirror_guard(inst, src, n);
	hotmirror_gate_at(inst, file, gate);
	hotmirror_unguard(inst, src, n);
}

/**
 * hotmirror_copy - give every folio that was collected a target
 * @inst: the instance on one side of the migration
 * @src: as the core collected it
 * @dst: filled in; 0 for what has to stay
 * @n: elements of both
 * @copy: makes one target
 */
void hotmirror_copy(struct hotmirror_instance *inst, unsigned long *src,
		    unsigned long *dst, unsigned long n, hotmirror_copy_fn copy)
{
	unsigned long i;

	memset(dst, 0, n * sizeof(*dst));
	hotmirror_guard(inst, src, n);
	for (i = 0; i < n; i += hotmirror_nr(src[i]))
		if (src[i] & MIGRATE_PFN_MIGRATE)
			hotmirror_copy_folio(inst, src[i], &dst[i], copy);
	hotmirror_unguard(inst, src, n);
}

/* Pages that moved, and in @large folios that moved as one. */
unsigned long hotmirror_moved(const unsigned long *src, const unsigned long *dst,
			      unsigned long n, u64 *large)
{
	unsigned long i, moved = 0;

	for (i = 0; i < n; i++) {
		if (!(src[i] & MIGRATE_PFN_MIGRATE) || !dst[i])
			continue;
		moved += hotmirror_nr(dst[i]);
		*large += hotmirror_nr(dst[i]) > 1;
	}
	return moved;
}

/* One piece, within one VMA and one leaf. Under mmap_lock. */
static long hotmirror_migrate_piece(struct hotmirror_op *op, unsigned long start,
				    unsigned long *end, u32 direction)
{
	struct migrate_vma args = {
		.vma = vma_lookup(op->mm, start),
		.src = op->pfns,
		.dst = op->dst,
		.start = start,
		.pgmap_owner = op->inst,
		.flags = direction == HOTMIRROR_TO_DEV ?
			 MIGRATE_VMA_SELECT_SYSTEM : hotmirror_select(op->inst),
	};
	void *early = NULL;
	unsigned long moved;
	int ret;

	if (op->large && op->inst->kind == HOTMIRROR_PRIVATE)
		args.flags |= MIGRATE_VMA_SELECT_COMPOUND;
	if (!args.vma)
		return -EINVAL;
	*end = min(*end, args.vma->vm_end);
	args.end = *end;
	if (unlikely(op->file->sabotage & HOTMIRROR_SABOTAGE_COPY_EARLY) &&
	    direction == HOTMIRROR_TO_DEV)
		early = hotmirror_copy_early(op, start, *end);
	hotmirror_gate_op(op, HOTMIRROR_GATE_MIGRATE_BEGIN);
	ret = migrate_vma_setup(&args);
	if (ret) {
		kvfree(early);
		return ret;
	}
	hotmirror_gate_migrate(op->inst, op->file, HOTMIRROR_GATE_MIGRATE_COLLECTED,
			       args.src, args.npages);
	hotmirror_copy(op->inst, args.src, args.dst, args.npages,
		       direction == HOTMIRROR_TO_DEV ? hotmirror_copy_to_dev :
						       hotmirror_copy_to_sys);
	hotmirror_copy_late(op, early, args.dst, args.npages);
	hotmirror_gate_migrate(op->inst, op->file, HOTMIRROR_GATE_MIGRATE_COPIED,
			       args.src, args.npages);
	migrate_vma_pages(&args);
	moved = hotmirror_moved(args.src, args.dst, args.npages, &op->large_moved);
	hotmirror_gate_migrate(op->inst, op->file, HOTMIRROR_GATE_MIGRATE_MOVED,
			       args.src, args.npages);
	migrate_vma_finalize(&args);
	hotmirror_gate_op(op, HOTMIRROR_GATE_MIGRATE_DONE);
	return moved;
}

static long hotmirror_migrate_locked(struct hotmirror_op *op,
				     unsigned long start, unsigned long *end,
				     u32 direction)
{
	u64 begin = ktime_get_ns();
	long moved;

	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	if (mmap_read_lock_killable(op->mm)) {
		hotmirror_leave(op->inst);
		return -ERESTARTSYS;
	}
	moved = hotmirror_migrate_piece(op, start, end, direction);
	mmap_read_unlock(op->mm);
	hotmirror_leave(op->inst);
	if (moved >= 0)
		trace_hotmirror_migrate(op->inst->id, direction, start, *end,
					moved,
					((*end - start) >> PAGE_SHIFT) - moved,
					ktime_get_ns() - begin);
	return moved;
}

static int hotmirror_migrate_range(struct hotmirror_op *op,
				   struct hotmirror_migrate *migrate,
				   u32 direction)
{
	unsigned long addr, end;
	long moved;

	for (addr = op->start; addr < op->end; addr = end) {
		end = min(op->end, (addr & PMD_MASK) + PMD_SIZE);
		moved = hotmirror_migrate_locked(op, addr, &end, direction);
		if (moved < 0)
			return moved;
		migrate->moved += moved;
		migrate->skipped += ((end - addr) >> PAGE_SHIFT) - moved;
		if (signal_pending(current) && end < op->end)
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int hotmirror_migrate(struct file *filp, struct hotmirror_migrate *migrate,
			     u32 direction)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_op op;
	int ret;

	migrate->moved = 0;
	migrate->skipped = 0;
	if (!IS_ALIGNED(migrate->addr | migrate->length, PAGE_SIZE))
		return -EINVAL;
	ret = hotmirror_op_begin(&op, filp, migrate->addr, migrate->length);
	if (ret)
		return ret;
	op.large = migrate->flags & HOTMIRROR_MIGRATE_LARGE;
	ret = file->inst->kind == HOTMIRROR_DAX ? -EINVAL :
	      hotmirror_migrate_range(&op, migrate, direction);
	mutex_lock(&file->lock);
	if (direction == HOTMIRROR_TO_DEV) {
		file->stats.pages_to_dev += migrate->moved;
		file->stats.large_to_dev += op.large_moved;
	} else {
		file->stats.pages_to_sys += migrate->moved;
		file->stats.large_to_sys += op.large_moved;
	}
	mutex_unlock(&file->lock);
	hotmirror_op_end(&op);
	return ret;
}

/* HOTMIRROR_MIGRATE_TO_DEV */
int hotmirror_migrate_to_dev(struct file *filp, void *arg)
{
	return hotmirror_migrate(filp, arg, HOTMIRROR_TO_DEV);
}

/* HOTMIRROR_MIGRATE_TO_SYS */
int hotmirror_migrate_to_sys(struct file *filp, void *arg)
{
	return hotmirror_migrate(filp, arg, HOTMIRROR_TO_SYS);
}

/**
 * hotmirror_migrate_to_ram - a CPU touched a private page: bring it back
 * @vmf: the fault; @vmf->page is referenced, and on 7.3 locked, by do_swap_page()
 *
 * It works in every state of the instance: a page must not be lost because its
 * device is going away, except if just that was asked for. The page keeps the
 * instance alive (pgmap reference).
 *
 * Return: 0, also if the page could not be isolated: the CPU faults again.
 */
vm_fault_t hotmirror_migrate_to_ram(struct vm_fault *vmf)
{
	struct hotmirror_instance *inst =
		container_of(page_pgmap(vmf->page), struct hotmirror_instance,
			     pgmap);
	/* With a PTE at hand the folio is not mapped as a whole: one page, then. */
	unsigned int order = vmf->pte ? 0 : folio_order(page_folio(vmf->page));
	unsigned long nr = 1UL << order, one[2] = { 0 }, *src = one, moved;
	u64 begin = ktime_get_ns(), large = 0;
	vm_fault_t ret = VM_FAULT_OOM;
	struct migrate_vma args = {
		.vma = vmf->vma,
		.start = ALIGN_DOWN(vmf->address, PAGE_SIZE << order),
		.pgmap_owner = inst,
		.fault_page = vmf->page,
		.flags = MIGRATE_VMA_SELECT_DEVICE_PRIVATE |
			 (order ? MIGRATE_VMA_SELECT_COMPOUND : 0),
	};

	if (READ_ONCE(inst->grave))
		return VM_FAULT_SIGBUS;
	if (order)
		src = kcalloc(nr, 2 * sizeof(*src), GFP_KERNEL);
	if (!src)
		return VM_FAULT_OOM;
	hotmirror_gate_at(inst, NULL, HOTMIRROR_GATE_TO_RAM_ENTER);
	args.end = args.start + (PAGE_SIZE << order);
	args.src = src;
	args.dst = src + nr;
	if (migrate_vma_setup(&args)) {
		ret = VM_FAULT_SIGBUS;
		goto free;
	}
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_TO_RAM_COLLECTED, args.src,
			       args.npages);
	hotmirror_copy(inst, args.src, args.dst, args.npages,
		       hotmirror_copy_to_sys);
	/* If the page has gone meanwhile a hole was collected: nothing to bring. */
	if (!(args.src[0] & MIGRATE_PFN_MIGRATE) || args.dst[0] ||
	    !migrate_pfn_to_page(args.src[0]))
		ret = 0;
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_TO_RAM_COPIED, args.src,
			       args.npages);
	migrate_vma_pages(&args);
	moved = hotmirror_moved(args.src, args.dst, args.npages, &large);
	hotmirror_gate_migrate(inst, NULL, HOTMIRROR_GATE_TO_RAM_MOVED, args.src,
			       args.npages);
	migrate_vma_finalize(&args);
	atomic64_add(moved, &inst->pages_to_ram);
	trace_hotmirror_migrate(inst->id, HOTMIRROR_TO_RAM, args.start, args.end,
				moved, nr - moved, ktime_get_ns() - begin);
free:
	if (order)
		kfree(src);
	return ret;
}
