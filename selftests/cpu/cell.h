/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The same-as-CPU oracle: a cell is {memory, protection, state, access, device page
 * table}. Its memory is built twice, in two processes; in one the CPU makes the
 * access, in the other the device. What each of them got, and what it left behind,
 * must be the same (claim S6).
 *
 * The order in which a cell is prepared, equal on both sides:
 *	build (memory)  mirror  [warm: prefetch]  content (state)  settle (memory)
 *	apply (state)  protection  [hot: prefetch]  the access
 */
#ifndef HOTMIRROR_CPU_CELL_H
#define HOTMIRROR_CPU_CELL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "../lib/dev.h"
#include "../lib/task.h"

/* The access is to a word of the middle one of these pages. */
#define CELL_PAGES	3
#define CELL_TARGET	1
#define CELL_OFFSET	264

enum cell_access { CELL_READ, CELL_WRITE, CELL_ATOMIC };

/*
 * The device page table before the access: cold has no entry; warm had a writable
 * one before the state and the protection, which have to take it away where they
 * must; hot got one after them, so that the access goes through it.
 */
enum cell_table { CELL_COLD, CELL_WARM, CELL_HOT, CELL_NR_TABLES };

/* How an access ends. The device cannot tell SEGV from BUS: FAULT. */
enum cell_end {
	CELL_OK, CELL_SEGV, CELL_BUS, CELL_HWPOISON,
	CELL_FAULT, CELL_REFUSED, CELL_GONE, CELL_DENIED, CELL_OTHER, CELL_NR_ENDS
};

/* What the pages hold before the state is applied. */
enum cell_content { CELL_NOTHING, CELL_LOOKED_AT, CELL_FILLED };

/* The pages: where they are, and what has to be undone. */
#define CELL_AREAS	4
struct cell_place {
	struct cell_side *side;
	char *mem;		/* the mapping; its first CELL_PAGES pages count */
	size_t length;
	size_t page;
	size_t grain;		/* granularity of the mapping: hugetlb is coarser */
	char *other;		/* a second mapping of the same memory, or NULL */
	int file;		/* -1: none */
	struct cell_instance *dax;
	__u32 range;
	bool mirrored;
	int key;		/* protection key; 0: none */
	struct { char *start; size_t length; } areas[CELL_AREAS];
	int nr_areas;
	struct hm_child child;	/* pid 0: none */
	/* userfaultfd and its handler, of the states that have one; fd -1: none */
	int uffd;
	int stop;
	bool wp;
	unsigned int seen;	/* 1: a fault; 2: for writing; 4: write-protected */
	pthread_t handler;
	const char *why;	/* of a failure: what this kernel or machine lacks */
};

struct cell_instance {
	__u32 kind;
	__u32 id;
	int fd;			/* -1: not plugged */
};

/* One of the two processes. */
struct cell_side {
	bool device;		/* who makes the access */
	__u64 sabotage;
	struct hotmirror_query q;
	int control;
	struct cell_instance first;	/* the mirroring one */
	struct cell_instance second;	/* the one whose memory it is */
};

/* A memory kind: a row of hotmirror_cpu.c. */
struct cell_memory {
	/* 0 or -errno with place->why: this cell cannot be built here */
	int (*build)(struct cell_place *place);
	int (*settle)(struct cell_place *place);	/* may be NULL */
	__u32 device;		/* kind of the mirroring instance, HM_ANY */
	unsigned int states;	/* 1 << CELL_*, see state.c */
	unsigned int no_prots;	/* 1 << CELL_*: that it cannot have, or need not */
	unsigned int no_tables;
	unsigned int traits;
};

#define CELL_NO_FILL	(1U << 0)	/* looked at where others are written */
#define CELL_SHARED	(1U << 1)	/* never anonymous: no device-exclusive PTE */
#define CELL_SECRET	(1U << 2)	/* no direct map */
#define CELL_PFNMAP	(1U << 3)	/* no struct page that HMM would look at */
#define CELL_AWAY	(1U << 4)	/* private pages of the mirroring instance */
#define CELL_OWN	(1U << 5)	/* memory of the mirroring instance */
#define CELL_LARGE	(1U << 6)	/* a device-private folio of PMD size */
#define CELL_POOL	(1U << 8)	/* huge pages of the pool */
#define CELL_MIXEDMAP	(1U << 7)	/* mapped once: what is dropped does not come back */

struct cell_state {
	const char *name;
	enum cell_content content;
	int (*apply)(struct cell_place *place);		/* may be NULL */
	enum cell_end ends;	/* what any access gets, unless the protection forbids it */
};

enum {
	CELL_UNTOUCHED, CELL_TOUCHED, CELL_WRITTEN, CELL_FREED, CELL_DONTNEED,
	CELL_SWAPPED, CELL_SWAPPED_IN, CELL_FORKED, CELL_ORPHANED, CELL_ROUND_TRIP,
	CELL_WP, CELL_MISSING, CELL_SOFT_CLEAN, CELL_EXCLUSIVE, CELL_MOVED,
	CELL_GUARDED, CELL_MARKED, CELL_POISONED, CELL_TRUNCATED, CELL_PUNCHED,
	CELL_UNMAPPED, CELL_DISABLED, CELL_INVALIDATED, CELL_UNPLUGGED,
	CELL_NR_STATES
};

#define CELL(state)	(1U << CELL_##state)

/* Protections, and the way to them. */
struct cell_prot {
	const char *name;
	int steps[2];		/* for mprotect(), in this order; -1: none */
	unsigned int key;	/* PKEY_DISABLE_* of a protection key; 0: none */
	/* Not everything with everything: the cells that this one is for. */
	unsigned int states;
	unsigned int tables;	/* 1 << CELL_COLD, ... */
};

enum {
	CELL_RW, CELL_RO, CELL_NONE, CELL_WO, CELL_REOPENED, CELL_CLOSED, CELL_KEYED,
	CELL_KEYED_RO, CELL_NR_PROTS
};

extern const struct cell_state cell_states[CELL_NR_STATES];
extern const struct cell_prot cell_prots[CELL_NR_PROTS];
int cell_protect(struct cell_place *place, const struct cell_prot *prot);
/* Let the CPU look again at what a protection key kept from it. */
void cell_unlock(struct cell_place *place);

struct cell {
	const struct cell_memory *memory;
	int prot;
	int state;
	enum cell_access access;
	enum cell_table table;
	bool by_hmm;		/* the device has HMM take the fault first */
};

/* What one viewer finds in the pages. */
struct cell_look {
	__u32 ends;		/* enum cell_end of each page, 4 bits each */
	__u32 looked;		/* 0: nobody looked */
	__u64 word;		/* that the access was to */
	__u64 sum;		/* over all else */
};

struct cell_outcome {
	int skipped;		/* 0, or why the cell could not be built */
	char why[80];
	enum cell_end end;
	int error;		/* of the device, for the message */
	__u64 value;		/* that was read, or that the atomic replaced */
	__u32 seen;		/* by userfaultfd */
	__u64 raw[CELL_PAGES];	/* pagemap right after the access */
	__u64 settled[CELL_PAGES];	/* and after the CPU has looked at the page */
	struct cell_look own;	/* by the CPU of the process itself */
	struct cell_look other;	/* through the second mapping */
	struct cell_look child;	/* by the child that shares the pages */
	struct cell_look later;	/* after reclaim: was it dirty where it must be? */
	__u64 stale;		/* VERIFY */
};

const char *cell_end_name(enum cell_end end);

/* Run the cells in this process, which is the CPU's side or the device's. */
int cell_side_open(struct cell_side *side, __u32 kind);
void cell_run(struct cell_side *side, const struct cell *cell,
	      struct cell_outcome *out);
/* Plug it if it is not, or if a cell has unplugged it; 0 or -errno. */
int cell_instance(struct cell_side *side, struct cell_instance *inst, __u32 kind);

/* access.c: one 64-bit access. @value: to write or to add in; what was there out. */
#define CELL_OPERAND	0x0123456789abcdefULL
/* Have signals end an access, not the process; others may have their own handlers. */
void cell_catch_faults(void);
enum cell_end cell_cpu(enum cell_access access, void *p, __u64 *value);
enum cell_end cell_device(const struct cell *cell, int fd, void *p, __u64 *value,
			  int *error);
struct cell_look cell_look_at(const char *mem, size_t page);
void cell_fill(char *mem, size_t length, unsigned int seed);
/* The word that this puts at an offset. */
__u64 cell_filled(size_t offset, unsigned int seed);
#define CELL_SEED	1	/* of what the CPU writes before the access */

/* place.c: parts of builders */
void cell_place_init(struct cell_place *place, struct cell_side *side);
void cell_place_end(struct cell_place *place);
static inline char *cell_target(const struct cell_place *place)
{
	return place->mem + CELL_TARGET * place->page;
}

/* place.c: the builders, and what settles the pages where they belong */
int cell_anon(struct cell_place *place);
int cell_thp(struct cell_place *place);
int cell_shmem(struct cell_place *place);
int cell_memfd(struct cell_place *place);
int cell_file_shared(struct cell_place *place);
int cell_file_private(struct cell_place *place);
int cell_program(struct cell_place *place);
int cell_hugetlb(struct cell_place *place);
int cell_hugetlb_memfd(struct cell_place *place);
int cell_secret(struct cell_place *place);
int cell_pfnmap(struct cell_place *place);
int cell_driver(struct cell_place *place);
int cell_dax(struct cell_place *place);
int cell_own_dax(struct cell_place *place);
int cell_to_device(struct cell_place *place);
int cell_to_device_large(struct cell_place *place);
int cell_to_foreign(struct cell_place *place);
int cell_merge(struct cell_place *place);

#endif /* HOTMIRROR_CPU_CELL_H */
