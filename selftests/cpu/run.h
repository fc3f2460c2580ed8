/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Run cells in a process of their own, which is the CPU's side or the device's.
 */
#ifndef HOTMIRROR_CPU_RUN_H
#define HOTMIRROR_CPU_RUN_H

#include "cell.h"

struct cell_run {
	const struct cell *cells;
	int nr;
	__u32 kind;		/* of the mirroring instance, HM_ANY */
	bool device;
	__u64 sabotage;		/* of the device */
	struct cell_outcome *out;	/* @nr of them, from cell_outcomes() */
	int at;			/* out: the cell that was running when the side ended */
};

/* Outcomes that a child can write; NULL if there is no memory. */
struct cell_outcome *cell_outcomes(int nr);
/*
 * 0, or -errno: -EPIPE if the side died in cell @at, -ETIMEDOUT (with its stacks)
 * if it hangs there, anything else if it could not start (@at is -1).
 */
int cell_run_side(struct cell_run *run);

#endif /* HOTMIRROR_CPU_RUN_H */
