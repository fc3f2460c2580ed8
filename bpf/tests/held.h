/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An operation that is held at a gate of the module for a known time, while others
 * run into what it holds.
 */
#ifndef HOTMIRROR_BPF_HELD_H
#define HOTMIRROR_BPF_HELD_H

#include <stdbool.h>
#include <linux/types.h>

/* A delay: at least so long between two events, at most so long around them. */
struct hold {
	__u64 min_ns;
	__u64 max_ns;
};

struct held {
	int fd;			/* an instance file */
	__u32 gate;
	__u32 flags;		/* of GATE_OPEN */
	long (*run)(void *arg);	/* the operation: 0 or not */
	void *arg;
	char *page;
	bool fill;		/* meanwhile: write to the page */
	bool meet;		/* somebody else touches it, and waits */
	struct hold *hold;	/* out: of the operation */
	struct hold *wait;	/* out: of somebody else */
};

/* Run it, stop it at its gate for HOLD_NS; 0, or -1 with a reason on stderr. */
int held(const struct held *how);

#define HOLD_NS		40000000ULL

#endif /* HOTMIRROR_BPF_HELD_H */
