// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gates: files by which a test holds an operation at a named place. A gate never does
 * worse than delay: it holds no task that nobody could let go, none for longer than it
 * was told, and whoever leaves it goes on as if that had only taken long.
 *
 * The locks here are innermost. Nothing but the waiter himself sleeps.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"
#include "trace.h"

/* Who stands at a gate; on his stack. */
struct hotmirror_gate_waiter {
	struct hotmirror_file *file;
	bool go;			/* under the gate's lock */
	u64 since_ns;
};

static bool hotmirror_gate_is_worker(u32 nr)
{
	return nr >= HOTMIRROR_GATE_UNPLUG_DISABLED;
}

static bool hotmirror_gate_knows_file(u32 nr)
{
	return nr < HOTMIRROR_GATE_TO_RAM_ENTER;
}

static void hotmirror_gate_free(struct kref *ref)
{
	struct hotmirror_gate_file *gate =
		container_of(ref, struct hotmirror_gate_file, ref);

	put_pid(gate->tid);
	put_pid(gate->pid);
	put_pid(gate->armed_by);
	put_pid(gate->who);
	if (gate->inst)
		hotmirror_put(gate->inst);
	kfree(gate);
	hotmirror_count(HOTMIRROR_GATES, -1);
}

void hotmirror_gate_put(struct hotmirror_gate_file *gate)
{
	kref_put(&gate->ref, hotmirror_gate_free);
}

/* Under gate->lock: who stands there need not wait any longer. */
static void hotmirror_gate_let_go(struct hotmirror_gate_file *gate)
{
	gate->status.state = HOTMIRROR_GATE_RELEASED;
	gate->status.left_ns = ktime_get_ns();
	WRITE_ONCE(gate->waiter->go, true);
	gate->waiter = NULL;
}

/* Under gate->lock. The caller wakes gate->wait, then or later. */
static void hotmirror_gate_release_locked(struct hotmirror_gate_file *gate)
{
	if (gate->waiter)
		hotmirror_gate_let_go(gate);
	else if (gate->status.state == HOTMIRROR_GATE_ARMED)
		gate->status.state = HOTMIRROR_GATE_IDLE;
}

/* Let go whoever stands there, and nobody will again. */
void hotmirror_gate_open_for_good(struct hotmirror_gate_file *gate)
{
	spin_lock(&gate->lock);
	gate->open = true;
	hotmirror_gate_release_locked(gate);
	spin_unlock(&gate->lock);
	wake_up_all(&gate->wait);
}

/* Why current must not be held there; 0: it may be. */
static u32 hotmirror_gate_why(struct hotmirror_gate_file *gate)
{
	if (current->flags & PF_KTHREAD && !hotmirror_gate_is_worker(gate->nr))
		return HOTMIRROR_GATE_WHY_KTHREAD;
	/* exit_mm() comes before exit_files(): it could not even let itself go. */
	if (current->flags & PF_EXITING &&
	    (!gate->allow_exit || gate->armed_by == task_tgid(current)))
		return HOTMIRROR_GATE_WHY_EXITING;
	return 0;
}

static bool hotmirror_gate_is_for_current(struct hotmirror_gate_file *gate)
{
	return (!gate->tid || gate->tid == task_pid(current)) &&
	       (!gate->pid || gate->pid == task_tgid(current));
}

/**
 * hotmirror_gate_wants - whether a hit by current would be counted
 * @gate: the gate
 *
 * A guess, without a lock, for a caller to whom a hit is dear: see core_gate.c.
 */
bool notrace hotmirror_gate_wants(struct hotmirror_gate_file *gate)
{
	return READ_ONCE(gate->status.state) != HOTMIRROR_GATE_IDLE &&
	       hotmirror_gate_is_for_current(gate);
}

/*
 * Under gate->lock: count the hit. @why: what the caller knows against a hold.
 *
 * Return: whether current is to stand there.
 */
static bool hotmirror_gate_count(struct hotmirror_gate_file *gate,
				 struct hotmirror_file *file, u32 why)
{
	struct hotmirror_gate_status *status = &gate->status;

	if (gate->open || status->state == HOTMIRROR_GATE_IDLE ||
	    (gate->file && gate->file != file) ||
	    !hotmirror_gate_is_for_current(gate))
		return false;
	status->hits++;
	why |= hotmirror_gate_why(gate);
	if (why) {
		status->passed_through++;
		status->why |= why;
		return false;
	}
	if (status->state != HOTMIRROR_GATE_ARMED ||
	    (file && atomic_read(&file->gates_off)))
		return false;
	return status->hits - status->passed_through >= gate->nth;
}

/* Under gate->lock. */
static void hotmirror_gate_arrive(struct hotmirror_gate_file *gate,
				  struct hotmirror_gate_waiter *waiter)
{
	gate->waiter = waiter;
	gate->status.state = HOTMIRROR_GATE_HELD;
	waiter->since_ns = ktime_get_ns();
	gate->status.arrived_ns = waiter->since_ns;
	put_pid(gate->who);
	gate->who = get_pid(task_pid(current));
}

/*
 * A worker of io_uring is asked to stop by TIF_NOTIFY_SIGNAL, which only wakes an
 * interruptible sleep; all others wait for their release, or a SIGKILL.
 */
static long hotmirror_gate_sleep(struct hotmirror_gate_file *gate,
				 struct hotmirror_gate_waiter *waiter,
				 unsigned long limit)
{
	if (current->flags & PF_KTHREAD)
		return wait_event_idle_timeout(gate->wait, READ_ONCE(waiter->go), limit);
	if (current->flags & PF_IO_WORKER)
		return wait_event_interruptible_timeout(gate->wait,
							READ_ONCE(waiter->go), limit);
	return wait_event_killable_timeout(gate->wait, READ_ONCE(waiter->go), limit);
}

static void hotmirror_gate_stand(struct hotmirror_gate_file *gate,
				 struct hotmirror_gate_waiter *waiter,
				 unsigned long limit)
{
	bool gave_up;
	long left;

	wake_up_all(&gate->wait);	/* who polls */
	left = hotmirror_gate_sleep(gate, waiter, limit);
	spin_lock(&gate->lock);
	gave_up = !waiter->go;
	if (gave_up) {
		gate->status.timeouts += !left;
		gate->status.killed += left < 0;
		hotmirror_gate_let_go(gate);
	}
	spin_unlock(&gate->lock);
	trace_hotmirror_gate(gate->inst ? gate->inst->id : U32_MAX, gate->nr,
			     gave_up && !left, gave_up && left < 0,
			     ktime_get_ns() - waiter->since_ns);
}

/**
 * hotmirror_gate_hit - current is at a gate
 * @gate: the gate; the caller has a reference
 * @file: the mirror that current works on, NULL if none
 * @why: HOTMIRROR_GATE_WHY_ATOMIC, or 0
 *
 * Sleeps only if @why is 0.
 */
void hotmirror_gate_hit(struct hotmirror_gate_file *gate, struct hotmirror_file *file,
			u32 why)
{
	struct hotmirror_gate_waiter waiter = { .file = file };
	unsigned long limit;
	bool hold;

	spin_lock(&gate->lock);
	hold = hotmirror_gate_count(gate, file, why);
	if (hold)
		hotmirror_gate_arrive(gate, &waiter);
	limit = nsecs_to_jiffies(gate->timeout_ns) + 1;
	spin_unlock(&gate->lock);
	if (hold)
		hotmirror_gate_stand(gate, &waiter, limit);
}

/*
 * The gate of an instance behind another one, NULL: the first; at a place, 0: anywhere.
 * Between two of them the list may change: they are numbered. The reference to @last is
 * exchanged for one to the next.
 */
static struct hotmirror_gate_file *hotmirror_gate_next(struct hotmirror_instance *inst,
						       u32 nr,
						       struct hotmirror_gate_file *last)
{
	struct hotmirror_gate_file *gate, *next = NULL;
	u64 serial = last ? last->serial : 0;

	spin_lock(&inst->gate_lock);
	list_for_each_entry(gate, &inst->gates, node) {
		if (gate->serial <= serial || (nr && gate->nr != nr))
			continue;
		kref_get(&gate->ref);
		next = gate;
		break;
	}
	spin_unlock(&inst->gate_lock);
	if (last)
		hotmirror_gate_put(last);
	return next;
}

/* An operation is at a place that may have gates: see hotmirror_gate_at(). */
void hotmirror_gate_reach(struct hotmirror_instance *inst, struct hotmirror_file *file,
			  u32 nr, u32 why)
{
	struct hotmirror_gate_file *gate;

	for (gate = hotmirror_gate_next(inst, nr, NULL); gate;
	     gate = hotmirror_gate_next(inst, nr, gate))
		hotmirror_gate_hit(gate, file, why);
}

/* Under gate->lock or before anybody knows the gate. */
static bool hotmirror_gate_too_late(struct hotmirror_gate_file *gate)
{
	return gate->inst->gates_open >= (hotmirror_gate_is_worker(gate->nr) ?
					  HOTMIRROR_GATES_ALL : HOTMIRROR_GATES_OPERATIONS);
}

/**
 * hotmirror_gates_open - open gates of an instance for good, those to come, too
 * @inst: the instance
 * @level: which
 *
 * Before anything that waits uninterruptibly for what may stand at one.
 */
void hotmirror_gates_open(struct hotmirror_instance *inst, enum hotmirror_gates_open level)
{
	struct hotmirror_gate_file *gate;

	spin_lock(&inst->gate_lock);
	inst->gates_open = max_t(u32, inst->gates_open, level);
	spin_unlock(&inst->gate_lock);
	for (gate = hotmirror_gate_next(inst, 0, NULL); gate;
	     gate = hotmirror_gate_next(inst, 0, gate))
		if (hotmirror_gate_too_late(gate))
			hotmirror_gate_open_for_good(gate);
}

static void hotmirror_gate_let_file_go(struct hotmirror_gate_file *gate,
				       struct hotmirror_file *file)
{
	spin_lock(&gate->lock);
	if (gate->waiter && gate->waiter->file == file)
		hotmirror_gate_let_go(gate);
	spin_unlock(&gate->lock);
	wake_up_all(&gate->wait);
}

/**
 * hotmirror_gates_pass_begin - from now on no gate holds who works on a mirror
 * @file: the mirror
 *
 * Whoever does and stands at one goes on. To be called without file->lock, which he
 * may hold, and before mmu_interval_notifier_remove(), which waits for him.
 */
void hotmirror_gates_pass_begin(struct hotmirror_file *file)
{
	struct hotmirror_gate_file *gate;

	atomic_inc(&file->gates_off);
	for (gate = hotmirror_gate_next(file->inst, 0, NULL); gate;
	     gate = hotmirror_gate_next(file->inst, 0, gate))
		hotmirror_gate_let_file_go(gate, file);
}

void hotmirror_gates_pass_end(struct hotmirror_file *file)
{
	atomic_dec(&file->gates_off);
}

/* The last close of a mirror: its gates are open for good, and forget it. */
void hotmirror_gates_close(struct hotmirror_file *file)
{
	struct hotmirror_gate_file *gate;

	hotmirror_gates_pass_begin(file);
	for (gate = hotmirror_gate_next(file->inst, 0, NULL); gate;
	     gate = hotmirror_gate_next(file->inst, 0, gate))
		if (gate->file == file)
			hotmirror_gate_open_for_good(gate);
}

/* HOTMIRROR_GATE_ARM: the two that a hit is compared with, as the caller numbers them. */
static int hotmirror_gate_find_pids(const struct hotmirror_gate_arm *arm,
				    struct pid **tid, struct pid **pid)
{
	*tid = arm->tid ? find_get_pid(arm->tid) : NULL;
	*pid = arm->pid ? find_get_pid(arm->pid) : NULL;
	if (!arm->tid == !*tid && !arm->pid == !*pid)
		return 0;
	put_pid(*tid);
	put_pid(*pid);
	return -ESRCH;
}

static bool hotmirror_gate_arm_valid(struct hotmirror_gate_file *gate,
				     const struct hotmirror_gate_arm *arm)
{
	if (arm->reserved || !arm->nth || arm->tid < 0 || arm->pid < 0)
		return false;
	if (!arm->timeout_ns || arm->timeout_ns > HOTMIRROR_MAX_GATE_NS)
		return false;
	return !hotmirror_gate_is_worker(gate->nr) || (!arm->tid && !arm->pid);
}

/* Under gate->lock. The gate takes over the references in @tid and @pid, gives its own. */
static int hotmirror_gate_set(struct hotmirror_gate_file *gate,
			      const struct hotmirror_gate_arm *arm,
			      struct pid **tid, struct pid **pid)
{
	if (gate->open)
		return -ENODEV;
	if (gate->waiter)
		return -EBUSY;
	swap(gate->tid, *tid);
	swap(gate->pid, *pid);
	put_pid(gate->armed_by);
	gate->armed_by = get_pid(task_tgid(current));
	put_pid(gate->who);
	gate->who = NULL;
	gate->allow_exit = arm->flags & HOTMIRROR_GATE_ALLOW_EXIT;
	gate->nth = arm->nth;
	gate->timeout_ns = arm->timeout_ns;
	gate->status = (struct hotmirror_gate_status){ .state = HOTMIRROR_GATE_ARMED };
	return 0;
}

static int hotmirror_gate_arm(struct file *filp, void *arg)
{
	struct hotmirror_gate_file *gate = filp->private_data;
	struct hotmirror_gate_arm *arm = arg;
	struct pid *tid, *pid;
	int ret;

	if (!hotmirror_gate_arm_valid(gate, arm))
		return -EINVAL;
	ret = hotmirror_gate_find_pids(arm, &tid, &pid);
	if (ret)
		return ret;
	spin_lock(&gate->lock);
	ret = hotmirror_gate_set(gate, arm, &tid, &pid);
	spin_unlock(&gate->lock);
	put_pid(tid);
	put_pid(pid);
	return ret;
}

static int hotmirror_gate_release(struct file *filp, void *arg)
{
	struct hotmirror_gate_file *gate = filp->private_data;

	spin_lock(&gate->lock);
	hotmirror_gate_release_locked(gate);
	spin_unlock(&gate->lock);
	wake_up_all(&gate->wait);
	return 0;
}

static int hotmirror_gate_status(struct file *filp, void *arg)
{
	struct hotmirror_gate_file *gate = filp->private_data;
	struct hotmirror_gate_status *status = arg;

	spin_lock(&gate->lock);
	*status = gate->status;
	status->tid = gate->who ? pid_vnr(gate->who) : 0;
	spin_unlock(&gate->lock);
	return 0;
}

#define IOCTL(cmd, type, flags, fn) \
	{ cmd, sizeof(struct type), sizeof(struct type), flags, fn }

static const struct hotmirror_ioctl hotmirror_gate_ioctls[] = {
	IOCTL(HOTMIRROR_GATE_ARM, hotmirror_gate_arm, HOTMIRROR_GATE_ALLOW_EXIT,
	      hotmirror_gate_arm),
	IOCTL(HOTMIRROR_GATE_RELEASE, hotmirror_gate_release, 0, hotmirror_gate_release),
	IOCTL(HOTMIRROR_GATE_STATUS, hotmirror_gate_status, 0, hotmirror_gate_status),
};

static long hotmirror_gate_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return hotmirror_ioctl(hotmirror_gate_ioctls, ARRAY_SIZE(hotmirror_gate_ioctls),
			       filp, cmd, arg);
}

static __poll_t hotmirror_gate_poll(struct file *filp, poll_table *wait)
{
	struct hotmirror_gate_file *gate = filp->private_data;
	__poll_t mask = 0;

	poll_wait(filp, &gate->wait, wait);
	spin_lock(&gate->lock);
	if (gate->waiter)
		mask |= EPOLLIN | EPOLLRDNORM;
	if (gate->open)
		mask |= EPOLLHUP;
	spin_unlock(&gate->lock);
	return mask;
}

/* The last close of a gate file, or one that never came to be. */
static void hotmirror_gate_close(struct hotmirror_gate_file *gate)
{
	if (gate->inst) {
		spin_lock(&gate->inst->gate_lock);
		list_del(&gate->node);
		spin_unlock(&gate->inst->gate_lock);
	}
	hotmirror_gate_open_for_good(gate);
	if (gate->closed)
		gate->closed(gate);
	hotmirror_gate_put(gate);
}

static int hotmirror_gate_file_release(struct inode *inode, struct file *filp)
{
	hotmirror_gate_close(filp->private_data);
	return 0;
}

static const struct file_operations hotmirror_gate_fops = {
	.owner = THIS_MODULE,
	.release = hotmirror_gate_file_release,
	.unlocked_ioctl = hotmirror_gate_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = hotmirror_gate_poll,
	.llseek = noop_llseek,
};

/* The instance knows the gate, which is late if unplug has begun. */
static void hotmirror_gate_join(struct hotmirror_gate_file *gate)
{
	struct hotmirror_instance *inst = gate->inst;

	hotmirror_get(inst);
	spin_lock(&inst->gate_lock);
	gate->serial = ++inst->gate_serial;
	gate->open = hotmirror_gate_too_late(gate);
	list_add_tail(&gate->node, &inst->gates);
	spin_unlock(&inst->gate_lock);
}

/**
 * hotmirror_gate_new - make a gate
 * @inst: the instance; NULL: a gate at a core function, which has its own way to it
 * @file: hold only operations of this file; NULL: of any
 * @nr: HOTMIRROR_GATE_*; 0: at a core function
 *
 * Return: the gate, with a reference that hotmirror_gate_fd() takes over; NULL without
 * memory.
 */
struct hotmirror_gate_file *hotmirror_gate_new(struct hotmirror_instance *inst,
					       struct hotmirror_file *file, u32 nr)
{
	struct hotmirror_gate_file *gate = kzalloc_obj(*gate, GFP_KERNEL_ACCOUNT);

	if (!gate)
		return NULL;
	hotmirror_count(HOTMIRROR_GATES, 1);
	kref_init(&gate->ref);
	spin_lock_init(&gate->lock);
	init_waitqueue_head(&gate->wait);
	gate->nr = nr;
	gate->file = file;
	gate->inst = inst;
	if (inst)
		hotmirror_gate_join(gate);
	return gate;
}

/**
 * hotmirror_gate_fd - give a new gate a file
 * @gate: the gate; it is closed if there is no file to be had
 *
 * Return: the file descriptor, or -errno.
 */
int hotmirror_gate_fd(struct hotmirror_gate_file *gate)
{
	int fd = anon_inode_getfd("[test_hotmirror gate]", &hotmirror_gate_fops, gate,
				  O_RDWR | O_CLOEXEC);

	if (fd < 0)
		hotmirror_gate_close(gate);
	return fd;
}

/* HOTMIRROR_GATE_OPEN */
int hotmirror_gate_open(struct file *filp, void *arg)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_gate *open = arg;
	struct hotmirror_gate_file *gate;
	bool any = open->flags & HOTMIRROR_GATE_INSTANCE;

	open->fd = -1;
	if (!open->gate || open->gate >= HOTMIRROR_GATE_END ||
	    (!any && !hotmirror_gate_knows_file(open->gate)))
		return -EINVAL;
	gate = hotmirror_gate_new(file->inst, any ? NULL : file, open->gate);
	if (!gate)
		return -ENOMEM;
	open->fd = hotmirror_gate_fd(gate);
	return min(open->fd, 0);
}
