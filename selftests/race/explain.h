/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A schedule in words. A page of text: where it goes, what each line begins with, how
 * wide a line may be.
 */
#ifndef HOTMIRROR_RACE_EXPLAIN_H
#define HOTMIRROR_RACE_EXPLAIN_H

#include <stdio.h>

#include "race.h"

struct race_text {
	FILE *file;
	const char *prefix;
	int width;
};

/* What happens, step by step; then a picture of it. */
void race_explain_steps(const struct race_text *t, const struct race_schedule *s);
void race_explain_picture(const struct race_text *t, const struct race_schedule *s);
/* What is held where somebody stands at the gate; NULL: nobody has said. */
const char *race_held(const struct race_gate *gate);

#endif /* HOTMIRROR_RACE_EXPLAIN_H */
