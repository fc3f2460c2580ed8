/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the memory of a race lies: at the same addresses each time, in a window that the
 * orchestrator has reserved before it started the target. Nothing else is ever mapped
 * there, so a hole stays a hole.
 *
 *	window + 0	the memory
 *	window + 1	where B moves it
 *	window + 2	the twin: a second mapping, or the same contents again (KSM)
 *
 * in units of RACE_SPAN.
 */
#ifndef HOTMIRROR_RACE_MEMORY_H
#define HOTMIRROR_RACE_MEMORY_H

#include "race.h"

#define RACE_SPAN	(16UL << 20)
#define RACE_WINDOW	(3 * RACE_SPAN)

/* Reserve the window, aligned to RACE_SPAN; NULL with errno. */
char *race_window(void);
/* Complete what build() left out: by default B concerns the middle pages. */
int race_area_rest(struct race_setup *s);
/* Take everything away again. */
int race_area_clear(struct race_shared *sh);
/* Of memory with MEM_UFFD, MEM_UFFD_WP: page 1 belongs to userfaultfd. 0 or -errno. */
int race_uffd_begin(struct race_setup *s);

#endif /* HOTMIRROR_RACE_MEMORY_H */
