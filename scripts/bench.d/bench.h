/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hotmirror_bench: the same work for both modules.
 *
 * A session is what one process does with one device; a step is a part of it whose
 * time is taken. With several workers, each is a process with memory, a device and a
 * device file of its own, all start a step together, and a step lasts until the last
 * one is through.
 */
#ifndef HOTMIRROR_BENCH_H
#define HOTMIRROR_BENCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#define MIB		(1024UL * 1024)
#define MAX_WORKERS	2
#define MAX_STEPS	16

/* device.c: functions return 0 or -errno; -EPROTO for a part of what was asked for */
struct mirror {
	int fd;
	int control;		/* of our module: holds the instance */
};

struct device {
	const char *name;
	bool loads_on_arrival;	/* to_dev also reads the memory by the device */
	/* Mirror [addr, addr + length) with the worker's own device. */
	int (*open)(struct mirror *m, unsigned int worker, void *addr, size_t length);
	/* Fill the device page table; only no_device and ours can without a read. */
	int (*populate)(struct mirror *m, void *addr, size_t length);
	int (*read)(struct mirror *m, void *addr, void *buf, size_t length);
	int (*write)(struct mirror *m, void *addr, void *buf, size_t length);
	int (*snapshot)(struct mirror *m, void *addr, void *buf, size_t length);
	int (*to_dev)(struct mirror *m, void *addr, void *buf, size_t length, bool huge);
	int (*to_sys)(struct mirror *m, void *addr, void *buf, size_t length, bool huge);
	/* Whether each page of a snapshot is in the device, huge or not as @huge says. */
	int (*arrived)(const void *buf, size_t length, bool huge);
	/* Time spent in invalidate callbacks so far; only ours counts it. */
	int (*invalidate_ns)(struct mirror *m, __u64 *ns);
};

extern const struct device hotmirror_device, test_hmm_device, no_device;

void mirror_close(struct mirror *m);

/* worker.c */
struct step {
	char name[32];
	__u64 begin[MAX_WORKERS];
	__u64 end[MAX_WORKERS];
	__s64 value;		/* instead of a time, if has_value */
	bool has_value;
};

struct shared {
	pthread_barrier_t barrier;
	struct step steps[MAX_STEPS];
};

struct worker {
	const struct device *device;
	struct shared *shared;
	unsigned int number;
	unsigned int workers;
	unsigned int step;	/* the next one */
	size_t length;		/* bytes of memory to work on */
	bool huge;
	const char *doing;
	struct mirror mirror;
	char *mem;
	char *buf;
	size_t buf_length;
};

/* End the process with a line that says what failed, unless @ret is 0. */
void must(struct worker *w, const char *what, int ret);
void step_begin(struct worker *w, const char *name);
void step_end(struct worker *w);
/* Report a number that was not timed here; by the first worker only. */
void step_value(struct worker *w, const char *name, __s64 value);
/* Touched anonymous memory, aligned to 2 MiB, in huge pages or certainly not. */
char *memory(struct worker *w, size_t length, bool huge);
/* Bytes of kernel memory in slabs, of the whole machine. */
__s64 slab_bytes(struct worker *w);

/* session.c */
struct session {
	const char *name;
	void (*run)(struct worker *w);
	unsigned int mib;
	unsigned int max_workers;
	bool huge;
	enum {
		EVERY_ROUND,
		EXTRA_ROUND,	/* repeated as often as the second argument says */
		NAMED,		/* the same, and only if asked for by its name */
	} when;
	const struct device *devices[3];
};

extern const struct session sessions[];
extern const unsigned int nr_sessions;

#endif /* HOTMIRROR_BENCH_H */
