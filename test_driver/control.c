// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/hotmirror: plugs instances and owns them. Closing it unplugs them, so that
 * a killed test leaves nothing behind. What its mmap() shows is in mixed.c.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "compat.h"
#include "core_gate.h"
#include "gate.h"

static struct hotmirror_instance *
hotmirror_control_find(struct hotmirror_control *control, u32 id)
{
	struct hotmirror_instance *inst;

	guard(mutex)(&control->lock);
	list_for_each_entry(inst, &control->instances, node) {
		if (inst->id != id)
			continue;
		hotmirror_get(inst);
		return inst;
	}
	return NULL;
}

/* Forget the instances that are gone, so that their numbers can be used again. */
static void hotmirror_control_reap(struct hotmirror_control *control)
{
	struct hotmirror_instance *inst, *next;

	guard(mutex)(&control->lock);
	list_for_each_entry_safe(inst, next, &control->instances, node) {
		if (READ_ONCE(inst->state) != HOTMIRROR_GONE)
			continue;
		list_del(&inst->node);
		hotmirror_put(inst);
	}
}

static int hotmirror_control_plug(struct file *filp, void *arg)
{
	struct hotmirror_control *control = filp->private_data;
	struct hotmirror_instance *inst;

	inst = hotmirror_plug(arg, NULL);
	if (inst == ERR_PTR(-ENOSPC)) {
		hotmirror_control_reap(control);
		inst = hotmirror_plug(arg, NULL);
	}
	if (IS_ERR(inst))
		return PTR_ERR(inst);
	mutex_lock(&control->lock);
	list_add_tail(&inst->node, &control->instances);
	mutex_unlock(&control->lock);
	return 0;
}

static int hotmirror_control_unplug(struct file *filp, void *arg)
{
	struct hotmirror_unplug *unplug = arg;
	struct hotmirror_instance *inst;
	int ret = 0;

	if (unplug->target <= HOTMIRROR_LIVE ||
	    unplug->target >= HOTMIRROR_NR_STATES ||
	    unplug->timeout_ns > HOTMIRROR_MAX_WAIT_NS || unplug->reserved)
		return -EINVAL;
	inst = hotmirror_control_find(filp->private_data, unplug->id);
	if (!inst)
		return -ENOENT;
	if (unplug->flags & HOTMIRROR_UNPLUG_LOST)
		ret = hotmirror_lose(inst);
	if (!ret)
		hotmirror_unplug_start(inst, unplug->target);
	if (!ret && unplug->timeout_ns)
		ret = hotmirror_unplug_wait(inst, unplug->target,
					    unplug->timeout_ns);
	unplug->state = READ_ONCE(inst->state);
	hotmirror_put(inst);
	return ret;
}

static int hotmirror_control_status(struct file *filp, void *arg)
{
	struct hotmirror_status *status = arg;
	struct hotmirror_instance *inst;

	if (status->reserved)
		return -EINVAL;
	inst = hotmirror_control_find(filp->private_data, status->id);
	if (!inst)
		return -ENOENT;
	hotmirror_status(inst, status);
	hotmirror_put(inst);
	return 0;
}

#define IOCTL(cmd, type, flags, fn) \
	{ cmd, sizeof(struct type), sizeof(struct type), flags, fn }

static const struct hotmirror_ioctl hotmirror_control_ioctls[] = {
	{ HOTMIRROR_QUERY, HOTMIRROR_QUERY_SIZE_1, sizeof(struct hotmirror_query), 0,
	  hotmirror_query },
	{ HOTMIRROR_STATUS, HOTMIRROR_STATUS_SIZE_1, sizeof(struct hotmirror_status), 0,
	  hotmirror_control_status },
	IOCTL(HOTMIRROR_PLUG, hotmirror_plug, 0, hotmirror_control_plug),
	IOCTL(HOTMIRROR_UNPLUG, hotmirror_unplug, HOTMIRROR_UNPLUG_LOST,
	      hotmirror_control_unplug),
	IOCTL(HOTMIRROR_GATE_CORE, hotmirror_core_gate, 0, hotmirror_core_gate),
	IOCTL(HOTMIRROR_SETTLE, hotmirror_settle, HOTMIRROR_SETTLE_GONE,
	      hotmirror_settle),
};

static long hotmirror_control_ioctl(struct file *filp, unsigned int cmd,
				    unsigned long arg)
{
	return hotmirror_ioctl(hotmirror_control_ioctls,
			       ARRAY_SIZE(hotmirror_control_ioctls), filp, cmd,
			       arg);
}

static int hotmirror_control_open(struct inode *inode, struct file *filp)
{
	struct hotmirror_control *control;
	int ret;

	control = kzalloc_obj(*control, GFP_KERNEL_ACCOUNT);
	if (!control)
		return -ENOMEM;
	mutex_init(&control->lock);
	INIT_LIST_HEAD(&control->instances);
	ret = hotmirror_mixed_open(control, filp);
	if (ret) {
		kfree(control);
		return ret;
	}
	filp->private_data = control;
	hotmirror_count(HOTMIRROR_CONTROLS, 1);
	return 0;
}

static int hotmirror_control_release(struct inode *inode, struct file *filp)
{
	struct hotmirror_control *control = filp->private_data;
	struct hotmirror_instance *inst, *next;

	list_for_each_entry_safe(inst, next, &control->instances, node) {
		list_del(&inst->node);
		hotmirror_unplug_start(inst, HOTMIRROR_GONE);
		hotmirror_gates_open(inst, HOTMIRROR_GATES_ALL);
		hotmirror_put(inst);
	}
	hotmirror_core_release(control);
	hotmirror_mixed_release(control);
	kfree(control);
	hotmirror_count(HOTMIRROR_CONTROLS, -1);
	return 0;
}

const struct file_operations hotmirror_control_fops = {
	.owner = THIS_MODULE,
	.open = hotmirror_control_open,
	.release = hotmirror_control_release,
	.unlocked_ioctl = hotmirror_control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = hotmirror_mixed_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.llseek = noop_llseek,
};
