/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gates: named places where a test holds an operation of the device. Raw forms, as in
 * dev.h.
 */
#ifndef HOTMIRROR_LIB_GATE_H
#define HOTMIRROR_LIB_GATE_H

#include <stdbool.h>
#include <sys/types.h>

#include "dev.h"

/* "populate.begin" for HOTMIRROR_GATE_POPULATE_BEGIN; NULL if there is no such gate. */
const char *hm_gate_name(__u32 gate);
/* The other way round; 0 if there is no such name. */
__u32 hm_gate_number(const char *name);
/* It knows no file: HOTMIRROR_GATE_INSTANCE only. */
bool hm_gate_of_instance(__u32 gate);
/* It holds unplug's worker: any thread. */
bool hm_gate_of_worker(__u32 gate);

/* A gate file of instance file @fd; @flags: HOTMIRROR_GATE_INSTANCE. */
int hm_gate_open(int fd, __u32 gate, __u32 flags);
/* One at the entry of a core function; @control: a control file. */
int hm_gate_core(int control, const char *function);

/* What an arming may say beside the defaults: any thread, the next hit, HM_LIMIT_NS. */
struct hm_gate_arm {
	__u32 flags;
	pid_t tid;
	pid_t pid;
	__u32 nth;
	__u64 timeout_ns;
};

int hm_gate_arm(int gate, const struct hm_gate_arm *how);
/* Hold the next hit of thread @tid, 0: of any. */
int hm_gate_arm_tid(int gate, pid_t tid);
/* Wait until somebody stands there; -ETIMEDOUT, -ENODEV: it is open for good. */
int hm_gate_wait(int gate, int limit_ms);
int hm_gate_release(int gate);
int hm_gate_status(int gate, struct hotmirror_gate_status *st);

/* The device page table alone: one HOTMIRROR_SNAP_DEVICE* a page. */
int hm_entries(int fd, const void *addr, size_t length, __u32 *entries);

#endif /* HOTMIRROR_LIB_GATE_H */
