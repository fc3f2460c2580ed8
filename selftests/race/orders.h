/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sequential orders of a schedule's operations, run once on this kernel and kept; and
 * the steps of a run that they share with the race.
 */
#ifndef HOTMIRROR_RACE_ORDERS_H
#define HOTMIRROR_RACE_ORDERS_H

#include "race.h"

#define RACE_ORDERS	6		/* of three operations */

struct race_orders {
	const struct race_op *op[RACE_SIDES];
	const struct race_memory *memory;
	unsigned int state;
	int nr;
	struct race_order order[RACE_ORDERS];
};

/* NULL with a reason, and why in @ret. */
const struct race_orders *race_orders(struct race_engine *e, const struct race_schedule *s,
				      char *why, size_t size, int *ret);

/* engine.c */
int race_begin(struct race_engine *e, const struct race_schedule *s, char *why, size_t size);
int race_finish(struct race_engine *e, const struct race_schedule *s, bool died,
		struct race_outcome *o);
void race_go(struct race_engine *e, const struct race_schedule *s, int side);
int race_join(struct race_engine *e, const struct race_schedule *s, int side, int limit_ms);

#endif /* HOTMIRROR_RACE_ORDERS_H */
