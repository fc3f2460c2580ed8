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

static const struct race_orders *find(const struct race_schedule *s)
{
	for (int i = 0; i < KEPT; i++)
		if (same(&kept[i], s))
			return &kept[i];
	return NULL;
}

static int one_order(struct race_engine *e, const struct race_schedule *s, struct race_order *order,
		     char *why, size_t size)
{
	bool died = false;
	int ret = race_begin(e, s, why, size);

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

const struct race_orders *race_orders(struct race_engine *e, const struct race_schedule *s,
				      char *why, size_t size, int *ret)
{
	const int (*all)[RACE_SIDES] = s->sides == 2 ? orders_of_two : orders_of_three;
	const struct race_orders *found = find(s);
	struct race_orders *o = &kept[next];

	if (found)
		return found;
	next = (next + 1) % KEPT;
	*o = (struct race_orders){ .nr = s->sides == 2 ? 2 : 6 };
	for (int i = 0; i < o->nr; i++) {
		memcpy(o->order[i].first, all[i], sizeof(o->order[i].first));
		*ret = one_order(e, s, &o->order[i], why, size);
		if (*ret)
			return NULL;
	}
	memcpy(o->op, s->op, sizeof(o->op));
	o->memory = s->memory;
	o->state = race_state(s);
	return o;
}
