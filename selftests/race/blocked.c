// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocked, or merely slow? A task is blocked if it sleeps, has not run between two looks,
 * and its kernel stack is at a wait point of this list. These end only when another task
 * does something. Anything else (a grace period, I/O, lru_add_drain_all()) ends by itself
 * and is waited for. Who waits for an unplug is as blocked as the worker that makes it.
 *
 * Only files that need no mmap_lock are read: state, schedstat, stack.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/task.h"
#include "race.h"

#define UNPLUG	"unplug"

struct wait_point {
	const char *function;		/* how the name of the function begins */
	bool anywhere;			/* in the stack; else its first line */
	const char *name;
};

/*
 * The first that fits. The stack of a sleeping task begins behind the locking functions
 * themselves (they are in .sched.text), so a lock is known by who takes it.
 */
static const struct wait_point wait_points[] = {
	{ "hotmirror_gate_", true, "gate" },
	{ "hotmirror_unplug_wait", true, UNPLUG },
	{ "handle_userfault", true, "userfaultfd" },
	{ "mmu_interval_read_begin", false, "notifier" },
	{ "mmu_interval_notifier_", false, "notifier" },
	{ "migration_entry_wait", true, "migration entry" },
	{ "softleaf_entry_wait", true, "migration entry" },
	{ "folio_wait_bit", false, "folio lock" },
	{ "__folio_lock", false, "folio lock" },
	{ "hotmirror_walk", false, "mmap_lock" },
	{ "hmm_range_fault_unlocked", false, "mmap_lock" },
	{ "hotmirror_migrate", false, "mmap_lock" },
	{ "hotmirror_", false, "driver lock" },
	{ "hugetlb_", false, "hugetlb lock" },
	{ "__walk_page_range", false, "hugetlb lock" },
	{ "folio_lock_anon_vma", false, "anon_vma" },
	{ "rmap_walk_anon", false, "anon_vma" },
	{ "anon_vma_", false, "anon_vma" },
	{ "__anon_vma_prepare", false, "anon_vma" },
	{ "unlink_anon_vmas", false, "anon_vma" },
	{ "__folio_split", false, "anon_vma" },
	{ "__rmap_walk_file", false, "i_mmap" },
	{ "rmap_walk_file", false, "i_mmap" },
	{ "unmap_mapping_", false, "i_mmap" },
	{ "unlink_file_vma", false, "i_mmap" },
	{ "vma_prepare", false, "i_mmap" },
	{ "take_rmap_locks", false, "i_mmap" },
	{ "shmem_fallocate", false, "i_rwsem" },
	{ "ext4_", false, "i_rwsem" },
	{ "do_truncate", false, "i_rwsem" },
	{ "__vma_start_write", false, "vma lock" },
	{ "__vma_start_exclude", false, "vma lock" },
	{ "__vma_enter_locked", false, "vma lock" },
	{ "__vm_munmap", false, "mmap_lock" },
	{ "vm_mmap_pgoff", false, "mmap_lock" },
	{ "do_mprotect_pkey", false, "mmap_lock" },
	{ "madvise_", false, "mmap_lock" },
	{ "do_madvise", false, "mmap_lock" },
	{ "do_mremap", false, "mmap_lock" },
	{ "__do_sys_mremap", false, "mmap_lock" },
	{ "__x64_sys_mremap", false, "mmap_lock" },
	{ "do_mlock", false, "mmap_lock" },
	{ "__do_sys_m", false, "mmap_lock" },
	{ "dup_mm", false, "mmap_lock" },
	{ "copy_process", false, "mmap_lock" },
	{ "exit_mm", false, "mmap_lock" },
	{ "lock_mm_and_find_vma", false, "mmap_lock" },
	{ "do_user_addr_fault", false, "mmap_lock" },
	{ "__get_user_pages", false, "mmap_lock" },
	{ "__gup_longterm", false, "mmap_lock" },
	{ "get_user_pages", false, "mmap_lock" },
	{ "gup_fast_fallback", false, "mmap_lock" },
	{ "pin_user_pages", false, "mmap_lock" },
	{ "userfaultfd_", false, "mmap_lock" },
	{ "mfill_", false, "mmap_lock" },
	{ "move_pages", false, "mmap_lock" },
	{ "process_vm_rw", false, "mmap_lock" },
	{ "__access_remote_vm", false, "mmap_lock" },
	{ "do_pages_move", false, "mmap_lock" },
	{ "hpage_collapse", false, "mmap_lock" },
	{ "collapse_huge_page", false, "mmap_lock" },
	{ "unmerge_and_remove", false, "mmap_lock" },
	{ "ksm_madvise", false, "mmap_lock" },
};

const char *race_wait_point(int i, const char **function, bool *anywhere)
{
	if (i >= (int)(sizeof(wait_points) / sizeof(wait_points[0])))
		return NULL;
	*function = wait_points[i].function;
	*anywhere = wait_points[i].anywhere;
	return wait_points[i].name;
}

/* Lines look like "[<0>] __vm_munmap+0x81/0x170". */
static bool begins(const char *line, const char *function)
{
	const char *name = strchr(line, ']');

	return name && !strncmp(name + 2, function, strlen(function));
}

static const char *wait_point(const char *stack)
{
	for (size_t i = 0; i < sizeof(wait_points) / sizeof(wait_points[0]); i++) {
		const struct wait_point *w = &wait_points[i];
		const char *line = stack;

		do {
			if (begins(line, w->function))
				return w->name;
			line = strchr(line, '\n');
		} while (w->anywhere && line && *++line);
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

long long race_cpu_ns(pid_t tid)
{
	char path[64], text[128];
	long long ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", tid);
	if (hm_slurp(path, text, sizeof(text)) > 0)
		sscanf(text, "%lld", &ns);
	return ns;
}

static enum race_sleep look_at(pid_t tid, const char **where)
{
	static char stack[4096];
	long before = times_run(tid);
	char state = hm_task_state(tid), path[64];

	*where = NULL;
	if (!state || before < 0)
		return RACE_DEAD;
	if (!strchr("SDI", state))
		return RACE_RUNS;
	snprintf(path, sizeof(path), "/proc/%d/stack", tid);
	if (hm_slurp(path, stack, sizeof(stack)) <= 0)
		return RACE_RUNS;
	if (times_run(tid) != before)
		return RACE_RUNS;
	*where = wait_point(stack);
	return *where ? RACE_BLOCKED : RACE_UNKNOWN;
}

/* A thread of the module's workqueue, while it is at work: wq_worker_comm(). */
static bool is_worker(pid_t pid)
{
	char path[64], name[128];

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	return hm_slurp(path, name, sizeof(name)) > 0 && strstr(name, "+test_hotmirror");
}

/* The steps of an unplug may not have begun, or be made at this moment. */
static bool workers_blocked(void)
{
	bool any = false, all = true;
	DIR *proc = opendir("/proc");
	const char *where;
	struct dirent *d;

	while (proc && all && (d = readdir(proc))) {
		pid_t pid = atoi(d->d_name);

		if (pid <= 0 || !is_worker(pid))
			continue;
		any = true;
		all = look_at(pid, &where) == RACE_BLOCKED;
	}
	if (proc)
		closedir(proc);
	return any && all;
}

enum race_sleep race_asleep(pid_t tid, const char **where)
{
	enum race_sleep sleep = look_at(tid, where);

	if (sleep == RACE_BLOCKED && !strcmp(*where, UNPLUG) && !workers_blocked())
		return RACE_RUNS;
	return sleep;
}
