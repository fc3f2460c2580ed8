/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gates: named places where a test holds an operation. Where one is in the code there
 * is one line, which costs a load as long as the instance has no gate.
 */
#ifndef _HOTMIRROR_GATE_H
#define _HOTMIRROR_GATE_H

#include <linux/kref.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include "hotmirror.h"

struct hotmirror_gate_waiter;

/* What is set up by hotmirror_gate_new() stays so; the rest is under @lock. */
struct hotmirror_gate_file {
	struct kref ref;		/* the file's, and one of each who makes a hit */
	u32 nr;				/* HOTMIRROR_GATE_*, 0: a core function */
	struct hotmirror_instance *inst;	/* referenced; NULL: a core function */
	void (*closed)(struct hotmirror_gate_file *gate);	/* nobody stands there any more */
	void *private;			/* of @closed's owner */
	/* under inst->gate_lock */
	struct list_head node;
	u64 serial;

	spinlock_t lock;		/* what follows */
	wait_queue_head_t wait;		/* who stands there, who polls */
	struct hotmirror_file *file;	/* whose hits; NULL: any. Not referenced */
	struct hotmirror_gate_waiter *waiter;
	struct pid *tid;
	struct pid *pid;
	struct pid *armed_by;
	bool allow_exit;
	bool open;			/* for good */
	u32 nth;
	u64 timeout_ns;
	struct pid *who;
	struct hotmirror_gate_status status;
};

/* How many of an instance's gates are open for good. */
enum hotmirror_gates_open {
	HOTMIRROR_GATES_NONE,
	HOTMIRROR_GATES_OPERATIONS,	/* unplug goes beyond DISABLED */
	HOTMIRROR_GATES_ALL,		/* nobody owns the instance */
};

/* gate.c */
struct hotmirror_gate_file *hotmirror_gate_new(struct hotmirror_instance *inst,
					       struct hotmirror_file *file, u32 nr);
void hotmirror_gate_put(struct hotmirror_gate_file *gate);
int hotmirror_gate_fd(struct hotmirror_gate_file *gate);
bool hotmirror_gate_wants(struct hotmirror_gate_file *gate);
void hotmirror_gate_hit(struct hotmirror_gate_file *gate, struct hotmirror_file *file,
			u32 why);
void hotmirror_gate_open_for_good(struct hotmirror_gate_file *gate);
void hotmirror_gate_reach(struct hotmirror_instance *inst, struct hotmirror_file *file,
			  u32 nr, u32 why);
void hotmirror_gates_open(struct hotmirror_instance *inst,
			  enum hotmirror_gates_open level);
void hotmirror_gates_pass_begin(struct hotmirror_file *file);
void hotmirror_gates_pass_end(struct hotmirror_file *file);
void hotmirror_gates_close(struct hotmirror_file *file);
int hotmirror_gate_open(struct file *filp, void *arg);

/* Count the hit of current, and hold it if it is the one and may be held. */
static inline void hotmirror_gate_hold(struct hotmirror_gate_file *gate)
{
	hotmirror_gate_hit(gate, NULL, 0);
}

/* The operation is at a gate; @file: the mirror that it works on, NULL if none. */
static inline void hotmirror_gate_at(struct hotmirror_instance *inst,
				     struct hotmirror_file *file, u32 nr)
{
	if (unlikely(!list_empty(&inst->gates)))
		hotmirror_gate_reach(inst, file, nr, 0);
}

/* The same for an invalidation, which may be one that must not block. */
static inline void hotmirror_gate_invalidate(struct hotmirror_file *file,
					     bool blockable, u32 nr)
{
	if (unlikely(!list_empty(&file->inst->gates)))
		hotmirror_gate_reach(file->inst, file, nr,
				     blockable ? 0 : HOTMIRROR_GATE_WHY_ATOMIC);
}

static inline void hotmirror_gate_op(struct hotmirror_op *op, u32 nr)
{
	if (!op->ungated)
		hotmirror_gate_at(op->inst, op->file, nr);
}

/* migrate.c */
void hotmirror_gate_migrate(struct hotmirror_instance *inst, struct hotmirror_file *file,
			    u32 gate, unsigned long *src, unsigned long n);

#endif /* _HOTMIRROR_GATE_H */
