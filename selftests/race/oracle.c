// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order oracle: an outcome is right if each page of it is what one of the sequential
 * orders, run on the same kernel, makes of that page.
 */
#include <stdio.h>
#include <string.h>

#include "race.h"

/* Every column of a page as one text: the sides, then what is there in the end. */
static int page_text(const struct race_page *p, int sides, char *text)
{
	int n = 0;

	for (int i = 0; i < sides; i++) {
		text[n++] = p->side[i];
		text[n++] = p->seen[i];
	}
	text[n++] = p->map;
	text[n++] = p->cpu;
	text[n++] = p->tail;
	text[n++] = p->dev;
	text[n++] = p->moved;
	text[n] = '\0';
	return n;
}

void race_outcome_text(const struct race_outcome *o, int sides, char *text, size_t size)
{
	char page[2 * RACE_SIDES + 6];
	size_t n = 0;

	text[0] = '\0';
	for (int i = 0; i < o->pages && n < size; i++) {
		page_text(&o->page[i], sides, page);
		n += snprintf(text + n, size - n, "%s%s", i ? " " : "", page);
	}
}

/* What is looked at in one comparison. */
struct comparison {
	const struct race_schedule *s;
	const struct race_order *order;
	int page;
	bool unsafe;
};

static bool comes_after(const struct race_order *order, int nr, int side, int other)
{
	int at = 0, other_at = 0;

	for (int i = 0; i < nr; i++) {
		at = order->first[i] == side ? i : at;
		other_at = order->first[i] == other ? i : other_at;
	}
	return at > other_at;
}

/*
 * MADV_FREE: what was there, or zero, both are right, unless somebody wrote the page
 * afterwards in this order.
 */
static bool may_be_zero(const struct comparison *c)
{
	int freer = -1;

	for (int i = 0; i < c->s->sides; i++)
		if (c->s->op[i]->flags & OP_FREES)
			freer = i;
	if (freer < 0)
		return false;
	for (int i = 0; i < c->s->sides; i++)
		if (i != freer && c->s->op[i]->flags & OP_WRITES &&
		    c->order->outcome.page[c->page].side[i] == '+' &&
		    comes_after(c->order, c->s->sides, i, freer))
			return false;
	return c->order->outcome.page[c->page].side[freer] == '+';
}

static bool same_value(const struct comparison *c, char seen, char expected)
{
	return seen == expected || (seen == '0' && may_be_zero(c));
}

/*
 * An operation on many pages ends with the first that it cannot have; the order has a
 * '.' from there on. Each of these would have got the same error.
 */
static char cut_off(const struct comparison *c, int side)
{
	char error = '.';

	for (int i = 0; i < c->page && error == '.'; i++)
		if (!strchr("+.", c->order->outcome.page[i].side[side]))
			error = c->order->outcome.page[i].side[side];
	return error;
}

static bool same_end(const struct comparison *c, int side, char end, char expected)
{
	return end == expected || (expected == '.' && end == cut_off(c, side));
}

/*
 * A snapshot does not wait for a migration entry, it calls the page absent. So it may,
 * where something moves pages.
 */
static bool may_be_absent(const struct comparison *c, int side)
{
	unsigned int others = 0;

	for (int i = 0; i < c->s->sides; i++)
		others |= i == side ? 0 : c->s->op[i]->flags;
	return c->s->op[side]->flags & OP_SNAPSHOTS &&
	       (c->s->memory->flags & MEM_DEVICE || others & (OP_BEST_EFFORT | OP_EXCLUDES));
}

static bool same_seen(const struct comparison *c, int side, char seen, char expected)
{
	return same_value(c, seen, expected) || (seen == '-' && may_be_absent(c, side));
}

static bool same_page(const struct comparison *c, const struct race_page *p)
{
	const struct race_page *e = &c->order->outcome.page[c->page];

	for (int i = 0; i < c->s->sides; i++) {
		if (c->s->op[i]->flags & OP_BEST_EFFORT)
			continue;
		if (!same_end(c, i, p->side[i], e->side[i]) ||
		    !same_seen(c, i, p->seen[i], e->seen[i]))
			return false;
	}
	return p->map == e->map && same_value(c, p->cpu, e->cpu) &&
	       same_value(c, p->tail, e->tail) &&
	       ((c->unsafe && p->dev == 'P') || same_value(c, p->dev, e->dev)) &&
	       same_value(c, p->moved, e->moved);
}

static int explain(const struct race_schedule *s, const struct race_outcome *o, int page,
		   const struct race_order *orders, int nr, char *why, size_t size)
{
	char text[128];
	size_t n;

	race_outcome_text(o, s->sides, text, sizeof(text));
	n = snprintf(why, size, "no order explains page %d: got [%s]", page, text);
	for (int i = 0; i < nr && n < size; i++) {
		if (!orders[i].ends)
			continue;
		n += snprintf(why + n, size - n, ", ");
		if (orders[i].faulter >= 0)
			n += snprintf(why + n, size - n, "faults of %c, ", 'A' + orders[i].faulter);
		for (int k = 0; k < s->sides && n < size; k++)
			n += snprintf(why + n, size - n, "%c", 'A' + orders[i].first[k]);
		race_outcome_text(&orders[i].outcome, s->sides, text, sizeof(text));
		n += snprintf(why + n, n < size ? size - n : 0, " makes [%s]", text);
	}
	return -1;
}

/* An access that was cut short by a refusal: what it did to the pages is no order's. */
static bool refused(const struct race_schedule *s, const struct race_outcome *o)
{
	for (int page = 0; page < o->pages; page++)
		for (int i = 0; i < s->sides; i++)
			if (o->page[page].side[i] == 'P')
				return true;
	return false;
}

int race_judge(const struct race_schedule *s, const struct race_outcome *o, bool unsafe,
	       const struct race_order *orders, int nr, char *why, size_t size)
{
	int took = -1;

	if (unsafe && refused(s, o))
		return 0;
	for (int page = 0; page < o->pages; page++) {
		int fits = -1;

		for (int i = 0; i < nr && fits < 0; i++) {
			struct comparison c = { s, &orders[i], page, unsafe };

			if (orders[i].ends && same_page(&c, &o->page[page]))
				fits = i;
		}
		if (fits < 0)
			return explain(s, o, page, orders, nr, why, size);
		took = took < fits ? fits : took;
	}
	return took < 0 ? 0 : took;
}
