// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gate.h"
#include "task.h"

static const char * const names[HOTMIRROR_GATE_END] = {
	[HOTMIRROR_GATE_ACCESS_BEGIN] = "access.begin",
	[HOTMIRROR_GATE_ACCESS_LOCKED] = "access.locked",
	[HOTMIRROR_GATE_FAULT_ENTER] = "fault.enter",
	[HOTMIRROR_GATE_FAULT_DONE] = "fault.done",
	[HOTMIRROR_GATE_POPULATE_BEGIN] = "populate.begin",
	[HOTMIRROR_GATE_POPULATE_FAULTED] = "populate.faulted",
	[HOTMIRROR_GATE_POPULATE_LOCKED] = "populate.locked",
	[HOTMIRROR_GATE_POPULATE_CHECKED] = "populate.checked",
	[HOTMIRROR_GATE_POPULATE_DONE] = "populate.done",
	[HOTMIRROR_GATE_SNAPSHOT_BEGIN] = "snapshot.begin",
	[HOTMIRROR_GATE_SNAPSHOT_WALKED] = "snapshot.walked",
	[HOTMIRROR_GATE_SNAPSHOT_LOCKED] = "snapshot.locked",
	[HOTMIRROR_GATE_INVALIDATE_ENTER] = "invalidate.enter",
	[HOTMIRROR_GATE_INVALIDATE_LOCKED] = "invalidate.locked",
	[HOTMIRROR_GATE_INVALIDATE_CLEARED] = "invalidate.cleared",
	[HOTMIRROR_GATE_INVALIDATE_DONE] = "invalidate.done",
	[HOTMIRROR_GATE_INVALIDATE_BETWEEN] = "invalidate.between",
	[HOTMIRROR_GATE_MIGRATE_BEGIN] = "migrate.begin",
	[HOTMIRROR_GATE_MIGRATE_COLLECTED] = "migrate.collected",
	[HOTMIRROR_GATE_MIGRATE_COPIED] = "migrate.copied",
	[HOTMIRROR_GATE_MIGRATE_MOVED] = "migrate.moved",
	[HOTMIRROR_GATE_MIGRATE_DONE] = "migrate.done",
	[HOTMIRROR_GATE_EXCLUSIVE_BEGIN] = "exclusive.begin",
	[HOTMIRROR_GATE_EXCLUSIVE_CONVERTED] = "exclusive.converted",
	[HOTMIRROR_GATE_EXCLUSIVE_LOCKED] = "exclusive.locked",
	[HOTMIRROR_GATE_EXCLUSIVE_DONE] = "exclusive.done",
	[HOTMIRROR_GATE_PIN_BEGIN] = "pin.begin",
	[HOTMIRROR_GATE_PIN_DONE] = "pin.done",
	[HOTMIRROR_GATE_TO_RAM_ENTER] = "to_ram.enter",
	[HOTMIRROR_GATE_TO_RAM_COLLECTED] = "to_ram.collected",
	[HOTMIRROR_GATE_TO_RAM_COPIED] = "to_ram.copied",
	[HOTMIRROR_GATE_TO_RAM_MOVED] = "to_ram.moved",
	[HOTMIRROR_GATE_DAX_FAULT] = "dax.fault",
	[HOTMIRROR_GATE_DAX_INSERTED] = "dax.inserted",
	[HOTMIRROR_GATE_UNPLUG_DISABLED] = "unplug.disabled",
	[HOTMIRROR_GATE_UNPLUG_INVALIDATED] = "unplug.invalidated",
	[HOTMIRROR_GATE_UNPLUG_DRAINING] = "unplug.draining",
	[HOTMIRROR_GATE_EVICT_COLLECTED] = "evict.collected",
	[HOTMIRROR_GATE_EVICT_COPIED] = "evict.copied",
	[HOTMIRROR_GATE_EVICT_MOVED] = "evict.moved",
};

const char *hm_gate_name(__u32 gate)
{
	return gate < HOTMIRROR_GATE_END ? names[gate] : NULL;
}

__u32 hm_gate_number(const char *name)
{
	for (__u32 gate = 1; gate < HOTMIRROR_GATE_END; gate++)
		if (!strcmp(names[gate], name))
			return gate;
	return 0;
}

bool hm_gate_of_instance(__u32 gate)
{
	return gate >= HOTMIRROR_GATE_TO_RAM_ENTER;
}

bool hm_gate_of_worker(__u32 gate)
{
	return gate >= HOTMIRROR_GATE_UNPLUG_DISABLED;
}

int hm_gate_open(int fd, __u32 gate, __u32 flags)
{
	struct hotmirror_gate arg = {
		.size = sizeof(arg),
		.flags = flags,
		.gate = gate,
	};

	return hm_ioctl(fd, HOTMIRROR_GATE_OPEN, &arg) ?: arg.fd;
}

int hm_gate_core(int control, const char *function)
{
	struct hotmirror_core_gate arg = { .size = sizeof(arg) };

	if (snprintf(arg.name, sizeof(arg.name), "%s", function) >= (int)sizeof(arg.name))
		return -ENOENT;
	return hm_ioctl(control, HOTMIRROR_GATE_CORE, &arg) ?: arg.fd;
}

int hm_gate_arm(int gate, const struct hm_gate_arm *how)
{
	struct hotmirror_gate_arm arg = {
		.size = sizeof(arg),
		.flags = how->flags,
		.tid = how->tid,
		.pid = how->pid,
		.nth = how->nth ?: 1,
		.timeout_ns = how->timeout_ns ?: HM_LIMIT_NS,
	};

	return hm_ioctl(gate, HOTMIRROR_GATE_ARM, &arg);
}

int hm_gate_arm_tid(int gate, pid_t tid)
{
	struct hm_gate_arm how = { .tid = tid };

	return hm_gate_arm(gate, &how);
}

int hm_gate_wait(int gate, int limit_ms)
{
	int ret = hm_poll(gate, POLLIN, limit_ms);

	if (ret < 0)
		return ret;
	return ret & POLLIN ? 0 : -ENODEV;
}

int hm_gate_release(int gate)
{
	struct hotmirror_gate_release arg = { .size = sizeof(arg) };

	return hm_ioctl(gate, HOTMIRROR_GATE_RELEASE, &arg);
}

int hm_gate_status(int gate, struct hotmirror_gate_status *st)
{
	*st = (struct hotmirror_gate_status){ .size = sizeof(*st) };
	return hm_ioctl(gate, HOTMIRROR_GATE_STATUS, st);
}

int hm_entries(int fd, const void *addr, size_t length, __u32 *entries)
{
	struct hotmirror_entries arg = {
		.size = sizeof(arg),
		.addr = (uintptr_t)addr,
		.length = length,
		.buf = (uintptr_t)entries,
	};

	return hm_ioctl(fd, HOTMIRROR_ENTRIES, &arg);
}
