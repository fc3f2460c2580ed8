// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every order of the operations, one after the other, on fresh memory. An order that does
 * not come to an end by itself is none.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "orders.h"
#include "session.h"

/* Enough that the schedules of one pair, which come one after the other, share them. */
#define KEPT	64

static struct race_orders kept[KEPT];
static unsigned int next;

static const int orders_of_two[][RACE_SIDES] = { { 0, 1 }, { 1, 0 } };
static const int orders_of_three[][RACE_SIDES] = {
	{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
};

static bool same(const struct race_orders *o, const struct race_schedule *s)
{
	if (o->memory != s->memory || o->state != race_state(s))
		return false;
	for (int i = 0; i < RACE_SIDES; i++)
		if (o->op[i] != s->op[i])
			return false;
	return true;
}

static struct race_orders *find(const struct race_schedule *s)
{
	for (int i = 0; i < KEPT; i++)
		if (same(&kept[i], s))
			return &kept[i];
	return NULL;
}

/* The page faults of a side, and nothing else of it. */
static const struct race_op *faults_of(const struct race_op *op)
{
	if (!(op->flags & (OP_POPULATES | OP_EXCLUDES | OP_PINS)))
		return NULL;
	if (op->flags & (OP_EXCLUDES | OP_PINS))
		return &race_op_fault;
	return race_op(op->flags & OP_WRITES ? "prefetch_w" : "prefetch");
}

static int fault_first(struct race_engine *e, const struct race_schedule *s, int side)
{
	struct race_worker *w = &e->sh->worker[side];
	int ret;

	w->op = faults_of(s->op[side]);
	race_call(e, side, RACE_OP);
	ret = race_wait(e, side, RACE_LIMIT_MS, true);
	w->op = s->op[side];
	race_fresh_pages(w->page);
	return ret;
}

static int one_order(struct race_engine *e, const struct race_schedule *s, struct race_order *order,
		     char *why, size_t size)
{
	bool died = false;
	int ret = race_begin(e, s, why, size);

	if (!ret && order->faulter >= 0)
		ret = fault_first(e, s, order->faulter);
	if (ret)
		return ret;
	for (int i = 0; i < s->sides && !died; i++) {
		int side = order->first[i];

		race_go(e, s, side);
		ret = race_join(e, s, side, RACE_LIMIT_MS);
		died = ret == -ESRCH;
		if (died && !(s->op[side]->flags & OP_EXITS))
			return snprintf(why, size, "the target died in a sequential run"), -ECHILD;
		if (ret == -ETIMEDOUT)
			return race_session_kill(e);
	}
	/* What comes after the exit is made from outside. */
	for (int i = 0; i < s->sides; i++)
		if (died && i && s->op[order->first[i]]->flags & OP_DEVICE &&
		    s->op[order->first[i - 1]]->flags & OP_EXITS) {
			race_go(e, s, order->first[i]);
			race_join(e, s, order->first[i], RACE_LIMIT_MS);
		}
	order->ends = true;
	return race_finish(e, s, died, &order->outcome);
}

static int add_orders(struct race_engine *e, const struct race_schedule *s, struct race_orders *o,
		      int faulter, char *why, size_t size)
{
	const int (*all)[RACE_SIDES] = s->sides == 2 ? orders_of_two : orders_of_three;
	int ret = 0;

	for (int i = 0; i < (s->sides == 2 ? 2 : 6) && !ret; i++) {
		struct race_order *order = &o->order[o->nr++];

		*order = (struct race_order){ .faulter = faulter };
		memcpy(order->first, all[i], sizeof(order->first));
		ret = one_order(e, s, order, why, size);
	}
	return ret;
}

struct race_orders *race_orders(struct race_engine *e, const struct race_schedule *s,
				char *why, size_t size, int *ret)
{
	struct race_orders *o = find(s);

	if (o)
		return o;
	o = &kept[next];
	next = (next + 1) % KEPT;
	*o = (struct race_orders){};
	*ret = add_orders(e, s, o, -1, why, size);
	if (*ret)
		return NULL;
	memcpy(o->op, s->op, sizeof(o->op));
	o->memory = s->memory;
	o->state = race_state(s);
	return o;
}

int race_orders_more(struct race_engine *e, const struct race_schedule *s,
		     struct race_orders *o, char *why, size_t size)
{
	int ret = 0;

	for (int i = 0; i < s->sides && !o->all && !ret; i++)
		if (faults_of(s->op[i]))
			ret = add_orders(e, s, o, i, why, size);
	o->all = true;
	return ret;
}
