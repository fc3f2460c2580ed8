/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror: gates, the named places where a test can hold an operation of the
 * device, and what can be looked at meanwhile. Included by test_hotmirror_uapi.h.
 *
 * A gate is a file of its own. HOTMIRROR_GATE_OPEN on an instance file makes one for a
 * place (HOTMIRROR_GATE_CORE on a control file, for the entry of a core function), which
 * is armed for one hit. Who makes that hit stands there until the gate is released, its
 * limit is over, or he is killed; then he *goes on* with the operation. poll() reports
 * EPOLLIN while somebody stands there.
 *
 * Nobody who could not be let go stands at a gate: a kernel thread (but for unplug's
 * own worker at unplug.* and evict.*), an exiting task, an invalidation that must not
 * block. Such hits are counted (passed_through), and the gate stays armed.
 *
 * Gates never outlive what they hold. A gate is opened for good, which is EPOLLHUP, and
 * whoever stands there goes on: those of a file by its last close; all but unplug.* and
 * evict.* by an unplug to beyond DISABLED; all of an instance by the close of its control
 * file. UNMIRROR lets everyone go who stands somewhere with the same file.
 */
#ifndef _TEST_HOTMIRROR_GATE_UAPI_H
#define _TEST_HOTMIRROR_GATE_UAPI_H

#include <linux/types.h>

/* READ, WRITE, ATOMIC: the bytes. */
#define HOTMIRROR_GATE_ACCESS_BEGIN		1	/* no driver lock yet */
#define HOTMIRROR_GATE_ACCESS_LOCKED		2	/* driver lock held, the entry is good */
/* The CPU page fault that the device takes; no lock. */
#define HOTMIRROR_GATE_FAULT_ENTER		3
#define HOTMIRROR_GATE_FAULT_DONE		4
/* The loop of claim S1. */
#define HOTMIRROR_GATE_POPULATE_BEGIN		5	/* sequence read, nothing walked */
#define HOTMIRROR_GATE_POPULATE_FAULTED		6	/* walked, no driver lock yet */
#define HOTMIRROR_GATE_POPULATE_LOCKED		7	/* driver lock held, nothing checked */
#define HOTMIRROR_GATE_POPULATE_CHECKED		8	/* not raced, nothing stored */
#define HOTMIRROR_GATE_POPULATE_DONE		9	/* driver lock dropped */
/* SNAPSHOT; VERIFY, an oracle, stops at no gate. */
#define HOTMIRROR_GATE_SNAPSHOT_BEGIN		10	/* sequence read, nothing walked */
#define HOTMIRROR_GATE_SNAPSHOT_WALKED		11	/* no driver lock yet */
#define HOTMIRROR_GATE_SNAPSHOT_LOCKED		12	/* driver lock held, nothing checked */
/* The callback, in whatever locks its caller holds. */
#define HOTMIRROR_GATE_INVALIDATE_ENTER		13	/* no driver lock yet */
#define HOTMIRROR_GATE_INVALIDATE_LOCKED	14	/* sequence set, nothing cleared */
#define HOTMIRROR_GATE_INVALIDATE_CLEARED	15	/* driver lock held */
#define HOTMIRROR_GATE_INVALIDATE_DONE		16	/* driver lock dropped */
#define HOTMIRROR_GATE_INVALIDATE_BETWEEN	17	/* two passes: the first is over */
/* MIGRATE_TO_DEV and _TO_SYS; mmap_lock is held for reading. */
#define HOTMIRROR_GATE_MIGRATE_BEGIN		18
#define HOTMIRROR_GATE_MIGRATE_COLLECTED	19	/* unmapped: migration entries */
#define HOTMIRROR_GATE_MIGRATE_COPIED		20
#define HOTMIRROR_GATE_MIGRATE_MOVED		21	/* behind migrate_vma_pages() */
#define HOTMIRROR_GATE_MIGRATE_DONE		22	/* mapped again */
/* ATOMIC. */
#define HOTMIRROR_GATE_EXCLUSIVE_BEGIN		23	/* sequence read */
#define HOTMIRROR_GATE_EXCLUSIVE_CONVERTED	24	/* folio locked, no driver lock yet */
#define HOTMIRROR_GATE_EXCLUSIVE_LOCKED		25	/* both, nothing checked */
#define HOTMIRROR_GATE_EXCLUSIVE_DONE		26	/* neither */
/* PIN, on both sides of get_user_pages(). */
#define HOTMIRROR_GATE_PIN_BEGIN		27
#define HOTMIRROR_GATE_PIN_DONE			28
/* From here on no file is concerned: HOTMIRROR_GATE_INSTANCE only. */
#define HOTMIRROR_GATE_TO_RAM_ENTER		29	/* a CPU fault on a private page */
#define HOTMIRROR_GATE_TO_RAM_COLLECTED		30
#define HOTMIRROR_GATE_TO_RAM_COPIED		31
#define HOTMIRROR_GATE_TO_RAM_MOVED		32
#define HOTMIRROR_GATE_DAX_FAULT		33	/* of a dax mapping, nothing inserted */
#define HOTMIRROR_GATE_DAX_INSERTED		34
/* From here on unplug's worker is held: any thread, any process. */
#define HOTMIRROR_GATE_UNPLUG_DISABLED		35	/* the state was just entered */
#define HOTMIRROR_GATE_UNPLUG_INVALIDATED	36
#define HOTMIRROR_GATE_UNPLUG_DRAINING		37
#define HOTMIRROR_GATE_EVICT_COLLECTED		38	/* of one leaf */
#define HOTMIRROR_GATE_EVICT_COPIED		39
#define HOTMIRROR_GATE_EVICT_MOVED		40
#define HOTMIRROR_GATE_END			41

/* The longest that one hit can be held. */
#define HOTMIRROR_MAX_GATE_NS	60000000000ULL

/**
 * struct hotmirror_gate - HOTMIRROR_GATE_OPEN, on an instance file: a gate
 * @size: sizeof(struct hotmirror_gate)
 * @flags: HOTMIRROR_GATE_INSTANCE: hits by operations of any file of the instance, or
 *	by those that know none; 0: by operations of this file
 * @gate: HOTMIRROR_GATE_*, the place
 * @fd: out: the gate file, close-on-exec; the gate is not armed
 *
 * Works in every state of the instance. Closing the gate file lets go whoever stands
 * there. A place can have any number of gates: who makes a hit of several stands at one
 * after the other.
 *
 * Errors: EINVAL (no such gate; one that needs HOTMIRROR_GATE_INSTANCE), EMFILE, ENFILE,
 * ENOMEM.
 */
struct hotmirror_gate {
	__u32 size;
	__u32 flags;
	__u32 gate;
	__s32 fd;
};

#define HOTMIRROR_GATE_INSTANCE	(1U << 0)

/**
 * struct hotmirror_gate_arm - HOTMIRROR_GATE_ARM, on a gate file: hold one hit
 * @size: sizeof(struct hotmirror_gate_arm)
 * @flags: HOTMIRROR_GATE_ALLOW_EXIT: also that of an exiting task, if it is not of the
 *	process that arms; or 0
 * @tid: hits by this thread only; 0: by any
 * @pid: hits by threads of this process only; 0: by any
 * @nth: which of the hits that can be held: 1 is the next
 * @reserved: must be 0
 * @timeout_ns: how long it is held, 1 to HOTMIRROR_MAX_GATE_NS
 *
 * Can be called again, also for an armed gate; the counters start anew. A worker of
 * io_uring is a thread of its process, with a thread id of its own.
 *
 * Errors: EINVAL (nth or timeout of 0, too long; tid or pid at unplug.*, evict.*),
 * ESRCH (no such thread or process), EBUSY (somebody stands there), ENODEV (opened for
 * good).
 */
struct hotmirror_gate_arm {
	__u32 size;
	__u32 flags;
	__s32 tid;
	__s32 pid;
	__u32 nth;
	__u32 reserved;
	__aligned_u64 timeout_ns;
};

#define HOTMIRROR_GATE_ALLOW_EXIT	(1U << 0)

/**
 * struct hotmirror_gate_release - HOTMIRROR_GATE_RELEASE, on a gate file: open it
 * @size: sizeof(struct hotmirror_gate_release)
 * @flags: must be 0
 *
 * Who stands there goes on; the gate is not armed any more. 0 also if nobody does.
 */
struct hotmirror_gate_release {
	__u32 size;
	__u32 flags;
};

/* A gate is one of these. */
#define HOTMIRROR_GATE_IDLE	0	/* not armed; nobody stood there since it was */
#define HOTMIRROR_GATE_ARMED	1
#define HOTMIRROR_GATE_HELD	2	/* somebody stands there */
#define HOTMIRROR_GATE_RELEASED	3	/* not armed; he went on, for whatever reason */

/**
 * struct hotmirror_gate_status - HOTMIRROR_GATE_STATUS, on a gate file
 * @size: sizeof(struct hotmirror_gate_status)
 * @flags: must be 0
 * @state: out: HOTMIRROR_GATE_IDLE, ...
 * @tid: out: who stands or stood there; 0: nobody did
 * @hits: out: hits of @tid and @pid since it was armed
 * @passed_through: out: of these: not to be held
 * @why: out: HOTMIRROR_GATE_WHY_* of those
 * @timeouts: out: 1 if he was not released in time, but went on
 * @killed: out: 1 if he was killed (a worker of io_uring: cancelled) there, and went on
 * @reserved: out: 0
 * @arrived_ns: out: when he came
 * @left_ns: out: when he was released or went on, 0 as long as he stands there
 */
struct hotmirror_gate_status {
	__u32 size;
	__u32 flags;
	__u32 state;
	__s32 tid;
	__u32 hits;
	__u32 passed_through;
	__u32 why;
	__u32 timeouts;
	__u32 killed;
	__u32 reserved;
	__aligned_u64 arrived_ns;
	__aligned_u64 left_ns;
};

#define HOTMIRROR_GATE_WHY_KTHREAD	(1U << 0)	/* a kernel thread */
#define HOTMIRROR_GATE_WHY_EXITING	(1U << 1)	/* an exiting task */
#define HOTMIRROR_GATE_WHY_ATOMIC	(1U << 2)	/* must not block */

/**
 * struct hotmirror_core_gate - HOTMIRROR_GATE_CORE, on a control file: a gate at the
 *	entry of a core function
 * @size: sizeof(struct hotmirror_core_gate)
 * @flags: must be 0
 * @fd: out: the gate file, as that of HOTMIRROR_GATE_OPEN
 * @reserved: must be 0
 * @name: the function, of a list that the module has
 *
 * Errors: EINVAL, ENOENT (not on the list), EOPNOTSUPP (no HOTMIRROR_HAS_CORE_GATES),
 * ENXIO (this kernel has no such function, or it cannot be traced), EBUSY (somebody
 * else changes where it goes; all slots are taken).
 */
struct hotmirror_core_gate {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 reserved;
	char name[64];
};

/**
 * struct hotmirror_entries - HOTMIRROR_ENTRIES: the device page table, and nothing else
 * @size: sizeof(struct hotmirror_entries)
 * @flags: must be 0
 * @addr: start in the opener's mm, page aligned
 * @length: length, page aligned, not 0
 * @buf: array of one __u32 a page, HOTMIRROR_SNAP_DEVICE, _WRITE, _EXCLUSIVE
 * @done: out: pages written to @buf
 *
 * Takes the driver lock and no other: works while the address space is locked, when it
 * is gone, and in every state of the instance. What is in no range has no entry.
 *
 * Errors: EINVAL, EFAULT (@buf), EINTR (the driver lock is held, at a gate), ENOMEM.
 */
struct hotmirror_entries {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 buf;
	__aligned_u64 done;
};

#endif /* _TEST_HOTMIRROR_GATE_UAPI_H */
