// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"
#include "task.h"

int hm_ring_open(struct io_uring *ring, unsigned int entries, unsigned int flags)
{
	struct io_uring_params p = { .flags = flags };

	/* Long enough that a thread that polls the queue sleeps in no test. */
	if (flags & IORING_SETUP_SQPOLL)
		p.sq_thread_idle = HM_LIMIT_MS;
	return io_uring_queue_init_params(entries, ring, &p);
}

int hm_ring_workers(struct io_uring *ring, unsigned int n)
{
	unsigned int limits[2] = { n, 0 };	/* bounded, as commands are; unbounded */

	return io_uring_register_iowq_max_workers(ring, limits);
}

struct io_uring_sqe *hm_ring_sqe(struct io_uring *ring, __u64 id)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		return NULL;
	io_uring_prep_nop(sqe);
	sqe->user_data = id;
	return sqe;
}

struct io_uring_sqe *hm_ring_command(struct io_uring *ring, int fd, unsigned int cmd,
				     void *arg, __u64 id)
{
	struct hotmirror_uring payload = { .arg = (uintptr_t)arg };
	struct io_uring_sqe *sqe = hm_ring_sqe(ring, id);

	if (!sqe)
		return NULL;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = fd;
	sqe->cmd_op = cmd;
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, addr3), &payload,
	       sizeof(payload));
	return sqe;
}

struct io_uring_sqe *hm_ring_cancel(struct io_uring *ring, __u64 whose, __u64 id)
{
	struct io_uring_sqe *sqe = hm_ring_sqe(ring, id);

	if (!sqe)
		return NULL;
	io_uring_prep_cancel64(sqe, whose, 0);
	sqe->user_data = id;
	return sqe;
}

int hm_ring_submit(struct io_uring *ring)
{
	int queued = io_uring_sq_ready(ring);
	int ret = io_uring_submit(ring);

	if (ret < 0)
		return ret;
	return ret == queued ? 0 : -EPROTO;
}

int hm_ring_wait(struct io_uring *ring, __u64 *id, int *result)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct io_uring_cqe *cqe;
	int ret;

	do {
		int left = hm_left(deadline);
		struct __kernel_timespec ts = {
			.tv_sec = left / 1000,
			.tv_nsec = left % 1000 * 1000000LL,
		};

		ret = io_uring_wait_cqe_timeout(ring, &cqe, &ts);
	} while (ret == -EINTR);
	if (ret == -ETIME) {
		hm_show_tasks(getpid());
		return -ETIMEDOUT;
	}
	if (ret)
		return ret;
	*id = cqe->user_data;
	*result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return 0;
}

bool hm_ring_ready(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	return !io_uring_peek_cqe(ring, &cqe);
}

int hm_ring_ioctl(struct io_uring *ring, int fd, unsigned int cmd, void *arg)
{
	__u64 id;
	int ret, result;

	if (!hm_ring_command(ring, fd, cmd, arg, (uintptr_t)arg))
		return -EBUSY;
	ret = hm_ring_submit(ring) ?: hm_ring_wait(ring, &id, &result);
	if (ret)
		return ret;
	return id == (uintptr_t)arg ? result : -EPROTO;
}
