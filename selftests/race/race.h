/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Races as named schedules:  A+B@memory:gate
 *
 * Operation A runs until it stands at the gate, B runs until it is done or blocked, A is
 * let go, both finish. What they did, and what the memory then is, must be what one of
 * the orders "A, then B" and "B, then A" makes of it on the same kernel.
 *
 *   hotmirror_race        orchestrator: has the gates and the control file. It never
 *       │                 touches the memory, so nothing that is held can hold it.
 *       ├── target        owns the memory. Its threads wait for a call:
 *       │     setup       builds the memory, and looks at it when all is over
 *       │     A, B, C     make one operation each
 *       └── remote        has the target's device files: makes device operations of a
 *                         process that is to exit
 *
 * Operations, memories and gates are tables (ops_*.c, memory*.c, gates.c). A schedule is
 * three or more rows of them; what cannot be is ruled out with a reason.
 */
#ifndef HOTMIRROR_RACE_H
#define HOTMIRROR_RACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "../lib/dev.h"

#define RACE_PAGES	4	/* that are looked at */
#define RACE_SIDES	3	/* A, B, C */
#define RACE_GATES	3	/* of one schedule, one for each side */
#define RACE_NAME	192

/* No instance, no mirrored range. */
#define RACE_NONE	((__u32)-1)

/* How long anything may take that does not stand at a gate. */
#define RACE_LIMIT_MS	6000

/* ---- what is seen ---- */

/*
 * Tokens, one character each, so that an outcome is a short text.
 *
 * Of a side, for each page: '.' not concerned, '+' done, 'F' EFAULT, SIGSEGV or SIGBUS,
 * 'H' memory error, 'N' ENODEV or ENXIO, 'S' ESRCH, 'I' EINVAL, 'O' EOPNOTSUPP, 'M' ENOMEM,
 * 'A' EAGAIN or EBUSY, 'X' EEXIST, 'P' EPERM, 'K' it was killed, 'E' anything else.
 *
 * Of a value: '0' zero, 'i' as filled, 'o' what is in the file under a page that was
 * copied on write, 'a' 'b' 'c' what that side writes, 'u' as userfaultfd resolved it; one
 * letter further for each atomic addition: '1', 'j', 'p', 'A', 'B', 'C', 'U'; '?' none of
 * these; 'F', 'H' an access is refused, '-' no value.
 */
struct race_page {
	char side[RACE_SIDES];		/* how it ended */
	char seen[RACE_SIDES];		/* what it read */
	char map;			/* '+' there is a mapping, '-' none, 'G' no process */
	char cpu;			/* what the CPU reads in the end: the first word */
	char tail;			/* and the last one, which only whole-page writes change */
	char dev;			/* what the device reads in the end */
	char moved;			/* what the CPU reads where B may have moved the page */
};

struct race_outcome {
	int pages;
	struct race_page page[RACE_PAGES];
};

/* ---- tables ---- */

/* Of an operation. */
#define OP_DEVICE	(1U << 0)	/* made through the device file */
#define OP_READS	(1U << 1)	/* brings back values */
#define OP_WRITES	(1U << 2)
#define OP_POPULATES	(1U << 3)	/* fills the device page table */
#define OP_MIGRATES	(1U << 4)	/* by the ioctls */
#define OP_EXCLUDES	(1U << 5)
#define OP_PINS		(1U << 6)
#define OP_SNAPSHOTS	(1U << 7)
#define OP_TOUCHES	(1U << 8)	/* a CPU access, or a fault for one */
#define OP_NOTIFIES	(1U << 9)	/* invalidates the mirrors of what it concerns */
#define OP_UNPLUGS	(1U << 10)	/* the instance is used up */
#define OP_EXITS	(1U << 11)	/* ends the target */
#define OP_FORKS	(1U << 12)
#define OP_MOVES	(1U << 13)	/* the pages may be elsewhere afterwards */
#define OP_FREES	(1U << 14)	/* MADV_FREE: old or zero, both are right */
#define OP_BEST_EFFORT	(1U << 15)	/* its own result is recorded and not judged */
#define OP_SLOW		(1U << 16)	/* milliseconds: waits for a grace period or a thread */
#define OP_SECOND	(1U << 17)	/* through the second device */
#define OP_UFFD		(1U << 18)	/* resolves or changes userfaultfd state */
#define OP_EVICTS	(1U << 19)	/* unplug up to the end: brings device pages home */
#define OP_COPIES	(1U << 21)	/* a device access, not only its populate */
#define OP_NAMED	(1U << 22)	/* invalidates the middle pages, and no page beside them */
#define OP_INVALIDATES	(1U << 20)	/* unplug up to the invalidated state at least */
#define OP_SPLITS	(1U << 24)	/* invalidates only where it splits a PMD */
#define OP_WIDENS	(1U << 25)	/* gives rights: the memory is read-only before */
#define OP_BY_HMM	(1U << 26)	/* HMM takes the faults, before the loop begins */
#define OP_RECLAIMS	(1U << 23)	/* invalidates what reclaim or migration can have */

/* Of a memory. */
#define MEM_ANON	(1U << 0)
#define MEM_SHARED	(1U << 1)
#define MEM_FILE	(1U << 2)	/* has a file behind it, in target.file */
#define MEM_SHMEM	(1U << 3)
#define MEM_HUGETLB	(1U << 4)
#define MEM_THP		(1U << 5)
#define MEM_PRIVATE	(1U << 6)	/* lives in the device, DEVICE_PRIVATE */
#define MEM_COHERENT	(1U << 7)
#define MEM_DAX		(1U << 8)
#define MEM_PMD		(1U << 9)	/* mapped by PMDs */
#define MEM_HOLE	(1U << 10)	/* nothing was ever there */
#define MEM_UFFD	(1U << 11)	/* page 1 is missing, userfaultfd has its faults */
#define MEM_UFFD_WP	(1U << 12)	/* page 1 is write-protected by userfaultfd */
#define MEM_UFFD_MINOR	(1U << 13)	/* page 1 is in the file and not in the page table */
#define MEM_UFFD_POISON	(1U << 14)	/* page 1 is marked as lost */
#define MEM_UFFD_RWP	(1U << 15)	/* page 1 is protected against reads, too (7.3) */
#define MEM_CLEAN	(1U << 16)	/* present, and nobody has written it: file pages, KSM's */
#define MEM_KSM		(1U << 17)
#define MEM_SMALL	(1U << 18)	/* a whole PMD in small pages */
#define MEM_THIN	(1U << 19)	/* the windows that do not depend on memory are left out */
#define MEM_USERFAULT	(MEM_UFFD | MEM_UFFD_WP | MEM_UFFD_MINOR | MEM_UFFD_POISON | MEM_UFFD_RWP)
#define MEM_DEVICE	(MEM_PRIVATE | MEM_COHERENT)

/* Of a gate: in which state the mirror and the memory are when A begins. */
#define GATE_WARM	(1U << 0)	/* the device page table is populated */
#define GATE_TWO_PASS	(1U << 1)	/* the range is registered in the two-pass form */
#define GATE_DROPPED	(1U << 2)	/* the PTEs are gone (MADV_DONTNEED of a dax mapping) */
#define GATE_ANY_TASK	(1U << 3)	/* not A's thread stands there: unplug's worker */
#define GATE_UFFD	(1U << 4)	/* A stands in handle_userfault() */
#define GATE_CORE	(1U << 5)	/* at the entry of a function of the core */
#define GATE_LOCKED	(1U << 6)	/* the driver lock is held there */
#define GATE_MMAP	(1U << 7)	/* mmap_lock is held for reading there */
#define GATE_CALLED	(1U << 8)	/* the callback has done its work */
#define GATE_SAME	(1U << 9)	/* what B meets there is the same on all memory */
#define GATE_FAULTS	(1U << 10)	/* a page fault is about to be taken there */

struct race_run;
struct race_setup;

struct race_op {
	const char *name;
	const char *words;		/* "the device reads all pages" */
	unsigned int flags;
	__u64 needs;			/* HOTMIRROR_HAS_* */
	/* Why it makes no sense there, NULL: it does. */
	const char *(*impossible)(unsigned int memory_flags);
	/* In the setup thread, before anything is held: helpers, second mappings. 0, -errno. */
	int (*prepare)(struct race_setup *s);
	void (*run)(struct race_run *r);
	unsigned int machine;		/* RACE_SWAP, ...: machine.h */
};

struct race_memory {
	const char *name;
	const char *words;
	unsigned int flags;
	__u64 needs;
	__u32 kind;			/* of the mirroring device; 0: any */
	/* In the setup thread: map and fill s->area; 0, -errno, or a skip (s->why). */
	int (*build)(struct race_setup *s);
	unsigned int machine;
};

struct race_gate {
	const char *name;
	const char *words;		/* "the sequence is read, nothing was walked yet" */
	__u32 nr;			/* HOTMIRROR_GATE_* */
	unsigned int flags;
	unsigned int ops;		/* OP_*: operations with one of these pass it */
	/* Or, where that depends on the memory, what says which do. */
	bool (*reached)(const struct race_op *op, unsigned int memory_flags);
};

/* Whether this operation passes the gate on this memory. */
bool race_reaches(const struct race_gate *gate, const struct race_op *op,
		  unsigned int memory_flags);

/* The page faults of a device operation alone; in no table. */
extern const struct race_op race_op_fault;
extern const struct race_memory race_memories[];
extern const int race_nr_memories;
extern const struct race_gate race_gates[];
extern const int race_nr_gates;

/* Operations, in the order of their tables; race_op_nr(). */
extern const struct race_op race_ops_device[], race_ops_cpu[], race_ops_map[], race_ops_mm[],
	race_ops_file[], race_ops_uffd[], race_ops_process[], race_ops_away[];
extern const int race_nr_ops_device, race_nr_ops_cpu, race_nr_ops_map, race_nr_ops_mm,
	race_nr_ops_file, race_nr_ops_uffd, race_nr_ops_process, race_nr_ops_away;

/* ---- a schedule ---- */

struct race_hold {
	int side;			/* who is to stand at the gate */
	const struct race_gate *gate;
};

/*
 * Sides start in order; one that has a gate is waited for until it stands there, one that
 * has none until it is done or blocked. Then the gates are opened in order.
 */
struct race_schedule {
	int sides;
	const struct race_op *op[RACE_SIDES];
	const struct race_memory *memory;
	int gates;
	struct race_hold hold[RACE_GATES];
};

/* name.c */
int race_name(const struct race_schedule *s, char *name, size_t size);
/* 0, or -EINVAL and a text that says what is wrong and what there is. */
int race_parse(const char *name, struct race_schedule *s, char *why, size_t size);
/* The same of one that cannot be: what the tables rule out is not asked. */
int race_read(const char *name, struct race_schedule *s, char *why, size_t size);
/* Why it cannot be, NULL if it can. */
const char *race_impossible(const struct race_schedule *s);
/* Call @fn for every schedule that is one gate deep and possible. */
void race_enumerate(void (*fn)(const struct race_schedule *s, void *arg), void *arg);
/* 1: the default subset, 2: the rest. */
int race_tier(const struct race_schedule *s);
bool race_is_brief(const struct race_schedule *s);
/* Rates are published by class: "anon", "fork", "unplug", ... */
const char *race_class(const struct race_schedule *s);
/* The i-th operation of all tables; NULL behind the last. */
const struct race_op *race_op_nr(int i);
const struct race_op *race_op(const char *name);
const struct race_memory *race_memory(const char *name);
const struct race_gate *race_gate(const char *name);
/* The conditions that A and the memory start from. */
unsigned int race_state(const struct race_schedule *s);

/* ---- the target ---- */

/*
 * The memory: RACE_PAGES or less are looked at (sample), device operations concern these,
 * the others [b_start, b_start + b_length), which has some of them and not all.
 */
struct race_area {
	char *mem;			/* all of it */
	size_t length;
	size_t grain;			/* what can be unmapped by itself */
	char *sample;
	int pages;
	char *b_start;
	size_t b_length;
	int b_first;			/* of the sample: the first page that B concerns */
	int b_pages;
	char *elsewhere;		/* where B moves it: b_length bytes, mapped PROT_NONE */
	char *twin;			/* a second mapping or memory of its own, if prepared */
};

enum race_call { RACE_IDLE, RACE_OP, RACE_OPEN, RACE_BUILD, RACE_LOOK, RACE_CLEAR };

struct race_worker {
	int go, done;			/* eventfds */
	pid_t tid;
	pid_t proxy;			/* a child that it waits for */
	enum race_call call;
	const struct race_op *op;
	int side;
	struct race_page page[RACE_PAGES];	/* of these: side and seen */
	int ret;
	__u32 pin;			/* of OP_PINS */
	bool pinned;
	char why[128];			/* of a skip */
	__u64 word;			/* scratch: buffers of ioctls have to be present */
	char *buffer;			/* RACE_PAGES pages, locked */
};

#define RACE_SETUP	RACE_SIDES		/* index of the setup worker */
#define RACE_REMOTE	(RACE_SIDES + 1)	/* index of the remote one */
#define RACE_WORKERS	(RACE_SIDES + 2)

/* What all processes share, at one address: never faulted while something is held. */
struct race_shared {
	struct race_worker worker[RACE_WORKERS];
	struct race_area area;
	struct race_outcome look;
	const struct race_memory *memory;
	const struct race_op *prepare[RACE_SIDES];
	unsigned int state;		/* GATE_* that concern the memory */
	__u32 id[3];			/* instances: the device, the second one, dax memory */
	int control;			/* the same number everywhere */
	/* of the target, by number there */
	int fd[3];			/* files of these instances */
	int uffd;
	int file;			/* of MEM_FILE */
	int pipe[2];			/* has pages of the memory in it */
	pid_t ksmd;
	__u32 range[2];			/* mirrored by fd[0], fd[1] */
	char *window;			/* where memory is mapped, see target.c */
};

enum { RACE_DEVICE, RACE_SECOND, RACE_DAX };

/* What an operation has. */
struct race_run {
	struct race_shared *shared;
	struct race_worker *worker;
	const struct race_area *area;
	int side;
	int fd;				/* the device file, of the second device if OP_SECOND */
	struct race_page *page;		/* to be filled in: side[side], seen[side] */
};

struct race_setup {
	struct race_shared *shared;
	struct race_area *area;
	char *why;			/* of a skip: 128 bytes */
};

/* target.c */
int race_target_main(struct race_shared *shared);
int race_remote_main(struct race_shared *shared, const int fd[2]);

/* values.c: words and tokens */
__u64 race_word(char token, const void *at);
char race_token(__u64 word, const void *at);
/* What A, B or C writes. */
char race_written(int side);
char race_error(int err);
/* Fill all pages, or one, as for 'i'. */
void race_fill(char *mem, size_t length);
void race_fill_page(char *page, char token);
/* The CPU's accesses of one word: '+', 'F', 'H'. */
char race_load(const char *from, char *seen);
char race_store(char *to, char token);
/* Result of an operation that has one for all pages it concerns. */
void race_all(struct race_run *r, int first, int pages, int ret);

/* ---- engine.c: what becomes of a schedule ---- */

enum race_verdict { RACE_PASS, RACE_FAIL, RACE_SKIP, RACE_UNREACHABLE, RACE_LOST, RACE_XFAIL };

struct race_result {
	enum race_verdict verdict;
	char why[512];
	char blocked[64];		/* where B was blocked, empty: it was not */
	int took;			/* the order that explains it: index of the permutation */
	struct race_outcome outcome;
	long us;
	bool verify_unsure;
};

struct race_engine;

struct race_options {
	__u64 sabotage;
	bool no_order;			/* oracles that are off: shows that each stands alone */
	bool no_verify;
	bool no_entries;
	bool no_log;
};

/* NULL with errno, or a reason to skip in @why. */
struct race_engine *race_engine_start(const struct race_options *options, char *why, size_t size);
void race_engine_run(struct race_engine *e, const struct race_schedule *s,
		     struct race_result *result);
/* From the next schedule on. */
void race_engine_set(struct race_engine *e, const struct race_options *options);
bool race_engine_may_sabotage(const struct race_engine *e);
/* All is gone again; 0, or what is left, in @why. */
int race_engine_end(struct race_engine *e, char *why, size_t size);

/* session.c: RACE_DEVICE, _SECOND or _DAX: whose gate it is */
int race_gate_device(const struct race_schedule *s, const struct race_hold *hold);

/* oracle.c */
struct race_order {
	int first[RACE_SIDES];		/* sides in order */
	int faulter;			/* whose page faults come before all; -1: nobody's */
	struct race_outcome outcome;
	bool ends;			/* it came to an end at all */
};

void race_outcome_text(const struct race_outcome *o, int sides, char *text, size_t size);
/*
 * Whether @o is the outcome of one of the @orders, page by page; its index, or -1 and an
 * explanation. @unsafe: the device was sabotaged so that it refuses accesses ('P').
 */
int race_judge(const struct race_schedule *s, const struct race_outcome *o, bool unsafe,
	       const struct race_order *orders, int nr, char *why, size_t size);

/* known.c: the kernel bug that explains this failure; NULL: none that is known. */
const char *race_known(const struct race_schedule *s, const struct race_result *result);

/* blocked.c: where a task sleeps, by the published list; NULL: nowhere on it. */
enum race_sleep { RACE_RUNS, RACE_BLOCKED, RACE_UNKNOWN, RACE_DEAD };
enum race_sleep race_asleep(pid_t tid, const char **where);
/* What it has had of the CPUs so far. */
long long race_cpu_ns(pid_t tid);
/* The i-th wait point: its name, the function, where in the stack; NULL: no more. */
const char *race_wait_point(int i, const char **function, bool *anywhere);

/* sabotage.c: HOTMIRROR_SABOTAGE_<name>, 0 if there is none; the i-th name */
__u64 race_sabotage(const char *name);
const char *race_sabotage_name(int i);

/* explain.c, impossible.c, reproducer.c: texts for stdout; an exit status */
int race_explain(const struct race_schedule *s);
int race_list_impossible(void);
int race_reproducer(const struct race_schedule *s);

#endif /* HOTMIRROR_RACE_H */
