/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of the device. Each carries a whole operation with its duration, so
 * that an observer never has to pair an entry with a return that it may miss.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM hotmirror

#if !defined(_HOTMIRROR_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _HOTMIRROR_TRACE_H

#include <linux/tracepoint.h>

/* A READ, WRITE or PREFETCH that had to populate the device page table. */
TRACE_EVENT(hotmirror_populate,
	TP_PROTO(const struct hotmirror_op *op, bool write, u64 total_ns, int ret),
	TP_ARGS(op, write, total_ns, ret),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u64, start)
		__field(u64, end)
		__field(u32, entries)
		__field(u32, write)
		__field(u32, retries)
		__field(u32, faults)
		__field(u64, fault_ns)
		__field(u64, total_ns)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->id = op->inst->id;
		__entry->start = op->start;
		__entry->end = op->end;
		__entry->entries = op->entries;
		__entry->write = write;
		__entry->retries = op->retries;
		__entry->faults = op->faults;
		__entry->fault_ns = op->fault_ns;
		__entry->total_ns = total_ns;
		__entry->ret = ret;
	),
	TP_printk("id=%u start=%#llx end=%#llx entries=%u write=%u retries=%u faults=%u fault_ns=%llu total_ns=%llu ret=%d",
		  __entry->id, __entry->start, __entry->end, __entry->entries,
		  __entry->write, __entry->retries, __entry->faults,
		  __entry->fault_ns, __entry->total_ns, __entry->ret)
);

/* One CPU page fault on behalf of the device; may include a userfaultfd wait. */
TRACE_EVENT(hotmirror_fault,
	TP_PROTO(u32 id, u64 addr, bool write, u64 duration_ns, int ret),
	TP_ARGS(id, addr, write, duration_ns, ret),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u64, addr)
		__field(u32, write)
		__field(u64, duration_ns)
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->addr = addr;
		__entry->write = write;
		__entry->duration_ns = duration_ns;
		__entry->ret = ret;
	),
	TP_printk("id=%u addr=%#llx write=%u duration_ns=%llu ret=%d",
		  __entry->id, __entry->addr, __entry->write,
		  __entry->duration_ns, __entry->ret)
);

/* One invalidate callback of one range; event is enum mmu_notifier_event. */
TRACE_EVENT(hotmirror_invalidate,
	TP_PROTO(u32 id, u32 event, u64 start, u64 end, u32 cleared, bool refused,
		 u64 duration_ns),
	TP_ARGS(id, event, start, end, cleared, refused, duration_ns),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, event)
		__field(u64, start)
		__field(u64, end)
		__field(u32, cleared)
		__field(u32, refused)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->event = event;
		__entry->start = start;
		__entry->end = end;
		__entry->cleared = cleared;
		__entry->refused = refused;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("id=%u event=%u start=%#llx end=%#llx cleared=%u refused=%u duration_ns=%llu",
		  __entry->id, __entry->event, __entry->start, __entry->end,
		  __entry->cleared, __entry->refused, __entry->duration_ns)
);

#ifndef HOTMIRROR_TO_DEV
#define HOTMIRROR_TO_DEV	0	/* MIGRATE_TO_DEV */
#define HOTMIRROR_TO_SYS	1	/* MIGRATE_TO_SYS */
#define HOTMIRROR_TO_RAM	2	/* a CPU fault on a private page */
#define HOTMIRROR_EVICT		3	/* unplug; start and end are device addresses */
#endif

TRACE_EVENT(hotmirror_migrate,
	TP_PROTO(u32 id, u32 direction, u64 start, u64 end, u32 moved, u32 skipped,
		 u64 duration_ns),
	TP_ARGS(id, direction, start, end, moved, skipped, duration_ns),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, direction)
		__field(u64, start)
		__field(u64, end)
		__field(u32, moved)
		__field(u32, skipped)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->direction = direction;
		__entry->start = start;
		__entry->end = end;
		__entry->moved = moved;
		__entry->skipped = skipped;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("id=%u direction=%u start=%#llx end=%#llx moved=%u skipped=%u duration_ns=%llu",
		  __entry->id, __entry->direction, __entry->start, __entry->end,
		  __entry->moved, __entry->skipped, __entry->duration_ns)
);

/* A step of unplug is done; state is the HOTMIRROR_* state it led to. */
TRACE_EVENT(hotmirror_unplug,
	TP_PROTO(u32 id, u32 state, u64 duration_ns),
	TP_ARGS(id, state, duration_ns),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, state)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->state = state;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("id=%u state=%u duration_ns=%llu",
		  __entry->id, __entry->state, __entry->duration_ns)
);

/* Somebody stood at a gate; id is ~0 at the entry of a core function, which is gate 0. */
TRACE_EVENT(hotmirror_gate,
	TP_PROTO(u32 id, u32 gate, bool timeout, bool killed, u64 duration_ns),
	TP_ARGS(id, gate, timeout, killed, duration_ns),
	TP_STRUCT__entry(
		__field(u32, id)
		__field(u32, gate)
		__field(u32, timeout)
		__field(u32, killed)
		__field(u64, duration_ns)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->gate = gate;
		__entry->timeout = timeout;
		__entry->killed = killed;
		__entry->duration_ns = duration_ns;
	),
	TP_printk("id=%u gate=%u timeout=%u killed=%u duration_ns=%llu",
		  __entry->id, __entry->gate, __entry->timeout, __entry->killed,
		  __entry->duration_ns)
);

#endif /* _HOTMIRROR_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
