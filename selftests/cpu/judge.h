/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The verdict on a cell: what the CPU's side and the device's side have in common,
 * and the one table of the differences that are known and accepted.
 */
#ifndef HOTMIRROR_CPU_JUDGE_H
#define HOTMIRROR_CPU_JUDGE_H

#include "cell.h"

/* What can differ. */
#define DIFF_END	(1U << 0)	/* how the access ended */
#define DIFF_VALUE	(1U << 1)	/* what it read */
#define DIFF_SEEN	(1U << 2)	/* what userfaultfd saw of it */
#define DIFF_RAW	(1U << 3)	/* pagemap right after it */
#define DIFF_SETTLED	(1U << 4)	/* and after the CPU has looked at the pages */
#define DIFF_OWN	(1U << 5)	/* contents: in the process itself */
#define DIFF_OTHER	(1U << 6)	/* through another mapping of the object */
#define DIFF_CHILD	(1U << 7)	/* in the child that shared the pages */
#define DIFF_LATER	(1U << 8)	/* after reclaim: a write that nobody knew of */
#define DIFF_STALE	(1U << 9)	/* a device entry that nothing justifies */
#define DIFF_EXPECTED	(1U << 10)	/* the CPU itself got something else */
#define NR_DIFFS	11

struct accepted {
	/* The cells: 0 is any. */
	unsigned int traits;		/* one of these */
	unsigned int states;
	unsigned int prots;
	unsigned int accesses;		/* 1 << CELL_READ, ... */
	/* What the device gets where the CPU succeeds: exactly this. */
	enum cell_end end;
	/* It gets what the CPU would have got without the protection key. */
	bool keyless;
	/* pagemap bits that may differ, right after the access and later */
	__u64 raw;
	__u64 settled;
	const char *reason;
};

/* What the CPU gets, as the table of states and protections has it. */
enum cell_end cell_expected(const struct cell *cell);
/* DIFF_* of the outcomes, less what is accepted. */
unsigned int cell_judge(const struct cell *cell, const struct cell_outcome *cpu,
			const struct cell_outcome *device);
/* The bug of some kernel that explains all of @diff, or NULL. */
const char *cell_known_bug(const struct cell *cell, const struct cell_outcome *device,
			   unsigned int diff);
const char *cell_diff_name(unsigned int diff);
/* memory.protection.state.access.table, without the memory */
void cell_name(const struct cell *cell, char *buf, size_t size);

#endif /* HOTMIRROR_CPU_JUDGE_H */
