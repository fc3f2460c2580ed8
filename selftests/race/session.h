/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the orchestrator has: the target, its device files, the gates. engine.c runs
 * schedules with it.
 */
#ifndef HOTMIRROR_RACE_SESSION_H
#define HOTMIRROR_RACE_SESSION_H

#include "../lib/kmsg.h"
#include "race.h"

#define RACE_GATE_FILES	128

struct race_gate_file {
	const struct race_gate *gate;
	int device;			/* RACE_DEVICE, _SECOND, _DAX: whose */
	int fd;
};

struct race_engine {
	struct race_options options;
	struct race_shared *sh;
	struct hotmirror_query q;	/* at the start */
	int control;
	struct hm_log log;

	pid_t target;			/* 0: none */
	int pidfd;
	pid_t remote;
	int fd[3];			/* the target's device files, as ours */
	int uffd;
	__u32 kind;			/* of the mirroring devices that are plugged */
	__u64 align;			/* of the dax instance, 0: none */
	bool used_up;			/* an instance is not live any more */
	bool reopen;			/* the files are not to be used again */
	struct race_gate_file gate[RACE_GATE_FILES];
	int gates;
	char *resolution;		/* what a missing page gets */
};

int race_session_start(struct race_engine *e, char *why, size_t size);
void race_session_end(struct race_engine *e);
/* All that the schedule needs; -EOPNOTSUPP with the reason. */
int race_session_ready(struct race_engine *e, const struct race_schedule *s, char *why,
		       size_t size);
/* The remote process, where the target is to exit. */
int race_session_remote(struct race_engine *e);
/* A gate file, unarmed; -errno. */
int race_session_gate(struct race_engine *e, const struct race_schedule *s,
		      const struct race_hold *hold);
/* Kill the target and forget it; -ETIMEDOUT: it does not die. */
int race_session_kill(struct race_engine *e);
/* An instance that was unplugged goes, another comes with the next schedule. */
int race_session_replace(struct race_engine *e);

/* Memory that the target shares; NULL. */
void *race_shared_pages(size_t length);
/* What calls go by, once for each worker; -ENOMEM. */
int race_worker_make(struct race_worker *w);
/* Before each target: nothing of an earlier one is in there. */
void race_worker_fresh(struct race_worker *w);
/* Give a worker a call; wait for its end, resolving faults meanwhile if @serve. */
void race_call(struct race_engine *e, int worker, enum race_call call);
int race_wait(struct race_engine *e, int worker, int limit_ms, bool serve);
bool race_done(struct race_engine *e, int worker);
/* Resolve every fault that userfaultfd has reported. */
void race_resolve(struct race_engine *e);

#endif /* HOTMIRROR_RACE_SESSION_H */
