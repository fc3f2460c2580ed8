// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls of an instance file as io_uring commands. Only the way in differs: the
 * address of the struct comes from the submission queue, and an io-wq worker, a
 * thread of the submitter with its mm, runs the same code as the ioctl.
 *
 * Nothing is marked cancelable. A worker asleep in a user fault is interrupted by
 * TIF_NOTIFY_SIGNAL, whoever wants it back: ASYNC_CANCEL, the exit of the ring or of
 * the submitter, and our own unplug by way of task work.
 */
#include <linux/fs.h>
#include <linux/sched/signal.h>
#include <linux/string.h>
#include "compat.h"
#include "hotmirror.h"

#if HOTMIRROR_CAN_URING

/*
 * Members of the submission that mean nothing to us, and the second half of a large
 * one. @sqe may still be the queue itself, which user space can write: what is
 * checked here is checked again in the worker, on the core's copy.
 */
static bool hotmirror_uring_unused(const struct io_uring_sqe *sqe,
				   unsigned int issue_flags)
{
	if (READ_ONCE(sqe->addr) || READ_ONCE(sqe->len) ||
	    READ_ONCE(sqe->buf_index) || READ_ONCE(sqe->file_index))
		return false;
	return !(issue_flags & IO_URING_F_SQE128) ||
	       !memchr_inv(sqe + 1, 0, sizeof(*sqe));
}

static int hotmirror_uring_check(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	/* Nobody would poll for the end of a command that runs in a worker. */
	if (cmd_to_io_kiocb(cmd)->ctx->flags & IORING_SETUP_IOPOLL)
		return -EOPNOTSUPP;
	if (cmd->flags & IORING_URING_CMD_MASK ||
	    !hotmirror_uring_unused(cmd->sqe, issue_flags))
		return -EINVAL;
	return 0;
}

/*
 * A command is not restarted. A notification without a reason of our own is a
 * cancellation; a signal without one, a stop of the process (SIGSTOP, a debugger,
 * the freezer), in which a worker takes part as any thread does.
 */
static int hotmirror_uring_result(long ret)
{
	if (ret != -ERESTARTSYS && ret != -EINTR)
		return ret;
	return test_thread_flag(TIF_NOTIFY_SIGNAL) ? -ECANCELED : -EINTR;
}

/* IORING_OP_URING_CMD */
int hotmirror_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct hotmirror_uring *uring =
		io_uring_sqe_cmd(cmd->sqe, struct hotmirror_uring);
	u64 arg = READ_ONCE(uring->arg);
	int ret;

	ret = hotmirror_uring_check(cmd, issue_flags);
	if (ret)
		return ret;
	if (READ_ONCE(uring->reserved))
		return -EINVAL;
	/* All of them may sleep: io-wq, please. */
	if (issue_flags & IO_URING_F_NONBLOCK)
		return -EAGAIN;
	return hotmirror_uring_result(hotmirror_file_ioctl(cmd->file, cmd->cmd_op,
							   arg));
}
#endif
