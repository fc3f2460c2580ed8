// SPDX-License-Identifier: GPL-2.0-only
/*
 * Gates at the entry of core functions, which have no hook of ours.
 *
 * ftrace calls a handler at the function's entry and lets it say where to go on
 * (IPMODIFY, as livepatch does). For a task that a gate may be meant for that is a stub
 * (core_stub.S), which stands at the gate as any operation of ours does: in its own
 * context, with the arguments saved, and asleep. Then it goes on with the function.
 * Everyone else goes on at once.
 *
 * A function that has gates has a slot: ftrace_ops, and a stub that knows where to go on.
 * To attach one means to patch the text of the kernel, to detach one means to wait until
 * nobody is left in between. So a slot stays attached when its gates are closed, for the
 * next one, until the last control file that had core gates is closed.
 *
 *   hotmirror_core_lock   slots and their functions; nobody who stands there needs it
 *   slot->lock            its gates
 */
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/rcupdate_wait.h>
#include <linux/slab.h>
#include "core_gate.h"
#include "gate.h"

#if HOTMIRROR_CAN_CORE_GATES

struct hotmirror_core_slot {
	/* under hotmirror_core_lock */
	const struct hotmirror_core_function *function;	/* NULL: not attached */
	unsigned long ip;		/* of its fentry call */
	u64 used;			/* which of the calls of GATE_CORE was the last */

	struct ftrace_ops ops;
	atomic_t users;			/* between handler and the end of stand() */
	spinlock_t lock;
	struct list_head bonds;
};

/* What ties a gate to a function, as long as its control file and its own are open. */
struct hotmirror_core_bond {
	struct list_head node;
	u64 serial;
	struct hotmirror_gate_file *gate;
	struct hotmirror_control *control;
	struct hotmirror_core_slot *slot;	/* NULL: no more; under hotmirror_core_lock */
};

static struct hotmirror_core_slot hotmirror_core_slots[HOTMIRROR_CORE_SLOTS];
static DEFINE_MUTEX(hotmirror_core_lock);
static unsigned int hotmirror_core_controls;
static u64 hotmirror_core_serial;
static DECLARE_WAIT_QUEUE_HEAD(hotmirror_core_idle);

/* Where each stub goes on: behind the fentry call of its slot's function. */
unsigned long hotmirror_core_targets[HOTMIRROR_CORE_SLOTS];

/* The first of a slot's gates behind a serial number, with a reference. */
static struct hotmirror_gate_file *hotmirror_core_next(struct hotmirror_core_slot *slot,
						       u64 *serial)
{
	struct hotmirror_gate_file *gate = NULL;
	struct hotmirror_core_bond *bond;

	spin_lock(&slot->lock);
	list_for_each_entry(bond, &slot->bonds, node) {
		if (bond->serial <= *serial)
			continue;
		*serial = bond->serial;
		gate = bond->gate;
		kref_get(&gate->ref);
		break;
	}
	spin_unlock(&slot->lock);
	return gate;
}

static void hotmirror_core_hit(struct hotmirror_core_slot *slot, u32 why)
{
	struct hotmirror_gate_file *gate;
	u64 serial = 0;

	while ((gate = hotmirror_core_next(slot, &serial))) {
		hotmirror_gate_hit(gate, NULL, why);
		hotmirror_gate_put(gate);
	}
}

/*
 * The functions on the list may sleep at their entry. A caller that forgot that is a
 * kernel bug that we do not make worse.
 */
static u32 hotmirror_core_why(struct hotmirror_core_slot *slot,
			      const struct hotmirror_core_regs *regs)
{
	const struct hotmirror_core_function *function = slot->function;

	if (preempt_count() || irqs_disabled() || rcu_preempt_depth() ||
	    !task_is_running(current))
		return HOTMIRROR_GATE_WHY_ATOMIC;
	if (function->may_sleep && !function->may_sleep(regs))
		return HOTMIRROR_GATE_WHY_ATOMIC;
	return 0;
}

/**
 * hotmirror_core_stand - current is at the entry of a core function
 * @regs: its arguments
 * @nr: the slot
 *
 * Called by the stub only. When the last user is gone the slot may be given away, so
 * that nothing of it is touched from then on; for the text of module and stub,
 * hotmirror_core_exit() waits.
 */
asmlinkage void hotmirror_core_stand(const struct hotmirror_core_regs *regs,
				     unsigned int nr)
{
	struct hotmirror_core_slot *slot = &hotmirror_core_slots[nr];

	hotmirror_core_hit(slot, hotmirror_core_why(slot, regs));
	if (atomic_dec_and_test(&slot->users))
		wake_up_all(&hotmirror_core_idle);
}

static bool notrace hotmirror_core_wanted(struct hotmirror_core_slot *slot)
{
	struct hotmirror_core_bond *bond;
	bool wanted = false;

	spin_lock(&slot->lock);
	list_for_each_entry(bond, &slot->bonds, node)
		wanted |= hotmirror_gate_wants(bond->gate);
	spin_unlock(&slot->lock);
	return wanted;
}

/*
 * At every entry of the function, in whatever context. A kernel thread is counted, and
 * goes on; interrupts are nobody's operation.
 */
static void notrace hotmirror_core_handler(unsigned long ip, unsigned long parent_ip,
					   struct ftrace_ops *ops,
					   struct ftrace_regs *fregs)
{
	struct hotmirror_core_slot *slot =
		container_of(ops, struct hotmirror_core_slot, ops);
	unsigned long stub = hotmirror_core_stubs[slot - hotmirror_core_slots];
	int bit;

	if (!in_task() || list_empty(&slot->bonds))
		return;
	bit = ftrace_test_recursion_trylock(ip, parent_ip);
	if (bit < 0)
		return;
	if (!hotmirror_core_wanted(slot)) {
		/* Nobody waits for current here. */
	} else if (current->flags & PF_KTHREAD) {
		hotmirror_core_hit(slot, HOTMIRROR_GATE_WHY_KTHREAD);
	} else {
		atomic_inc(&slot->users);
		ftrace_regs_set_instruction_pointer(fregs, stub);
	}
	ftrace_test_recursion_unlock(bit);
}

/*
 * Where ftrace can get hold of a function, 0 if nowhere. kallsyms are not for modules;
 * a kprobe that is never enabled patches nothing, and knows.
 */
static unsigned long hotmirror_core_locate(const char *name)
{
	struct kprobe probe = { .symbol_name = name, .flags = KPROBE_FLAG_DISABLED };
	unsigned long ip = 0;

	if (register_kprobe(&probe))
		return 0;
	if (probe.flags & KPROBE_FLAG_FTRACE)
		ip = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	return ip;
}

/*
 * The ops are used again: ftrace_free_filter() would leave them a pointer to what it
 * freed (6.12). A filter without functions takes no memory.
 */
static void hotmirror_core_forget(struct hotmirror_core_slot *slot)
{
	ftrace_set_filter_ip(&slot->ops, slot->ip, 1, 0);
	slot->function = NULL;
}

static int hotmirror_core_attach(struct hotmirror_core_slot *slot,
				 const struct hotmirror_core_function *function)
{
	int ret;

	slot->ip = hotmirror_core_locate(function->name);
	if (!slot->ip)
		return -ENXIO;
	ret = ftrace_set_filter_ip(&slot->ops, slot->ip, 0, 0);
	if (ret)
		return ret;
	hotmirror_core_targets[slot - hotmirror_core_slots] = slot->ip + MCOUNT_INSN_SIZE;
	slot->function = function;
	ret = register_ftrace_function(&slot->ops);
	if (!ret)
		return 0;
	hotmirror_core_forget(slot);
	return ret == -ENODEV ? -EOPNOTSUPP : ret;
}

/* Once it is unregistered nobody is in the handler; then those in the stub leave. */
static void hotmirror_core_detach(struct hotmirror_core_slot *slot)
{
	WARN_ON_ONCE(unregister_ftrace_function(&slot->ops));
	wait_event(hotmirror_core_idle, !atomic_read(&slot->users));
	hotmirror_core_forget(slot);
}

/* A free slot, or the one without gates whose last use is longest ago. */
static struct hotmirror_core_slot *hotmirror_core_choose(void)
{
	struct hotmirror_core_slot *slot, *best = NULL;

	for (slot = hotmirror_core_slots;
	     slot < hotmirror_core_slots + HOTMIRROR_CORE_SLOTS; slot++) {
		if (!slot->function)
			return slot;
		if (list_empty(&slot->bonds) && (!best || slot->used < best->used))
			best = slot;
	}
	if (best)
		hotmirror_core_detach(best);
	return best;
}

/* The function's slot, attached now if it was not. */
static struct hotmirror_core_slot *
hotmirror_core_slot(const struct hotmirror_core_function *function)
{
	struct hotmirror_core_slot *slot;
	int ret;

	for (slot = hotmirror_core_slots;
	     slot < hotmirror_core_slots + HOTMIRROR_CORE_SLOTS; slot++)
		if (slot->function == function)
			return slot;
	slot = hotmirror_core_choose();
	if (!slot)
		return ERR_PTR(-EBUSY);
	ret = hotmirror_core_attach(slot, function);
	return ret ? ERR_PTR(ret) : slot;
}

/* Under hotmirror_core_lock. */
static void hotmirror_core_untie(struct hotmirror_core_bond *bond)
{
	spin_lock(&bond->slot->lock);
	list_del(&bond->node);
	spin_unlock(&bond->slot->lock);
	bond->slot = NULL;
}

/* The gate file was closed; who stood there was let go. */
static void hotmirror_core_closed(struct hotmirror_gate_file *gate)
{
	struct hotmirror_core_bond *bond = gate->private;

	mutex_lock(&hotmirror_core_lock);
	if (bond->slot)
		hotmirror_core_untie(bond);
	mutex_unlock(&hotmirror_core_lock);
	kfree(bond);
}

/* Under hotmirror_core_lock: the gate gets hits from now on. */
static int hotmirror_core_tie(struct hotmirror_core_bond *bond,
			      const struct hotmirror_core_function *function)
{
	struct hotmirror_core_slot *slot = hotmirror_core_slot(function);

	if (IS_ERR(slot))
		return PTR_ERR(slot);
	if (!bond->control->core_gates)
		hotmirror_core_controls++;
	bond->control->core_gates = true;
	slot->used = ++hotmirror_core_serial;
	bond->serial = slot->used;
	bond->slot = slot;
	bond->gate->private = bond;
	bond->gate->closed = hotmirror_core_closed;
	spin_lock(&slot->lock);
	list_add_tail(&bond->node, &slot->bonds);
	spin_unlock(&slot->lock);
	return 0;
}

static int hotmirror_core_open(struct hotmirror_control *control,
			       const struct hotmirror_core_function *function)
{
	struct hotmirror_core_bond *bond = kzalloc_obj(*bond, GFP_KERNEL_ACCOUNT);
	int ret = -ENOMEM;

	if (!bond)
		return ret;
	bond->control = control;
	bond->gate = hotmirror_gate_new(NULL, NULL, 0);
	if (!bond->gate)
		goto free;
	mutex_lock(&hotmirror_core_lock);
	ret = hotmirror_core_tie(bond, function);
	mutex_unlock(&hotmirror_core_lock);
	if (!ret)
		return hotmirror_gate_fd(bond->gate);
	hotmirror_gate_put(bond->gate);
free:
	kfree(bond);
	return ret;
}

/* HOTMIRROR_GATE_CORE */
int hotmirror_core_gate(struct file *filp, void *arg)
{
	struct hotmirror_core_gate *core = arg;
	const struct hotmirror_core_function *function;

	core->fd = -1;
	if (core->reserved || strnlen(core->name, sizeof(core->name)) == sizeof(core->name))
		return -EINVAL;
	function = hotmirror_core_find(core->name);
	if (!function)
		return -ENOENT;
	core->fd = hotmirror_core_open(filp->private_data, function);
	return min(core->fd, 0);
}

static void hotmirror_core_untie_all(struct hotmirror_core_slot *slot,
				     struct hotmirror_control *control)
{
	struct hotmirror_core_bond *bond, *next;

	list_for_each_entry_safe(bond, next, &slot->bonds, node) {
		if (bond->control != control)
			continue;
		hotmirror_gate_open_for_good(bond->gate);
		hotmirror_core_untie(bond);
	}
}

/**
 * hotmirror_core_release - a control file is closed
 * @control: the file
 *
 * Its core gates are open for good. With the last control file that had any, nothing of
 * ours is left in the text of the kernel.
 */
void hotmirror_core_release(struct hotmirror_control *control)
{
	int i;

	if (!control->core_gates)
		return;
	guard(mutex)(&hotmirror_core_lock);
	for (i = 0; i < HOTMIRROR_CORE_SLOTS; i++)
		hotmirror_core_untie_all(&hotmirror_core_slots[i], control);
	if (--hotmirror_core_controls)
		return;
	for (i = 0; i < HOTMIRROR_CORE_SLOTS; i++)
		if (hotmirror_core_slots[i].function)
			hotmirror_core_detach(&hotmirror_core_slots[i]);
}

void hotmirror_core_init(void)
{
	struct hotmirror_core_slot *slot;

	for (slot = hotmirror_core_slots;
	     slot < hotmirror_core_slots + HOTMIRROR_CORE_SLOTS; slot++) {
		slot->ops.func = hotmirror_core_handler;
		/* PERMANENT: an error, rather than no hits, where ftrace is switched off. */
		slot->ops.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
		spin_lock_init(&slot->lock);
		INIT_LIST_HEAD(&slot->bonds);
	}
}

/*
 * No slot is attached, and nobody is counted as its user; but one may have been preempted
 * between there and the return from its stub. Who sleeps in a gate is counted.
 */
void hotmirror_core_exit(void)
{
	if (hotmirror_core_serial)
		synchronize_rcu_tasks();
}

#else /* !HOTMIRROR_CAN_CORE_GATES */

int hotmirror_core_gate(struct file *filp, void *arg)
{
	((struct hotmirror_core_gate *)arg)->fd = -1;
	return -EOPNOTSUPP;
}

void hotmirror_core_release(struct hotmirror_control *control)
{
}

void hotmirror_core_init(void)
{
}

void hotmirror_core_exit(void)
{
}

#endif /* HOTMIRROR_CAN_CORE_GATES */
