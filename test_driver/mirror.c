// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mirror: ranges of the opener's address space, and the loop that populates the
 * device page table from the CPU's. This is the example of how a driver does it.
 */
#include <linux/file.h>
#include <linux/hmm.h>
#include <linux/magic.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"

/**
 * hotmirror_op_begin - prepare an ioctl on a range of the opener's memory
 * @op: filled in; undone by hotmirror_op_end()
 * @filp: the instance file
 * @addr: first byte
 * @length: bytes, not 0
 *
 * The range is widened to whole pages. A reference on the mm is held while the
 * operation runs, and never by the file: a mirror must not keep a process's
 * memory alive.
 *
 * Return: 0, -ENODEV, -EINVAL, -ESRCH or -ENOMEM.
 */
int hotmirror_op_begin(struct hotmirror_op *op, struct file *filp, u64 addr,
		       u64 length)
{
	struct hotmirror_file *file = filp->private_data;

	memset(op, 0, sizeof(*op));
	if (READ_ONCE(file->inst->target) != HOTMIRROR_LIVE)
		return -ENODEV;
	if (!length || addr + length < addr || addr + length > TASK_SIZE_MAX)
		return -EINVAL;
	op->file = file;
	op->inst = file->inst;
	op->begin_ns = ktime_get_ns();
	op->start = addr & PAGE_MASK;
	op->end = PAGE_ALIGN(addr + length);
	op->nr = min((op->end - op->start) >> PAGE_SHIFT, HOTMIRROR_LEAF_PAGES);
	op->pfns = kvcalloc(op->nr, 3 * sizeof(*op->pfns), GFP_KERNEL_ACCOUNT);
	if (!op->pfns)
		return -ENOMEM;
	op->dst = op->pfns + op->nr;
	op->before = op->dst + op->nr;
	if (!mmget_not_zero(file->mm)) {
		kvfree(op->pfns);
		return -ESRCH;
	}
	op->mm = file->mm;
	return 0;
}

void hotmirror_op_end(struct hotmirror_op *op)
{
	if (unlikely(op->file->late_end))
		hotmirror_clear_late(op->file);
	mmput(op->mm);
	kvfree(op->pfns);
}

static void hotmirror_range_free(struct kref *ref)
{
	kfree(container_of(ref, struct hotmirror_range, ref));
	hotmirror_count(HOTMIRROR_RANGES, -1);
}

void hotmirror_range_put(struct hotmirror_range *range)
{
	kref_put(&range->ref, hotmirror_range_free);
}

/*
 * The first range that covers an address, with a reference; -ENOENT if there is
 * none, -ENODEV if that is because unplug has removed them all.
 */
struct hotmirror_range *hotmirror_range_find(struct hotmirror_file *file,
					     unsigned long addr)
{
	struct hotmirror_range *range;

	guard(mutex)(&file->lock);
	list_for_each_entry(range, &file->ranges, node) {
		if (addr < range->start || addr >= range->end)
			continue;
		kref_get(&range->ref);
		return range;
	}
	return ERR_PTR(READ_ONCE(file->inst->target) == HOTMIRROR_LIVE ?
		       -ENOENT : -ENODEV);
}

/*
 * Take a range out: mark it dead under the driver lock, so that a populate that
 * still holds it stores nothing, then let go of the notifier without that lock,
 * because the removal waits for running invalidations, which want it, and which no
 * gate may hold meanwhile.
 */
static bool hotmirror_range_remove(struct hotmirror_file *file, u32 id, bool any)
{
	struct hotmirror_range *range, *found = NULL;

	hotmirror_gates_pass_begin(file);
	mutex_lock(&file->lock);
	list_for_each_entry(range, &file->ranges, node) {
		if (!any && range->id != id)
			continue;
		found = range;
		list_del(&range->node);
		file->nr_ranges--;
		range->dead = true;
		hotmirror_dpt_clear(file, range->start, range->end);
		break;
	}
	mutex_unlock(&file->lock);
	if (found) {
		mmu_interval_notifier_remove(&found->notifier);
		hotmirror_range_put(found);
	}
	hotmirror_gates_pass_end(file);
	return found;
}

/* Under inst->lock, by the last close or by unplug. */
void hotmirror_ranges_remove(struct hotmirror_file *file)
{
	while (hotmirror_range_remove(file, 0, true))
		;
}

static struct hotmirror_range *hotmirror_range_alloc(struct hotmirror_op *op)
{
	struct hotmirror_range *range;

	range = kzalloc_obj(*range, GFP_KERNEL_ACCOUNT);
	if (!range)
		return NULL;
	range->file = op->file;
	range->start = op->start;
	range->end = op->end;
	kref_init(&range->ref);
	hotmirror_count(HOTMIRROR_RANGES, 1);
	return range;
}

static int hotmirror_range_insert(struct hotmirror_op *op, bool two_pass, u32 *id)
{
	struct hotmirror_file *file = op->file;
	struct hotmirror_range *range;
	int ret;

	range = hotmirror_range_alloc(op);
	if (!range)
		return -ENOMEM;
	ret = mmu_interval_notifier_insert(&range->notifier, op->mm, op->start,
					   op->end - op->start,
					   hotmirror_notifier_ops(two_pass));
	if (ret) {
		hotmirror_range_put(range);
		return ret;
	}
	mutex_lock(&file->lock);
	if (file->nr_ranges < HOTMIRROR_MAX_RANGES) {
		range->id = file->next_range++;
		*id = range->id;
		list_add_tail(&range->node, &file->ranges);
		file->nr_ranges++;
	} else {
		ret = -ENOSPC;
	}
	mutex_unlock(&file->lock);
	if (ret) {
		mmu_interval_notifier_remove(&range->notifier);
		hotmirror_range_put(range);
	}
	return ret;
}

/* HOTMIRROR_MIRROR */
int hotmirror_mirror(struct file *filp, void *arg)
{
	struct hotmirror_mirror *mirror = arg;
	bool two_pass = mirror->flags & HOTMIRROR_MIRROR_TWO_PASS;
	struct hotmirror_op op;
	int ret;

	if (mirror->reserved || !IS_ALIGNED(mirror->addr, PAGE_SIZE) ||
	    !IS_ALIGNED(mirror->length, PAGE_SIZE))
		return -EINVAL;
	if (two_pass && !hotmirror_notifier_ops(true))
		return -EOPNOTSUPP;
	ret = hotmirror_op_begin(&op, filp, mirror->addr, mirror->length);
	if (ret)
		return ret;
	ret = -ENODEV;
	if (hotmirror_enter(op.inst)) {
		ret = hotmirror_range_insert(&op, two_pass, &mirror->id);
		hotmirror_leave(op.inst);
	}
	hotmirror_op_end(&op);
	return ret;
}

/* HOTMIRROR_UNMIRROR */
int hotmirror_unmirror(struct file *filp, void *arg)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_mirror *mirror = arg;
	bool found;

	if (mirror->reserved || mirror->addr || mirror->length)
		return -EINVAL;
	if (!hotmirror_enter(file->inst))
		return -ENODEV;
	found = hotmirror_range_remove(file, mirror->id, false);
	hotmirror_leave(file->inst);
	return found ? 0 : -ENOENT;
}

/*
 * HMM hands out pfns of memfd_secret() although they have left the direct map; to
 * read them is an oops. Such a VMA is shown as what no device can map, and cuts off
 * the rest of the walk.
 */
static bool hotmirror_is_secret(struct vm_area_struct *vma)
{
	return vma->vm_file &&
	       file_inode(vma->vm_file)->i_sb->s_magic == SECRETMEM_MAGIC;
}

static bool hotmirror_hide_secret(struct hotmirror_op *op, struct hmm_range *hmm)
{
	VMA_ITERATOR(vmi, op->mm, hmm->start);
	struct vm_area_struct *vma;

	for_each_vma_range(vmi, vma, hmm->end) {
		if (!hotmirror_is_secret(vma))
			continue;
		if (vma->vm_start > hmm->start) {
			hmm->end = vma->vm_start;
			return false;
		}
		hmm->hmm_pfns[0] = HMM_PFN_ERROR;
		hmm->end = hmm->start + PAGE_SIZE;
		op->unreadable++;
		return true;
	}
	return false;
}

/**
 * hotmirror_walk - read the CPU page table, without a fault
 * @op: the running operation
 * @hmm: notifier, notifier_seq, start and end are set; end may come back smaller
 *
 * A snapshot only, never HMM_PFN_REQ_FAULT: before 7.3 a fault under
 * hmm_range_fault() cannot wait for userfaultfd. The owner makes our own private
 * pages show up as what they are instead of being migrated back.
 *
 * Return: 0, -EBUSY (invalidated: start again), -ERESTARTSYS.
 */
int hotmirror_walk(struct hotmirror_op *op, struct hmm_range *hmm)
{
	int ret = 0;

	hmm->hmm_pfns = op->pfns;
	hmm->default_flags = 0;
	hmm->pfn_flags_mask = 0;
	hmm->dev_private_owner = op->inst;

	if (mmap_read_lock_killable(op->mm))
		return -ERESTARTSYS;
	if (!hotmirror_hide_secret(op, hmm))
		ret = hmm_range_fault(hmm);
	mmap_read_unlock(op->mm);
	return ret;
}

/**
 * hotmirror_walk_faulting - have HMM fault what is missing, and read the CPU page table
 * @op: the running operation
 * @hmm: notifier, start and end are set; notifier_seq is filled in; end may come back
 *	smaller
 * @write: the device wants to write
 *
 * Outside of hotmirror_enter(), because HMM may sleep for user space. What it found is
 * looked at for secrets afterwards: a VMA that took the place of another since the
 * sequence was read is an invalidation.
 *
 * Return: 0, -EBUSY (invalidated: start again), -ENODEV, -EFAULT, -EPERM, -ENOMEM,
 * -ERESTARTSYS.
 */
static int hotmirror_walk_faulting(struct hotmirror_op *op, struct hmm_range *hmm,
				   bool write)
{
	struct hotmirror_sleeper *sleeper;
	int ret;

	hmm->hmm_pfns = op->pfns;
	hmm->default_flags = HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0);
	hmm->pfn_flags_mask = 0;
	hmm->dev_private_owner = op->inst;

	hotmirror_gate_op(op, HOTMIRROR_GATE_FAULT_ENTER);
	sleeper = hotmirror_sleep_begin(op->inst);
	if (IS_ERR(sleeper))
		return PTR_ERR(sleeper);
	ret = hmm_range_fault_unlocked_timeout(hmm,
					       msecs_to_jiffies(HMM_RANGE_DEFAULT_TIMEOUT));
	if (!ret)
		ret = mmap_read_lock_killable(op->mm);
	if (!ret) {
		hotmirror_hide_secret(op, hmm);
		mmap_read_unlock(op->mm);
	}
	hotmirror_sleep_end(op->inst, sleeper);
	hotmirror_gate_op(op, HOTMIRROR_GATE_FAULT_DONE);
	if (READ_ONCE(op->inst->target) != HOTMIRROR_LIVE)
		return -ENODEV;
	return ret == -EINTR ? -ERESTARTSYS : ret;
}

/* Store what is usable, up to the first page that is not. Under file->lock. */
unsigned long hotmirror_store(struct hotmirror_op *op, struct hotmirror_leaf *leaf,
			      struct hmm_range *hmm, bool write)
{
	unsigned long wanted = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	unsigned long nr = (hmm->end - hmm->start) >> PAGE_SHIFT, n, pfn;

	for (n = 0; n < nr; n++) {
		pfn = hmm->hmm_pfns[n];
		if ((pfn & (wanted | HMM_PFN_ERROR)) != wanted)
			break;
		op->dst[n] = (pfn & ~HMM_PFN_FLAGS) << PAGE_SHIFT | HOTMIRROR_ENTRY_VALID |
			     (pfn & HMM_PFN_WRITE ? HOTMIRROR_ENTRY_WRITE : 0);
	}
	hotmirror_dpt_store(leaf, hmm->start, op->dst, n);
	op->entries += n;
	op->file->stats.entries_stored += n;
	return n;
}

/*
 * Under file->lock: has anything that was read since the sequences were taken
 * become untrue?
 */
bool hotmirror_raced(struct hotmirror_file *file, struct hmm_range *hmm,
		     unsigned long exclusive_seq)
{
	return mmu_interval_read_retry(hmm->notifier, hmm->notifier_seq) ||
	       file->exclusive_seq != exclusive_seq;
}

/* The second half of a round, inside of hotmirror_enter(): from the walk on. */
static long hotmirror_populate_walked(struct hotmirror_op *op,
				      struct hotmirror_range *range,
				      struct hotmirror_leaf *leaf, struct hmm_range *hmm,
				      unsigned long exclusive_seq, bool write)
{
	struct hotmirror_file *file = op->file;
	long ret;

	hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_FAULTED);
	if (unlikely(file->sabotage & HOTMIRROR_SABOTAGE_POPULATE))
		return hotmirror_store_sabotaged(op, range, leaf, hmm, exclusive_seq, write);

	mutex_lock(&file->lock);
	hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_LOCKED);
	ret = range->dead ? -ENOENT :
	      hotmirror_raced(file, hmm, exclusive_seq) ? -EBUSY : 0;
	if (!ret) {
		hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_CHECKED);
		ret = hotmirror_store(op, leaf, hmm, write);
	}
	mutex_unlock(&file->lock);
	hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_DONE);
	return ret;
}

/*
 * One round of the loop of claim S1: read the sequence, walk, take the driver lock,
 * check the sequence, store. Whatever invalidates between the first and the last
 * either waits for the lock and clears the entries, or is seen by the check. Who has
 * HMM take the faults gets the sequence from it, and enters when it does not sleep any more.
 *
 * Return: pages stored, 0 if the first one needs a fault; -EBUSY: start again;
 * -ENODEV, -ENOENT (the range was removed), -ERESTARTSYS; by HMM: -EFAULT, -EPERM, -ENOMEM.
 */
static long hotmirror_populate_once(struct hotmirror_op *op,
				    struct hotmirror_range *range,
				    struct hotmirror_leaf *leaf,
				    struct hmm_range *hmm, bool write)
{
	unsigned long exclusive_seq = READ_ONCE(op->file->exclusive_seq);
	long ret = 0;

	hmm->notifier = &range->notifier;
	if (op->by_hmm)
		ret = hotmirror_walk_faulting(op, hmm, write);
	if (ret)
		return ret;
	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	if (!op->by_hmm) {
		hmm->notifier_seq = mmu_interval_read_begin(&range->notifier);
		hotmirror_gate_op(op, HOTMIRROR_GATE_POPULATE_BEGIN);
		ret = hotmirror_walk(op, hmm);
	}
	if (!ret)
		ret = hotmirror_populate_walked(op, range, leaf, hmm, exclusive_seq, write);
	hotmirror_leave(op->inst);
	return ret;
}

/**
 * hotmirror_populate - fill the device page table for a part of a mirrored range
 * @op: the running operation
 * @range: the range, which covers all of @start to @end
 * @start: first byte, page aligned
 * @end: first byte behind, page aligned, in the same leaf
 * @write: the device wants to write
 *
 * The section that disable waits for is left for every fault, so a sleep in
 * userfaultfd never holds up an unplug. A page is faulted only when the walk found
 * it missing: faulting first would migrate our own private pages away, and a page
 * that vanishes in between would be a false EFAULT.
 *
 * Return: pages populated from @start on, or if none: -ENODEV, -ENOENT (the range
 * was removed), -EFAULT, -EHWPOISON, -ENOMEM, -ERESTARTSYS, by HMM also -EPERM.
 */
long hotmirror_populate(struct hotmirror_op *op, struct hotmirror_range *range,
			unsigned long start, unsigned long end, bool write)
{
	struct hotmirror_leaf *leaf = hotmirror_dpt_reserve(op->file, start);
	unsigned long addr = start, window = op->nr, bad = ULONG_MAX;
	struct hmm_range hmm = { };
	long ret = leaf ? 0 : -ENOMEM;

	while (addr < end && !ret) {
		hmm.start = addr;
		hmm.end = min(end, addr + (window << PAGE_SHIFT));
		ret = hotmirror_populate_once(op, range, leaf, &hmm, write);
		if (ret > 0) {
			addr += ret << PAGE_SHIFT;
			window = min(2 * window, op->nr);
			ret = 0;
		} else if (ret == -EBUSY) {
			op->retries++;
			ret = signal_pending(current) ? -ERESTARTSYS : 0;
		} else if (op->by_hmm && (ret == -EFAULT || ret == -EPERM) &&
			   hmm.end - hmm.start > PAGE_SIZE) {
			window = 1;	/* HMM does not say which page it was */
			ret = 0;
		} else if (!ret && hmm.hmm_pfns[0] & HMM_PFN_ERROR && bad == addr) {
			ret = -EFAULT;	/* a fault succeeds, yet no device can map it */
		} else if (!ret) {
			bad = hmm.hmm_pfns[0] & HMM_PFN_ERROR ? addr : ULONG_MAX;
			window = min(8UL, op->nr);
			ret = hotmirror_fault_in(op, addr, write);
		}
	}
	return addr > start ? (addr - start) >> PAGE_SHIFT : ret;
}
