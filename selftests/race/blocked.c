// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocked, or merely slow? A task is blocked if it sleeps, has not run between two looks,
 * and its kernel stack is at a wait point of this list. These end only when another task
 * does something. Anything else (a grace period, I/O, lru_add_drain_all()) ends by itself
 * and is waited for.
 *
 * Only files that need no mmap_lock are read: state, schedstat, stack.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/task.h"
#include "race.h"

struct wait_point {
	const char *function;		/* in the stack */
	const char *caller;		/* somewhere behind it; NULL: anybody */
	const char *name;
};

/* The first that fits; a gate first, because it can be anywhere. */
static const struct wait_point wait_points[] = {
	{ "hotmirror_gate_", NULL, "gate" },
	{ "hotmirror_unplug_wait", NULL, "unplug" },
	{ "handle_userfault", NULL, "userfaultfd" },
	{ "mmu_interval_read_begin", NULL, "notifier" },
	{ "mmu_interval_notifier_remove", NULL, "notifier" },
	{ "migration_entry_wait", NULL, "migration entry" },
	{ "softleaf_entry_wait", NULL, "migration entry" },
	{ "folio_wait_bit", NULL, "folio lock" },
	{ "__folio_lock", NULL, "folio lock" },
	{ "mutex_lock", "hotmirror_", "driver lock" },
	{ "hotmirror_lock", NULL, "driver lock" },
	{ "hugetlb_", "mutex_lock", "hugetlb fault mutex" },
	{ "mutex_lock", "hugetlb_", "hugetlb fault mutex" },
	{ "rwsem_down", "anon_vma", "anon_vma" },
	{ "rwsem_down", "rmap_walk", "rmap" },
	{ "rwsem_down", "unmap_mapping", "i_mmap" },
	{ "rwsem_down", "i_mmap", "i_mmap" },
	{ "rwsem_down", "hugetlb_vma_lock", "hugetlb vma lock" },
	{ "rwsem_down", "truncate", "i_rwsem" },
	{ "rwsem_down", "fallocate", "i_rwsem" },
	{ "rwsem_down", NULL, "mmap_lock" },
	{ "__vma_start_write", NULL, "vma lock" },
	{ "__vma_enter_locked", NULL, "vma lock" },
	{ "__vma_start_exclude_readers", NULL, "vma lock" },
	{ "userfaultfd_", "mmap_changing", "userfaultfd" },
};

static const char *wait_point(const char *stack)
{
	for (size_t i = 0; i < sizeof(wait_points) / sizeof(wait_points[0]); i++) {
		const struct wait_point *w = &wait_points[i];
		const char *at = strstr(stack, w->function);

		if (at && (!w->caller || strstr(stack, w->caller)))
			return w->name;
	}
	return NULL;
}

/* How often it was on a CPU; -1 if it is gone. */
static long times_run(pid_t tid)
{
	char path[64], text[128];
	long times = -1;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", tid);
	if (hm_slurp(path, text, sizeof(text)) > 0)
		sscanf(text, "%*u %*u %ld", &times);
	return times;
}

enum race_sleep race_asleep(pid_t pid, pid_t tid, const char **where)
{
	static char stack[4096];
	long before = times_run(tid);
	char state = hm_task_state(tid), path[64];

	(void)pid;
	*where = NULL;
	if (!state || before < 0)
		return RACE_DEAD;
	if (state != 'S' && state != 'D')
		return RACE_RUNS;
	snprintf(path, sizeof(path), "/proc/%d/stack", tid);
	if (hm_slurp(path, stack, sizeof(stack)) <= 0)
		return RACE_RUNS;
	if (times_run(tid) != before)
		return RACE_RUNS;
	*where = wait_point(stack);
	return *where ? RACE_BLOCKED : RACE_UNKNOWN;
}
