// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life and death of an instance (claims S4, S5, S8):
 *
 *   LIVE -> DISABLED -> INVALIDATED -> DRAINING -> GONE
 *
 * Whoever asks raises inst->target; a work item takes the steps, one at a time,
 * and never the caller: a drain may take for ever, and a task that waits for one
 * in D state survives every time-out of a test runner.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/task_work.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

/* How often a drain of dax memory looks: nobody tells when a page loses its last user. */
#define HOTMIRROR_DRAIN_POLL	msecs_to_jiffies(5)

/* An operation that sleeps in a user fault; unplug wakes it. */
struct hotmirror_sleeper {
	struct callback_head work;
	struct list_head node;
	struct task_struct *task;
	bool woken;
};

/* Some task may still be in hotmirror_woken(). */
static atomic_t hotmirror_ever_woken = ATOMIC_INIT(0);

/**
 * hotmirror_enter - begin something that disable has to wait for
 * @inst: the instance
 *
 * What runs inside must not sleep on user space: no user fault, no copy to or
 * from user memory. That is what keeps unplug from waiting for a userfaultfd.
 *
 * Return: false if the instance is being unplugged (the caller answers ENODEV,
 * ENXIO or SIGBUS), else true, and hotmirror_leave() is due.
 */
bool hotmirror_enter(struct hotmirror_instance *inst)
{
	atomic_inc(&inst->readers);
	smp_mb__after_atomic();		/* pairs with hotmirror_unplug_start() */
	if (READ_ONCE(inst->target) == HOTMIRROR_LIVE)
		return true;
	hotmirror_leave(inst);
	return false;
}

void hotmirror_leave(struct hotmirror_instance *inst)
{
	if (atomic_dec_and_test(&inst->readers) &&
	    READ_ONCE(inst->target) != HOTMIRROR_LIVE)
		wake_up_all(&inst->wait);
}

static void hotmirror_woken(struct callback_head *work)
{
	kfree(container_of(work, struct hotmirror_sleeper, work));
}

/**
 * hotmirror_sleep_begin - announce a sleep in a user fault, outside hotmirror_enter()
 * @inst: the instance
 *
 * Return: the token for hotmirror_sleep_end(), or -ENODEV, -ENOMEM.
 */
struct hotmirror_sleeper *hotmirror_sleep_begin(struct hotmirror_instance *inst)
{
	struct hotmirror_sleeper *sleeper;

	sleeper = kzalloc_obj(*sleeper, GFP_KERNEL);
	if (!sleeper)
		return ERR_PTR(-ENOMEM);
	sleeper->task = current;
	init_task_work(&sleeper->work, hotmirror_woken);

	spin_lock(&inst->state_lock);
	if (inst->target != HOTMIRROR_LIVE) {
		spin_unlock(&inst->state_lock);
		kfree(sleeper);
		return ERR_PTR(-ENODEV);
	}
	list_add(&sleeper->node, &inst->sleepers);
	spin_unlock(&inst->state_lock);
	return sleeper;
}

void hotmirror_sleep_end(struct hotmirror_instance *inst,
			 struct hotmirror_sleeper *sleeper)
{
	bool woken;

	spin_lock(&inst->state_lock);
	list_del(&sleeper->node);
	woken = sleeper->woken;
	spin_unlock(&inst->state_lock);
	if (!woken)		/* else hotmirror_woken() frees it */
		kfree(sleeper);
}

/* Under state_lock, with target raised: no sleeper can join any more. */
static void hotmirror_wake_sleepers(struct hotmirror_instance *inst)
{
	struct hotmirror_sleeper *sleeper;

	list_for_each_entry(sleeper, &inst->sleepers, node) {
		if (sleeper->woken)
			continue;
		if (!task_work_add(sleeper->task, &sleeper->work, TWA_SIGNAL)) {
			sleeper->woken = true;
			atomic_set(&hotmirror_ever_woken, 1);
		}
	}
}

/* At module exit: no task may return into hotmirror_woken() afterwards. */
void hotmirror_sleepers_exit(void)
{
	if (atomic_read(&hotmirror_ever_woken))
		synchronize_rcu_tasks();
}

/* Disable: from the raised target on nobody enters; wait for who is inside. */
static void hotmirror_disable(struct hotmirror_instance *inst)
{
	wait_event_idle(inst->wait,
			!atomic_read(&inst->readers) || READ_ONCE(inst->skip_disable));
	inst->unfinished |= atomic_read(&inst->readers);
}

static void hotmirror_invalidate_ranges(struct hotmirror_instance *inst)
{
	struct hotmirror_file *file;

	mutex_lock(&inst->lock);
	list_for_each_entry(file, &inst->files, node) {
		hotmirror_ranges_remove(file);
		hotmirror_doorbell_unmap(file);
	}
	mutex_unlock(&inst->lock);
}

/* Invalidate: no PTE, no device page table entry, no notifier is left. */
static void hotmirror_invalidate_all(struct hotmirror_instance *inst)
{
	hotmirror_invalidate_ranges(inst);
	if (inst->kind == HOTMIRROR_DAX && READ_ONCE(inst->skip_unmap))
		inst->unfinished = true;
	else if (inst->kind == HOTMIRROR_DAX)
		hotmirror_dax_unmap(inst);
	else if (inst->kind == HOTMIRROR_COHERENT)
		hotmirror_evict(inst);
}

/* Whatever sabotage left out of the steps before must not meet memory that is gone. */
static void hotmirror_make_up(struct hotmirror_instance *inst)
{
	wait_event_idle(inst->wait, !atomic_read(&inst->readers));
	hotmirror_invalidate_ranges(inst);
	if (inst->kind == HOTMIRROR_DAX)
		hotmirror_dax_unmap(inst);
}

/*
 * Drain. memunmap_pages() would wait uninterruptibly, and for GENERIC memory it
 * waits for no page at all: a pinned page would lose its struct page under the
 * holder. So the waiting is done here, idly, until nobody can have a reference.
 */
static bool hotmirror_unused(struct hotmirror_instance *inst)
{
	return inst->kind != HOTMIRROR_DAX && !READ_ONCE(inst->nr_used) &&
	       !hotmirror_pgmap_refs(inst);
}

static bool hotmirror_drained(struct hotmirror_instance *inst)
{
	if (inst->kind == HOTMIRROR_DAX)
		return !hotmirror_pgmap_refs(inst) && hotmirror_dax_freeze(inst);
	hotmirror_evict(inst);
	return hotmirror_unused(inst);
}

static unsigned long hotmirror_drain_pause(struct hotmirror_instance *inst)
{
	return inst->kind == HOTMIRROR_DAX ? HOTMIRROR_DRAIN_POLL :
					     hotmirror_evict_pause(inst);
}

static void hotmirror_reached(struct hotmirror_instance *inst, u32 state)
{
	spin_lock(&inst->state_lock);
	if (inst->state != state)
		inst->when_ns[state] = ktime_get_ns();
	WRITE_ONCE(inst->state, state);
	spin_unlock(&inst->state_lock);
	wake_up_all(&inst->wait);
}

static void hotmirror_drain(struct hotmirror_instance *inst)
{
	if (inst->unfinished)
		hotmirror_make_up(inst);
	while (!hotmirror_drained(inst)) {
		if (READ_ONCE(inst->drain_early))
			hotmirror_reached(inst, HOTMIRROR_GONE);
		wait_event_idle_timeout(inst->wait, hotmirror_unused(inst),
					hotmirror_drain_pause(inst));
	}
	/* From here on nobody looks at a struct page; no lock is held over the wait. */
	mutex_lock(&inst->lock);
	inst->mapped = false;
	mutex_unlock(&inst->lock);
	hotmirror_lose_end(inst);
	inst->leaving = true;
	hotmirror_count(HOTMIRROR_LEAVING, 1);
	hotmirror_count(HOTMIRROR_DEVICES, -1);
	hotmirror_devmem_unmap(inst);
	hotmirror_unplug_node(inst);
}

/* The step that leads to each state; DRAINING only opens the books. */
static void (* const hotmirror_steps[HOTMIRROR_NR_STATES])(struct hotmirror_instance *) = {
	[HOTMIRROR_DISABLED]	= hotmirror_disable,
	[HOTMIRROR_INVALIDATED]	= hotmirror_invalidate_all,
	[HOTMIRROR_GONE]	= hotmirror_drain,
};

static void hotmirror_step(struct hotmirror_instance *inst, u32 state)
{
	u64 begin = ktime_get_ns();

	if (hotmirror_steps[state])
		hotmirror_steps[state](inst);
	hotmirror_reached(inst, state);
	trace_hotmirror_unplug(inst->id, state, inst->when_ns[state] - begin);
	if (state < HOTMIRROR_GONE)
		hotmirror_gate_at(inst, NULL, HOTMIRROR_GATE_UNPLUG_DISABLED +
				  state - HOTMIRROR_DISABLED);
}

void hotmirror_unplug_work(struct work_struct *work)
{
	struct hotmirror_instance *inst =
		container_of(work, struct hotmirror_instance, unplug_work);
	bool was_gone = inst->state == HOTMIRROR_GONE;

	while (inst->state < READ_ONCE(inst->target))
		hotmirror_step(inst, inst->state + 1);
	if (!was_gone && inst->state == HOTMIRROR_GONE)
		hotmirror_unplugged(inst);
	hotmirror_put(inst);		/* taken when the work was queued */
}

/**
 * hotmirror_unplug_start - ask for a state; returns at once
 * @inst: the instance
 * @target: HOTMIRROR_DISABLED to HOTMIRROR_GONE; lower than before is no request
 *
 * DISABLED waits for who stands at a gate. The later steps would sleep uninterruptibly
 * for him, so he is let go, who then finds that the instance is being unplugged.
 */
void hotmirror_unplug_start(struct hotmirror_instance *inst, u32 target)
{
	spin_lock(&inst->state_lock);
	if (target <= inst->target) {
		spin_unlock(&inst->state_lock);
		return;
	}
	if (inst->target == HOTMIRROR_LIVE)
		inst->disabling_ns = ktime_get_ns();
	WRITE_ONCE(inst->target, target);
	smp_mb();		/* pairs with hotmirror_enter() */
	hotmirror_wake_sleepers(inst);
	hotmirror_get(inst);
	if (!queue_work(hotmirror_wq, &inst->unplug_work))
		hotmirror_put(inst);
	spin_unlock(&inst->state_lock);
	if (target > HOTMIRROR_DISABLED)
		hotmirror_gates_open(inst, HOTMIRROR_GATES_OPERATIONS);
}

/**
 * hotmirror_unplug_wait - wait for a state
 * @inst: the instance
 * @target: the state
 * @ns: for how long
 *
 * It starts over after a signal that has no handler to call, task work of io_uring
 * above all.
 *
 * Return: 0, -ETIMEDOUT or -ERESTARTSYS; the work goes on in any case.
 */
int hotmirror_unplug_wait(struct hotmirror_instance *inst, u32 target, u64 ns)
{
	long left;

	left = wait_event_interruptible_timeout(inst->wait,
						READ_ONCE(inst->state) >= target,
						nsecs_to_jiffies(ns) + 1);
	if (left < 0)
		return left;
	return left ? 0 : -ETIMEDOUT;
}
