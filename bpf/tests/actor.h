/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads with a name, for observers to see, that begin when they are told to and know
 * when they began and ended.
 */
#ifndef HOTMIRROR_BPF_ACTOR_H
#define HOTMIRROR_BPF_ACTOR_H

#include <linux/types.h>

#include "task.h"

struct target;

struct actor {
	const char *name;
	long (*run)(struct actor *a);	/* 0, or it has failed */
	struct target *t;
	char *p;
	int uffd;
	unsigned int times;
	int go;
	struct hm_async thread;
	__u64 begin, end;		/* ns, of run() */
};

/* These return 0 or -1, and say on stderr what failed. */
int actor_start(struct actor *a, struct target *t);	/* thread.tid is valid */
int actor_go(struct actor *a);
int actor_join(struct actor *a);
/* All of it at once, where nobody has to be waited for. */
int actor_do(struct actor *a, struct target *t);

#endif /* HOTMIRROR_BPF_ACTOR_H */
