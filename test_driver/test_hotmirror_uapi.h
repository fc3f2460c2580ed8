/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror: a device that mirrors its opener's address space through HMM, owns device
 * memory and can be unplugged step by step.
 *
 * These kinds of file take these ioctls:
 *
 *   control   /dev/hotmirror    QUERY PLUG UNPLUG STATUS SETTLE GATE_CORE, mmap()
 *   instance  /dev/hotmirrorN   QUERY STATUS MIRROR UNMIRROR READ WRITE PREFETCH
 *                               ATOMIC SNAPSHOT MIGRATE_TO_DEV MIGRATE_TO_SYS PIN
 *                               UNPIN VERIFY STATS SABOTAGE ENTRIES GATE_OPEN, mmap()
 *                               and poll()
 *   gate      of GATE_OPEN, _CORE: GATE_ARM GATE_RELEASE GATE_STATUS, poll()
 *
 * Every argument is a struct whose first member is its size as the caller knows it. A shorter
 * struct than the first published one gives EINVAL, a longer one whose tail is not zero gives
 * E2BIG, an unknown flag or a non-zero reserved member gives EINVAL, an unknown ioctl (or one of
 * the other kind of file) gives ENOTTY. Outputs are written back on failure, too, so that "how
 * far did it get" is always answered. Addresses and lengths are bytes, times are nanoseconds of
 * CLOCK_MONOTONIC.
 *
 * An instance belongs to the control file that plugged it and is unplugged when that file is
 * closed. An instance file mirrors the mm of the process that opened it: addresses are the
 * opener's, buffers are the caller's. Its ioctls can be submitted through io_uring as well: see
 * struct hotmirror_uring.
 *
 * mmap() of a dax instance follows device-dax: MAP_SHARED only, address, length and offset
 * multiples of its align (EINVAL), ENXIO once unplug was asked for, SIGBUS for what lies behind
 * the end of the memory. It cannot be split or moved to where it would not be aligned (EINVAL,
 * SIGBUS), nor grow (EFAULT).
 *
 * mmap() of another kind maps its doorbell: one zeroed page at offset 0, MAP_SHARED only (EINVAL),
 * the same for all. It is a bare pfn (vmf_insert_mixed()), which no device can have: EFAULT. ENXIO
 * and SIGBUS as above; from the invalidated state on SIGBUS for any access.
 *
 * mmap() of the control file maps the arena, MAP_SHARED, the offset being that in the arena;
 * EINVAL behind its end, ENODEV without HOTMIRROR_HAS_DAX. What each multiple of
 * hotmirror_query.plug_align shows is decided by mmap() and then stays so for this mapping and
 * its copies, whatever is plugged or unplugged later:
 *
 *   a live dax instance of this control file: its memory, until it is unplugged, then SIGBUS for
 *	ever. One in PMDs gives SIGBUS where address and offset are not both aligned to that.
 *   nobody's: ordinary zeroed memory, which belongs to the control file: all its mappings share
 *	it, and the last close frees it.
 *   anything else (another control file's, coherent, being unplugged): SIGBUS.
 *
 * poll() reports EPOLLPRI from the moment unplug is asked for, EPOLLHUP when it is gone.
 */
#ifndef _TEST_HOTMIRROR_UAPI_H
#define _TEST_HOTMIRROR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#include "test_hotmirror_gate_uapi.h"
#include "test_hotmirror_hmm_uapi.h"
#include "test_hotmirror_sabotage_uapi.h"
#include "test_hotmirror_uring_uapi.h"

#define HOTMIRROR_ABI_VERSION	1
#define HOTMIRROR_IOC_TYPE	0xB6

/* Kinds of device memory, as in enum memory_type of <linux/memremap.h>. */
#define HOTMIRROR_PRIVATE	1	/* MEMORY_DEVICE_PRIVATE: a CPU access migrates back */
#define HOTMIRROR_COHERENT	2	/* MEMORY_DEVICE_COHERENT: the CPU maps it directly */
#define HOTMIRROR_DAX		3	/* MEMORY_DEVICE_GENERIC: mmap(), as device-dax */

/* The life of an instance. It only moves down this list. */
#define HOTMIRROR_LIVE		0
#define HOTMIRROR_DISABLED	1	/* no new operation, fault, mmap; PTEs still work */
#define HOTMIRROR_INVALIDATED	2	/* no PTE and no device page table entry is left */
#define HOTMIRROR_DRAINING	3	/* waits for the last reference to its memory */
#define HOTMIRROR_GONE		4	/* memunmap_pages() is done, the device node is gone */
#define HOTMIRROR_NR_STATES	5

/* The longest wait that an ioctl accepts: one hour. */
#define HOTMIRROR_MAX_WAIT_NS	3600000000000ULL
/* The largest instance, the most mirrored ranges of one file, the most instances. */
#define HOTMIRROR_MAX_BYTES	(1ULL << 30)
#define HOTMIRROR_MAX_RANGES	64
#define HOTMIRROR_MAX_INSTANCES	64

/**
 * struct hotmirror_query - HOTMIRROR_QUERY: what this module and kernel can do
 * @size: sizeof(struct hotmirror_query)
 * @flags: must be 0
 * @abi: out: HOTMIRROR_ABI_VERSION of the module
 * @instances: out: instances that are not gone yet, of all control files
 * @features: out: HOTMIRROR_HAS_* of this kernel and module load
 * @page_size: out: PAGE_SIZE
 * @pmd_size: out: PMD_SIZE, the span of one leaf of the device page table
 * @plug_align: out: granularity of hotmirror_plug.bytes (sub-section size)
 * @arena_bytes: out: size of the memory reserved for coherent and dax, 0 if none
 * @arena_free: out: how much of it is not plugged
 * @controls: out: open control files
 * @devices: out: instances that somebody may keep: their drain is not done, or some
 *	pages that they lost are still mapped
 * @leaving: out: the others, until nobody refers to them and they are freed. No page
 *	and no pgmap reference of them is left; memunmap_pages() is at work, or they
 *	are gone
 * @files: out: open instance files
 * @ranges: out: mirrored ranges, that is subscriptions to notifiers
 * @pins: out: PINs without their UNPIN
 * @pages_used: out: device pages that back somebody's memory, of all instances
 * @tombstones: out: pages that HOTMIRROR_UNPLUG_LOST took the contents of and that
 *	somebody still maps; while it is not 0 the module cannot be removed
 * @gates: out: open gate files
 * @reserved: out: 0
 *
 * What is counted is the whole module's. A struct that ends at @controls is accepted, too
 * (HOTMIRROR_QUERY_SIZE_1). Works on both kinds of file and in every state.
 */
struct hotmirror_query {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 instances;
	__aligned_u64 features;
	__aligned_u64 page_size;
	__aligned_u64 pmd_size;
	__aligned_u64 plug_align;
	__aligned_u64 arena_bytes;
	__aligned_u64 arena_free;
	__u32 controls;
	__u32 devices;
	__u32 leaving;
	__u32 files;
	__u32 ranges;
	__u32 pins;
	__aligned_u64 pages_used;
	__aligned_u64 tombstones;
	__u32 gates;
	__u32 reserved;
};

#define HOTMIRROR_QUERY_SIZE_1	64

#define HOTMIRROR_HAS_PRIVATE	(1ULL << 0)	/* CONFIG_DEVICE_PRIVATE */
#define HOTMIRROR_HAS_COHERENT	(1ULL << 1)	/* an arena was given */
#define HOTMIRROR_HAS_DAX	(1ULL << 2)	/* an arena was given and CONFIG_FS_DAX is on */
#define HOTMIRROR_HAS_TWO_PASS	(1ULL << 3)	/* invalidate_start() and _finish() */
#define HOTMIRROR_HAS_SABOTAGE	(1ULL << 4)	/* loaded with sabotage=1 */
#define HOTMIRROR_HAS_EXCLUSIVE	(1ULL << 5)	/* ATOMIC: device-exclusive PTEs */
#define HOTMIRROR_HAS_LARGE	(1ULL << 6)	/* MIGRATE_LARGE: PMD-sized private folios */
#define HOTMIRROR_HAS_DAX_PMD	(1ULL << 8)	/* dax instances that are mapped in PMDs */
#define HOTMIRROR_HAS_LOST	(1ULL << 7)	/* UNPLUG_LOST of private and coherent memory */
#define HOTMIRROR_HAS_URING	(1ULL << 9)	/* the ioctls of an instance file in io_uring */
#define HOTMIRROR_HAS_GATES	(1ULL << 10)	/* GATE_OPEN */
#define HOTMIRROR_HAS_CORE_GATES	(1ULL << 11)	/* GATE_CORE */
#define HOTMIRROR_HAS_HMM_SLEEPS	(1ULL << 12)	/* PREFETCH_BY_HMM waits for userfaultfd */

/**
 * struct hotmirror_plug - HOTMIRROR_PLUG: create an instance, /dev/hotmirror<id>
 * @size: sizeof(struct hotmirror_plug)
 * @flags: must be 0
 * @kind: HOTMIRROR_PRIVATE, HOTMIRROR_COHERENT or HOTMIRROR_DAX
 * @id: out: number of the instance
 * @bytes: size of the device memory, a multiple of hotmirror_query.plug_align
 * @align: dax: mapping granularity, page_size, 0 for page_size, or pmd_size where the
 *	kernel can (HOTMIRROR_HAS_DAX_PMD); others: 0
 *
 * Errors: EINVAL (kind, bytes, align), EOPNOTSUPP (this kernel lacks the kind, the
 * module has no arena, or the kernel cannot do PMDs beside RAM, a bug of 6.12.95),
 * ENOSPC (arena or instance numbers used up), ENOMEM.
 */
struct hotmirror_plug {
	__u32 size;
	__u32 flags;
	__u32 kind;
	__u32 id;
	__aligned_u64 bytes;
	__aligned_u64 align;
};

/**
 * struct hotmirror_unplug - HOTMIRROR_UNPLUG: move an instance towards GONE
 * @size: sizeof(struct hotmirror_unplug)
 * @flags: HOTMIRROR_UNPLUG_LOST or 0
 * @id: the instance; it must have been plugged through this control file
 * @target: state to reach, HOTMIRROR_DISABLED to HOTMIRROR_GONE; all steps before
 *	it are taken, too. DRAINING starts to count references and stays there;
 *	GONE ends the drain as soon as nothing holds the memory.
 * @timeout_ns: how long to wait for the state; 0 only starts the work
 * @state: out: state when the call returns
 * @reserved: must be 0
 *
 * The steps run in a workqueue; giving up the wait does not stop them. A target that is already
 * behind the instance is a success.
 *
 * Private and coherent pages are brought home to system memory; the drain tries again
 * for those that somebody holds or that there is no memory for. LOST, given in any
 * state, is a surprise removal: what is not home is lost. An access by the CPU then gets
 * SIGBUS, one by GUP or a device EFAULT (private pages at once, coherent ones from the
 * invalidated state on), MADV_DONTNEED makes room for a new page, and munmap(), fork()
 * and the like work as ever. To the dax kind it makes no difference.
 *
 * Errors: EINVAL (target, timeout), ENOENT (no such instance of this file),
 * ETIMEDOUT (work goes on), EINTR; LOST: EOPNOTSUPP (no HOTMIRROR_HAS_LOST), ENOMEM.
 */
struct hotmirror_unplug {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 target;
	__aligned_u64 timeout_ns;
	__u32 state;
	__u32 reserved;
};

#define HOTMIRROR_UNPLUG_LOST	(1U << 0)

/**
 * struct hotmirror_status - HOTMIRROR_STATUS: where an instance is in its life
 * @size: sizeof(struct hotmirror_status)
 * @flags: must be 0
 * @id: control file: the instance to ask about; instance file: ignored, filled in
 * @kind: out: HOTMIRROR_PRIVATE, ...
 * @state: out: state reached
 * @target: out: state asked for; LIVE < target while state is LIVE means disabling
 * @readers: out: operations inside the section that disable waits for
 * @sleepers: out: operations outside it, asleep in a user fault
 * @mirrors: out: open instance files
 * @reserved: out: 0
 * @bytes: out: size of the device memory
 * @align: out: mapping granularity of dax, 0 for the other kinds
 * @arena_offset: out: where in the arena the memory lies (coherent, dax)
 * @pages: out: pages of device memory
 * @pages_used: out: private, coherent: pages that back somebody's memory
 * @pages_held: out: pages that the drain waits for: in use (private, coherent) or with references
 *	beside the driver's own (dax); counted from the invalidated state on, 0 before
 * @when_ns: out: time each state was entered, 0 if it was not; [LIVE] is the plug
 * @disabling_ns: out: time disable was asked for, 0 if it was not
 * @pgmap_refs: out: references to the device's struct dev_pagemap beside those of the
 *	device itself; each page in use (private, coherent) has one. The drain waits
 *	for them, too
 * @pages_evicted: out: private, coherent: pages that unplug brought home
 * @pages_lost: out: pages whose contents were lost instead
 * @evict_rounds: out: attempts to do so
 * @evict_busy: out: of pages_used, what the last attempt found locked or referenced
 * @evict_no_memory: out: of pages_used, what it found no memory for
 * @evict_held: out: pages held half way (HOTMIRROR_SABOTAGE_EVICT_HOLD)
 * @pages_robbed: out: pages that the kernel, by a bug, took a reference from meanwhile
 * @pages_pinned: out: from the disabled state on, pages that somebody pinned, that is
 *	has references to by pin_user_pages(); a large folio counts with all its pages.
 *	A small page with very many references looks pinned, too
 * @pages_mapped: out: from the disabled state on, pages in somebody's page table.
 *	Before kernel 6.15 a mapping of dax memory is not counted
 * @references: out: from the disabled state on, references to pages beside the
 *	driver's own, each large folio once. One for each mapping that is counted in
 *	pages_mapped, one for a reference by get_user_pages(), one for a pin of a large
 *	folio and 1024 for a pin of a small page
 *
 * Holders are counted without stopping them: exact when none of them comes or goes.
 *
 * The struct ended at @pgmap_refs once (HOTMIRROR_STATUS_SIZE_1).
 *
 * Errors: ENOENT (control file: no such instance of this file).
 */
struct hotmirror_status {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 kind;
	__u32 state;
	__u32 target;
	__u32 readers;
	__u32 sleepers;
	__u32 mirrors;
	__u32 reserved;
	__aligned_u64 bytes;
	__aligned_u64 align;
	__aligned_u64 arena_offset;
	__aligned_u64 pages;
	__aligned_u64 pages_used;
	__aligned_u64 pages_held;
	__aligned_u64 when_ns[HOTMIRROR_NR_STATES];
	__aligned_u64 disabling_ns;
	__aligned_u64 pgmap_refs;
	__aligned_u64 pages_evicted;
	__aligned_u64 pages_lost;
	__aligned_u64 evict_rounds;
	__aligned_u64 evict_busy;
	__aligned_u64 evict_no_memory;
	__aligned_u64 evict_held;
	__aligned_u64 pages_robbed;
	__aligned_u64 pages_pinned;
	__aligned_u64 pages_mapped;
	__aligned_u64 references;
};

#define HOTMIRROR_STATUS_SIZE_1	136

/**
 * struct hotmirror_settle - HOTMIRROR_SETTLE: wait until what was made is no more
 * @size: sizeof(struct hotmirror_settle)
 * @flags: HOTMIRROR_SETTLE_GONE to count what is leaving, too, or 0
 * @objects: wait until no more than so many are left of what struct hotmirror_query
 *	counts: controls, devices, files, ranges and pins
 * @left: out: how many are left
 * @timeout_ns: for how long; 0 does not wait
 *
 * Errors: EINVAL (timeout), ETIMEDOUT, EINTR.
 */
struct hotmirror_settle {
	__u32 size;
	__u32 flags;
	__u32 objects;
	__u32 left;
	__aligned_u64 timeout_ns;
};

#define HOTMIRROR_SETTLE_GONE	(1U << 0)

/**
 * struct hotmirror_mirror - HOTMIRROR_MIRROR, HOTMIRROR_UNMIRROR: one interval notifier
 * @size: sizeof(struct hotmirror_mirror)
 * @flags: MIRROR: HOTMIRROR_MIRROR_TWO_PASS or 0; UNMIRROR: 0
 * @id: MIRROR: out, number of the range in this file; UNMIRROR: in
 * @reserved: must be 0
 * @addr: MIRROR: start of the range in the opener's mm, page aligned; UNMIRROR: 0
 * @length: MIRROR: its length, page aligned, not 0; UNMIRROR: 0
 *
 * Ranges of one file may touch and overlap. READ, WRITE, PREFETCH and SNAPSHOT answer ENOENT for
 * an address in no range.
 *
 * Errors: EINVAL, ENOSPC (HOTMIRROR_MAX_RANGES), EOPNOTSUPP (no two-pass form in
 * this kernel), ESRCH (the opener's mm is gone), ENODEV, ENOENT (UNMIRROR).
 */
struct hotmirror_mirror {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 reserved;
	__aligned_u64 addr;
	__aligned_u64 length;
};

#define HOTMIRROR_MIRROR_TWO_PASS	(1U << 0)

/**
 * struct hotmirror_access - HOTMIRROR_READ, HOTMIRROR_WRITE, HOTMIRROR_PREFETCH
 * @size: sizeof(struct hotmirror_access)
 * @flags: PREFETCH: ACCESS_WRITE for a writable entry, PREFETCH_BY_HMM; others: 0
 * @addr: address in the opener's mm, any alignment
 * @length: bytes, not 0
 * @buf: READ, WRITE: the caller's buffer of @length bytes; PREFETCH: 0
 * @done: out: bytes accessed before the end or the error
 * @faults: out: CPU page faults taken on behalf of the device, but for those by HMM
 * @retries: out: populate loops that started again because of an invalidation
 *
 * The access goes through the device page table; what is not there is populated
 * from the CPU's. It may sleep in a user fault for as long as user space likes,
 * interruptibly, outside of the section that unplug waits for.
 *
 * Errors: EINVAL, ENOENT (address in no mirrored range), EFAULT (the CPU would get SIGSEGV
 * or SIGBUS there; or @buf is bad), EHWPOISON, ENODEV (unplugged, also while asleep), ESRCH
 * (the opener's mm is gone), EINTR, ENOMEM, EPERM (the file is sabotaged so that an access
 * would not be safe). BY_HMM sleeps and fails otherwise: test_hotmirror_hmm_uapi.h.
 */
struct hotmirror_access {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 buf;
	__aligned_u64 done;
	__aligned_u64 faults;
	__aligned_u64 retries;
};

#define HOTMIRROR_ACCESS_WRITE	(1U << 0)

/**
 * struct hotmirror_atomic - HOTMIRROR_ATOMIC: a device atomic on 64 bits
 * @size: sizeof(struct hotmirror_atomic)
 * @flags: 0: add @operand; HOTMIRROR_ATOMIC_CAS: store @operand if the memory
 *	holds @expected
 * @addr: address in the opener's mm, a multiple of 8
 * @operand: what to add or to store
 * @expected: CAS: what to compare with; else 0
 * @old: out: what the memory held before
 * @faults: out: CPU page faults taken on behalf of the device
 * @retries: out: attempts that lost against an invalidation
 *
 * The page is taken from the CPU by make_device_exclusive(); the next CPU access
 * takes it back. May sleep as HOTMIRROR_WRITE.
 *
 * Errors: as HOTMIRROR_WRITE; EINVAL (alignment), EOPNOTSUPP (no device-exclusive
 * entries in this kernel, or not anonymous memory).
 */
struct hotmirror_atomic {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 operand;
	__aligned_u64 expected;
	__aligned_u64 old;
	__aligned_u64 faults;
	__aligned_u64 retries;
};

#define HOTMIRROR_ATOMIC_CAS	(1U << 0)

/**
 * struct hotmirror_pin - HOTMIRROR_PIN, HOTMIRROR_UNPIN: references on pages
 * @size: sizeof(struct hotmirror_pin)
 * @flags: PIN: HOTMIRROR_PIN_*; UNPIN: 0
 * @id: PIN: out, number of the pin in this file; UNPIN: in
 * @reserved: must be 0
 * @addr: PIN: start in the opener's mm, page aligned; UNPIN: 0
 * @length: PIN: length, page aligned, not 0; UNPIN: 0
 * @pages: out: pages pinned, less than asked for if a later one failed; UNPIN:
 *	pages given back
 * @word: UNPIN: out, the first eight bytes of the first page as its holder has them,
 *	read just before it is given back; PIN: out, the same
 *
 * A pin is taken by pin_user_pages_remote() and held until UNPIN or the last
 * close, whatever becomes of the process, the mapping or the instance. UNPIN works
 * in every state.
 *
 * Errors: EINVAL (alignment, GET with LONGTERM, FAST from another process than the
 * opener), EFAULT, EHWPOISON, ENODEV, ESRCH, ENOMEM, EINTR, ENOENT (UNPIN).
 */
struct hotmirror_pin {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 reserved;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 pages;
	__aligned_u64 word;
};

#define HOTMIRROR_PIN_WRITE	(1U << 0)	/* FOLL_WRITE */
#define HOTMIRROR_PIN_LONGTERM	(1U << 1)	/* FOLL_LONGTERM */
#define HOTMIRROR_PIN_FAST	(1U << 2)	/* pin_user_pages_fast(), by the opener */
#define HOTMIRROR_PIN_GET	(1U << 3)	/* get_user_pages(): FOLL_GET, not FOLL_PIN */

/**
 * struct hotmirror_snapshot - HOTMIRROR_SNAPSHOT: the CPU page table, without faults
 * @size: sizeof(struct hotmirror_snapshot)
 * @flags: must be 0
 * @addr: start, page aligned
 * @length: length, page aligned, not 0
 * @buf: array of one __u32 a page, HOTMIRROR_SNAP_*
 * @done: out: pages written to @buf
 *
 * Errors: as HOTMIRROR_READ.
 */
struct hotmirror_snapshot {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 buf;
	__aligned_u64 done;
};

#define HOTMIRROR_SNAP_VALID		(1U << 0)	/* a device may read the page */
#define HOTMIRROR_SNAP_WRITE		(1U << 1)	/* and write it, without a fault */
#define HOTMIRROR_SNAP_ERROR		(1U << 2)	/* none can: hole, PROT_NONE, PFNMAP */
#define HOTMIRROR_SNAP_DEVICE		(1U << 3)	/* the device page table has an entry */
#define HOTMIRROR_SNAP_DEVICE_WRITE	(1U << 4)	/* and it is writable */
#define HOTMIRROR_SNAP_DEVICE_EXCLUSIVE	(1U << 5)	/* and the CPU has no PTE */
#define HOTMIRROR_SNAP_OWN		(1U << 6)	/* in the memory of this instance */
#define HOTMIRROR_SNAP_KIND(e)		(((e) >> 8) & 0xf)
#define HOTMIRROR_SNAP_KIND_SYSTEM	0		/* RAM (only with VALID) */
#define HOTMIRROR_SNAP_KIND_PRIVATE	1		/* this instance's own private page */
#define HOTMIRROR_SNAP_KIND_COHERENT	2
#define HOTMIRROR_SNAP_KIND_DAX		3		/* MEMORY_DEVICE_GENERIC or FS_DAX */
#define HOTMIRROR_SNAP_KIND_ZERO	4		/* the shared zero page */
#define HOTMIRROR_SNAP_ORDER(e)		(((e) >> 16) & 0xff)	/* order of the CPU's mapping */

/**
 * struct hotmirror_migrate - HOTMIRROR_MIGRATE_TO_DEV, HOTMIRROR_MIGRATE_TO_SYS
 * @size: sizeof(struct hotmirror_migrate)
 * @flags: HOTMIRROR_MIGRATE_LARGE: move a PMD-sized folio as one where the kernel
 *	can (HOTMIRROR_HAS_LARGE, private kind; else it has no effect); or 0
 * @addr: start in the opener's mm, page aligned
 * @length: length, page aligned, not 0
 * @moved: out: pages that moved
 * @skipped: out: pages that did not: absent, already there, pinned, shared,
 *	of a VMA that cannot migrate, or out of device memory
 *
 * The range need not be mirrored. Best effort, as migrate_vma_setup() is: 0 with
 * @moved of 0 is a legal answer.
 *
 * Errors: EINVAL (alignment; a hole; the VMA is hugetlb, special or dax; the
 * instance is of the dax kind), ENODEV, ESRCH, ENOMEM, EINTR.
 */
struct hotmirror_migrate {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 length;
	__aligned_u64 moved;
	__aligned_u64 skipped;
};

#define HOTMIRROR_MIGRATE_LARGE	(1U << 0)

/**
 * struct hotmirror_verify - HOTMIRROR_VERIFY: the no-stale-entry oracle
 * @size: sizeof(struct hotmirror_verify)
 * @flags: must be 0
 * @present: out: device page table entries looked at, of all ranges
 * @stale: out: entries that the CPU page table does not justify: another page,
 *	none, or writable where the CPU's is not
 * @first: out: address of the first stale entry
 * @exclusive: out: of @present: device-exclusive entries, which no snapshot can judge
 *
 * Errors: EAGAIN (the address space did not hold still for 64 attempts: cannot
 * judge now), ENODEV, ESRCH, EINTR, ENOMEM. Stale entries are not an error.
 */
struct hotmirror_verify {
	__u32 size;
	__u32 flags;
	__aligned_u64 present;
	__aligned_u64 stale;
	__aligned_u64 first;
	__aligned_u64 exclusive;
};

/**
 * struct hotmirror_stats - HOTMIRROR_STATS: counters of this instance file
 * @size: sizeof(struct hotmirror_stats)
 * @flags: must be 0
 * @populates: out: populate calls that stored entries
 * @retries: out: populate loops that started again because of an invalidation
 * @faults: out: CPU faults taken on behalf of the device
 * @fault_ns: out: time spent in them
 * @invalidates: out: invalidate callbacks, of all ranges
 * @invalidates_refused: out: of these: non-blockable and the driver lock was busy
 * @entries_stored: out: device page table entries written
 * @entries_cleared: out: present entries cleared by an invalidate callback
 * @reads: out: bytes read by the device
 * @writes: out: bytes written by the device
 * @pages_to_dev: out: pages moved by MIGRATE_TO_DEV
 * @pages_to_sys: out: pages moved by MIGRATE_TO_SYS
 * @pages_to_ram: out: pages of the *instance* moved back by CPU faults
 * @pages_evicted: out: pages of the *instance* moved back by unplug
 * @exclusives: out: pages made device-exclusive
 * @large_to_dev: out: PMD-sized folios moved as one by MIGRATE_TO_DEV
 * @large_to_sys: out: PMD-sized folios moved as one by MIGRATE_TO_SYS
 * @unreadable: out: accesses refused because the memory has no direct map
 * @invalidate_ns: out: time in the callbacks, up to the last entry cleared
 */
struct hotmirror_stats {
	__u32 size;
	__u32 flags;
	__aligned_u64 populates;
	__aligned_u64 retries;
	__aligned_u64 faults;
	__aligned_u64 fault_ns;
	__aligned_u64 invalidates;
	__aligned_u64 invalidates_refused;
	__aligned_u64 entries_stored;
	__aligned_u64 entries_cleared;
	__aligned_u64 reads;
	__aligned_u64 writes;
	__aligned_u64 pages_to_dev;
	__aligned_u64 pages_to_sys;
	__aligned_u64 pages_to_ram;
	__aligned_u64 pages_evicted;
	__aligned_u64 unreadable;
	__aligned_u64 exclusives;
	__aligned_u64 large_to_dev;
	__aligned_u64 large_to_sys;
	__aligned_u64 invalidate_ns;
};

#define HOTMIRROR_IO(nr)		_IO(HOTMIRROR_IOC_TYPE, nr)
#define HOTMIRROR_QUERY			HOTMIRROR_IO(0x00)	/* struct hotmirror_query */
#define HOTMIRROR_STATUS		HOTMIRROR_IO(0x01)	/* struct hotmirror_status */
#define HOTMIRROR_PLUG			HOTMIRROR_IO(0x10)	/* struct hotmirror_plug */
#define HOTMIRROR_UNPLUG		HOTMIRROR_IO(0x11)	/* struct hotmirror_unplug */
#define HOTMIRROR_SETTLE		HOTMIRROR_IO(0x12)	/* struct hotmirror_settle */
#define HOTMIRROR_MIRROR		HOTMIRROR_IO(0x20)	/* struct hotmirror_mirror */
#define HOTMIRROR_UNMIRROR		HOTMIRROR_IO(0x21)	/* struct hotmirror_mirror */
#define HOTMIRROR_READ			HOTMIRROR_IO(0x22)	/* struct hotmirror_access */
#define HOTMIRROR_WRITE			HOTMIRROR_IO(0x23)	/* struct hotmirror_access */
#define HOTMIRROR_PREFETCH		HOTMIRROR_IO(0x24)	/* struct hotmirror_access */
#define HOTMIRROR_SNAPSHOT		HOTMIRROR_IO(0x25)	/* struct hotmirror_snapshot */
#define HOTMIRROR_MIGRATE_TO_DEV	HOTMIRROR_IO(0x26)	/* struct hotmirror_migrate */
#define HOTMIRROR_MIGRATE_TO_SYS	HOTMIRROR_IO(0x27)	/* struct hotmirror_migrate */
#define HOTMIRROR_VERIFY		HOTMIRROR_IO(0x28)	/* struct hotmirror_verify */
#define HOTMIRROR_STATS			HOTMIRROR_IO(0x29)	/* struct hotmirror_stats */
#define HOTMIRROR_ATOMIC		HOTMIRROR_IO(0x2b)	/* struct hotmirror_atomic */
#define HOTMIRROR_PIN			HOTMIRROR_IO(0x2c)	/* struct hotmirror_pin */
#define HOTMIRROR_UNPIN			HOTMIRROR_IO(0x2d)	/* struct hotmirror_pin */
#define HOTMIRROR_SABOTAGE		HOTMIRROR_IO(0x2a)	/* struct hotmirror_sabotage */
#define HOTMIRROR_GATE_OPEN		HOTMIRROR_IO(0x30)	/* struct hotmirror_gate */
#define HOTMIRROR_GATE_ARM		HOTMIRROR_IO(0x31)	/* struct hotmirror_gate_arm */
#define HOTMIRROR_GATE_RELEASE		HOTMIRROR_IO(0x32)	/* struct hotmirror_gate_release */
#define HOTMIRROR_GATE_STATUS		HOTMIRROR_IO(0x33)	/* struct hotmirror_gate_status */
#define HOTMIRROR_GATE_CORE		HOTMIRROR_IO(0x34)	/* struct hotmirror_core_gate */
#define HOTMIRROR_ENTRIES		HOTMIRROR_IO(0x35)	/* struct hotmirror_entries */

#endif /* _TEST_HOTMIRROR_UAPI_H */
