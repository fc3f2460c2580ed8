// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "dev.h"
#include "task.h"

static const struct hm_kind kinds[] = {
	{
		"private", HOTMIRROR_PRIVATE, HOTMIRROR_SNAP_KIND_PRIVATE,
		HOTMIRROR_HAS_PRIVATE, "kernel without CONFIG_DEVICE_PRIVATE",
	}, {
		"coherent", HOTMIRROR_COHERENT, HOTMIRROR_SNAP_KIND_COHERENT,
		HOTMIRROR_HAS_COHERENT,
		"no arena: boot with memmap=SIZE$START, load the module with arena=SIZE@START",
	}, {
		"dax", HOTMIRROR_DAX, HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_HAS_DAX,
		"no arena (memmap=SIZE$START, arena=SIZE@START) or no CONFIG_FS_DAX",
	},
};

#define NR_KINDS	(sizeof(kinds) / sizeof(kinds[0]))

const struct hm_kind *hm_kind(__u32 kind)
{
	for (size_t i = 0; i < NR_KINDS; i++)
		if (kinds[i].kind == kind)
			return &kinds[i];
	return NULL;
}

__u32 hm_any_kind(const struct hotmirror_query *q)
{
	for (size_t i = 0; i < NR_KINDS; i++)
		if (q->features & kinds[i].feature)
			return kinds[i].kind;
	return 0;
}

const char *hm_state_name(__u32 state)
{
	static const char * const names[HOTMIRROR_NR_STATES] = {
		[HOTMIRROR_LIVE] = "live",
		[HOTMIRROR_DISABLED] = "disabled",
		[HOTMIRROR_INVALIDATED] = "invalidated",
		[HOTMIRROR_DRAINING] = "draining",
		[HOTMIRROR_GONE] = "gone",
	};

	return state < HOTMIRROR_NR_STATES ? names[state] : "unknown";
}

int hm_ioctl(int fd, unsigned int cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

static int open_node(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int hm_control_open(void)
{
	return open_node(HM_CONTROL, O_RDWR);
}

int hm_open_flags(__u32 id, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), HM_CONTROL "%u", id);
	return open_node(path, flags);
}

int hm_open(__u32 id)
{
	return hm_open_flags(id, O_RDWR);
}

int hm_query(int fd, struct hotmirror_query *q)
{
	*q = (struct hotmirror_query){ .size = sizeof(*q) };
	return hm_ioctl(fd, HOTMIRROR_QUERY, q);
}

static int plug(int control, __u32 kind, __u64 bytes, __u64 align, __u32 *id)
{
	struct hotmirror_plug arg = {
		.size = sizeof(arg),
		.kind = kind,
		.bytes = bytes,
		.align = align,
	};
	int ret = hm_ioctl(control, HOTMIRROR_PLUG, &arg);

	if (!ret && id)
		*id = arg.id;
	return ret;
}

int hm_plug(int control, __u32 kind, __u64 bytes, __u32 *id)
{
	return plug(control, kind, bytes, 0, id);
}

int hm_plug_dax(int control, __u64 bytes, __u64 align, __u32 *id)
{
	return plug(control, HOTMIRROR_DAX, bytes, align, id);
}

int hm_unplug_flags(int control, __u32 id, __u32 target, unsigned int limit_ms, __u32 flags)
{
	struct hotmirror_unplug arg = {
		.size = sizeof(arg),
		.flags = flags,
		.id = id,
		.target = target,
		.timeout_ns = limit_ms * HM_MSEC,
	};
	int ret = hm_ioctl(control, HOTMIRROR_UNPLUG, &arg);

	/* Success after a wait means that the state is reached. */
	if (!ret && limit_ms && arg.state < target)
		return -EPROTO;
	return ret;
}

int hm_unplug(int control, __u32 id, __u32 target, unsigned int limit_ms)
{
	return hm_unplug_flags(control, id, target, limit_ms, 0);
}

int hm_status(int fd, __u32 id, struct hotmirror_status *st)
{
	*st = (struct hotmirror_status){ .size = sizeof(*st), .id = id };
	return hm_ioctl(fd, HOTMIRROR_STATUS, st);
}

int hm_settle(int control, __u32 objects, __u32 flags, unsigned int limit_ms)
{
	struct hotmirror_settle arg = {
		.size = sizeof(arg),
		.flags = flags,
		.objects = objects,
		.timeout_ns = limit_ms * HM_MSEC,
	};

	return hm_ioctl(control, HOTMIRROR_SETTLE, &arg);
}

int hm_mirror(int fd, const void *addr, size_t length, __u32 flags, __u32 *id)
{
	struct hotmirror_mirror arg = {
		.size = sizeof(arg),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.length = length,
	};
	int ret = hm_ioctl(fd, HOTMIRROR_MIRROR, &arg);

	if (!ret && id)
		*id = arg.id;
	return ret;
}

int hm_unmirror(int fd, __u32 id)
{
	struct hotmirror_mirror arg = { .size = sizeof(arg), .id = id };

	return hm_ioctl(fd, HOTMIRROR_UNMIRROR, &arg);
}

int hm_access(int fd, unsigned int cmd, const void *addr, const void *buf,
	      size_t length, struct hotmirror_access *out)
{
	int ret;

	*out = (struct hotmirror_access){
		.size = sizeof(*out),
		.flags = out->flags,
		.addr = (uintptr_t)addr,
		.length = length,
		.buf = (uintptr_t)buf,
	};
	ret = hm_ioctl(fd, cmd, out);
	if (!ret && out->done != length)
		return -EPROTO;
	return ret;
}

int hm_read(int fd, const void *addr, void *buf, size_t length)
{
	struct hotmirror_access out = {};

	return hm_access(fd, HOTMIRROR_READ, addr, buf, length, &out);
}

int hm_write(int fd, const void *addr, const void *buf, size_t length)
{
	struct hotmirror_access out = {};

	return hm_access(fd, HOTMIRROR_WRITE, addr, buf, length, &out);
}

int hm_prefetch(int fd, const void *addr, size_t length, bool write)
{
	struct hotmirror_access out = {
		.flags = write ? HOTMIRROR_ACCESS_WRITE : 0,
	};

	return hm_access(fd, HOTMIRROR_PREFETCH, addr, NULL, length, &out);
}

int hm_prefetch_by_hmm(int fd, const void *addr, size_t length, bool write)
{
	struct hotmirror_access out = {
		.flags = HOTMIRROR_PREFETCH_BY_HMM | (write ? HOTMIRROR_ACCESS_WRITE : 0),
	};

	return hm_access(fd, HOTMIRROR_PREFETCH, addr, NULL, length, &out);
}

int hm_atomic(int fd, const void *addr, struct hotmirror_atomic *arg)
{
	arg->size = sizeof(*arg);
	arg->addr = (uintptr_t)addr;
	return hm_ioctl(fd, HOTMIRROR_ATOMIC, arg);
}

int hm_pin(int fd, const void *addr, size_t length, __u32 flags, __u32 *id,
	   __u64 *pages)
{
	struct hotmirror_pin arg = {
		.size = sizeof(arg),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.length = length,
	};
	int ret = hm_ioctl(fd, HOTMIRROR_PIN, &arg);

	if (id)
		*id = arg.id;
	if (pages)
		*pages = arg.pages;
	return ret;
}

int hm_unpin(int fd, __u32 id)
{
	struct hotmirror_pin arg = { .size = sizeof(arg), .id = id };

	return hm_ioctl(fd, HOTMIRROR_UNPIN, &arg);
}

int hm_snapshot(int fd, const void *addr, size_t length, __u32 *pages)
{
	struct hotmirror_snapshot arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
		.buf = (uintptr_t)pages,
	};

	return hm_ioctl(fd, HOTMIRROR_SNAPSHOT, &arg);
}

int hm_migrate(int fd, unsigned int cmd, const void *addr, size_t length, __u32 flags,
	       __u64 *moved)
{
	struct hotmirror_migrate arg = {
		.size = sizeof(arg),
		.flags = flags,
		.addr = (uintptr_t)addr,
		.length = length,
	};
	int ret = hm_ioctl(fd, cmd, &arg);

	if (moved)
		*moved = arg.moved;
	return ret;
}

int hm_to_dev(int fd, const void *addr, size_t length, __u64 *moved)
{
	return hm_migrate(fd, HOTMIRROR_MIGRATE_TO_DEV, addr, length, 0, moved);
}

int hm_to_sys(int fd, const void *addr, size_t length, __u64 *moved)
{
	return hm_migrate(fd, HOTMIRROR_MIGRATE_TO_SYS, addr, length, 0, moved);
}

int hm_verify(int fd, struct hotmirror_verify *v)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	int ret;

	do {
		*v = (struct hotmirror_verify){ .size = sizeof(*v) };
		ret = hm_ioctl(fd, HOTMIRROR_VERIFY, v);
	} while (ret == -EAGAIN && hm_left(deadline) > 0);
	return ret;
}

int hm_stats(int fd, struct hotmirror_stats *s)
{
	*s = (struct hotmirror_stats){ .size = sizeof(*s) };
	return hm_ioctl(fd, HOTMIRROR_STATS, s);
}

int hm_sabotage(int fd, __u64 mask)
{
	struct hotmirror_sabotage arg = { .size = sizeof(arg), .mask = mask };

	return hm_ioctl(fd, HOTMIRROR_SABOTAGE, &arg);
}

int hm_wait_gone(int fd, int limit_ms)
{
	int ret = hm_poll(fd, 0, limit_ms);

	if (ret < 0)
		return ret;
	return ret & POLLHUP ? 0 : -EIO;
}

bool hm_is_gone(int fd)
{
	return !hm_wait_gone(fd, 0);
}

int hm_wait_status(int fd, __u32 id, bool (*done)(const struct hotmirror_status *st),
		   struct hotmirror_status *st)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	int ret;

	for (;;) {
		ret = hm_status(fd, id, st);
		if (ret || done(st))
			return ret;
		if (hm_left(deadline) <= 0)
			return -ETIMEDOUT;
		hm_pause();
	}
}
