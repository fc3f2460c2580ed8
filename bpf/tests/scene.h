/* SPDX-License-Identifier: GPL-2.0-only */
/* What all scenarios share: memory, mirrors, worker threads, counts. */
#ifndef HOTMIRROR_SCENE_H
#define HOTMIRROR_SCENE_H

#include <stdbool.h>

#include "dev.h"
#include "task.h"

#define MSEC		1000000ULL
#define MAX_WORKERS	8
#define MAX_COUNTS	12
#define MAX_FILES	2

struct scene;

/*
 * The kernel skips a BPF program that another task, preempted inside it, runs on this
 * CPU. Threads therefore stay on CPUs of their own, as far as there are some.
 */
struct worker {
	const char *name;
	int cpu;
	int (*run)(struct scene *s, struct worker *w);
	struct scene *s;
	struct hm_async async;
	pid_t tid;
};

struct scene {
	struct hotmirror_query q;
	__u64 end_ns;
	int control;
	int fd[MAX_FILES];	/* -1: not open */
	__u32 id;
	__u32 dax;		/* of run_unplug(): the instance of this round, its pin */
	__u32 pin;
	char *mem;
	char *buf;
	size_t page;
	size_t pages;
	int uffd;
	struct worker workers[MAX_WORKERS];
	int nr_workers;
	struct count {
		const char *name;
		unsigned long n;
	} counts[MAX_COUNTS];
};

/* Set by the signal handler; a scenario ends soon after. */
extern int interrupted;
/* Something did not go as it must; stderr says what. */
extern int failed;

__u64 now_ns(void);
/* Sleep: the time that passes is the load, nothing is synchronized by it. */
void spend(__u64 ns);
/* Time is up, or there is no point in going on. */
bool over(const struct scene *s);

/* @ret is passed on; one below 0 is reported, and the scenario has failed. */
int check(const char *what, int ret);
/* This machine lacks what the scenario needs: says so, returns exit status 4. */
int lacking(const char *what);

/* Counts are declared, NULL at the end, before threads add to them. */
void declare(struct scene *s, const char *const *names);
void add(struct scene *s, const char *name, unsigned long n);

/* Start a named thread on a CPU; wait for all from number @from on. */
int start(struct scene *s, const char *name, int cpu,
	  int (*run)(struct scene *s, struct worker *w));
int join(struct scene *s, int from);

/* Plug an instance of @kind, map @pages, mirror them by so many files. */
int plug(struct scene *s, __u32 kind, size_t pages, int files);
char *page_of(struct scene *s, unsigned int i);

#endif /* HOTMIRROR_SCENE_H */
