// SPDX-License-Identifier: GPL-2.0-only
/*
 * What takes the device's memory, or the process, away: the steps of unplug, fork, exit.
 */
#include <errno.h>

#include "../lib/mem.h"
#include "race.h"

/* The instance whose memory is raced over; else the mirroring device. */
static __u32 instance(const struct race_run *r)
{
	const struct race_shared *sh = r->shared;

	return sh->id[sh->memory->flags & MEM_DAX ? RACE_DAX : RACE_DEVICE];
}

static void unplug_to(struct race_run *r, __u32 target)
{
	race_all(r, r->area->b_first, r->area->b_pages,
		 hm_unplug(r->shared->control, instance(r), target, 4 * RACE_LIMIT_MS));
}

static void disable(struct race_run *r)
{
	unplug_to(r, HOTMIRROR_DISABLED);
}

static void invalidate(struct race_run *r)
{
	unplug_to(r, HOTMIRROR_INVALIDATED);
}

static void unplug(struct race_run *r)
{
	unplug_to(r, HOTMIRROR_GONE);
}

const struct race_op race_ops_away[] = {
	{ "disable", "the instance is disabled", OP_UNPLUGS, 0, NULL, NULL, disable, 0 },
	{ "invalidate", "the instance is disabled and invalidated", OP_UNPLUGS | OP_INVALIDATES, 0,
	  NULL, NULL, invalidate, 0 },
	{ "unplug", "the instance is unplugged", OP_UNPLUGS | OP_INVALIDATES | OP_EVICTS, 0, NULL,
	  NULL, unplug, 0 },
};

const int race_nr_ops_away = sizeof(race_ops_away) / sizeof(race_ops_away[0]);
