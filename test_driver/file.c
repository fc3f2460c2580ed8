// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/hotmirrorN: an open file mirrors the address space of its opener.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include "compat.h"
#include "gate.h"

static int hotmirror_file_status(struct file *filp, void *arg)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_status *status = arg;

	if (status->reserved)
		return -EINVAL;
	hotmirror_status(file->inst, status);
	return 0;
}

static int hotmirror_stats(struct file *filp, void *arg)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_stats *stats = arg;

	mutex_lock(&file->lock);
	*stats = file->stats;
	mutex_unlock(&file->lock);
	stats->invalidates_refused = atomic_read(&file->refused);
	stats->pages_to_ram = atomic64_read(&file->inst->pages_to_ram);
	stats->pages_evicted = atomic64_read(&file->inst->pages_evicted);
	return 0;
}

#define IOCTL(cmd, type, flags, fn) \
	{ cmd, sizeof(struct type), sizeof(struct type), flags, fn }

static const struct hotmirror_ioctl hotmirror_ioctls[] = {
	{ HOTMIRROR_QUERY, HOTMIRROR_QUERY_SIZE_1, sizeof(struct hotmirror_query), 0,
	  hotmirror_query },
	{ HOTMIRROR_STATUS, HOTMIRROR_STATUS_SIZE_1, sizeof(struct hotmirror_status), 0,
	  hotmirror_file_status },
	IOCTL(HOTMIRROR_MIRROR, hotmirror_mirror, HOTMIRROR_MIRROR_TWO_PASS,
	      hotmirror_mirror),
	IOCTL(HOTMIRROR_UNMIRROR, hotmirror_mirror, 0, hotmirror_unmirror),
	IOCTL(HOTMIRROR_READ, hotmirror_access, 0, hotmirror_read),
	IOCTL(HOTMIRROR_WRITE, hotmirror_access, 0, hotmirror_write),
	IOCTL(HOTMIRROR_PREFETCH, hotmirror_access,
	      HOTMIRROR_ACCESS_WRITE | HOTMIRROR_PREFETCH_BY_HMM,
	      hotmirror_prefetch),
	IOCTL(HOTMIRROR_ATOMIC, hotmirror_atomic, HOTMIRROR_ATOMIC_CAS,
	      hotmirror_atomic),
	IOCTL(HOTMIRROR_PIN, hotmirror_pin,
	      HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM | HOTMIRROR_PIN_FAST |
	      HOTMIRROR_PIN_GET, hotmirror_pin),
	IOCTL(HOTMIRROR_UNPIN, hotmirror_pin, 0, hotmirror_unpin),
	IOCTL(HOTMIRROR_SNAPSHOT, hotmirror_snapshot, 0, hotmirror_snapshot),
	IOCTL(HOTMIRROR_MIGRATE_TO_DEV, hotmirror_migrate, HOTMIRROR_MIGRATE_LARGE,
	      hotmirror_migrate_to_dev),
	IOCTL(HOTMIRROR_MIGRATE_TO_SYS, hotmirror_migrate, HOTMIRROR_MIGRATE_LARGE,
	      hotmirror_migrate_to_sys),
	IOCTL(HOTMIRROR_VERIFY, hotmirror_verify, 0, hotmirror_verify),
	IOCTL(HOTMIRROR_STATS, hotmirror_stats, 0, hotmirror_stats),
	IOCTL(HOTMIRROR_SABOTAGE, hotmirror_sabotage, 0, hotmirror_sabotage),
	IOCTL(HOTMIRROR_ENTRIES, hotmirror_entries, 0, hotmirror_entries),
	IOCTL(HOTMIRROR_GATE_OPEN, hotmirror_gate, HOTMIRROR_GATE_INSTANCE,
	      hotmirror_gate_open),
};

long hotmirror_file_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	return hotmirror_ioctl(hotmirror_ioctls, ARRAY_SIZE(hotmirror_ioctls),
			       filp, cmd, arg);
}

/* The file joins its instance inside the section that disable waits for. */
static int hotmirror_file_join(struct hotmirror_file *file)
{
	struct hotmirror_instance *inst = file->inst;

	if (!hotmirror_enter(inst))
		return -ENODEV;
	mutex_lock(&inst->lock);
	list_add(&file->node, &inst->files);
	inst->nr_files++;
	mutex_unlock(&inst->lock);
	hotmirror_leave(inst);
	return 0;
}

int hotmirror_file_open(struct inode *inode, struct file *filp)
{
	struct hotmirror_instance *inst =
		container_of(inode->i_cdev, struct hotmirror_instance, cdev);
	struct hotmirror_file *file;
	int ret;

	if (!current->mm)
		return -EINVAL;
	file = kzalloc_obj(*file, GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	file->inst = inst;
	mutex_init(&file->lock);
	xa_init(&file->leaves);
	INIT_LIST_HEAD(&file->ranges);
	INIT_LIST_HEAD(&file->pins);
	file->late_start = ULONG_MAX;
	ret = hotmirror_file_join(file);
	if (ret) {
		kfree(file);
		return ret;
	}
	hotmirror_get(inst);
	file->mm = current->mm;
	mmgrab(file->mm);
	if (inst->kind == HOTMIRROR_DAX)
		hotmirror_dax_open(inst->inode, filp);
	file->mapping = filp->f_mapping;
	filp->private_data = file;
	hotmirror_count(HOTMIRROR_FILES, 1);
	return 0;
}

int hotmirror_file_release(struct inode *inode, struct file *filp)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_instance *inst = file->inst;

	hotmirror_gates_close(file);
	mutex_lock(&inst->lock);
	list_del(&file->node);
	inst->nr_files--;
	hotmirror_ranges_remove(file);
	mutex_unlock(&inst->lock);
	hotmirror_keep_pgmap(file, false);
	hotmirror_pins_release(file);
	hotmirror_dpt_destroy(file);
	mmdrop(file->mm);
	kfree(file);
	hotmirror_count(HOTMIRROR_FILES, -1);
	hotmirror_put(inst);
	return 0;
}

static int hotmirror_file_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct hotmirror_file *file = filp->private_data;

	return file->inst->kind == HOTMIRROR_DAX ? hotmirror_dax_mmap(filp, vma) :
						   hotmirror_doorbell_mmap(filp, vma);
}

/* EPOLLPRI: an unplug was asked for; EPOLLHUP: the instance is gone. */
static __poll_t hotmirror_file_poll(struct file *filp, poll_table *wait)
{
	struct hotmirror_file *file = filp->private_data;
	struct hotmirror_instance *inst = file->inst;
	__poll_t mask = 0;

	poll_wait(filp, &inst->wait, wait);
	if (READ_ONCE(inst->target) != HOTMIRROR_LIVE)
		mask |= EPOLLPRI;
	if (READ_ONCE(inst->state) == HOTMIRROR_GONE)
		mask |= EPOLLHUP;
	return mask;
}

const struct file_operations hotmirror_fops = {
	.owner = THIS_MODULE,
	.open = hotmirror_file_open,
	.release = hotmirror_file_release,
	.unlocked_ioctl = hotmirror_file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
#if HOTMIRROR_CAN_URING
	.uring_cmd = hotmirror_uring_cmd,
#endif
	.mmap = hotmirror_file_mmap,
	.get_unmapped_area = thp_get_unmapped_area,
	.poll = hotmirror_file_poll,
	.llseek = noop_llseek,
};
