// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>

#include "explore.h"

/* Draws until a schedule can be; there are few that cannot. */
#define DRAWS	2000

/* xorshift64*: the same on every machine. */
static unsigned int draw(struct race_random *r, unsigned int n)
{
	__u64 x = r->state ?: 88172645463325252ULL;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	r->state = x;
	return (x * 2685821657736338717ULL >> 33) % n;
}

static int nr_ops(void)
{
	static int nr;

	while (race_op_nr(nr))
		nr++;
	return nr;
}

/* Operations that this kernel has, in the order of their priority. */
static bool draw_ops(struct race_random *r, __u64 features, struct race_schedule *s)
{
	s->sides = 2 + draw(r, RACE_SIDES - 1);
	s->gates = 0;
	for (int i = 0; i < s->sides; i++) {
		s->op[i] = race_op_nr(draw(r, nr_ops()));
		if (s->op[i]->needs & ~features)
			return false;
	}
	for (int i = s->sides; i < RACE_SIDES; i++)
		s->op[i] = NULL;
	return !race_impossible(s);
}

/* A gate that the operation passes on this memory. */
static bool draw_gate(struct race_random *r, struct race_schedule *s, int side)
{
	struct race_hold *hold = &s->hold[s->gates];
	int first = draw(r, race_nr_gates);

	for (int i = 0; i < race_nr_gates; i++) {
		hold->gate = &race_gates[(first + i) % race_nr_gates];
		hold->side = side;
		s->gates++;
		if (!race_impossible(s))
			return true;
		s->gates--;
	}
	return false;
}

/* The points where priorities change: one of the first, and of others as it comes. */
static bool draw_gates(struct race_random *r, struct race_schedule *s)
{
	int changes = 1 + draw(r, RACE_GATES);

	if (!draw_gate(r, s, 0))
		return false;
	for (int side = 1; side < s->sides && s->gates < changes; side++)
		if (draw(r, 2))
			draw_gate(r, s, side);
	return true;
}

bool race_random_schedule(struct race_random *r, const struct race_memory *memory,
			  __u64 features, struct race_schedule *s)
{
	for (int i = 0; i < DRAWS; i++) {
		*s = (struct race_schedule){ .memory = memory };
		if (draw_ops(r, features, s) && draw_gates(r, s))
			return true;
	}
	return false;
}

/* ---- the shortest that fails ---- */

static void drop_gate(struct race_schedule *s, int gate)
{
	memmove(&s->hold[gate], &s->hold[gate + 1], (s->gates - gate - 1) * sizeof(s->hold[0]));
	s->gates--;
}

static void drop_side(struct race_schedule *s, int side)
{
	for (int i = s->gates - 1; i >= 0; i--)
		if (s->hold[i].side == side)
			drop_gate(s, i);
	for (int i = 0; i < s->gates; i++)
		s->hold[i].side -= s->hold[i].side > side;
	memmove(&s->op[side], &s->op[side + 1], (RACE_SIDES - side - 1) * sizeof(s->op[0]));
	s->op[--s->sides] = NULL;
}

/* The n-th schedule that is one step shorter; false: there are no more. */
static bool shorter(const struct race_schedule *s, int n, struct race_schedule *to)
{
	*to = *s;
	if (n < s->sides && s->sides > 2)
		drop_side(to, n);
	else if (n - (s->sides > 2 ? s->sides : 0) < s->gates)
		drop_gate(to, n - (s->sides > 2 ? s->sides : 0));
	else
		return false;
	return true;
}

static bool can_be(const struct race_schedule *s)
{
	return s->gates && !race_impossible(s);
}

int race_shrink(struct race_engine *e, struct race_schedule *s, struct race_result *result)
{
	struct race_schedule try;
	struct race_result seen;
	int runs = 0, n = 0;

	while (shorter(s, n++, &try)) {
		if (!can_be(&try))
			continue;
		race_engine_run(e, &try, &seen);
		runs++;
		if (seen.verdict == RACE_LOST)
			break;
		if (seen.verdict != RACE_FAIL)
			continue;
		*s = try;
		*result = seen;
		n = 0;
	}
	return runs;
}
