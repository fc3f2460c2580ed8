/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror, loaded with sabotage=1: what can be broken on purpose. Included by
 * test_hotmirror_uapi.h.
 */
#ifndef _TEST_HOTMIRROR_SABOTAGE_UAPI_H
#define _TEST_HOTMIRROR_SABOTAGE_UAPI_H

#include <linux/types.h>

/**
 * struct hotmirror_sabotage - HOTMIRROR_SABOTAGE: break this file on purpose
 * @size: sizeof(struct hotmirror_sabotage)
 * @flags: must be 0
 * @mask: HOTMIRROR_SABOTAGE_*, replaces the former mask
 *
 * The negative controls of the oracles. SKIP_UNMAP, SKIP_DISABLE, DRAIN_EARLY,
 * FAIL_LARGE, FAIL_ALLOC, EVICT_NO_COPY and EVICT_HOLD are properties of the instance,
 * the others of the file. No memory is given away that somebody may still use: what
 * SKIP_UNMAP and SKIP_DISABLE leave out is made up for when the drain begins, and with
 * DRAIN_EARLY the drain goes on behind the state GONE.
 *
 * Gates are where they always are; populate.checked is between the check and the store,
 * and migrate.begin behind an early copy, so each window that a mode opens has one.
 *
 * A file that was ever sabotaged with SKIP_INVALIDATE, CLEAR_LATE, CLEAR_SHORT,
 * SKIP_RETRY, CHECK_UNLOCKED or STALE_SEQ answers READ, WRITE and ATOMIC with EPERM for
 * good: its entries may name memory that belongs to somebody else by now.
 *
 * Errors: EPERM (module not loaded with sabotage=1), EINVAL (unknown bit), ENODEV
 * (KEEP_PGMAP: the instance is gone).
 */
struct hotmirror_sabotage {
	__u32 size;
	__u32 flags;
	__aligned_u64 mask;
};

#define HOTMIRROR_SABOTAGE_SKIP_INVALIDATE	(1ULL << 0)	/* callbacks leave the entries */
#define HOTMIRROR_SABOTAGE_SKIP_RETRY		(1ULL << 1)	/* populate ignores the seq */
#define HOTMIRROR_SABOTAGE_DROP_DIRTY		(1ULL << 2)	/* device writes leave it clean */
#define HOTMIRROR_SABOTAGE_SKIP_UNMAP		(1ULL << 3)	/* PTEs outlive INVALIDATED */
#define HOTMIRROR_SABOTAGE_FAIL_LARGE		(1ULL << 4)	/* no memory for large folios */
#define HOTMIRROR_SABOTAGE_KEEP_PGMAP		(1ULL << 5)	/* a pgmap reference, until close */
#define HOTMIRROR_SABOTAGE_RSS			(1ULL << 6)	/* one page too much in RssAnon */
#define HOTMIRROR_SABOTAGE_EVICT_NO_COPY	(1ULL << 7)	/* unplug brings zeroes home */
#define HOTMIRROR_SABOTAGE_FAIL_ALLOC		(1ULL << 8)	/* unplug finds no memory */
#define HOTMIRROR_SABOTAGE_EVICT_HOLD		(1ULL << 9)	/* see HOTMIRROR_EVICT_HOLD_NS */
#define HOTMIRROR_SABOTAGE_SKIP_DISABLE		(1ULL << 10)	/* DISABLED with readers inside */
#define HOTMIRROR_SABOTAGE_DRAIN_EARLY		(1ULL << 11)	/* GONE with pages held */
#define HOTMIRROR_SABOTAGE_CHECK_UNLOCKED	(1ULL << 12)	/* before the lock */
#define HOTMIRROR_SABOTAGE_STALE_SEQ		(1ULL << 13)	/* lock dropped after it */
#define HOTMIRROR_SABOTAGE_CLEAR_LATE		(1ULL << 14)	/* when an operation ends */
#define HOTMIRROR_SABOTAGE_CLEAR_SHORT		(1ULL << 15)	/* not the last page */
#define HOTMIRROR_SABOTAGE_IGNORE_END		(1ULL << 16)	/* to that of our range */
#define HOTMIRROR_SABOTAGE_COPY_EARLY		(1ULL << 17)	/* MIGRATE_TO_DEV: while mapped */

/* What goes wrong in a populate, and in a callback. */
#define HOTMIRROR_SABOTAGE_POPULATE	(HOTMIRROR_SABOTAGE_SKIP_RETRY | \
					 HOTMIRROR_SABOTAGE_CHECK_UNLOCKED | \
					 HOTMIRROR_SABOTAGE_STALE_SEQ)
#define HOTMIRROR_SABOTAGE_FORGET	(HOTMIRROR_SABOTAGE_SKIP_INVALIDATE | \
					 HOTMIRROR_SABOTAGE_CLEAR_LATE | \
					 HOTMIRROR_SABOTAGE_CLEAR_SHORT | \
					 HOTMIRROR_SABOTAGE_IGNORE_END)

/* Unplug stops in each leaf, its pages unmapped and not yet copied; no longer than this. */
#define HOTMIRROR_EVICT_HOLD_NS	2000000000ULL

#endif /* _TEST_HOTMIRROR_SABOTAGE_UAPI_H */
