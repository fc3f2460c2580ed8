/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many io_uring commands of every kind that can sleep in a user fault, each of one page
 * that is missing and that userfaultfd does not fill until it is told to.
 */
#ifndef HOTMIRROR_LIB_CROWD_H
#define HOTMIRROR_LIB_CROWD_H

#include "ring.h"

#define COMMANDS	64

struct hm_crowd {
	struct io_uring ring;
	int fd, uffd;
	size_t page;
	__u64 features;		/* HOTMIRROR_HAS_* */
	char *mem;		/* COMMANDS pages, mirrored, under userfaultfd */
	char *buf;		/* COMMANDS pages, of HM_CROWD_WRITTEN */
	char *fresh;		/* COMMANDS pages of HM_CROWD_NEW to resolve with */
	union arg args[COMMANDS];
	bool asleep[COMMANDS];	/* its fault was seen */
	bool cancel_is_enoent;	/* tolerated for EALREADY */
};

#define HM_CROWD_NEW		2
#define HM_CROWD_WRITTEN	3

/* Everything but the ring, on a new file of instance @id; 0 or -errno (uffd < 0: why). */
int hm_crowd_begin(struct hm_crowd *c, __u32 id, __u64 features);
/* Queue command @i, that is its number. */
struct io_uring_sqe *hm_crowd_queue(struct hm_crowd *c, struct io_uring *ring, int i);
/* Wait until @n more commands are asleep. */
int hm_crowd_asleep(struct hm_crowd *c, int n);
/* Submit commands [first, first + n) and wait until they are asleep. */
int hm_crowd_sleep(struct hm_crowd *c, struct io_uring *ring, int first, int n);
/* Fill their pages. */
int hm_crowd_resolve(struct hm_crowd *c, int first, int n);
/* What command @i says it did, in bytes; whether what it did is right. */
__u64 hm_crowd_done(const struct hm_crowd *c, int i);
bool hm_crowd_right(const struct hm_crowd *c, int i);

#endif /* HOTMIRROR_LIB_CROWD_H */
