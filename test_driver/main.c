// SPDX-License-Identifier: GPL-2.0-only
/*
 * test_hotmirror: module parameters, load and unload.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include "compat.h"
#include "core_gate.h"
#include "hotmirror.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static char *arena;
module_param(arena, charp, 0444);
MODULE_PARM_DESC(arena, "reserved physical memory for coherent and dax instances, <size>@<start>, as in memmap=<size>$<start>");

bool hotmirror_may_sabotage;
module_param_named(sabotage, hotmirror_may_sabotage, bool, 0444);
MODULE_PARM_DESC(sabotage, "allow HOTMIRROR_SABOTAGE, the negative controls of the tests");

static bool dmirror;
module_param(dmirror, bool, 0444);
MODULE_PARM_DESC(dmirror, "also register /dev/hmm_dmirror0..3, the devices of lib/test_hmm.c");

struct workqueue_struct *hotmirror_wq;
dev_t hotmirror_devt;
HOTMIRROR_CLASS hotmirror_class = { .name = "test_hotmirror" };

static struct miscdevice hotmirror_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hotmirror",
	.mode = 0600,
	.fops = &hotmirror_control_fops,
};

static int __init hotmirror_register(void)
{
	int ret;

	ret = alloc_chrdev_region(&hotmirror_devt, 0, HOTMIRROR_MAX_INSTANCES,
				  "hotmirror");
	if (ret)
		return ret;
	ret = class_register(&hotmirror_class);
	if (ret)
		goto region;
	ret = misc_register(&hotmirror_misc);
	if (ret)
		goto class;
	return 0;

class:
	class_unregister(&hotmirror_class);
region:
	unregister_chrdev_region(hotmirror_devt, HOTMIRROR_MAX_INSTANCES);
	return ret;
}

/* Everything that init did, in reverse. An init that fails late comes here, too. */
static void hotmirror_leave_nothing(void)
{
	misc_deregister(&hotmirror_misc);
	hotmirror_dmirror_exit();
	/* An instance gives up its module reference as its last act: wait for that. */
	destroy_workqueue(hotmirror_wq);
	hotmirror_sleepers_exit();
	class_unregister(&hotmirror_class);
	unregister_chrdev_region(hotmirror_devt, HOTMIRROR_MAX_INSTANCES);
	hotmirror_arena_exit();
	hotmirror_core_exit();
	hotmirror_objects_exit();
}

static int __init hotmirror_init(void)
{
	int ret;

	hotmirror_wq = alloc_workqueue("test_hotmirror", WQ_UNBOUND, 0);
	if (!hotmirror_wq)
		return -ENOMEM;
	ret = hotmirror_arena_init(arena);
	if (ret)
		goto wq;
	hotmirror_core_init();
	ret = hotmirror_register();
	if (ret)
		goto arena;
	ret = dmirror ? hotmirror_dmirror_init() : 0;
	if (ret) {
		hotmirror_leave_nothing();
		return ret;
	}
	pr_info("abi %u, arena of %llu MiB%s\n", HOTMIRROR_ABI_VERSION,
		hotmirror_arena_bytes() >> 20,
		hotmirror_may_sabotage ? ", sabotage allowed" : "");
	return 0;

arena:
	hotmirror_arena_exit();
wq:
	destroy_workqueue(hotmirror_wq);
	return ret;
}
module_init(hotmirror_init);

static void __exit hotmirror_exit(void)
{
	hotmirror_leave_nothing();
}
module_exit(hotmirror_exit);

MODULE_DESCRIPTION("Test device for mirrors and hot-unplug of device memory");
MODULE_AUTHOR("The hotmirror developers");
MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
