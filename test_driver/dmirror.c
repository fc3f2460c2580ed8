// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/hmm_dmirror0..3, the devices of lib/test_hmm.c, so that upstream's hmm-tests
 * runs on this module: 0 and 1 own private memory, 2 and 3 coherent memory. Each
 * ioctl is one of our own operations, or two, on a mirror of the whole address space.
 *
 * The devices are permanent instances: they live from module load to module exit.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "hotmirror.h"
#include "test_hotmirror_dmirror_uapi.h"

/* Memory of a device. hmm-tests moves 256 MiB, with room for its alignment. */
#define DMIRROR_PRIVATE_BYTES	SZ_512M
#define DMIRROR_COHERENT_BYTES	SZ_256M
/* How often module exit says what it waits for. */
#define DMIRROR_EXIT_SECONDS	10

#define DMIRROR_MIGRATE_TRIES	3

#define DMIRROR_DEVICES		4
#define DMIRROR_NR_PRIVATE	2	/* the first ones */

static struct hotmirror_instance *dmirror_instances[DMIRROR_DEVICES];

/*
 * hmm-tests opens device 0 for its children even where it tests coherent memory.
 * Without DEVICE_PRIVATE, 0 and 1 only mirror: nothing can be moved to them.
 */
static bool dmirror_only_mirrors(struct hotmirror_instance *inst)
{
	return !IS_ENABLED(CONFIG_DEVICE_PRIVATE) &&
	       (inst == dmirror_instances[0] || inst == dmirror_instances[1]);
}

/* The part of a command that is not done yet, as an access of ours. */
static struct hotmirror_access dmirror_rest(const struct hmm_dmirror_cmd *cmd)
{
	u64 done = cmd->cpages << PAGE_SHIFT;

	return (struct hotmirror_access) {
		.addr = cmd->addr + done,
		.length = (cmd->npages << PAGE_SHIFT) - done,
	};
}

/* Flags of the VMA at an address and where it ends; 0 if there is none. */
static unsigned long dmirror_vm_flags(struct hotmirror_file *file,
				      unsigned long addr, unsigned long *end)
{
	struct vm_area_struct *vma;
	unsigned long flags = 0;

	if (!mmget_not_zero(file->mm))
		return 0;
	mmap_read_lock(file->mm);
	vma = vma_lookup(file->mm, addr);
	if (vma) {
		flags = vma->vm_flags;
		*end = vma->vm_end;
	}
	mmap_read_unlock(file->mm);
	mmput(file->mm);
	return flags;
}

/* Populate all that is left. A store to read-only memory has an errno of its own. */
static int dmirror_populate(struct file *filp, struct hmm_dmirror_cmd *cmd,
			    bool write)
{
	struct hotmirror_access access = dmirror_rest(cmd);
	unsigned long flags, end;
	int ret;

	access.flags = write ? HOTMIRROR_ACCESS_WRITE : 0;
	ret = hotmirror_prefetch(filp, &access);
	if (ret != -EFAULT || !write)
		return ret;
	flags = dmirror_vm_flags(filp->private_data, access.addr + access.done,
				 &end);
	return (flags & (VM_READ | VM_WRITE)) == VM_READ ? -EPERM : -EFAULT;
}

/*
 * Go on with the access as long as the device page table is warm; where it is not,
 * populate all that is left, and count that.
 */
static int dmirror_access(struct file *filp, struct hmm_dmirror_cmd *cmd,
			  int (*fn)(struct file *filp, void *arg))
{
	struct hotmirror_access access;
	int ret;

	for (;;) {
		access = dmirror_rest(cmd);
		access.flags = HOTMIRROR_ACCESS_WARM;
		access.buf = cmd->ptr + (cmd->cpages << PAGE_SHIFT);
		ret = fn(filp, &access);
		cmd->cpages += access.done >> PAGE_SHIFT;
		if (ret != -EAGAIN)
			return ret;
		ret = dmirror_populate(filp, cmd, fn == hotmirror_write);
		if (ret)
			return ret;
		cmd->faults++;
	}
}

static int dmirror_read(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_access(filp, cmd, hotmirror_read);
}

static int dmirror_write(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_access(filp, cmd, hotmirror_write);
}

typedef int (*dmirror_visit_fn)(struct hmm_dmirror_cmd *cmd, u32 *snap,
				unsigned long n);

/* Show the CPU page table, as SNAPSHOT of ours has it, to @visit, piece by piece. */
static int dmirror_look(struct file *filp, struct hmm_dmirror_cmd *cmd,
			dmirror_visit_fn visit)
{
	unsigned long addr, end = 0;
	struct hotmirror_op op;
	int ret;

	ret = hotmirror_op_begin(&op, filp, cmd->addr, cmd->npages << PAGE_SHIFT);
	if (ret)
		return ret;
	for (addr = op.start; addr < op.end && !ret; addr = end) {
		ret = hotmirror_snapshot_piece(&op, addr, &end);
		if (!ret)
			ret = visit(cmd, (u32 *)op.dst, (end - addr) >> PAGE_SHIFT);
	}
	hotmirror_op_end(&op);
	return ret;
}

static u8 dmirror_kind(u32 snap)
{
	switch (HOTMIRROR_SNAP_KIND(snap)) {
	case HOTMIRROR_SNAP_KIND_ZERO:
		return HMM_DMIRROR_PROT_ZERO;
	case HOTMIRROR_SNAP_KIND_PRIVATE:
		return snap & HOTMIRROR_SNAP_OWN ?
			HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL :
			HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE;
	case HOTMIRROR_SNAP_KIND_COHERENT:
		return snap & HOTMIRROR_SNAP_OWN ?
			HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL :
			HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE;
	default:
		return 0;
	}
}

static u8 dmirror_prot(u32 snap)
{
	unsigned int shift = PAGE_SHIFT + HOTMIRROR_SNAP_ORDER(snap);
	u8 prot;

	if (snap & HOTMIRROR_SNAP_ERROR)
		return HMM_DMIRROR_PROT_ERROR;
	if (!(snap & HOTMIRROR_SNAP_VALID))
		return HMM_DMIRROR_PROT_NONE;
	prot = dmirror_kind(snap);
	prot |= snap & HOTMIRROR_SNAP_WRITE ? HMM_DMIRROR_PROT_WRITE :
					      HMM_DMIRROR_PROT_READ;
	if (shift == PMD_SHIFT)
		prot |= HMM_DMIRROR_PROT_PMD;
	else if (shift == PUD_SHIFT)
		prot |= HMM_DMIRROR_PROT_PUD;
	return prot;
}

static int dmirror_visit_prot(struct hmm_dmirror_cmd *cmd, u32 *snap,
			      unsigned long n)
{
	u8 *prot = (u8 *)snap;		/* a byte never passes its word */
	unsigned long i;

	for (i = 0; i < n; i++)
		prot[i] = dmirror_prot(snap[i]);
	if (copy_to_user(u64_to_user_ptr(cmd->ptr + cmd->cpages), prot, n))
		return -EFAULT;
	cmd->cpages += n;
	return 0;
}

static int dmirror_snapshot(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_look(filp, cmd, dmirror_visit_prot);
}

static int dmirror_visit_own(struct hmm_dmirror_cmd *cmd, u32 *snap,
			     unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++, cmd->cpages++)
		if (!(snap[i] & HOTMIRROR_SNAP_OWN))
			return -ENOENT;
	return 0;
}

/* Migration wants memory all over the range that the CPU may at least read. */
static int dmirror_readable(struct file *filp, const struct hmm_dmirror_cmd *cmd)
{
	unsigned long addr = cmd->addr;
	unsigned long end = addr + (cmd->npages << PAGE_SHIFT);

	while (addr < end)
		if (!(dmirror_vm_flags(filp->private_data, addr, &addr) & VM_READ))
			return -EINVAL;
	return 0;
}

static int dmirror_migrate(struct file *filp, struct hmm_dmirror_cmd *cmd,
			   int (*fn)(struct file *filp, void *arg))
{
	struct hotmirror_migrate migrate = {
		.flags = HOTMIRROR_MIGRATE_LARGE,
		.addr = cmd->addr,
		.length = cmd->npages << PAGE_SHIFT,
	};
	int ret = dmirror_readable(filp, cmd);

	if (!ret)
		ret = fn(filp, &migrate);
	cmd->cpages = migrate.moved;
	return ret;
}

/*
 * Migration is best effort. A page that is busy at the moment, in another CPU's LRU
 * batch or under compaction, is asked for again before the command fails.
 */
static int dmirror_move_all(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	int ret, tries = 0;

	do {
		ret = dmirror_migrate(filp, cmd, hotmirror_migrate_to_dev);
		cmd->cpages = 0;
		if (!ret)
			ret = dmirror_look(filp, cmd, dmirror_visit_own);
	} while (ret == -ENOENT && ++tries < DMIRROR_MIGRATE_TRIES);
	return ret;
}

/* Not only what moved: pages that were there before count as well. */
static int dmirror_to_dev(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	struct hotmirror_file *file = filp->private_data;
	int ret;

	if (dmirror_only_mirrors(file->inst))
		return -EOPNOTSUPP;
	ret = dmirror_move_all(filp, cmd);
	if (ret)
		return ret;
	cmd->cpages = 0;
	ret = dmirror_read(filp, cmd);
	cmd->faults = 0;
	return ret;
}

static int dmirror_to_sys(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_migrate(filp, cmd, hotmirror_migrate_to_sys);
}

static bool dmirror_is_exclusive(struct hotmirror_file *file, unsigned long addr)
{
	guard(mutex)(&file->lock);
	return hotmirror_dpt_get(file, addr) & HOTMIRROR_ENTRY_EXCLUSIVE;
}

static int dmirror_exclude_page(struct hotmirror_op *op, unsigned long addr)
{
	struct hotmirror_range *range;
	int ret = 0;

	while (!ret && !dmirror_is_exclusive(op->file, addr)) {
		range = hotmirror_range_find(op->file, addr);
		if (IS_ERR(range))
			return PTR_ERR(range);
		ret = hotmirror_exclude(op, range, addr);
		hotmirror_range_put(range);
		if (signal_pending(current))
			return -ERESTARTSYS;
		cond_resched();
	}
	return ret;
}

/* The data is read through the exclusive entries; what was lost is taken again. */
static int dmirror_exclusive(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	struct hotmirror_access access;
	struct hotmirror_op op;
	unsigned long addr;
	int ret;

	ret = hotmirror_op_begin(&op, filp, cmd->addr, cmd->npages << PAGE_SHIFT);
	if (ret)
		return ret;
	do {
		for (addr = op.start; addr < op.end && !ret; addr += PAGE_SIZE)
			ret = dmirror_exclude_page(&op, addr);
		if (ret)
			break;
		access = dmirror_rest(cmd);
		access.flags = HOTMIRROR_ACCESS_WARM;
		access.buf = cmd->ptr + (cmd->cpages << PAGE_SHIFT);
		ret = hotmirror_read(filp, &access);
		cmd->cpages += access.done >> PAGE_SHIFT;
	} while (ret == -EAGAIN);
	hotmirror_op_end(&op);
	return ret;
}

static int dmirror_visit_exclusive(struct hmm_dmirror_cmd *cmd, u32 *snap,
				   unsigned long n)
{
	unsigned long i;

	for (i = 0; i < n; i++)
		if (snap[i] & HOTMIRROR_SNAP_DEVICE_EXCLUSIVE)
			return -EPERM;
	return 0;
}

static int dmirror_check_exclusive(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	return dmirror_look(filp, cmd, dmirror_visit_exclusive);
}

static int dmirror_release_memory(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	struct hotmirror_file *file = filp->private_data;

	if (!hotmirror_enter(file->inst))
		return -ENODEV;
	hotmirror_evict(file->inst);
	hotmirror_leave(file->inst);
	return 0;
}

static int dmirror_flags(struct file *filp, struct hmm_dmirror_cmd *cmd)
{
	struct hotmirror_file *file = filp->private_data;

	WRITE_ONCE(file->inst->fail_large_once,
		   cmd->npages & HMM_DMIRROR_FLAG_FAIL_ALLOC);
	return 0;
}

static const struct dmirror_ioctl {
	unsigned int cmd;
	int (*fn)(struct file *filp, struct hmm_dmirror_cmd *cmd);
} dmirror_ioctls[] = {
	{ HMM_DMIRROR_READ, dmirror_read },
	{ HMM_DMIRROR_READ_UNLOCKED, dmirror_read },
	{ HMM_DMIRROR_WRITE, dmirror_write },
	{ HMM_DMIRROR_MIGRATE_TO_DEV, dmirror_to_dev },
	{ HMM_DMIRROR_MIGRATE_TO_SYS, dmirror_to_sys },
	{ HMM_DMIRROR_SNAPSHOT, dmirror_snapshot },
	{ HMM_DMIRROR_EXCLUSIVE, dmirror_exclusive },
	{ HMM_DMIRROR_CHECK_EXCLUSIVE, dmirror_check_exclusive },
	{ HMM_DMIRROR_RELEASE, dmirror_release_memory },
	{ HMM_DMIRROR_FLAGS, dmirror_flags },
};

static const struct dmirror_ioctl *dmirror_find(unsigned int nr)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(dmirror_ioctls); i++)
		if (dmirror_ioctls[i].cmd == nr)
			return &dmirror_ioctls[i];
	return NULL;
}

static long dmirror_ioctl(struct file *filp, unsigned int nr, unsigned long arg)
{
	const struct dmirror_ioctl *ioctl = dmirror_find(nr);
	void __user *user = (void __user *)arg;
	struct hmm_dmirror_cmd cmd;
	int ret;

	if (!ioctl)
		return -ENOTTY;
	if (copy_from_user(&cmd, user, sizeof(cmd)))
		return -EFAULT;
	if (!PAGE_ALIGNED(cmd.addr) || !cmd.npages ||
	    cmd.npages > TASK_SIZE_MAX >> PAGE_SHIFT)
		return -EINVAL;
	cmd.cpages = 0;
	cmd.faults = 0;
	ret = ioctl->fn(filp, &cmd);
	if (copy_to_user(user, &cmd, sizeof(cmd)) && !ret)
		ret = -EFAULT;
	return ret;
}

/* One range over everything. What the last user wanted to fail is forgotten. */
static int dmirror_open(struct inode *inode, struct file *filp)
{
	struct hotmirror_mirror mirror = { .length = TASK_SIZE_MAX };
	struct hotmirror_file *file;
	int ret;

	ret = hotmirror_file_open(inode, filp);
	if (ret)
		return ret;
	file = filp->private_data;
	WRITE_ONCE(file->inst->fail_large_once, false);
	ret = hotmirror_mirror(filp, &mirror);
	if (ret)
		hotmirror_file_release(inode, filp);
	return ret;
}

/* Ordinary pages in a VMA of a driver (VM_MIXEDMAP), for SNAPSHOT to look at. */
static int dmirror_mmap(struct file *filp, struct vm_area_struct *vma)
{
	unsigned long addr;
	struct page *page;
	int ret = 0;

	for (addr = vma->vm_start; addr < vma->vm_end && !ret; addr += PAGE_SIZE) {
		if (fatal_signal_pending(current))
			return -EINTR;
		page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
		if (!page)
			return -ENOMEM;
		ret = vm_insert_page(vma, addr, page);
		put_page(page);		/* the PTE has its own reference */
	}
	return ret;
}

static const struct file_operations dmirror_fops = {
	.owner = THIS_MODULE,
	.open = dmirror_open,
	.release = hotmirror_file_release,
	.unlocked_ioctl = dmirror_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = dmirror_mmap,
	.llseek = noop_llseek,
};

static const struct hotmirror_node dmirror_nodes[DMIRROR_DEVICES] = {
	{ "hmm_dmirror0", &dmirror_fops },
	{ "hmm_dmirror1", &dmirror_fops },
	{ "hmm_dmirror2", &dmirror_fops },
	{ "hmm_dmirror3", &dmirror_fops },
};

/* Kind and size of a device; those that only mirror have the least there is. */
static struct hotmirror_plug dmirror_plug(unsigned int i)
{
	struct hotmirror_plug plug = { .kind = HOTMIRROR_COHERENT };

	if (i >= DMIRROR_NR_PRIVATE) {
		plug.bytes = hotmirror_arena_unused() / (DMIRROR_DEVICES - i);
		plug.bytes = ALIGN_DOWN(plug.bytes, SUBSECTION_SIZE);
		plug.bytes = min_t(u64, plug.bytes, DMIRROR_COHERENT_BYTES);
	} else if (IS_ENABLED(CONFIG_DEVICE_PRIVATE)) {
		plug.kind = HOTMIRROR_PRIVATE;
		plug.bytes = DMIRROR_PRIVATE_BYTES;
	} else {
		plug.bytes = SUBSECTION_SIZE;
	}
	return plug;
}

/**
 * hotmirror_dmirror_init - plug /dev/hmm_dmirror0..3
 *
 * A device whose kind of memory this kernel or load does not have is left out, but
 * one must remain.
 *
 * Return: 0 or an error; hotmirror_dmirror_exit() is due in both cases.
 */
int hotmirror_dmirror_init(void)
{
	struct hotmirror_instance *inst;
	unsigned int i, plugged = 0;
	struct hotmirror_plug plug;

	for (i = 0; i < DMIRROR_DEVICES; i++) {
		plug = dmirror_plug(i);
		if (plug.kind == HOTMIRROR_COHERENT && !hotmirror_arena_bytes())
			continue;
		inst = plug.bytes ? hotmirror_plug(&plug, &dmirror_nodes[i]) :
				    ERR_PTR(-ENOSPC);
		if (IS_ERR(inst)) {
			pr_err("dmirror=1: no %s: %pe; want an arena of 512 MiB and more, or none\n",
			       dmirror_nodes[i].name, inst);
			return PTR_ERR(inst);
		}
		dmirror_instances[i] = inst;
		plugged++;
	}
	if (plugged)
		return 0;
	pr_err("dmirror=1: this kernel lacks DEVICE_PRIVATE: give an arena=\n");
	return -EOPNOTSUPP;
}

/*
 * There is no way back from module exit: the wait for a page that somebody holds has
 * no limit. It is idle, so that no hung task is reported, and it says what it is for.
 */
static void dmirror_await(struct hotmirror_instance *inst, const char *name)
{
	while (!wait_event_idle_timeout(inst->wait,
					READ_ONCE(inst->state) == HOTMIRROR_GONE,
					DMIRROR_EXIT_SECONDS * HZ))
		pr_warn("%s: waiting for %lu pages that somebody holds\n", name,
			READ_ONCE(inst->nr_used));
	hotmirror_put(inst);
}

/* No file is open any more. Processes may still have memory in the devices. */
void hotmirror_dmirror_exit(void)
{
	unsigned int i;

	for (i = 0; i < DMIRROR_DEVICES; i++)
		if (dmirror_instances[i])
			hotmirror_unplug_start(dmirror_instances[i],
					       HOTMIRROR_GONE);
	for (i = 0; i < DMIRROR_DEVICES; i++)
		if (dmirror_instances[i])
			dmirror_await(dmirror_instances[i], dmirror_nodes[i].name);
}
