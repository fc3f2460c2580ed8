// SPDX-License-Identifier: GPL-2.0-only
/*
 * What HOTMIRROR_SABOTAGE breaks, as far as it takes more than a line where it is done
 * right. Never the memory of anybody but the opener of the file.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"

/* A reference to the pgmap that no page explains, as a driver may forget one. */
int hotmirror_keep_pgmap(struct hotmirror_file *file, bool keep)
{
	struct hotmirror_instance *inst = file->inst;

	guard(mutex)(&inst->lock);
	if (file->keeps_pgmap == keep)
		return 0;
	if (!inst->mapped)		/* so there was none to keep it mapped */
		return -ENODEV;
	if (keep)
		percpu_ref_get(&inst->pgmap.ref);
	else
		percpu_ref_put(&inst->pgmap.ref);
	file->keeps_pgmap = keep;
	return 0;
}

/* A page too much on the books of the mirrored process. */
static void hotmirror_miscount_rss(struct hotmirror_file *file, bool off)
{
	guard(mutex)(&file->inst->lock);
	if (file->rss_off != off)
		hotmirror_rss_add(file->mm, MM_ANONPAGES, off ? 1 : -1);
	file->rss_off = off;
}

/* HOTMIRROR_SABOTAGE */
int hotmirror_sabotage(struct file *filp, void *arg)
{
	const u64 known = HOTMIRROR_SABOTAGE_SKIP_INVALIDATE |
			  HOTMIRROR_SABOTAGE_SKIP_RETRY |
			  HOTMIRROR_SABOTAGE_DROP_DIRTY |
			  HOTMIRROR_SABOTAGE_FAIL_LARGE |
			  HOTMIRROR_SABOTAGE_SKIP_UNMAP |
			  HOTMIRROR_SABOTAGE_EVICT_NO_COPY |
			  HOTMIRROR_SABOTAGE_FAIL_ALLOC |
			  HOTMIRROR_SABOTAGE_EVICT_HOLD |
			  HOTMIRROR_SABOTAGE_SKIP_DISABLE |
			  HOTMIRROR_SABOTAGE_DRAIN_EARLY |
			  HOTMIRROR_SABOTAGE_KEEP_PGMAP |
			  HOTMIRROR_SABOTAGE_RSS |
			  HOTMIRROR_SABOTAGE_CHECK_UNLOCKED |
			  HOTMIRROR_SABOTAGE_STALE_SEQ |
			  HOTMIRROR_SABOTAGE_CLEAR_LATE |
			  HOTMIRROR_SABOTAGE_CLEAR_SHORT |
			  HOTMIRROR_SABOTAGE_IGNORE_END |
			  HOTMIRROR_SABOTAGE_COPY_EARLY;
	const u64 unsafe = HOTMIRROR_SABOTAGE_POPULATE |
			   (HOTMIRROR_SABOTAGE_FORGET & ~HOTMIRROR_SABOTAGE_IGNORE_END);
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_sabotage *sabotage = arg;
	int ret;

	if (sabotage->mask & ~known)
		return -EINVAL;
	if (!hotmirror_may_sabotage)
		return -EPERM;
	ret = hotmirror_keep_pgmap(file, sabotage->mask & HOTMIRROR_SABOTAGE_KEEP_PGMAP);
	if (ret)
		return ret;
	hotmirror_miscount_rss(file, sabotage->mask & HOTMIRROR_SABOTAGE_RSS);
	mutex_lock(&file->lock);
	file->sabotage = sabotage->mask;
	if (sabotage->mask & unsafe)
		file->unsafe = true;
	mutex_unlock(&file->lock);
	WRITE_ONCE(file->inst->fail_large,
		   sabotage->mask & HOTMIRROR_SABOTAGE_FAIL_LARGE);
	WRITE_ONCE(file->inst->skip_unmap,
		   sabotage->mask & HOTMIRROR_SABOTAGE_SKIP_UNMAP);
	WRITE_ONCE(file->inst->evict_no_copy,
		   sabotage->mask & HOTMIRROR_SABOTAGE_EVICT_NO_COPY);
	WRITE_ONCE(file->inst->fail_alloc,
		   sabotage->mask & HOTMIRROR_SABOTAGE_FAIL_ALLOC);
	WRITE_ONCE(file->inst->evict_hold,
		   sabotage->mask & HOTMIRROR_SABOTAGE_EVICT_HOLD);
	WRITE_ONCE(file->inst->skip_disable,
		   sabotage->mask & HOTMIRROR_SABOTAGE_SKIP_DISABLE);
	WRITE_ONCE(file->inst->drain_early,
		   sabotage->mask & HOTMIRROR_SABOTAGE_DRAIN_EARLY);
	wake_up_all(&file->inst->wait);
	return 0;
}

/**
 * hotmirror_store_sabotaged - the second half of hotmirror_populate_once(), done wrong
 * @op: the running operation
 * @range: its range
 * @leaf: where the entries go
 * @hmm: what the walk found
 * @exclusive_seq: as read before it
 * @write: the device wants to write
 *
 * SKIP_RETRY does not check, CHECK_UNLOCKED checks before it has the driver lock,
 * STALE_SEQ checks and lets go of the lock before it stores. The gate populate.checked
 * stands in the window that this opens.
 *
 * Return: as hotmirror_populate_once().
 */
long hotmirror_store_sabotaged(struct hotmirror_op *op, struct hotmirror_range *range,
			       struct hotmirror_leaf *leaf, struct hmm_range *hmm,
			       unsigned long exclusive_seq, bool write)
{
	struct hotmirror_file *file = op->file;
	bool raced = false;
	long ret;

	if (file->sabotage & HOTMIRROR_SABOTAGE_STALE_SEQ) {
		mutex_lock(&file->lock);
		hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_LOCKED);
		raced = hotmirror_raced(file, hmm, exclusive_seq);
		mutex_unlock(&file->lock);
	} else if (file->sabotage & HOTMIRROR_SABOTAGE_CHECK_UNLOCKED) {
		raced = hotmirror_raced(file, hmm, exclusive_seq);
	}
	if (raced)
		return -EBUSY;
	hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_CHECKED);
	mutex_lock(&file->lock);
	ret = range->dead ? -ENOENT : hotmirror_store(op, leaf, hmm, write);
	mutex_unlock(&file->lock);
	hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_DONE);
	return ret;
}

/**
 * hotmirror_forget_sabotaged - what a callback clears instead of what it should
 * @file: the mirror; its lock is held
 * @start: first byte that it should clear
 * @end: first byte behind; both come back as what it shall
 * @range_end: first byte behind the mirrored range
 */
void hotmirror_forget_sabotaged(struct hotmirror_file *file, unsigned long *start,
				unsigned long *end, unsigned long range_end)
{
	if (file->sabotage & HOTMIRROR_SABOTAGE_IGNORE_END)
		*end = range_end;
	if (file->sabotage & HOTMIRROR_SABOTAGE_CLEAR_SHORT)
		*end -= PAGE_SIZE;
	if (file->sabotage & HOTMIRROR_SABOTAGE_CLEAR_LATE) {
		file->late_start = min(file->late_start, *start);
		file->late_end = max(file->late_end, *end);
	}
	if (file->sabotage & (HOTMIRROR_SABOTAGE_CLEAR_LATE |
			      HOTMIRROR_SABOTAGE_SKIP_INVALIDATE))
		*end = *start;
}

/* An operation has ended: clear what CLEAR_LATE has left. */
void hotmirror_clear_late(struct hotmirror_file *file)
{
	guard(mutex)(&file->lock);
	if (file->late_end)
		hotmirror_dpt_clear(file, file->late_start, file->late_end);
	file->late_start = ULONG_MAX;
	file->late_end = 0;
}

/* Under mmap_lock. Without a fault, and without a reference that would stay. */
static bool hotmirror_copy_one(struct hotmirror_op *op, unsigned long addr, void *to)
{
	struct page *page;
	int locked = 1;

	if (get_user_pages_remote(op->mm, addr, 1, FOLL_NOFAULT, &page, &locked) != 1)
		return false;
	memcpy_from_page(to, page, 0, PAGE_SIZE);
	put_page(page);
	return true;
}

/**
 * hotmirror_copy_early - COPY_EARLY: copy pages that the CPU can still write
 * @op: the running MIGRATE_TO_DEV; mmap_lock is held
 * @start: first page
 * @end: first byte behind
 *
 * Return: the copies, for hotmirror_copy_late(); NULL without memory.
 */
void *hotmirror_copy_early(struct hotmirror_op *op, unsigned long start, unsigned long end)
{
	unsigned long i, nr = (end - start) >> PAGE_SHIFT;
	void *copies = kvmalloc(end - start, GFP_KERNEL_ACCOUNT);

	for (i = 0; copies && i < nr; i++)
		op->before[i] = hotmirror_copy_one(op, start + (i << PAGE_SHIFT),
						   copies + (i << PAGE_SHIFT));
	return copies;
}

/* The targets have the right contents: put the early ones there. */
void hotmirror_copy_late(struct hotmirror_op *op, void *copies, const unsigned long *dst,
			 unsigned long n)
{
	unsigned long i, j, nr, pfn;

	for (i = 0; copies && i < n; i += nr) {
		nr = hotmirror_nr(dst[i]);
		pfn = dst[i] >> MIGRATE_PFN_SHIFT;
		for (j = i; pfn && j < i + nr; j++)
			if (op->before[j])
				memcpy_to_page(hotmirror_devmem_data(op->inst, pfn + j - i), 0,
					       copies + (j << PAGE_SHIFT), PAGE_SIZE);
	}
	kvfree(copies);
}
