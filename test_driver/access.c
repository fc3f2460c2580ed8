// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device's loads and stores. They go through the device page table and use the
 * pfn only: the entry is valid as long as the driver lock is held (claim S3).
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

enum hotmirror_direction { HOTMIRROR_LOAD, HOTMIRROR_STORE, HOTMIRROR_TOUCH };

/**
 * hotmirror_fault_in - take one CPU page fault on behalf of the device
 * @op: the running operation
 * @addr: the page
 * @write: for writing
 *
 * get_user_pages_remote() without pages may drop mmap_lock, hence wait for
 * userfaultfd on every kernel, and obeys signals, hence can be woken by unplug.
 *
 * Return: 0 (walk again), -ENODEV, -EFAULT, -EHWPOISON, -ENOMEM, -ERESTARTSYS.
 */
int hotmirror_fault_in(struct hotmirror_op *op, unsigned long addr, bool write)
{
	unsigned int flags = FOLL_INTERRUPTIBLE | FOLL_HWPOISON |
			     FOLL_HONOR_NUMA_FAULT | (write ? FOLL_WRITE : 0);
	struct hotmirror_sleeper *sleeper;
	u64 begin = ktime_get_ns();
	int locked = 1;
	long ret;

	hotmirror_gate_op(op, HOTMIRROR_GATE_FAULT_ENTER);
	sleeper = hotmirror_sleep_begin(op->inst);
	if (IS_ERR(sleeper))
		return PTR_ERR(sleeper);
	ret = mmap_read_lock_killable(op->mm);
	if (!ret) {
		ret = get_user_pages_remote(op->mm, addr, 1, flags, NULL,
					    &locked);
		if (locked)
			mmap_read_unlock(op->mm);
	}
	hotmirror_sleep_end(op->inst, sleeper);
	hotmirror_gate_op(op, HOTMIRROR_GATE_FAULT_DONE);

	begin = ktime_get_ns() - begin;
	op->faults++;
	op->fault_ns += begin;
	if (READ_ONCE(op->inst->target) != HOTMIRROR_LIVE)
		ret = -ENODEV;
	else if (ret == -EINTR || (ret >= 0 && signal_pending(current)))
		ret = -ERESTARTSYS;
	else if (ret >= 0 || ret == -EAGAIN || ret == -EBUSY)
		ret = 0;
	trace_hotmirror_fault(op->inst->id, addr, write, begin, ret);
	return ret;
}

/* Populate what the operation still needs from this address on. */
static int hotmirror_access_populate(struct hotmirror_op *op,
				     unsigned long addr, bool write)
{
	unsigned long page = addr & PAGE_MASK;
	struct hotmirror_range *range;
	unsigned long end;
	long ret;

	range = hotmirror_range_find(op->file, page);
	if (IS_ERR(range))
		return PTR_ERR(range);
	end = min3(op->end, range->end, (page & PMD_MASK) + PMD_SIZE);
	ret = hotmirror_populate(op, range, page, end, write);
	hotmirror_range_put(range);
	/* If the range went away under us another one may cover the address. */
	return ret > 0 || ret == -ENOENT ? 0 : ret;
}

/* Where the kernel finds the bytes of a pfn; the private kind has them elsewhere. */
static void *hotmirror_kaddr(struct hotmirror_op *op, unsigned long pfn)
{
	if (op->inst->kind == HOTMIRROR_PRIVATE &&
	    hotmirror_devmem_owns(op->inst, pfn))
		return page_address(hotmirror_devmem_data(op->inst, pfn));
	return __va(PFN_PHYS(pfn));
}

/*
 * The one place that touches the struct page of a mirrored pfn: a device store to a
 * writable but clean PTE (after MADV_FREE, after swap-in by a read) would be lost
 * at reclaim. It is allowed because the invalidation that would end the page's life
 * has to wait for the driver lock.
 */
static void hotmirror_mark_dirty(struct hotmirror_op *op, unsigned long pfn)
{
	struct folio *folio = page_folio(pfn_to_page(pfn));

	if (op->file->sabotage & HOTMIRROR_SABOTAGE_DROP_DIRTY)
		return;
	if (folio_test_anon(folio) || folio_test_swapbacked(folio))
		folio_mark_dirty(folio);
}

/* The device's atomic: the CPU has no PTE, and cannot get one without this lock. */
static int hotmirror_atomic_entry(struct hotmirror_op *op,
				  struct hotmirror_atomic *atomic)
{
	unsigned long entry;
	u64 *word;

	guard(mutex)(&op->file->lock);
	entry = hotmirror_dpt_get(op->file, atomic->addr);
	if (!(entry & HOTMIRROR_ENTRY_EXCLUSIVE))
		return -EAGAIN;
	if (op->file->unsafe)
		return -EPERM;
	hotmirror_gate_op(op, HOTMIRROR_GATE_ACCESS_LOCKED);
	word = hotmirror_kaddr(op, entry >> PAGE_SHIFT) +
	       offset_in_page(atomic->addr);
	atomic->old = *word;
	if (!(atomic->flags & HOTMIRROR_ATOMIC_CAS))
		*word += atomic->operand;
	else if (*word == atomic->expected)
		*word = atomic->operand;
	hotmirror_mark_dirty(op, entry >> PAGE_SHIFT);
	op->file->stats.writes += sizeof(*word);
	return 0;
}

/* One access within one page, with the caller's buffer for it. */
struct hotmirror_io {
	enum hotmirror_direction dir;
	void __user *buf;
	size_t n;
	void *bounce;			/* NULL: straight from or to @buf */
};

/* The straight copy would have to wait for a fault of the buffer. */
#define HOTMIRROR_BOUNCE	1

/* Pages under one hold of the driver lock: an invalidation waits no longer. */
#define HOTMIRROR_RUN_PAGES	16

/* Under the driver lock, so user memory may be touched only where it is present. */
static int hotmirror_transfer(void *kaddr, const struct hotmirror_io *io)
{
	bool load = io->dir == HOTMIRROR_LOAD;

	if (io->bounce)
		memcpy(load ? io->bounce : kaddr, load ? kaddr : io->bounce, io->n);
	else if (load ? copy_to_user_nofault(io->buf, kaddr, io->n) :
			copy_from_user_nofault(kaddr, io->buf, io->n))
		return HOTMIRROR_BOUNCE;
	return 0;
}

/*
 * One access within one page, under the driver lock.
 *
 * Return: 0, -EAGAIN (no entry that allows it: populate), -EFAULT (the memory has
 * no direct map), -EPERM (sabotaged: the entry may be stale), HOTMIRROR_BOUNCE.
 */
static int hotmirror_access_entry(struct hotmirror_op *op, unsigned long addr,
				  const struct hotmirror_io *io)
{
	unsigned long wanted = HOTMIRROR_ENTRY_VALID, entry;
	struct hotmirror_stats *stats = &op->file->stats;
	char *kaddr, probe;
	int ret;

	if (io->dir == HOTMIRROR_STORE)
		wanted |= HOTMIRROR_ENTRY_WRITE;
	entry = hotmirror_dpt_get(op->file, addr);
	if ((entry & wanted) != wanted)
		return -EAGAIN;
	if (op->file->unsafe)
		return -EPERM;
	kaddr = hotmirror_kaddr(op, entry >> PAGE_SHIFT);
	kaddr += offset_in_page(addr);
	if (copy_from_kernel_nofault(&probe, kaddr, 1)) {
		stats->unreadable++;
		return -EFAULT;
	}
	hotmirror_gate_op(op, HOTMIRROR_GATE_ACCESS_LOCKED);
	ret = hotmirror_transfer(kaddr, io);
	/* Also after a store that did not get through: some of it may be there. */
	if (io->dir == HOTMIRROR_STORE)
		hotmirror_mark_dirty(op, entry >> PAGE_SHIFT);
	if (!ret && io->dir == HOTMIRROR_STORE)
		stats->writes += io->n;
	else if (!ret)
		stats->reads += io->n;
	return ret;
}

/* The next access: up to the end of the page. */
static struct hotmirror_io hotmirror_next_io(struct hotmirror_access *access,
					     enum hotmirror_direction dir,
					     void *bounce)
{
	unsigned long addr = access->addr + access->done;

	return (struct hotmirror_io) {
		.dir = dir,
		.buf = u64_to_user_ptr(access->buf + access->done),
		.n = min_t(u64, PAGE_SIZE - offset_in_page(addr),
			   access->length - access->done),
		.bounce = bounce,
	};
}

/*
 * Page after page under one hold of the driver lock, up to @end bytes of the whole.
 *
 * Return: 0, -ENODEV, or why the next page did not go as hotmirror_access_entry().
 */
static int hotmirror_access_run(struct hotmirror_op *op,
				struct hotmirror_access *access, u64 end,
				enum hotmirror_direction dir, void *bounce)
{
	int ret;

	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	hotmirror_gate_op(op, HOTMIRROR_GATE_ACCESS_BEGIN);
	mutex_lock(&op->file->lock);
	do {
		struct hotmirror_io io = hotmirror_next_io(access, dir, bounce);

		ret = access->done + io.n > end ? HOTMIRROR_BOUNCE :
		      hotmirror_access_entry(op, access->addr + access->done, &io);
		if (!ret)
			access->done += io.n;
	} while (!ret && access->done < end);
	mutex_unlock(&op->file->lock);
	hotmirror_leave(op->inst);
	return ret;
}

/*
 * A buffer that is not present is touched outside all locks, by way of a bounce
 * page: its fault may sleep, or invalidate what we mirror. One page.
 */
static int hotmirror_access_bounced(struct hotmirror_op *op,
				    struct hotmirror_access *access,
				    enum hotmirror_direction dir, void *bounce)
{
	struct hotmirror_io io = hotmirror_next_io(access, dir, bounce);
	u64 before = access->done;
	int ret;

	if (dir == HOTMIRROR_STORE && copy_from_user(bounce, io.buf, io.n))
		return -EFAULT;
	ret = hotmirror_access_run(op, access, before + io.n, dir, bounce);
	if (ret || dir == HOTMIRROR_STORE || !copy_to_user(io.buf, bounce, io.n))
		return ret;
	access->done = before;
	return -EFAULT;
}

/*
 * How far a run may go. A page that the buffer does not cover is left to the bounce
 * page, so that a bad buffer is refused before anything is stored there.
 */
static u64 hotmirror_run_end(struct hotmirror_access *access,
			     enum hotmirror_direction dir)
{
	u64 end = access->addr + access->done + HOTMIRROR_RUN_PAGES * PAGE_SIZE;
	u64 n = min(access->length, (end & PAGE_MASK) - access->addr) - access->done;

	if (dir == HOTMIRROR_STORE)
		n -= fault_in_readable(u64_to_user_ptr(access->buf + access->done), n);
	return access->done + n;
}

/* A present buffer is copied straight, once. */
static int hotmirror_access_range(struct hotmirror_op *op,
				  struct hotmirror_access *access, void *bounce,
				  enum hotmirror_direction dir)
{
	int ret;

	while (access->done < access->length) {
		ret = hotmirror_access_run(op, access,
					   hotmirror_run_end(access, dir), dir, NULL);
		if (ret == HOTMIRROR_BOUNCE)
			ret = hotmirror_access_bounced(op, access, dir, bounce);
		if (ret == -EAGAIN && !op->warm)
			ret = hotmirror_access_populate(op, access->addr + access->done,
							dir == HOTMIRROR_STORE);
		if (ret)
			return ret;
		if (signal_pending(current))
			return access->done < access->length ? -ERESTARTSYS : 0;
		cond_resched();
	}
	return 0;
}

/* Populate only: one leaf at a time, without touching the memory. */
static int hotmirror_prefetch_range(struct hotmirror_op *op,
				    struct hotmirror_access *access, bool write)
{
	unsigned long addr = op->start, end;
	struct hotmirror_range *range;
	long ret;

	while (addr < op->end) {
		range = hotmirror_range_find(op->file, addr);
		if (IS_ERR(range))
			return PTR_ERR(range);
		end = min3(op->end, range->end, (addr & PMD_MASK) + PMD_SIZE);
		ret = hotmirror_populate(op, range, addr, end, write);
		hotmirror_range_put(range);
		if (ret > 0) {
			addr += ret << PAGE_SHIFT;
			access->done = min(addr - access->addr, access->length);
		} else if (ret != -ENOENT) {
			return ret;
		}
		if (signal_pending(current) && addr < op->end)
			return -ERESTARTSYS;
		cond_resched();
	}
	return 0;
}

static void hotmirror_account(struct hotmirror_op *op, bool write, int ret)
{
	struct hotmirror_stats *stats = &op->file->stats;

	mutex_lock(&op->file->lock);
	stats->populates += !!op->entries;
	stats->retries += op->retries;
	stats->faults += op->faults;
	stats->fault_ns += op->fault_ns;
	stats->unreadable += op->unreadable;
	mutex_unlock(&op->file->lock);
	if (op->entries || op->retries || op->faults)
		trace_hotmirror_populate(op, write,
					 ktime_get_ns() - op->begin_ns, ret);
}

static int hotmirror_access(struct file *filp, struct hotmirror_access *access,
			    enum hotmirror_direction dir)
{
	bool write = dir == HOTMIRROR_STORE ||
		     access->flags & HOTMIRROR_ACCESS_WRITE;
	void *bounce = NULL;
	struct hotmirror_op op;
	int ret;

	access->done = 0;
	access->faults = 0;
	access->retries = 0;
	ret = hotmirror_op_begin(&op, filp, access->addr, access->length);
	if (ret)
		return ret;
	op.warm = access->flags & HOTMIRROR_ACCESS_WARM;
	op.by_hmm = access->flags & HOTMIRROR_PREFETCH_BY_HMM;
	if (dir == HOTMIRROR_TOUCH) {
		ret = hotmirror_prefetch_range(&op, access, write);
	} else {
		bounce = kmalloc(PAGE_SIZE, GFP_KERNEL_ACCOUNT);
		ret = bounce ? hotmirror_access_range(&op, access, bounce, dir) :
			       -ENOMEM;
		kfree(bounce);
	}
	access->faults = op.faults;
	access->retries = op.retries;
	hotmirror_account(&op, write, ret);
	hotmirror_op_end(&op);
	return ret;
}

static int hotmirror_atomic_once(struct hotmirror_op *op,
				 struct hotmirror_atomic *atomic)
{
	struct hotmirror_range *range;
	int ret;

	if (!hotmirror_enter(op->inst))
		return -ENODEV;
	hotmirror_gate_op(op, HOTMIRROR_GATE_ACCESS_BEGIN);
	ret = hotmirror_atomic_entry(op, atomic);
	hotmirror_leave(op->inst);
	if (ret != -EAGAIN)
		return ret;
	range = hotmirror_range_find(op->file, op->start);
	if (IS_ERR(range))
		return PTR_ERR(range);
	ret = hotmirror_exclude(op, range, op->start);
	hotmirror_range_put(range);
	if (ret && ret != -ENOENT)
		return ret;
	return signal_pending(current) ? -ERESTARTSYS : -EAGAIN;
}

/* HOTMIRROR_ATOMIC */
int hotmirror_atomic(struct file *filp, void *arg)
{
	struct hotmirror_atomic *atomic = arg;
	struct hotmirror_op op;
	int ret;

	atomic->old = 0;
	atomic->faults = 0;
	atomic->retries = 0;
	if (!IS_ALIGNED(atomic->addr, sizeof(u64)))
		return -EINVAL;
	if (!(atomic->flags & HOTMIRROR_ATOMIC_CAS) && atomic->expected)
		return -EINVAL;
	ret = hotmirror_op_begin(&op, filp, atomic->addr, sizeof(u64));
	if (ret)
		return ret;
	do {
		ret = hotmirror_atomic_once(&op, atomic);
		cond_resched();
	} while (ret == -EAGAIN);
	atomic->faults = op.faults;
	atomic->retries = op.retries;
	hotmirror_account(&op, true, ret);
	hotmirror_op_end(&op);
	return ret;
}

/* HOTMIRROR_READ */
int hotmirror_read(struct file *filp, void *arg)
{
	return hotmirror_access(filp, arg, HOTMIRROR_LOAD);
}

/* HOTMIRROR_WRITE */
int hotmirror_write(struct file *filp, void *arg)
{
	return hotmirror_access(filp, arg, HOTMIRROR_STORE);
}

/* HOTMIRROR_PREFETCH */
int hotmirror_prefetch(struct file *filp, void *arg)
{
	struct hotmirror_access *access = arg;

	if (access->buf)
		return -EINVAL;
	/* The exit of a ring could not interrupt the fault. */
	if (access->flags & HOTMIRROR_PREFETCH_BY_HMM && current->flags & PF_IO_WORKER)
		return -EOPNOTSUPP;
	return hotmirror_access(filp, arg, HOTMIRROR_TOUCH);
}
