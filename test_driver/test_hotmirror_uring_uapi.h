/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror: its ioctls as io_uring commands. Included by test_hotmirror_uapi.h.
 */
#ifndef _TEST_HOTMIRROR_URING_UAPI_H
#define _TEST_HOTMIRROR_URING_UAPI_H

#include <linux/types.h>

/**
 * struct hotmirror_uring - an ioctl of an instance file as an io_uring command
 * @arg: address of the struct that the ioctl takes
 * @reserved: must be 0
 *
 * sqe->cmd of an IORING_OP_URING_CMD on an instance file (HOTMIRROR_HAS_URING, else
 * EOPNOTSUPP); sqe->cmd_op is the number of the ioctl. sqe->addr, len, buf_index,
 * file_index, uring_cmd_flags and the second half of a large submission must be 0. A
 * worker thread of the submitter does what the ioctl does, with the submitter's
 * buffers, with IORING_SETUP_SQPOLL those of the ring's creator. The struct is read
 * when it begins, and written back, as by the ioctl, before the result is there.
 *
 * A sleep in a user fault holds up nothing else while the ring has workers left
 * (IORING_REGISTER_IOWQ_MAX_WORKERS), and outlives neither the ring, nor the thread
 * that submitted, nor the instance. cqe->res is 0 or what the ioctl fails with, or:
 *
 *	ECANCELED  cancelled (a cancellation of one that runs answers EALREADY), or
 *		   the submitter has exited; if it had not begun @arg was not touched
 *	EINTR	   the process was stopped meanwhile; submit again
 *	EINVAL	   what must be 0 is not; registered buffers
 *	EOPNOTSUPP a ring with IORING_SETUP_IOPOLL
 */
struct hotmirror_uring {
	__aligned_u64 arg;
	__aligned_u64 reserved;
};

#endif /* _TEST_HOTMIRROR_URING_UAPI_H */
