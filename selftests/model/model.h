/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A model of memory and of the devices that mirror it: what the CPU's page table has
 * for each page, what each device page table has, and what every operation makes of
 * both. It names no kernel and no module; hotmirror_model compares it with them.
 */
#ifndef HOTMIRROR_MODEL_MODEL_H
#define HOTMIRROR_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "../lib/dev.h"

#define MODEL_LEAVES	3
#define MODEL_FILES	3
#define MODEL_RANGES	13
#define MODEL_WIDEST	10	/* the range that covers the most */

/* What the CPU's side of a page is. */
enum prot { HOLE, NONE, RO, RW };

/* Its page table entry; all but OWN are read-only whatever the VMA allows. */
enum pte {
	ABSENT,
	ZERO,		/* the shared zero page */
	LENT,		/* a page that a living child has, too */
	LEFT,		/* one that a child had: ours again at the first write */
	OWN,
};

/* The device's entry. SOME: as READABLE or WRITABLE, for the next look to find out. */
enum entry { EMPTY, READABLE, WRITABLE, SOME };

struct model_page {
	unsigned char prot, pte, entry[MODEL_FILES];
};

/* A page of the memory, counted from the edge of a leaf. */
struct model_place {
	int leaf, page;
};

struct model_range {
	int file;
	struct model_place start, end;
};

extern const struct model_range model_ranges[MODEL_RANGES];

struct model {
	size_t page;
	int leaf, pages;	/* pages of a leaf, of the memory */
	char *mem;		/* starts at the edge of a leaf */
	struct model_page *state;	/* of each page */
	__u64 cleared[MODEL_FILES];	/* entries taken by invalidations, in all */
	__u64 seed, random;
};

/* A number from the environment. */
__u64 model_setting(const char *name, __u64 otherwise);
/* 0 <= result < n */
int model_random(struct model *m, int n);
/* One page, a few, or many; often where a range begins or ends, or beside that. */
void model_interval(struct model *m, int *first, int *end);

char *model_addr(const struct model *m, int i);
/* First page of a range, and the page behind it. */
int model_start(const struct model *m, int r);
int model_end(const struct model *m, int r);
/* The page that keeps VMAs from covering all of a leaf. */
bool model_is_post(const struct model *m, int i);
/* The end of the pages from @i on that allow the same. */
int model_run_end(const struct model *m, int i, int end);

/* The kernel calls back for these pages: their entries go, in all mirrors. */
void model_invalidate(struct model *m, int first, int end);
/* New memory, or none. */
void model_set(struct model *m, int first, int end, enum prot prot);
/* A page fault. Only a copy on write takes a page from anybody. */
void model_fault(struct model *m, int i, bool write);
/* fork(): copies on write in the first half of an interval, the rest stays lent. */
void model_lend(struct model *m, int first, int end);
/* The end of that child. */
void model_give_back(struct model *m);
/* What the device of a file gets of [from, to): bytes done, @ret: 0 or -errno. */
size_t model_device(struct model *m, int file, const char *from, const char *to,
		    bool write, int *ret);

/* A snapshot of one page, without what the model does not know. */
#define MODEL_KNOWN	(HOTMIRROR_SNAP_VALID | HOTMIRROR_SNAP_WRITE | HOTMIRROR_SNAP_ERROR | \
		 HOTMIRROR_SNAP_DEVICE | HOTMIRROR_SNAP_DEVICE_WRITE)

__u32 model_expected(const struct model_page *p, int file);
/* Whether a snapshot shows page @i as it should be. */
bool model_is_right(struct model *m, int file, int i, __u32 snap);
/* How many a file has. */
__u64 model_entries(const struct model *m, int file);

#endif /* HOTMIRROR_MODEL_MODEL_H */
