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

int hm_uffd_open(void)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
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

int hm_uffd_register(int uffd, void *addr, size_t length, bool wp)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = wp ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING,
	};

	return uffd_ioctl(uffd, UFFDIO_REGISTER, &reg);
}

int hm_uffd_protect(int uffd, void *addr, size_t length, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)addr, .len = length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return uffd_ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static int poll_uffd(int uffd, int limit_ms)
{
	long long deadline = hm_deadline(limit_ms);
	struct pollfd p = { .fd = uffd, .events = POLLIN };
	int n;

	while ((n = poll(&p, 1, hm_left(deadline))) < 0 && errno == EINTR)
		;
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

int hm_uffd_wait(int uffd, struct hm_fault *f)
{
	struct uffd_msg msg;
	int ret = poll_uffd(uffd, HM_LIMIT_MS);

	if (ret) {
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
	return 0;
}

bool hm_uffd_pending(int uffd)
{
	return !poll_uffd(uffd, 0);
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
