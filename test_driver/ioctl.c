// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctl convention of test_hotmirror_uapi.h, once for all ioctls: structs that
 * start with their size, and outputs that are written back whatever happened.
 */
#include <linux/fs.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "core_gate.h"
#include "hotmirror.h"

/* Every argument starts like this. */
struct hotmirror_header {
	u32 size;
	u32 flags;
};

static const struct hotmirror_ioctl *
hotmirror_ioctl_find(const struct hotmirror_ioctl *table, size_t n,
		     unsigned int cmd)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (table[i].cmd == cmd)
			return &table[i];
	return NULL;
}

/**
 * hotmirror_ioctl - run an ioctl of a table
 * @table: the ioctls that this kind of file knows
 * @n: their number
 * @filp: the file
 * @cmd: the ioctl
 * @uarg: address of its struct in user space
 *
 * Return: ENOTTY, EFAULT, EINVAL or E2BIG as the header promises, else what the
 * ioctl's function returned.
 */
long hotmirror_ioctl(const struct hotmirror_ioctl *table, size_t n,
		     struct file *filp, unsigned int cmd, unsigned long uarg)
{
	const struct hotmirror_ioctl *ioctl = hotmirror_ioctl_find(table, n, cmd);
	void __user *user = (void __user *)uarg;
	struct hotmirror_header *header;
	u64 arg[32] = { 0 };
	u32 size;
	int ret;

	header = (struct hotmirror_header *)arg;
	if (!ioctl)
		return -ENOTTY;
	if (WARN_ON_ONCE(ioctl->size > sizeof(arg)))
		return -EINVAL;
	if (get_user(size, (u32 __user *)user))
		return -EFAULT;
	if (size < ioctl->min_size)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(arg, ioctl->size, user, size);
	if (ret)
		return ret;
	if (header->flags & ~ioctl->flags)
		return -EINVAL;

	ret = ioctl->fn(filp, arg);

	header->size = size;
	if (copy_to_user(user, arg, min(size, ioctl->size)) && !ret)
		ret = -EFAULT;
	return ret;
}

/* HOTMIRROR_QUERY, on both kinds of file. */
int hotmirror_query(struct file *filp, void *arg)
{
	struct hotmirror_query *query = arg;

	query->abi = HOTMIRROR_ABI_VERSION;
	query->instances = hotmirror_nr_instances();
	query->features = 0;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		query->features |= HOTMIRROR_HAS_PRIVATE;
	if (hotmirror_arena_bytes())
		query->features |= HOTMIRROR_HAS_COHERENT;
	if (hotmirror_arena_bytes() && IS_ENABLED(CONFIG_FS_DAX))
		query->features |= HOTMIRROR_HAS_DAX;
	if (query->features & HOTMIRROR_HAS_DAX && HOTMIRROR_CAN_PMD)
		query->features |= HOTMIRROR_HAS_DAX_PMD;
	if (hotmirror_notifier_ops(true))
		query->features |= HOTMIRROR_HAS_TWO_PASS;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		query->features |= HOTMIRROR_HAS_EXCLUSIVE;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE) && HOTMIRROR_CAN_LARGE)
		query->features |= HOTMIRROR_HAS_LARGE;
	if (IS_ENABLED(CONFIG_DEVICE_PRIVATE))
		query->features |= HOTMIRROR_HAS_LOST;
	if (HOTMIRROR_HMM_SLEEPS)
		query->features |= HOTMIRROR_HAS_HMM_SLEEPS;
	if (HOTMIRROR_CAN_URING)
		query->features |= HOTMIRROR_HAS_URING;
	query->features |= HOTMIRROR_HAS_GATES;
	if (HOTMIRROR_CAN_CORE_GATES)
		query->features |= HOTMIRROR_HAS_CORE_GATES;
	if (hotmirror_may_sabotage)
		query->features |= HOTMIRROR_HAS_SABOTAGE;
	query->page_size = PAGE_SIZE;
	query->pmd_size = PMD_SIZE;
	query->plug_align = SUBSECTION_SIZE;
	query->arena_bytes = hotmirror_arena_bytes();
	query->arena_free = hotmirror_arena_unused();
	hotmirror_report_objects(query);
	query->tombstones = hotmirror_nr_tombstones();
	return 0;
}
