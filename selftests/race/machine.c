// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "../lib/setting.h"
#include "machine.h"

/* Two pages of memory, two that a fork copies, two that are on their way back. */
#define HUGE_POOL	8

#define KSM_RUN		"/sys/kernel/mm/ksm/run"

static struct hm_setting settings[4];
/* Of what is needed: asked for once, and not to be had. */
static unsigned int done, failed;

static int swap(void)
{
	return hm_swap_on();
}

static int huge_pool(void)
{
	return hm_huge_pool(&settings[0], HUGE_POOL);
}

/* It is set running and stopped by who needs it. */
static int merging(void)
{
	return hm_setting_set(&settings[1], KSM_RUN, 0) ?:
	       hm_setting_set(&settings[2], "/sys/kernel/mm/ksm/sleep_millisecs", 0) ?:
	       hm_setting_set(&settings[3], "/sys/kernel/mm/ksm/pages_to_scan", 1000);
}

static int split(void)
{
	return access("/sys/kernel/debug/split_huge_pages", W_OK) ? -errno : 0;
}

static const struct {
	unsigned int what;
	int (*have)(void);
	const char *lacking;
} needs[] = {
	{ RACE_SWAP, swap, "no swap space, and no zram" },
	{ RACE_HUGE_POOL, huge_pool, "no huge pages (vm.nr_hugepages)" },
	{ RACE_KSM, merging, "kernel without KSM" },
	{ RACE_SPLIT, split, "no split_huge_pages in debugfs" },
};

int race_machine_need(unsigned int what, const char **why)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		if (what & needs[i].what & ~done && needs[i].have())
			failed |= needs[i].what;
		done |= what & needs[i].what;
		*why = needs[i].lacking;
		if (what & failed & needs[i].what)
			return -EOPNOTSUPP;
	}
	return 0;
}

/*
 * KSM goes on naming pages of a device that is gone, and looks at them in its next scan: a
 * kernel bug that hotmirror_ksm is about. So it is made to forget them all before.
 */
void race_machine_forget_merged(void)
{
	if (!(done & ~failed & RACE_KSM))
		return;
	hm_put_text(KSM_RUN, "2");
	hm_put_text(KSM_RUN, "0");
}

void race_machine_restore(void)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		hm_setting_restore(&settings[i]);
	hm_swap_off();
}
