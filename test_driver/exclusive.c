// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device atomics. The page is taken away from the CPU for the time of the access
 * (a device-exclusive PTE), and the entry says so: whatever the CPU does to the page
 * next is announced with MMU_NOTIFY_EXCLUSIVE and ends it.
 */
#include <linux/mm.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include "compat.h"
#include "gate.h"

/* Under file->lock, the folio locked: nobody can touch the page through a PTE. */
static int hotmirror_store_exclusive(struct hotmirror_op *op,
				     struct hotmirror_range *range,
				     struct hotmirror_leaf *leaf,
				     unsigned long addr, unsigned long seq,
				     unsigned long pfn)
{
	unsigned long entry = pfn << PAGE_SHIFT | HOTMIRROR_ENTRY_VALID |
			      HOTMIRROR_ENTRY_WRITE | HOTMIRROR_ENTRY_EXCLUSIVE;

	guard(mutex)(&op->file->lock);
	hotmirror_gate_op(op, HOTMIRROR_GATE_EXCLUSIVE_LOCKED);
	if (range->dead)
		return -ENOENT;
	if (mmu_interval_read_retry(&range->notifier, seq))
		return -EBUSY;
	hotmirror_dpt_store(leaf, addr, &entry, 1);
	op->entries++;
	op->file->stats.entries_stored++;
	op->file->stats.exclusives++;
	return 0;
}

/*
 * Make one page ours. The sequence is read first; our own conversion is the one
 * event that the callback lets pass (hotmirror_own_exclusive()), any other in
 * between makes this start again.
 */
static int hotmirror_exclude_once(struct hotmirror_op *op,
				  struct hotmirror_range *range,
				  struct hotmirror_leaf *leaf, unsigned long addr)
{
	struct folio *folio;
	unsigned long seq;
	struct page *page;
	int ret;

	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	seq = mmu_interval_read_begin(&range->notifier);
	hotmirror_gate_op(op, HOTMIRROR_GATE_EXCLUSIVE_BEGIN);
	ret = -ERESTARTSYS;
	if (mmap_read_lock_killable(op->mm))
		goto leave;
	page = make_device_exclusive(op->mm, addr, op->file, &folio);
	mmap_read_unlock(op->mm);
	ret = PTR_ERR_OR_ZERO(page);
	if (ret)
		goto leave;
	hotmirror_gate_op(op, HOTMIRROR_GATE_EXCLUSIVE_CONVERTED);
	ret = hotmirror_store_exclusive(op, range, leaf, addr, seq,
					page_to_pfn(page));
	folio_unlock(folio);
	folio_put(folio);
	hotmirror_gate_op(op, HOTMIRROR_GATE_EXCLUSIVE_DONE);
leave:
	hotmirror_leave(op->inst);
	return ret;
}

/**
 * hotmirror_exclude - get a device-exclusive entry for one page
 * @op: the running operation
 * @range: a range that covers the page
 * @addr: the page
 *
 * make_device_exclusive() faults without being able to wait for userfaultfd: an
 * EFAULT of its own may only mean that the page vanished again. Only a fault that
 * may wait knows, so that one is asked, and believed.
 *
 * Return: 0 (look again), -EOPNOTSUPP (not anonymous memory), or as
 * hotmirror_fault_in().
 */
int hotmirror_exclude(struct hotmirror_op *op, struct hotmirror_range *range,
		      unsigned long addr)
{
	struct hotmirror_leaf *leaf = hotmirror_dpt_reserve(op->file, addr);
	int ret;

	if (!IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		return -EOPNOTSUPP;
	if (!leaf)
		return -ENOMEM;
	ret = hotmirror_fault_in(op, addr, true);
	if (ret)
		return ret;
	ret = hotmirror_exclude_once(op, range, leaf, addr);
	if (ret == -EBUSY || ret == -EFAULT || ret == -EAGAIN) {
		op->retries++;
		return 0;
	}
	return ret == -EINTR ? -ERESTARTSYS : ret;
}
