/* SPDX-License-Identifier: GPL-2.0-only */
/* What workloads of known numbers share: the clock, complaints, and when to go. */
#ifndef HOTMIRROR_BPF_KNOWN_H
#define HOTMIRROR_BPF_KNOWN_H

#include <linux/types.h>

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

/* Whoever observes says so by a line on stdin. */
void await_go(void);

#endif /* HOTMIRROR_BPF_KNOWN_H */
