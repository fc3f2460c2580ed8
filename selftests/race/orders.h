/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sequential orders of a schedule's operations, run once on this kernel and kept; and
 * the steps of a run that they share with the race.
 */
#ifndef HOTMIRROR_RACE_ORDERS_H
#define HOTMIRROR_RACE_ORDERS_H

#include "race.h"

/* Of three operations: six, and each of them with the faults of each side before it. */
#define RACE_ORDERS	(6 + 6 * RACE_SIDES)

struct race_orders {
	const struct race_op *op[RACE_SIDES];
	const struct race_memory *memory;
	unsigned int state;
	int nr;
	bool all;			/* those with faults before them, too */
	struct race_order order[RACE_ORDERS];
};

/* NULL with a reason, and why in @ret. */
struct race_orders *race_orders(struct race_engine *e, const struct race_schedule *s,
				char *why, size_t size, int *ret);
/*
 * Add the orders in which an access has taken its page faults before everything else: it is
 * no atomic operation, neither is a CPU's. 0 or as race_orders().
 */
int race_orders_more(struct race_engine *e, const struct race_schedule *s,
		     struct race_orders *orders, char *why, size_t size);

/* run.c */
/* A device operation of a process that is to exit is made by the remote process. */
int race_worker_of(const struct race_schedule *s, int side);
int race_begin(struct race_engine *e, const struct race_schedule *s, char *why, size_t size);
int race_finish(struct race_engine *e, const struct race_schedule *s, bool died,
		struct race_outcome *o);
void race_fresh_pages(struct race_page *page);
void race_go(struct race_engine *e, const struct race_schedule *s, int side);
int race_join(struct race_engine *e, const struct race_schedule *s, int side, int limit_ms);

#endif /* HOTMIRROR_RACE_ORDERS_H */
