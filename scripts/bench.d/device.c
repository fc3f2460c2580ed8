// SPDX-License-Identifier: GPL-2.0-only
/* The two modules, and none at all, behind one set of functions. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#include "bench.h"
#include "test_hotmirror_uapi.h"

/* More than any session migrates. */
#define DEVICE_BYTES	(128 * MIB)
#define HUGE_ORDER	9

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

void mirror_close(struct mirror *m)
{
	if (m->fd >= 0)
		close(m->fd);
	if (m->control >= 0)
		close(m->control);
}

/* ---- test_hotmirror ---- */

static int hotmirror_open(struct mirror *m, unsigned int worker, void *addr,
			  size_t length)
{
	struct hotmirror_plug plug = {
		.size = sizeof(plug),
		.kind = HOTMIRROR_PRIVATE,
		.bytes = DEVICE_BYTES,
	};
	struct hotmirror_mirror arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
	};
	char path[32];

	(void)worker;
	m->fd = -1;
	m->control = open("/dev/hotmirror", O_RDWR | O_CLOEXEC);
	if (m->control < 0 || ioctl(m->control, HOTMIRROR_PLUG, &plug))
		return -errno;
	snprintf(path, sizeof(path), "/dev/hotmirror%u", plug.id);
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->fd < 0 || ioctl(m->fd, HOTMIRROR_MIRROR, &arg))
		return -errno;
	return 0;
}

static int hotmirror_access(struct mirror *m, unsigned int cmd, void *addr,
			    void *buf, size_t length)
{
	struct hotmirror_access arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
		.buf = (uintptr_t)buf,
	};

	if (ioctl(m->fd, cmd, &arg))
		return -errno;
	return arg.done == length ? 0 : -EPROTO;
}

static int hotmirror_populate(struct mirror *m, void *addr, size_t length)
{
	return hotmirror_access(m, HOTMIRROR_PREFETCH, addr, NULL, length);
}

static int hotmirror_read(struct mirror *m, void *addr, void *buf, size_t length)
{
	return hotmirror_access(m, HOTMIRROR_READ, addr, buf, length);
}

static int hotmirror_write(struct mirror *m, void *addr, void *buf, size_t length)
{
	return hotmirror_access(m, HOTMIRROR_WRITE, addr, buf, length);
}

static int hotmirror_snapshot(struct mirror *m, void *addr, void *buf, size_t length)
{
	struct hotmirror_snapshot arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
		.buf = (uintptr_t)buf,
	};

	if (ioctl(m->fd, HOTMIRROR_SNAPSHOT, &arg))
		return -errno;
	return arg.done == length / page_size() ? 0 : -EPROTO;
}

static int hotmirror_migrate(struct mirror *m, unsigned int cmd, void *addr,
			     size_t length, bool huge)
{
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.flags = huge ? HOTMIRROR_MIGRATE_LARGE : 0,
		.addr = (uintptr_t)addr,
		.length = length,
	};

	if (ioctl(m->fd, cmd, &arg))
		return -errno;
	return arg.moved == length / page_size() ? 0 : -EPROTO;
}

static int hotmirror_to_dev(struct mirror *m, void *addr, void *buf, size_t length,
			    bool huge)
{
	(void)buf;
	return hotmirror_migrate(m, HOTMIRROR_MIGRATE_TO_DEV, addr, length, huge);
}

static int hotmirror_to_sys(struct mirror *m, void *addr, void *buf, size_t length,
			    bool huge)
{
	(void)buf;
	return hotmirror_migrate(m, HOTMIRROR_MIGRATE_TO_SYS, addr, length, huge);
}

static int hotmirror_arrived(const void *buf, size_t length, bool huge)
{
	const __u32 *snap = buf;

	for (size_t i = 0; i < length / page_size(); i++)
		if (!(snap[i] & HOTMIRROR_SNAP_OWN) ||
		    (HOTMIRROR_SNAP_ORDER(snap[i]) == HUGE_ORDER) != huge)
			return -EPROTO;
	return 0;
}

static int hotmirror_invalidate_ns(struct mirror *m, __u64 *ns)
{
	struct hotmirror_stats arg = { .size = sizeof(arg) };

	if (ioctl(m->fd, HOTMIRROR_STATS, &arg))
		return -errno;
	*ns = arg.invalidate_ns;
	return 0;
}

const struct device hotmirror_device = {
	.name = "hotmirror",
	.open = hotmirror_open,
	.populate = hotmirror_populate,
	.read = hotmirror_read,
	.write = hotmirror_write,
	.snapshot = hotmirror_snapshot,
	.to_dev = hotmirror_to_dev,
	.to_sys = hotmirror_to_sys,
	.arrived = hotmirror_arrived,
	.invalidate_ns = hotmirror_invalidate_ns,
};

/* ---- test_hmm ---- */

/*
 * It mirrors the whole address space, and the last close of a file evicts the
 * memory of every user of the device: each worker needs another one.
 */
static int test_hmm_open(struct mirror *m, unsigned int worker, void *addr,
			 size_t length)
{
	char path[32];

	(void)addr;
	(void)length;
	m->control = -1;
	snprintf(path, sizeof(path), "/dev/hmm_dmirror%u", worker);
	m->fd = open(path, O_RDWR | O_CLOEXEC);
	return m->fd < 0 ? -errno : 0;
}

static int test_hmm_ioctl(struct mirror *m, unsigned long cmd, void *addr, void *buf,
			  size_t length)
{
	struct hmm_dmirror_cmd arg = {
		.addr = (uintptr_t)addr,
		.ptr = (uintptr_t)buf,
		.npages = length / page_size(),
	};

	if (ioctl(m->fd, cmd, &arg))
		return -errno;
	return arg.cpages == arg.npages ? 0 : -EPROTO;
}

static int test_hmm_read(struct mirror *m, void *addr, void *buf, size_t length)
{
	return test_hmm_ioctl(m, HMM_DMIRROR_READ, addr, buf, length);
}

static int test_hmm_write(struct mirror *m, void *addr, void *buf, size_t length)
{
	return test_hmm_ioctl(m, HMM_DMIRROR_WRITE, addr, buf, length);
}

static int test_hmm_snapshot(struct mirror *m, void *addr, void *buf, size_t length)
{
	return test_hmm_ioctl(m, HMM_DMIRROR_SNAPSHOT, addr, buf, length);
}

static int test_hmm_to_dev(struct mirror *m, void *addr, void *buf, size_t length,
			   bool huge)
{
	(void)huge;
	return test_hmm_ioctl(m, HMM_DMIRROR_MIGRATE_TO_DEV, addr, buf, length);
}

/* It counts a folio as one page: what moved is for arrived() to tell. */
static int test_hmm_to_sys(struct mirror *m, void *addr, void *buf, size_t length,
			   bool huge)
{
	int ret = test_hmm_ioctl(m, HMM_DMIRROR_MIGRATE_TO_SYS, addr, buf, length);

	return huge && ret == -EPROTO ? 0 : ret;
}

static int test_hmm_arrived(const void *buf, size_t length, bool huge)
{
	const __u8 *snap = buf;

	for (size_t i = 0; i < length / page_size(); i++)
		if (!(snap[i] & HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL) ||
		    !!(snap[i] & HMM_DMIRROR_PROT_PMD) != huge)
			return -EPROTO;
	return 0;
}

const struct device test_hmm_device = {
	.name = "test_hmm",
	.loads_on_arrival = true,
	.open = test_hmm_open,
	.read = test_hmm_read,
	.write = test_hmm_write,
	.snapshot = test_hmm_snapshot,
	.to_dev = test_hmm_to_dev,
	.to_sys = test_hmm_to_sys,
	.arrived = test_hmm_arrived,
};

/* ---- no mirror: what munmap() and mprotect() cost by themselves ---- */

static int none_open(struct mirror *m, unsigned int worker, void *addr, size_t length)
{
	(void)worker;
	(void)addr;
	(void)length;
	*m = (struct mirror){ .fd = -1, .control = -1 };
	return 0;
}

static int none_access(struct mirror *m, void *addr, void *buf, size_t length)
{
	(void)m;
	(void)addr;
	(void)buf;
	(void)length;
	return 0;
}

static int none_populate(struct mirror *m, void *addr, size_t length)
{
	return none_access(m, addr, NULL, length);
}

const struct device no_device = {
	.name = "none",
	.open = none_open,
	.populate = none_populate,
	.read = none_access,
	.write = none_access,
	.snapshot = none_access,
};
