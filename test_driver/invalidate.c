// SPDX-License-Identifier: GPL-2.0-only
/*
 * The invalidate callback (claim S2). It takes the driver lock that populate takes:
 * either the entries are there already and are cleared here, or the populate comes
 * later, sees the sequence that is set here, and starts again.
 */
#include <linux/mmu_notifier.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

/*
 * Under file->lock: forget what the notifier's range names, nothing beside it. The
 * callback began at @begin.
 */
static unsigned long hotmirror_forget(struct hotmirror_range *range,
				      unsigned long start, unsigned long end, u64 begin)
{
	struct hotmirror_file *file = range->file;
	unsigned long cleared = 0;

	start = max(start, range->start);
	end = min(end, range->end);
	if (unlikely(file->sabotage & HOTMIRROR_SABOTAGE_FORGET))
		hotmirror_forget_sabotaged(file, &start, &end, range->end);
	if (start < end)
		cleared = hotmirror_dpt_clear(file, start, end);
	file->stats.entries_cleared += cleared;
	file->stats.invalidate_ns += ktime_get_ns() - begin;
	return cleared;
}

/*
 * Take the driver lock for an invalidation, or refuse where it must not sleep (the
 * oom reaper asks so). The sequence is set under the lock in both forms.
 */
static bool hotmirror_lock(struct hotmirror_range *range,
			   const struct mmu_notifier_range *mmu,
			   unsigned long cur_seq)
{
	struct hotmirror_file *file = range->file;
	bool blockable = mmu_notifier_range_blockable(mmu);

	hotmirror_gate_invalidate(file, blockable, HOTMIRROR_GATE_INVALIDATE_ENTER);
	if (blockable) {
		mutex_lock(&file->lock);
	} else if (!mutex_trylock(&file->lock)) {
		atomic_inc(&file->refused);
		return false;
	}
	mmu_interval_set_seq(&range->notifier, cur_seq);
	file->stats.invalidates++;
	hotmirror_gate_invalidate(file, blockable, HOTMIRROR_GATE_INVALIDATE_LOCKED);
	return true;
}

/* The entries are cleared: end what hotmirror_lock() began. */
static void hotmirror_unlock(struct hotmirror_file *file, bool blockable)
{
	hotmirror_gate_invalidate(file, blockable, HOTMIRROR_GATE_INVALIDATE_CLEARED);
	mutex_unlock(&file->lock);
	hotmirror_gate_invalidate(file, blockable, HOTMIRROR_GATE_INVALIDATE_DONE);
}

static void hotmirror_trace(struct hotmirror_range *range, u32 event,
			    unsigned long start, unsigned long end,
			    unsigned long cleared, bool refused, u64 begin)
{
	trace_hotmirror_invalidate(range->file->inst->id, event, start, end,
				   cleared, refused, ktime_get_ns() - begin);
}

/*
 * make_device_exclusive() announces its own conversion, for the sake of the other
 * mirrors. Setting the sequence for it would make its caller start again for ever,
 * so it is counted apart: a populate or VERIFY that runs beside it must start again,
 * because the PTE that it may have read is gone.
 */
static bool hotmirror_own_exclusive(struct hotmirror_range *range,
				    const struct mmu_notifier_range *mmu, u64 begin)
{
	struct hotmirror_file *file = range->file;

	if (mmu->event != MMU_NOTIFY_EXCLUSIVE || mmu->owner != file)
		return false;
	mutex_lock(&file->lock);
	file->exclusive_seq++;
	hotmirror_forget(range, mmu->start, mmu->end, begin);
	mutex_unlock(&file->lock);
	return true;
}

static bool hotmirror_invalidate(struct mmu_interval_notifier *notifier,
				 const struct mmu_notifier_range *mmu,
				 unsigned long cur_seq)
{
	struct hotmirror_range *range =
		container_of(notifier, struct hotmirror_range, notifier);
	unsigned long cleared = 0;
	u64 begin = ktime_get_ns();
	bool blockable = mmu_notifier_range_blockable(mmu), locked;

	if (hotmirror_own_exclusive(range, mmu, begin))
		return true;
	locked = hotmirror_lock(range, mmu, cur_seq);
	if (locked) {
		cleared = hotmirror_forget(range, mmu->start, mmu->end, begin);
		hotmirror_unlock(range->file, blockable);
	}
	hotmirror_trace(range, mmu->event, mmu->start, mmu->end, cleared,
			!locked, begin);
	return locked;
}

static const struct mmu_interval_notifier_ops hotmirror_one_pass_ops = {
	.invalidate = hotmirror_invalidate,
};

#ifdef HAVE_TWO_PASS
/*
 * Two passes: the first stops new entries, the second drops the old ones, as a
 * driver would that starts all its TLB flushes before it waits for the first.
 */
struct hotmirror_finish {
	struct mmu_interval_notifier_finish finish;
	struct hotmirror_range *range;
	unsigned long start;
	unsigned long end;
	u32 event;
	u64 begin;
};

static bool hotmirror_invalidate_start(struct mmu_interval_notifier *notifier,
				       const struct mmu_notifier_range *mmu,
				       unsigned long cur_seq,
				       struct mmu_interval_notifier_finish **out)
{
	struct hotmirror_range *range =
		container_of(notifier, struct hotmirror_range, notifier);
	struct hotmirror_finish *finish;
	u64 begin = ktime_get_ns();

	if (hotmirror_own_exclusive(range, mmu, begin))
		return true;
	/* The second pass has to sleep for the lock. */
	if (!mmu_notifier_range_blockable(mmu))
		return hotmirror_invalidate(notifier, mmu, cur_seq);
	/* Invalidations run side by side, so the state cannot live in the range. */
	finish = kmalloc_obj(*finish, GFP_NOWAIT);
	if (!finish)
		return hotmirror_invalidate(notifier, mmu, cur_seq);
	hotmirror_lock(range, mmu, cur_seq);	/* blockable: cannot be refused */
	mutex_unlock(&range->file->lock);
	hotmirror_gate_invalidate(range->file, true, HOTMIRROR_GATE_INVALIDATE_BETWEEN);
	finish->range = range;
	finish->start = mmu->start;
	finish->end = mmu->end;
	finish->event = mmu->event;
	finish->begin = begin;
	*out = &finish->finish;
	return true;
}

static void hotmirror_invalidate_finish(struct mmu_interval_notifier_finish *arg)
{
	struct hotmirror_finish *finish =
		container_of(arg, struct hotmirror_finish, finish);
	struct hotmirror_range *range = finish->range;
	unsigned long cleared;

	mutex_lock(&range->file->lock);
	cleared = hotmirror_forget(range, finish->start, finish->end,
				   finish->begin);
	hotmirror_unlock(range->file, true);
	hotmirror_trace(range, finish->event, finish->start, finish->end,
			cleared, false, finish->begin);
	kfree(finish);
}

static const struct mmu_interval_notifier_ops hotmirror_two_pass_ops = {
	.invalidate_start = hotmirror_invalidate_start,
	.invalidate_finish = hotmirror_invalidate_finish,
};

static const struct mmu_interval_notifier_ops *const hotmirror_two_pass =
	&hotmirror_two_pass_ops;
#else
static const struct mmu_interval_notifier_ops *const hotmirror_two_pass;
#endif

/* NULL if this kernel has no such form. */
const struct mmu_interval_notifier_ops *hotmirror_notifier_ops(bool two_pass)
{
	return two_pass ? hotmirror_two_pass : &hotmirror_one_pass_ops;
}
