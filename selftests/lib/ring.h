/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * io_uring: the ioctls of an instance file as commands, with a limit on every wait.
 * Only with liburing.
 */
#ifndef HOTMIRROR_LIB_RING_H
#define HOTMIRROR_LIB_RING_H

#include <liburing.h>
#include <stdint.h>

#include "dev.h"

/* The struct of any ioctl. */
union arg {
	__u32 head[2];		/* size, flags */
	struct hotmirror_query query;
	struct hotmirror_status status;
	struct hotmirror_mirror mirror;
	struct hotmirror_access access;
	struct hotmirror_atomic atomic;
	struct hotmirror_pin pin;
	struct hotmirror_snapshot snapshot;
	struct hotmirror_migrate migrate;
	struct hotmirror_verify verify;
	struct hotmirror_stats stats;
	struct hotmirror_sabotage sabotage;
	__u64 words[40];
};

static inline __u64 at(const void *p)
{
	return (uintptr_t)p;
}

/* A ring of at least @entries, IORING_SETUP_* @flags; 0 or -errno. */
int hm_ring_open(struct io_uring *ring, unsigned int entries, unsigned int flags);
/* Let @n commands sleep at a time, beside each other; 0 or -errno. */
int hm_ring_workers(struct io_uring *ring, unsigned int n);

/* Any submission with @id; it must have room in the queue. */
struct io_uring_sqe *hm_ring_sqe(struct io_uring *ring, __u64 id);
/* Queue ioctl @cmd of @fd with its struct @arg. */
struct io_uring_sqe *hm_ring_command(struct io_uring *ring, int fd, unsigned int cmd,
				     void *arg, __u64 id);
/* Queue the cancellation of command @whose. */
struct io_uring_sqe *hm_ring_cancel(struct io_uring *ring, __u64 whose, __u64 id);
/* Submit all that is queued; 0 or -errno. */
int hm_ring_submit(struct io_uring *ring);

/* The next result, within HM_LIMIT_MS; 0, -ETIMEDOUT with a report. */
int hm_ring_wait(struct io_uring *ring, __u64 *id, int *result);
/* Whether a result waits to be read, without waiting. */
bool hm_ring_ready(struct io_uring *ring);
/* An ioctl by way of the ring: its result, or -ETIMEDOUT. The ring must be idle. */
int hm_ring_ioctl(struct io_uring *ring, int fd, unsigned int cmd, void *arg);

#endif /* HOTMIRROR_LIB_RING_H */
