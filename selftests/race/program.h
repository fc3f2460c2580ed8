/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs share whose tests are known by names of their own: which, and a skip. */
#ifndef HOTMIRROR_RACE_PROGRAM_H
#define HOTMIRROR_RACE_PROGRAM_H

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>

#include "../hm_kselftest.h"

#define RACE_GLOBS	256

struct race_globs {
	const char *glob[RACE_GLOBS];
	bool matched[RACE_GLOBS];
	int nr;
};

/* False if there are too many. */
static inline bool race_globs_add(struct race_globs *globs, const char *glob)
{
	if (globs->nr == RACE_GLOBS)
		return false;
	globs->glob[globs->nr++] = glob;
	return true;
}

/* Without any, all are wanted. */
static inline bool race_globs_match(struct race_globs *globs, const char *name)
{
	for (int i = 0; i < globs->nr; i++)
		if (!fnmatch(globs->glob[i], name, 0))
			return globs->matched[i] = true;
	return !globs->nr;
}

/* ksft_test_result_skip() has no place for a name. */
static inline void race_skip(const char *name, const char *why)
{
	ksft_cnt.ksft_xskip++;
	printf("ok %u %s # SKIP %s\n", ksft_test_num(), name, why);
}

#endif /* HOTMIRROR_RACE_PROGRAM_H */
