// SPDX-License-Identifier: GPL-2.0-only
/*
 * The core functions whose entry may have a gate: those that may sleep there, whoever
 * calls them, on 6.1, 6.12 and 7.3. Each line says why, and what is held at that moment
 * besides references; docs/core-gates.md says what can be done with it.
 *
 * Not on the list, although they would be of use, because their callers may not sleep:
 *   do_swap_page		the PTE is mapped, so an RCU reader
 *   do_wp_page			the page table lock
 *   move_pages_huge_pmd	the page table lock (6.12)
 *   restore_exclusive_pte	the page table lock
 *   folio_migrate_mapping	may have a spinlock of its mapping's owner
 * Whoever is in such a place nevertheless passes: see hotmirror_core_why().
 */
#include <linux/mmu_notifier.h>
#include <linux/string.h>
#include "core_gate.h"

/* An argument of both ends of an invalidation; process_mrelease() must not block. */
static bool range_is_blockable(const struct hotmirror_core_regs *regs)
{
	return mmu_notifier_range_blockable((const struct mmu_notifier_range *)regs->di);
}

/*
 * In the reasons: "allocates", "faults", "notifies", "waits", "rwsem" are what the
 * function itself may sleep in; mmap is mmap_lock, in the mode that is named; "fault" is
 * mmap for reading, or a VMA lock instead; "ptl" is a page table lock.
 */
static const struct hotmirror_core_function hotmirror_core_functions[] = {
	/* Migration to and from device memory. */
	{ "migrate_vma_setup" },		/* notifies; mmap read (7.3 fault: folio lock) */
	{ "migrate_vma_pages" },		/* allocates; as _setup, and the folios' locks */
	{ "migrate_vma_finalize" },		/* rwsem; as _pages */
	{ "migrate_device_range" },		/* waits (lru drain); nothing */
	{ "migrate_device_pages" },		/* notifies; the folios' locks */
	{ "migrate_device_finalize" },		/* rwsem; the folios' locks */
	/* Migration, and other users of the reverse map. */
	{ "migrate_pages" },			/* waits; nothing (compaction: its allocator's) */
	{ "try_to_migrate" },			/* rwsem; folio lock (split: rmap's rwsem) */
	{ "try_to_unmap" },			/* rwsem; folio lock (reclaim: its allocator's) */
	{ "make_device_exclusive" },		/* faults; mmap read (7.3) */
	/* Notifiers. */
	{ "__mmu_notifier_invalidate_range_start", range_is_blockable },	/* its contract */
	{ "__mmu_notifier_invalidate_range_end", range_is_blockable },	/* its contract */
	{ "mmu_interval_read_begin" },		/* waits; its caller's, no driver lock */
	/* Walks and faults. */
	{ "hmm_range_fault" },			/* faults; mmap read */
	{ "handle_mm_fault" },			/* faults; fault */
	{ "handle_userfault" },			/* waits; fault. Drops it */
	{ "do_anonymous_page" },		/* allocates; fault, PTE not mapped */
	{ "do_fault" },				/* allocates; fault, PTE not mapped */
	{ "do_huge_pmd_anonymous_page" },	/* allocates; fault */
	{ "do_huge_pmd_wp_page" },		/* allocates; fault */
	{ "hugetlb_fault" },			/* waits (a mutex); fault */
	{ "filemap_fault" },			/* waits (I/O); fault */
	{ "shmem_fault" },			/* waits (i_rwsem, I/O); fault */
	{ "swap_read_folio" },			/* waits (I/O); fault, folio lock */
	/* Pages. */
	{ "folio_wake_bit" },			/* its caller's: many may not sleep, and pass */
	/* Huge pages. */
	{ "__split_huge_pmd" },			/* notifies; mmap or rmap's rwsem, no ptl */
	{ "__folio_split" },			/* waits; folio lock (7.3) */
	{ "split_huge_page_to_list_to_order" },	/* waits; folio lock (6.12) */
	{ "collapse_file" },			/* allocates; nothing */
	{ "collapse_huge_page" },		/* allocates; nothing (6.12: mmap read) */
	/* Operations on address spaces. */
	{ "unmap_vmas" },			/* notifies; mmap. exit: read */
	{ "unmap_mapping_range" },		/* rwsem; i_rwsem, invalidate_lock */
	{ "zap_page_range_single" },		/* notifies; fault, or i_mmap read (6.12) */
	{ "zap_vma_range" },			/* notifies; fault (7.3: guard regions) */
	{ "change_protection" },		/* notifies; mmap write (uffd-wp, NUMA: read) */
	{ "mprotect_fixup" },			/* allocates; mmap write */
	{ "copy_page_range" },			/* allocates; mmap write, parent and child */
	{ "move_page_tables" },			/* allocates; mmap write */
	{ "move_pages" },			/* waits; nothing (6.12) */
	{ "move_pages_ptes" },			/* notifies; mmap read or VMA locks (7.3) */
	{ "madvise_collapse" },			/* allocates; mmap read, which it drops */
	{ "reclaim_pages" },			/* waits; fault, isolated folios, no ptl */
	{ "exit_mmap" },			/* notifies; nothing. Dying: ALLOW_EXIT */
	{ "ksm_madvise" },			/* waits; mmap write */
	{ "break_ksm" },			/* faults; mmap */
	/* Unplug of somebody else's device. */
	{ "memunmap_pages" },			/* waits; device_lock. Our own worker passes */
};

const struct hotmirror_core_function *hotmirror_core_find(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hotmirror_core_functions); i++)
		if (!strcmp(hotmirror_core_functions[i].name, name))
			return &hotmirror_core_functions[i];
	return NULL;
}
