/* SPDX-License-Identifier: GPL-2.0-only */
/* What workloads of known numbers share: the clock, complaints, the target, the report. */
#ifndef HOTMIRROR_BPF_KNOWN_H
#define HOTMIRROR_BPF_KNOWN_H

#include <linux/types.h>
#include <stddef.h>

#include "task.h"

/* CLOCK_MONOTONIC */
__u64 now_ns(void);
/* The time that passes is the load here, nothing is synchronized by it. */
void hold_until(__u64 ns);

/* 0 if @ok, else -1 with the reason that errno has on stderr. */
int check(int ok, const char *what);
/* The same for a function that returns -errno. */
int check_ret(int ret, const char *what);
/* @ret; below 0 the program ends with the reason and status 1. */
long must(const char *what, long ret);

/* Memory that a process and its children share. */
void *shared(size_t bytes);

/*
 * Start the process that observers look at, say TARGET with its memory and the instance
 * @id, and wait for a line on stdin. @target_main tells its file and where its @bytes of
 * memory begin (0: nowhere), and then hears when to go. Returns a duplicate of the file.
 */
int target_start(struct hm_child *child,
		 int (*target_main)(struct hm_parent *parent, void *arg), void *arg,
		 size_t bytes, __u32 id);
/* Its end, which must be a good one. */
void target_wait(struct hm_child *child);

/* A member of the report: "name":value, and what comes after it. */
void number(const char *name, unsigned long long value, const char *after);

#endif /* HOTMIRROR_BPF_KNOWN_H */
