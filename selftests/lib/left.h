/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nothing left: what there is of the module's objects, device pages, physical memory
 * and struct pages, to be compared with what there was.
 */
#ifndef HOTMIRROR_LIB_LEFT_H
#define HOTMIRROR_LIB_LEFT_H

#include "dev.h"

struct hm_books {
	struct hotmirror_query q;
	__u64 arena;		/* bytes of the arena that are plugged */
	__u64 iomem;		/* entries of /proc/iomem that are the module's */
	__u64 memmap;		/* nr_memmap_pages of /proc/vmstat, 0 where there is none */
};

/* Control files, instances that somebody may keep, instance files, ranges and pins. */
__u32 hm_objects(const struct hotmirror_query *q);

/* What is there now: what costs an ioctl, or all of it. 0 or -errno. */
int hm_books_open(struct hm_books *b);
int hm_books_all(struct hm_books *b);

/*
 * Wait until there are no more objects than in @before, or for those that are leaving,
 * too; -ETIMEDOUT. Those of this process count. What is there then is in @now, as of
 * hm_books_open().
 */
int hm_books_settle(const struct hm_books *before, bool gone, int limit_ms,
		    struct hm_books *now);

/*
 * Call @say with a line for everything that is not as it was @before; the number of
 * lines. What had been left over at the @start may go meanwhile: @start is @before, or
 * the books of an earlier time, and less than there does not go unnoticed.
 */
int hm_books_compare(const struct hm_books *start, const struct hm_books *before,
		     const struct hm_books *now,
		     void (*say)(const char *line, void *arg), void *arg);

#endif /* HOTMIRROR_LIB_LEFT_H */
