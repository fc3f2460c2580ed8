// SPDX-License-Identifier: GPL-2.0-only
/*
 * Makes a kernel misbehave on request, so that the runner's verdicts are tested
 * against the real thing: write one of the words below to
 * /sys/module/hotmirror_provoke/parameters/now. Never load it outside of a VM.
 */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/stop_machine.h>

static bool refuse;
module_param(refuse, bool, 0400);
MODULE_PARM_DESC(refuse, "fail to load");

static noinline void provoke_warning(void)
{
	WARN(1, "provoked\n");
}

static noinline void provoke_expected_warning(void)
{
	WARN(1, "expected by the test\n");
}

static noinline void provoke_oops(void)
{
	*(volatile int *)8 = 0;
}

static noinline void provoke_panic(void)
{
	panic("provoked panic");
}

/* Every CPU spins with interrupts off: nothing can report this. */
static int spin(void *unused)
{
	for (;;)
		cpu_relax();
	return 0;
}

static noinline void provoke_freeze(void)
{
	stop_machine(spin, NULL, cpu_online_mask);
}

static const struct {
	const char *word;
	void (*provoke)(void);
} provocations[] = {
	{ "warning", provoke_warning },
	{ "expected-warning", provoke_expected_warning },
	{ "oops", provoke_oops },
	{ "panic", provoke_panic },
	{ "freeze", provoke_freeze },
};

static int set_now(const char *word, const struct kernel_param *kp)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(provocations); i++) {
		if (sysfs_streq(word, provocations[i].word)) {
			provocations[i].provoke();
			return 0;
		}
	}
	return -EINVAL;
}

static const struct kernel_param_ops now_ops = { .set = set_now };
module_param_cb(now, &now_ops, NULL, 0200);
MODULE_PARM_DESC(now, "what to provoke: warning, expected-warning, oops, panic, freeze");

static int __init provoke_init(void)
{
	return refuse ? -ENODEV : 0;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_INFO(test, "Y");
MODULE_DESCRIPTION("Misbehaviour on request, to test the test runner");
MODULE_LICENSE("GPL");
