/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ioctls of /dev/hotmirror and /dev/hotmirrorN as functions.
 *
 * Every function here is the raw form: it returns 0 (or a file descriptor, or a
 * count) on success and a negative errno on failure, and decides nothing. Tests
 * wrap a call in must() or must_err() of hm_test.h to assert on it.
 */
#ifndef HOTMIRROR_LIB_DEV_H
#define HOTMIRROR_LIB_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "test_hotmirror_uapi.h"

#define HM_CONTROL	"/dev/hotmirror"
/* Any kind that this kernel has; for tests that are not about device memory. */
#define HM_ANY		0

#define HM_MSEC		1000000ULL
/* How long anything that must happen may take: slow is a machine under TCG. */
#define HM_LIMIT_MS	8000
#define HM_LIMIT_NS	(HM_LIMIT_MS * HM_MSEC)

struct hm_kind {
	const char *name;
	__u32 kind;
	__u32 snap;		/* HOTMIRROR_SNAP_KIND_* of its pages */
	__u64 feature;		/* HOTMIRROR_HAS_* */
	const char *lacking;	/* why it may be missing, and the remedy */
};

/* The row of @kind, NULL if there is no such kind. */
const struct hm_kind *hm_kind(__u32 kind);
/* The first kind that @q offers, preferring those that need no arena; 0 if none. */
__u32 hm_any_kind(const struct hotmirror_query *q);
const char *hm_state_name(__u32 state);

int hm_ioctl(int fd, unsigned int cmd, void *arg);

int hm_control_open(void);
int hm_open(__u32 id);
/* As hm_open(), in flags of open(2). */
int hm_open_flags(__u32 id, int flags);

int hm_query(int fd, struct hotmirror_query *q);
int hm_plug(int control, __u32 kind, __u64 bytes, __u32 *id);
/* A dax instance that is mapped in units of @align; @id may be NULL. */
int hm_plug_dax(int control, __u64 bytes, __u64 align, __u32 *id);
/* Wait at most @limit_ms for @target; 0 only starts the work. */
int hm_unplug(int control, __u32 id, __u32 target, unsigned int limit_ms);
/* The same; @flags: HOTMIRROR_UNPLUG_LOST. */
int hm_unplug_flags(int control, __u32 id, __u32 target, unsigned int limit_ms,
		    __u32 flags);
int hm_status(int fd, __u32 id, struct hotmirror_status *st);

/* Wait at most @limit_ms until no more than @objects are left; -ETIMEDOUT. */
int hm_settle(int control, __u32 objects, __u32 flags, unsigned int limit_ms);

/* @id may be NULL. */
int hm_mirror(int fd, const void *addr, size_t length, __u32 flags, __u32 *id);
int hm_unmirror(int fd, __u32 id);

/* -EPROTO if the module says 0 without having accessed all of it. */
int hm_read(int fd, const void *addr, void *buf, size_t length);
int hm_write(int fd, const void *addr, const void *buf, size_t length);
int hm_prefetch(int fd, const void *addr, size_t length, bool write);
/* The same, HMM taking the faults. */
int hm_prefetch_by_hmm(int fd, const void *addr, size_t length, bool write);
/* The same with the outputs: cmd is HOTMIRROR_READ, _WRITE or _PREFETCH. */
int hm_access(int fd, unsigned int cmd, const void *addr, const void *buf,
	      size_t length, struct hotmirror_access *out);

/* @arg: flags, operand, expected in; old, faults, retries out. */
int hm_atomic(int fd, const void *addr, struct hotmirror_atomic *arg);

/* @id may be NULL; @pages, too: what was pinned. */
int hm_pin(int fd, const void *addr, size_t length, __u32 flags, __u32 *id,
	   __u64 *pages);
int hm_unpin(int fd, __u32 id);

int hm_snapshot(int fd, const void *addr, size_t length, __u32 *pages);
/* @moved may be NULL. */
int hm_to_dev(int fd, const void *addr, size_t length, __u64 *moved);
int hm_to_sys(int fd, const void *addr, size_t length, __u64 *moved);
/* The same with flags: cmd is HOTMIRROR_MIGRATE_TO_DEV or _TO_SYS. */
int hm_migrate(int fd, unsigned int cmd, const void *addr, size_t length, __u32 flags,
	       __u64 *moved);
/* Tries again on EAGAIN, within HM_LIMIT_MS. */
int hm_verify(int fd, struct hotmirror_verify *v);
int hm_stats(int fd, struct hotmirror_stats *s);
int hm_sabotage(int fd, __u64 mask);

/* Wait for an instance file to report that its instance is GONE; -ETIMEDOUT. */
int hm_wait_gone(int fd, int limit_ms);
/* Whether poll() reports EPOLLHUP now. */
bool hm_is_gone(int fd);
/* Wait until a status member that @done looks at is as wanted; -ETIMEDOUT. */
int hm_wait_status(int fd, __u32 id, bool (*done)(const struct hotmirror_status *st),
		   struct hotmirror_status *st);

#endif /* HOTMIRROR_LIB_DEV_H */
