// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can be broken in the module while a schedule runs. The sequential orders are always
 * run on the honest one.
 */
#include <strings.h>

#include "race.h"

#define ROW(name)	{ #name, HOTMIRROR_SABOTAGE_##name }

static const struct {
	const char *name;
	__u64 mask;
} modes[] = {
	ROW(SKIP_RETRY), ROW(CHECK_UNLOCKED), ROW(STALE_SEQ), ROW(SKIP_INVALIDATE),
	ROW(CLEAR_LATE), ROW(CLEAR_SHORT), ROW(IGNORE_END), ROW(COPY_EARLY),
	ROW(EVICT_NO_COPY), ROW(SKIP_UNMAP), ROW(SKIP_DISABLE), ROW(DROP_DIRTY), ROW(RSS),
};

__u64 race_sabotage(const char *name)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcasecmp(modes[i].name, name))
			return modes[i].mask;
	return 0;
}

const char *race_sabotage_name(int i)
{
	return (size_t)i < sizeof(modes) / sizeof(modes[0]) ? modes[i].name : NULL;
}
