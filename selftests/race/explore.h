/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random schedules from a seed, in the manner of PCT (Burckhardt et al., 2010): operations
 * in a random order of priority, and a few random points, here gates, where the one that
 * runs is put behind all others.
 */
#ifndef HOTMIRROR_RACE_EXPLORE_H
#define HOTMIRROR_RACE_EXPLORE_H

#include "race.h"

struct race_random {
	__u64 state;
};

/* The next schedule of a seed on this memory; false: there is none. */
bool race_random_schedule(struct race_random *r, const struct race_memory *memory,
			  __u64 features, struct race_schedule *s);
/*
 * Leave out operations and gates for as long as it fails; @s becomes the shortest that
 * does, @result its result. Returns how many runs that took.
 */
int race_shrink(struct race_engine *e, struct race_schedule *s, struct race_result *result);

#endif /* HOTMIRROR_RACE_EXPLORE_H */
