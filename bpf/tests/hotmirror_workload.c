// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations in known numbers, for observers to be compared with.
 *
 * A process of its own (the target) mirrors a region of its memory, does what the
 * table of steps says, and ends. What a mirror of the region must have seen of it
 * is counted next to each step; what the driver counted is read from a duplicate
 * of the target's file when the target is gone. One line each way:
 *
 *	-> TARGET <pid> <start> <end> <id>	ready: observe this process, region
 *						and instance
 *	<- any line				all observers are ready: go
 *	-> REPORT <json>			what was done, what the driver says
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dev.h"
#include "gate.h"
#include "known.h"
#include "mem.h"
#include "task.h"
#include "uffd.h"

#define REGION_PAGES	64
#define HOLD_NS		50000000ULL
#define STORM_LIMIT_MS	100000

/* enum mmu_notifier_event of the kernel, 6.1 to 7.3. */
enum event {
	UNMAP, CLEAR, PROTECTION_VMA, PROTECTION_PAGE, SOFT_DIRTY, RELEASE, MIGRATE,
	NR_EVENTS
};

static const char * const event_names[NR_EVENTS] = {
	"UNMAP", "CLEAR", "PROTECTION_VMA", "PROTECTION_PAGE", "SOFT_DIRTY",
	"RELEASE", "MIGRATE",
};

/* What the target did, in memory that it shares with the parent. */
struct tally {
	unsigned long events[NR_EVENTS];
	unsigned long faults;
	unsigned long held;
	__u64 held_min_ns;	/* from the fault message to the resolving copy */
	__u64 held_max_ns;	/* from before the access to after it */
	unsigned long gated;
	__u64 gated_min_ns;	/* from when it stood there to its release */
	__u64 gated_max_ns;	/* from before the access to after it */
};

/* --storm: this often, and one access stands at a gate before. */
static unsigned long storm_times;

struct target {
	struct tally *tally;
	char *mem;
	size_t page;
	unsigned int used;	/* pages of the region that steps have taken */
	__u32 id;
	int fd;
};

/* ---- the steps: @p is the first of the pages that the step has to itself ---- */

/* The child lives until the parent has written: only then does a write copy. */
static int fork_and_write(struct target *t, char *p)
{
	int hold[2], status;
	char c = 0;
	pid_t pid;

	if (check(!pipe(hold), "pipe"))
		return -1;
	pid = fork();
	if (!pid) {
		close(hold[1]);
		_exit(read(hold[0], &c, 1) != 0);
	}
	for (int i = 0; pid > 0 && i < 3; i++)
		p[i * t->page] = 1;
	close(hold[0]);
	close(hold[1]);
	return check(pid > 0 && waitpid(pid, &status, 0) == pid && !status, "fork");
}

static int protect(struct target *t, char *p)
{
	return check(!mprotect(p, t->page, PROT_READ) &&
		     !mprotect(p, t->page, PROT_READ | PROT_WRITE), "mprotect");
}

static int dontneed(struct target *t, char *p)
{
	return check(!madvise(p, t->page, MADV_DONTNEED), "MADV_DONTNEED");
}

/* CONFIG_MEM_SOFT_DIRTY, asked in a process without a mirror. */
static bool has_soft_dirty(void)
{
	int status = -1;
	pid_t pid = fork();

	if (!pid) {
		int fd = open("/proc/self/clear_refs", O_WRONLY);

		_exit(fd < 0 || write(fd, "4", 1) != 1);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

static int soft_dirty(struct target *t, char *p)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	int ret;

	(void)t;
	(void)p;
	ret = check(fd >= 0 && write(fd, "4", 1) == 1, "clear_refs");
	close(fd);
	return ret;
}

static int migrate(struct target *t, char *p)
{
	int ret = hm_to_dev(t->fd, p, 4 * t->page, NULL) ?:
		  hm_to_sys(t->fd, p, 4 * t->page, NULL);

	errno = -ret;
	return check(!ret, "MIGRATE");
}

static int device_read(struct target *t, char *p)
{
	char c;
	int ret = hm_read(t->fd, p, &c, 1);

	errno = -ret;
	return check(!ret, "READ");
}

/* The read maps the zero page, the write replaces it. */
static int device_read_write(struct target *t, char *p)
{
	char c = 1;
	int ret = hm_read(t->fd, p, &c, 1) ?: hm_write(t->fd, p, &c, 1);

	errno = -ret;
	return check(!ret, "WRITE");
}

static int unmap(struct target *t, char *p)
{
	return check(!munmap(p, t->page), "munmap");
}

/* Out of the region, to a place that is reserved. */
static int remap(struct target *t, char *p)
{
	char *to = hm_map(1);

	return check(to && mremap(p, t->page, t->page, MREMAP_MAYMOVE | MREMAP_FIXED,
				  to) == to, "mremap");
}

struct access {
	struct target *t;
	char *p;
};

static long access_main(void *arg)
{
	struct access *a = arg;

	return device_read(a->t, a->p);
}

/* A device read that waits in userfaultfd for HOLD_NS. */
static int held_read(struct target *t, char *p)
{
	struct access access = { t, p };
	struct tally *tally = t->tally;
	__u64 begin, message;
	struct hm_async reader;
	struct hm_fault fault;
	int uffd = hm_uffd_open();
	long ret = -1;

	errno = -uffd;
	if (check(uffd >= 0, "userfaultfd") ||
	    check(!hm_uffd_register(uffd, p, t->page, false), "UFFDIO_REGISTER"))
		return -1;
	begin = now_ns();
	if (check(!hm_async_start(&reader, access_main, &access), "thread") ||
	    check(!hm_uffd_wait(uffd, &fault), "wait for the fault"))
		return -1;
	message = now_ns();
	hold_until(message + HOLD_NS);
	tally->held_min_ns = now_ns() - message;
	/* Any mapped memory will do as contents. */
	if (check(!hm_uffd_copy(uffd, p, t->mem + t->page, t->page), "UFFDIO_COPY") ||
	    check(!hm_async_join(&reader, HM_LIMIT_MS, &ret), "the held access"))
		return -1;
	tally->held_max_ns = now_ns() - begin;
	tally->held++;
	return ret;
}

static bool has_storm(void)
{
	return storm_times;
}

/* A device read that stands at a gate for HOLD_NS. */
static int gated_read(struct target *t, char *p)
{
	struct access access = { t, p };
	struct tally *tally = t->tally;
	int gate = hm_gate_open(t->fd, HOTMIRROR_GATE_ACCESS_BEGIN, 0);
	struct hm_async reader;
	__u64 begin, stands;
	long ret = -1;

	errno = -gate;
	if (check(gate >= 0, "gate") || check(!hm_gate_arm_tid(gate, 0), "arm"))
		return -1;
	begin = now_ns();
	if (check(!hm_async_start(&reader, access_main, &access), "thread") ||
	    check(!hm_gate_wait(gate, HM_LIMIT_MS), "wait for the gate"))
		return -1;
	stands = now_ns();
	hold_until(stands + HOLD_NS);
	tally->gated_min_ns = now_ns() - stands;
	if (check(!hm_gate_release(gate), "release") ||
	    check(!hm_async_join(&reader, HM_LIMIT_MS, &ret), "the gated access"))
		return -1;
	tally->gated_max_ns = now_ns() - begin;
	tally->gated++;
	close(gate);
	return ret;
}

/* More events than a buffer of bpftrace's default size holds. */
static int storm(struct target *t, char *p)
{
	for (unsigned long i = 0; i < storm_times; i++)
		if (check(!mprotect(p, t->page, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ),
			  "mprotect"))
			return -1;
	t->tally->events[PROTECTION_VMA] += storm_times;
	return 0;
}

/*
 * What each step shows to a mirror of its pages. A page is touched by the CPU and
 * then by the device before its step, unless the step wants it missing.
 */
static const struct step {
	const char *name;
	int (*run)(struct target *t, char *p);
	bool (*possible)(void);
	unsigned int times;
	unsigned int pages;
	bool missing;
	unsigned int faults;
	unsigned int events[NR_EVENTS];
} steps[] = {
	/* First, while the region is one VMA: fork() write-protects VMA by VMA. */
	{ .name = "fork", .run = fork_and_write, .times = 2, .pages = 3,
	  .events = { [PROTECTION_PAGE] = 1, [CLEAR] = 3 } },
	{ .name = "mprotect", .run = protect, .times = 3, .pages = 1,
	  .events = { [PROTECTION_VMA] = 2 } },
	{ .name = "dontneed", .run = dontneed, .times = 5, .pages = 1,
	  .events = { [CLEAR] = 1 } },
	{ .name = "soft_dirty", .run = soft_dirty, .possible = has_soft_dirty,
	  .times = 2, .pages = 1, .events = { [SOFT_DIRTY] = 1 } },
	{ .name = "migrate", .run = migrate, .times = 2, .pages = 4,
	  .events = { [MIGRATE] = 2 } },
	{ .name = "device_read", .run = device_read, .times = 7, .pages = 1,
	  .missing = true, .faults = 1 },
	{ .name = "device_read_write", .run = device_read_write, .times = 2,
	  .pages = 1, .missing = true, .faults = 2, .events = { [CLEAR] = 1 } },
	{ .name = "held_read", .run = held_read, .times = 1, .pages = 1,
	  .missing = true, .faults = 1 },
	{ .name = "gated_read", .run = gated_read, .possible = has_storm, .times = 1,
	  .pages = 1 },
	{ .name = "storm", .run = storm, .possible = has_storm, .times = 1, .pages = 1 },
	/* The old place is cleared by the move and unmapped after it. */
	{ .name = "mremap", .run = remap, .times = 1, .pages = 1,
	  .events = { [UNMAP] = 2 } },
	{ .name = "munmap", .run = unmap, .times = 4, .pages = 1,
	  .events = { [UNMAP] = 1 } },
};

#define NR_STEPS	(sizeof(steps) / sizeof(steps[0]))

/* ---- the target ---- */

static int take_pages(struct target *t, const struct step *s, char **p)
{
	int ret;

	*p = t->mem + t->used * t->page;
	t->used += s->pages;
	if (s->missing)
		return 0;
	hm_fill(*p, s->pages * t->page, t->used);
	ret = hm_prefetch(t->fd, *p, s->pages * t->page, false);
	errno = -ret;
	return check(!ret, "PREFETCH");
}

static int run_step(struct target *t, const struct step *s)
{
	char *p;

	for (unsigned int i = 0; i < s->times; i++) {
		if (take_pages(t, s, &p) || s->run(t, p)) {
			fprintf(stderr, "hotmirror_workload: step %s failed\n", s->name);
			return -1;
		}
		t->tally->faults += s->faults;
		for (int e = 0; e < NR_EVENTS; e++)
			t->tally->events[e] += s->events[e];
	}
	return 0;
}

static int target_main(struct hm_parent *parent, void *arg)
{
	struct target *t = arg;
	bool skip[NR_STEPS];

	t->page = hm_page_size();
	t->mem = hm_map(REGION_PAGES);
	t->fd = hm_open(t->id);
	errno = t->fd < 0 ? -t->fd : errno;
	if (check(t->mem && t->fd >= 0, "target"))
		return 1;
	/* Before the mirror: asking forks. */
	for (size_t i = 0; i < NR_STEPS; i++)
		skip[i] = steps[i].possible && !steps[i].possible();
	if (check(!hm_mirror(t->fd, t->mem, REGION_PAGES * t->page, 0, NULL), "MIRROR"))
		return 1;
	hm_tell(parent, t->fd);
	hm_tell(parent, (long)t->mem);
	hm_hear(parent);
	for (size_t i = 0; i < NR_STEPS; i++)
		if (!skip[i] && run_step(t, &steps[i]))
			return 1;
	/* The end of the process is a step, too: release, then unmap of it all. */
	t->tally->events[RELEASE]++;
	t->tally->events[UNMAP]++;
	return 0;
}

/* ---- the parent ---- */

/* Coherent first: it is there on more kernels. */
static __u32 plug(int control)
{
	struct hotmirror_query q;
	__u32 kind = 0, id;

	must("QUERY", hm_query(control, &q));
	if (q.features & HOTMIRROR_HAS_COHERENT)
		kind = HOTMIRROR_COHERENT;
	else if (q.features & HOTMIRROR_HAS_PRIVATE)
		kind = HOTMIRROR_PRIVATE;
	if (kind) {
		must("PLUG", hm_plug(control, kind, q.plug_align, &id));
		return id;
	}
	fprintf(stderr, "neither private nor coherent device memory: boot with "
		"memmap=SIZE$START and load test_hotmirror with arena=SIZE@START\n");
	exit(4);
}

static void report_expected(const struct tally *tally)
{
	const char *comma = "";

	number("faults", tally->faults, ",");
	number("held", tally->held, ",");
	number("held_min_ns", tally->held_min_ns, ",");
	number("held_max_ns", tally->held_max_ns, ",");
	number("gated", tally->gated, ",");
	number("gated_min_ns", tally->gated_min_ns, ",");
	number("gated_max_ns", tally->gated_max_ns, ",\"events\":{");
	for (int e = 0; e < NR_EVENTS; e++) {
		if (!tally->events[e])
			continue;
		printf("%s", comma);
		number(event_names[e], tally->events[e], "");
		comma = ",";
	}
	printf("}");
}

static void report(const struct target *t, const struct hotmirror_stats *s)
{
	printf("REPORT {\"expected\":{");
	report_expected(t->tally);
	printf("},\"driver\":{");
	number("invalidates", s->invalidates, ",");
	number("refused", s->invalidates_refused, ",");
	number("cleared", s->entries_cleared, ",");
	number("faults", s->faults, ",");
	number("fault_ns", s->fault_ns, ",");
	number("populates", s->populates, ",");
	number("retries", s->retries, ",");
	number("to_dev", s->pages_to_dev, ",");
	number("to_sys", s->pages_to_sys, "}}\n");
}

static int run(void)
{
	struct hotmirror_stats stats;
	struct target t = { .fd = -1 };
	struct hm_child child;
	int control, fd;

	control = must("/dev/hotmirror", hm_control_open());
	t.id = plug(control);
	t.tally = shared(sizeof(*t.tally));
	fd = target_start(&child, target_main, &t, REGION_PAGES * hm_page_size(), t.id);
	must("target", hm_child_tell(&child, 0));
	if (storm_times)
		must("storm", hm_poll(child.pidfd, POLLIN, STORM_LIMIT_MS));
	target_wait(&child);
	must("STATS", hm_stats(fd, &stats));
	must("UNPLUG", hm_unplug(control, t.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	report(&t, &stats);
	return 0;
}

int main(int argc, char **argv)
{
	bool help = argc == 2 && !strcmp(argv[1], "--help");

	if (argc == 3 && !strcmp(argv[1], "--storm"))
		storm_times = strtoul(argv[2], NULL, 10);
	if (argc > 1 && !storm_times) {
		fprintf(help ? stdout : stderr,
			"usage: hotmirror_workload [--storm N] < go-line\n"
			"Prints TARGET <pid> <start> <end> <id>, waits for a line, does its\n"
			"operations on an instance of test_hotmirror, prints REPORT <json>.\n"
			"--storm N: an access stands at a gate, too, and a page changes its\n"
			"protection N times.\n"
			"Exit: 0 done, 1 failed, 2 usage, 4 no usable device memory.\n");
		return help ? 0 : 2;
	}
	return run();
}
