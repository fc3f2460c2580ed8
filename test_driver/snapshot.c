// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the CPU page table says, without a fault: SNAPSHOT shows it, VERIFY compares
 * the device page table with it.
 */
#include <linux/fs.h>
#include <linux/hmm.h>
#include <linux/memremap.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "gate.h"

/* Attempts of VERIFY on a piece of memory that does not hold still. */
#define HOTMIRROR_VERIFY_TRIES	64

/*
 * Kind of a page that the walk found (claim S10). Looks at the struct page, which
 * is there as long as the driver lock is held and the sequence was right.
 */
static u32 hotmirror_snap_kind(struct page *page)
{
	if (is_device_private_page(page))
		return HOTMIRROR_SNAP_KIND_PRIVATE;
	if (is_device_coherent_page(page))
		return HOTMIRROR_SNAP_KIND_COHERENT;
	return HOTMIRROR_SNAP_KIND_DAX;
}

/* What is said of the page itself. Most are system memory: nothing is asked twice. */
static u32 hotmirror_snap_page(struct hotmirror_op *op, unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	u32 snap;

	if (likely(!is_zone_device_page(page)))
		return is_zero_pfn(pfn) ? HOTMIRROR_SNAP_KIND_ZERO << 8 :
					  HOTMIRROR_SNAP_KIND_SYSTEM << 8;
	snap = hotmirror_snap_kind(page) << 8;
	if (hotmirror_devmem_owns(op->inst, pfn))
		snap |= HOTMIRROR_SNAP_OWN;
	return snap;
}

static u32 hotmirror_snap_entry(unsigned long entry)
{
	u32 snap = 0;

	if (entry & HOTMIRROR_ENTRY_VALID)
		snap |= HOTMIRROR_SNAP_DEVICE;
	if (entry & HOTMIRROR_ENTRY_WRITE)
		snap |= HOTMIRROR_SNAP_DEVICE_WRITE;
	if (entry & HOTMIRROR_ENTRY_EXCLUSIVE)
		snap |= HOTMIRROR_SNAP_DEVICE_EXCLUSIVE;
	return snap;
}

static u32 hotmirror_snap(struct hotmirror_op *op, unsigned long hmm_pfn,
			  unsigned long entry)
{
	u32 snap = entry ? hotmirror_snap_entry(entry) : 0;

	if (hmm_pfn & HMM_PFN_ERROR)
		snap |= HOTMIRROR_SNAP_ERROR;
	if (hmm_pfn & HMM_PFN_VALID)
		snap |= HOTMIRROR_SNAP_VALID |
			hotmirror_snap_page(op, hmm_pfn & ~HMM_PFN_FLAGS) |
			hmm_pfn_to_map_order(hmm_pfn) << 16;
	if (hmm_pfn & HMM_PFN_WRITE)
		snap |= HOTMIRROR_SNAP_WRITE;
	return snap;
}

typedef void (*hotmirror_look_fn)(struct hotmirror_op *op,
				  struct hmm_range *hmm, void *arg);

/*
 * The device page table must be read before the CPU's. A page that appears is not
 * announced by any notifier: read the other way round, an entry that another thread
 * has just populated would look as if the CPU page table did not justify it.
 */
static void hotmirror_look_before(struct hotmirror_op *op, struct hmm_range *hmm)
{
	guard(mutex)(&op->file->lock);
	hotmirror_dpt_copy(op->file, hmm->start, hmm->end, op->before);
}

/*
 * Walk a piece of a range and look at the result while it is known to be true, that
 * is under the driver lock with the sequence unchanged since before the device
 * entries were read.
 *
 * Return: 0, -EBUSY (start again), -ENODEV, -ENOENT, -EFAULT, -ERESTARTSYS.
 */
static int hotmirror_look_once(struct hotmirror_op *op,
			       struct hotmirror_range *range,
			       struct hmm_range *hmm, hotmirror_look_fn look,
			       void *arg)
{
	unsigned long exclusive_seq;
	int ret;

	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	exclusive_seq = READ_ONCE(op->file->exclusive_seq);
	hmm->notifier = &range->notifier;
	hmm->notifier_seq = mmu_interval_read_begin(&range->notifier);
	hotmirror_gate_op(op, HOTMIRROR_GATE_SNAPSHOT_BEGIN);
	hotmirror_look_before(op, hmm);
	ret = hotmirror_walk(op, hmm);
	if (!ret) {
		hotmirror_gate_op(op, HOTMIRROR_GATE_SNAPSHOT_WALKED);
		mutex_lock(&op->file->lock);
		hotmirror_gate_op(op, HOTMIRROR_GATE_SNAPSHOT_LOCKED);
		if (range->dead)
			ret = -ENOENT;
		else if (hotmirror_raced(op->file, hmm, exclusive_seq))
			ret = -EBUSY;
		else
			look(op, hmm, arg);
		mutex_unlock(&op->file->lock);
	}
	hotmirror_leave(op->inst);
	return ret;
}

static int hotmirror_look(struct hotmirror_op *op, struct hotmirror_range *range,
			  unsigned long start, unsigned long *end,
			  unsigned int tries, hotmirror_look_fn look, void *arg)
{
	struct hmm_range hmm = { };
	int ret;

	do {
		hmm.start = start;
		hmm.end = *end;
		ret = hotmirror_look_once(op, range, &hmm, look, arg);
		if (signal_pending(current))
			return -ERESTARTSYS;
		cond_resched();
	} while (ret == -EBUSY && --tries);
	*end = hmm.end;
	return ret == -EBUSY ? -EAGAIN : ret;
}

static void hotmirror_look_snap(struct hotmirror_op *op, struct hmm_range *hmm,
				void *arg)
{
	unsigned long addr, n = 0;
	u32 *snap = arg;

	for (addr = hmm->start; addr < hmm->end; addr += PAGE_SIZE, n++)
		snap[n] = hotmirror_snap(op, hmm->hmm_pfns[n], op->before[n]);
}

/* One piece: at most a leaf, within one range. op->dst gets a u32 a page. */
int hotmirror_snapshot_piece(struct hotmirror_op *op, unsigned long addr,
			     unsigned long *end)
{
	struct hotmirror_range *range = hotmirror_range_find(op->file, addr);
	int ret;

	if (IS_ERR(range))
		return PTR_ERR(range);
	*end = min3(op->end, range->end, addr + (op->nr << PAGE_SHIFT));
	/* op->dst is free for the result: as many words as there are pages */
	ret = hotmirror_look(op, range, addr, end, UINT_MAX,
			     hotmirror_look_snap, op->dst);
	hotmirror_range_put(range);
	return ret;
}

/* HOTMIRROR_SNAPSHOT */
int hotmirror_snapshot(struct file *filp, void *arg)
{
	struct hotmirror_snapshot *snapshot = arg;
	unsigned long addr, end;
	struct hotmirror_op op;
	int ret;

	snapshot->done = 0;
	if (!IS_ALIGNED(snapshot->addr | snapshot->length, PAGE_SIZE))
		return -EINVAL;
	ret = hotmirror_op_begin(&op, filp, snapshot->addr, snapshot->length);
	if (ret)
		return ret;
	for (addr = op.start; addr < op.end && !ret; addr = end) {
		u32 __user *buf = u64_to_user_ptr(snapshot->buf);
		unsigned long n;

		ret = hotmirror_snapshot_piece(&op, addr, &end);
		if (ret)
			break;
		n = (end - addr) >> PAGE_SHIFT;
		if (copy_to_user(buf + snapshot->done, op.dst, n * sizeof(u32)))
			ret = -EFAULT;
		else
			snapshot->done += n;
	}
	hotmirror_op_end(&op);
	return ret;
}

/* Entries of one leaf at a time; the buffer is the caller's memory, so not under the lock. */
static int hotmirror_entries_piece(struct hotmirror_file *file, unsigned long start,
				   unsigned long end, unsigned long *entries,
				   u32 __user *buf)
{
	unsigned long i, nr = (end - start) >> PAGE_SHIFT;
	u32 *snap = (u32 *)entries;

	if (mutex_lock_interruptible(&file->lock))
		return -EINTR;
	hotmirror_dpt_copy(file, start, end, entries);
	mutex_unlock(&file->lock);
	/* In place: a word is read before one as large or smaller is written there. */
	for (i = 0; i < nr; i++)
		snap[i] = hotmirror_snap_entry(entries[i]);
	return copy_to_user(buf, snap, nr * sizeof(*snap)) ? -EFAULT : 0;
}

/* HOTMIRROR_ENTRIES: asks nothing of the mm, which may be held at a gate, or dead. */
int hotmirror_entries(struct file *filp, void *arg)
{
	struct hotmirror_entries *want = arg;
	u64 addr = want->addr, end = want->addr + want->length, next;
	u32 __user *buf = u64_to_user_ptr(want->buf);
	unsigned long *entries;
	int ret = 0;

	want->done = 0;
	if (!IS_ALIGNED(addr | end, PAGE_SIZE) || end <= addr || end > TASK_SIZE_MAX)
		return -EINVAL;
	entries = kvcalloc(HOTMIRROR_LEAF_PAGES, sizeof(*entries), GFP_KERNEL_ACCOUNT);
	if (!entries)
		return -ENOMEM;
	for (; addr < end && !ret; addr = next) {
		next = min(end, (addr & PMD_MASK) + PMD_SIZE);
		ret = hotmirror_entries_piece(filp->private_data, addr, next, entries,
					      buf + want->done);
		want->done += ret ? 0 : (next - addr) >> PAGE_SHIFT;
		if (!ret && next < end && signal_pending(current))
			ret = -EINTR;
		cond_resched();
	}
	kvfree(entries);
	return ret;
}

/*
 * An entry is justified if the CPU maps the same page, and writably where the entry
 * is writable. Called again after a failed attempt: counts only when it is true.
 */
static void hotmirror_look_verify(struct hotmirror_op *op,
				  struct hmm_range *hmm, void *arg)
{
	struct hotmirror_verify *verify = arg;
	unsigned long addr, entry, pfn, n = 0;

	for (addr = hmm->start; addr < hmm->end; addr += PAGE_SIZE, n++) {
		entry = op->before[n];
		if (!(entry & HOTMIRROR_ENTRY_VALID))
			continue;
		verify->present++;
		/* A walk shows an exclusive page as absent: nothing to compare. */
		if (entry & HOTMIRROR_ENTRY_EXCLUSIVE) {
			verify->exclusive++;
			continue;
		}
		pfn = hmm->hmm_pfns[n];
		if (pfn & HMM_PFN_VALID && !(pfn & HMM_PFN_ERROR) &&
		    (pfn & ~HMM_PFN_FLAGS) == entry >> PAGE_SHIFT &&
		    (pfn & HMM_PFN_WRITE || !(entry & HOTMIRROR_ENTRY_WRITE)))
			continue;
		if (!verify->stale++)
			verify->first = addr;
	}
}

/* The next leaf with entries at or after an address; false if there is none. */
static bool hotmirror_next_leaf(struct hotmirror_file *file, unsigned long *addr)
{
	struct hotmirror_leaf *leaf;
	unsigned long index;

	guard(mutex)(&file->lock);
	xa_for_each_start(&file->leaves, index, leaf, *addr >> PMD_SHIFT) {
		if (!leaf->present)
			continue;
		*addr = max(*addr, index << PMD_SHIFT);
		return true;
	}
	return false;
}

/*
 * Verify what is mirrored of [addr, end), which lies in one leaf; @end comes back
 * smaller where a range or a walk ended early. Memory in no range has no entry.
 */
static int hotmirror_verify_piece(struct hotmirror_op *op, unsigned long addr,
				  unsigned long *end,
				  struct hotmirror_verify *verify)
{
	struct hotmirror_range *range = hotmirror_range_find(op->file, addr);
	int ret;

	if (IS_ERR(range)) {
		*end = addr + PAGE_SIZE;
		return PTR_ERR(range) == -ENOENT ? 0 : PTR_ERR(range);
	}
	*end = min(*end, range->end);
	ret = hotmirror_look(op, range, addr, end, HOTMIRROR_VERIFY_TRIES,
			     hotmirror_look_verify, verify);
	hotmirror_range_put(range);
	if (ret == -ENOENT)
		*end = addr;
	return ret == -ENOENT ? 0 : ret;
}

/* HOTMIRROR_VERIFY */
int hotmirror_verify(struct file *filp, void *arg)
{
	struct hotmirror_verify *verify = arg;
	unsigned long addr = 0, end;
	struct hotmirror_op op;
	int ret;

	verify->present = 0;
	verify->stale = 0;
	verify->first = 0;
	verify->exclusive = 0;
	ret = hotmirror_op_begin(&op, filp, 0, TASK_SIZE_MAX);
	if (ret)
		return ret;
	op.ungated = true;
	while (!ret && hotmirror_next_leaf(op.file, &addr)) {
		end = (addr & PMD_MASK) + PMD_SIZE;
		ret = hotmirror_verify_piece(&op, addr, &end, verify);
		addr = end;
	}
	hotmirror_op_end(&op);
	return ret;
}
