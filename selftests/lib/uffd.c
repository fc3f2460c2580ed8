// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dev.h"
#include "mem.h"
#include "task.h"
#include "uffd.h"

static int uffd_ioctl(int uffd, unsigned long cmd, void *arg)
{
	return ioctl(uffd, cmd, arg) ? -errno : 0;
}

/* Headers before 7.3 lack these. */
#define FEATURE_RWP	(1ULL << 17)
#define FAULT_RWP	(1U << 3)
#define RWPROTECT	_IOWR(UFFDIO, 0x09, struct uffdio_writeprotect)

static int open_with(__u64 features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | features,
	};
	/* A device access faults in kernel mode: no UFFD_USER_MODE_ONLY. */
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		return -errno;
	if (ioctl(uffd, UFFDIO_API, &api)) {
		int err = -errno;

		close(uffd);
		return err;
	}
	return uffd;
}

int hm_uffd_open(void)
{
	return open_with(0);
}

int hm_uffd_open_rwp(void)
{
	int uffd = open_with(FEATURE_RWP);

	return uffd == -EINVAL ? open_with(0) : uffd;
}

int hm_uffd_register_mode(int uffd, void *addr, size_t length, __u64 mode)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = mode,
	};

	return uffd_ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int hm_uffd_register(int uffd, void *addr, size_t length, bool wp)
{
	return hm_uffd_register_mode(uffd, addr, length, wp ? HM_UFFD_WP : HM_UFFD_MISSING);
}

int hm_uffd_rwprotect(int uffd, void *addr, size_t length, bool on)
{
	struct uffdio_writeprotect rwp = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = on,
	};

	return uffd_ioctl(uffd, RWPROTECT, &rwp);
}

int hm_uffd_protect(int uffd, void *addr, size_t length, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return uffd_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

int hm_uffd_wait(int uffd, struct hm_fault *f)
{
	struct uffd_msg msg;
	int ret = hm_poll(uffd, POLLIN, HM_LIMIT_MS);

	if (ret < 0) {
		hm_show_tasks(getpid());
		return ret;
	}
	if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
		return -errno;
	if (msg.event != UFFD_EVENT_PAGEFAULT)
		return -EPROTO;
	f->addr = msg.arg.pagefault.address & -hm_page_size();
	f->write = msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE;
	f->wp = msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP;
	f->minor = msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR;
	f->rwp = msg.arg.pagefault.flags & FAULT_RWP;
	return 0;
}

bool hm_uffd_pending(int uffd)
{
	return hm_poll(uffd, POLLIN, 0) > 0;
}

int hm_uffd_copy(int uffd, void *addr, const void *from, size_t length)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)addr,
		.src = (uintptr_t)from,
		.len = length,
	};

	return uffd_ioctl(uffd, UFFDIO_COPY, &copy);
}

int hm_uffd_zero(int uffd, void *addr, size_t length)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)addr, .len = length },
	};

	return uffd_ioctl(uffd, UFFDIO_ZEROPAGE, &zero);
}

int hm_uffd_continue(int uffd, void *addr, size_t length)
{
	struct uffdio_continue go_on = {
		.range = { .start = (uintptr_t)addr, .len = length },
	};

	return uffd_ioctl(uffd, UFFDIO_CONTINUE, &go_on);
}

/* Headers before 6.8 lack it. */
#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE	_IOWR(UFFDIO, 0x05, struct uffdio_move)
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};
#endif

int hm_uffd_move(int uffd, void *to, void *from, size_t length)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)from,
		.len = length,
	};

	return uffd_ioctl(uffd, UFFDIO_MOVE, &move);
}

/* Headers before 6.6 lack it. */
#ifndef UFFDIO_POISON
#define UFFDIO_POISON	_IOWR(UFFDIO, 0x08, struct uffdio_poison)
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#endif

int hm_uffd_poison(int uffd, void *addr, size_t length)
{
	struct uffdio_poison poison = {
		.range = { .start = (uintptr_t)addr, .len = length },
	};

	return uffd_ioctl(uffd, UFFDIO_POISON, &poison);
}

int hm_uffd_wake(int uffd, void *addr, size_t length)
{
	struct uffdio_range range = { .start = (uintptr_t)addr, .len = length };

	return uffd_ioctl(uffd, UFFDIO_WAKE, &range);
}
