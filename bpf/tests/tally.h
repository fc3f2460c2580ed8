/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a workload did, for observers to be compared with: numbers by the keys that the
 * maps of a script have, and limits between which a sum of durations must be. In memory
 * that a parent and its child share.
 */
#ifndef HOTMIRROR_BPF_TALLY_H
#define HOTMIRROR_BPF_TALLY_H

#include <linux/types.h>

#define TALLY_MAX	48

struct tally {
	unsigned int used;
	struct tally_row {
		const char *map;	/* a string constant */
		char key[80];		/* as bpftrace joins them: "a,b" */
		unsigned long n;
		__u64 min, max;		/* 0: a count, else ns */
	} rows[TALLY_MAX];
};

struct tally *tally_new(void);
/* @n more of map and key. */
__attribute__((format(printf, 4, 5)))
void tally_add(struct tally *t, const char *map, unsigned long n, const char *key, ...);
/* A duration that was @min to @max ns more for map and key. */
__attribute__((format(printf, 5, 6)))
void tally_time(struct tally *t, const char *map, __u64 min, __u64 max, const char *key, ...);
/* {"map": {"key": n, ...}, ...}; a duration is {"min": n, "max": n}. */
void tally_print(const struct tally *t);

#endif /* HOTMIRROR_BPF_TALLY_H */
