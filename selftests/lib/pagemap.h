/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What /proc says about a page of this process: its page table entry, and the page.
 */
#ifndef HOTMIRROR_LIB_PAGEMAP_H
#define HOTMIRROR_LIB_PAGEMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

/* Bits of a /proc/PID/pagemap entry that no other process can change. */
#define HM_PM_SOFT_DIRTY	(1ULL << 55)
#define HM_PM_EXCLUSIVE		(1ULL << 56)
#define HM_PM_UFFD_WP		(1ULL << 57)
#define HM_PM_GUARD		(1ULL << 58)
#define HM_PM_FILE		(1ULL << 61)
#define HM_PM_SWAP		(1ULL << 62)
#define HM_PM_PRESENT		(1ULL << 63)
#define HM_PM_BITS		(HM_PM_SOFT_DIRTY | HM_PM_EXCLUSIVE | HM_PM_UFFD_WP | \
				 HM_PM_GUARD | HM_PM_FILE | HM_PM_SWAP | HM_PM_PRESENT)

/*
 * Kernel bug, 6.1.192: remove_migration_pte() of mm/migrate.c makes the PTE of a dirty page
 * dirty, which on x86 is soft-dirty, too, and does not take that back. Since 6.12 it does.
 */
#define HM_SOFT_DIRTY_BUG	"6.1: remove_migration_pte() makes every dirty page soft-dirty"

/* Bits of /proc/kpageflags (linux/kernel-page-flags.h). */
#define HM_KPF_HUGE		(1ULL << 17)
#define HM_KPF_HWPOISON		(1ULL << 19)
#define HM_KPF_KSM		(1ULL << 21)
#define HM_KPF_THP		(1ULL << 22)
#define HM_KPF_ZERO_PAGE	(1ULL << 24)

/* The entry of the page at @addr; 0 if /proc does not say. */
__u64 hm_pagemap(const void *addr);
/* Those of @n pages from @addr on. */
void hm_pagemap_range(const void *addr, size_t n, __u64 *entries);
/* Flags of the page that is mapped at @addr; 0 if there is none or we may not know. */
__u64 hm_page_flags(const void *addr);
/* Whether that page is charged to a memory cgroup, if only the root: the kernel has them. */
bool hm_page_charged(const void *addr);
/* Whether the VMA at @addr has a flag, as /proc/self/smaps abbreviates it. */
bool hm_vma_has(const void *addr, const char *flag);
/* Clear the soft-dirty bits of this process; 0 or -errno. */
int hm_clear_soft_dirty(void);

#endif /* HOTMIRROR_LIB_PAGEMAP_H */
