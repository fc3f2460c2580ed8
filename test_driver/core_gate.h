/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Core gates: gates at the entry of functions of the kernel itself.
 */
#ifndef _HOTMIRROR_CORE_GATE_H
#define _HOTMIRROR_CORE_GATE_H

#include <linux/fs.h>
#include "compat.h"
#include "core_stub.h"
#include "hotmirror.h"

struct hotmirror_core_function {
	const char *name;
	/* Whether this call may sleep; NULL: every call may. */
	bool (*may_sleep)(const struct hotmirror_core_regs *regs);
};

/* core_gate.c */
int hotmirror_core_gate(struct file *filp, void *arg);
void hotmirror_core_release(struct hotmirror_control *control);
void hotmirror_core_init(void);
void hotmirror_core_exit(void);

/* core_list.c */
const struct hotmirror_core_function *hotmirror_core_find(const char *name);

#endif /* _HOTMIRROR_CORE_GATE_H */
