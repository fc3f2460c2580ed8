// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages that move between system and device memory in known numbers, CPU faults on
 * them, and two unplugs, for observers to be compared with.
 *
 * A process of its own (the target) mirrors a region of its memory and does what the
 * table of steps says; then the devices are unplugged under it: one that holds some
 * of its pages, and a dax one that the target has pinned two pages of. What an
 * observer must have seen is counted next to each step; known delays are made with
 * the gates of the module and measured. One line each way:
 *
 *	-> TARGET <pid> 0 0 <id>		ready: observe
 *	<- any line				all observers are ready: go
 *	-> REPORT <json>			what was done, what the driver says
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dev.h"
#include "held.h"
#include "known.h"
#include "mem.h"
#include "task.h"

#define REGION_PAGES	128
#define DAX_PAGES	2

enum direction { TO_DEV, TO_SYS, TO_RAM, EVICT, NR_DIRECTIONS };

static const char * const direction_names[NR_DIRECTIONS] = {
	"to_dev", "to_sys", "to_ram", "evict",
};

enum left { NOT_COLLECTED, BUSY, NO_TARGET, FAILED, NR_LEFT };

static const char * const left_names[NR_LEFT] = {
	"not_collected", "busy", "no_target", "failed",
};

/* What is known of one migration, or the sum of many. */
struct moves {
	unsigned long calls;
	unsigned long asked;
	unsigned long moved;
	unsigned long left[NR_LEFT];
};

/* What the target did, in memory that it shares with the parent. */
struct tally {
	struct moves moves[NR_DIRECTIONS];
	__u64 around_ns[NR_DIRECTIONS];	/* what asked for them took, from outside */
	struct hold copy;	/* of to_dev */
	struct hold copy_back;	/* of to_sys */
	struct hold fault;	/* of a CPU fault */
	struct hold wait;	/* of those who met a page on its way */
	unsigned long waits;
	unsigned long user;	/* CPU faults on device memory, by who took them */
	unsigned long kernel;
	unsigned long remote;
};

struct target {
	struct tally *tally;
	char *mem;
	char *dax;
	size_t page;
	unsigned int used;	/* pages of the region that steps have taken */
	__u32 id;
	__u32 dax_id;
	__u32 kind;
	__u32 pin;
	int fd;
};

/* ---- the steps: @p is the first of the pages that the step has to itself ---- */

static int to_dev(struct target *t, char *p, unsigned int pages)
{
	__u64 begin = now_ns();
	int ret = hm_to_dev(t->fd, p, pages * t->page, NULL);

	t->tally->around_ns[TO_DEV] += now_ns() - begin;
	return check_ret(ret, "MIGRATE_TO_DEV");
}

static int to_sys(struct target *t, char *p, unsigned int pages)
{
	__u64 begin = now_ns();
	int ret = hm_to_sys(t->fd, p, pages * t->page, NULL);

	t->tally->around_ns[TO_SYS] += now_ns() - begin;
	return check_ret(ret, "MIGRATE_TO_SYS");
}

/* A fault on a page that is in the device brings it back. */
static int to_ram(struct target *t, char *p)
{
	__u64 begin = now_ns();
	int ret = hm_cpu_touch(p);

	t->tally->around_ns[TO_RAM] += now_ns() - begin;
	return check(!ret, "a device page");
}

/* There, there again, back, back again. */
static int there_and_back(struct target *t, char *p)
{
	hm_fill(p, 8 * t->page, 1);
	return to_dev(t, p, 8) ?: to_dev(t, p, 8) ?: to_sys(t, p, 8) ?: to_sys(t, p, 8);
}

/* The core collects holes in both directions; the driver has nothing to copy home. */
static int holes(struct target *t, char *p)
{
	return to_dev(t, p, 4) ?: to_sys(t, p + 4 * t->page, 3);
}

static int referenced(struct target *t, char *p)
{
	struct hm_hold hold;
	int ret;

	hm_fill(p, 5 * t->page, 1);
	if (check_ret(hm_hold(&hold, p, 3 * t->page), "vmsplice"))
		return -1;
	ret = to_dev(t, p, 5);
	hm_unhold(&hold);
	return ret;
}

struct operation {
	struct target *t;
	char *p;
};

static long to_dev_main(void *arg)
{
	struct operation *op = arg;

	return to_dev(op->t, op->p, 2);
}

static long to_sys_main(void *arg)
{
	struct operation *op = arg;

	return to_sys(op->t, op->p, 1);
}

static long to_ram_main(void *arg)
{
	struct operation *op = arg;

	return to_ram(op->t, op->p);
}

/* A hole that somebody fills while its device page is at hand. */
static int filled_meanwhile(struct target *t, char *p)
{
	struct operation op = { t, p };

	return held(&(struct held) {
		.fd = t->fd, .gate = HOTMIRROR_GATE_MIGRATE_COPIED, .run = to_dev_main,
		.arg = &op, .page = p, .fill = true, .hold = &t->tally->copy });
}

static int met_on_its_way(struct target *t, char *p)
{
	struct operation op = { t, p };

	hm_fill(p, t->page, 1);
	t->tally->waits++;
	return to_dev(t, p, 1) ?: held(&(struct held) {
		.fd = t->fd, .gate = HOTMIRROR_GATE_MIGRATE_COPIED, .run = to_sys_main,
		.arg = &op, .page = p, .meet = true, .hold = &t->tally->copy_back,
		.wait = &t->tally->wait });
}

static int cpu_faults(struct target *t, char *p)
{
	hm_fill(p, 5 * t->page, 1);
	if (to_dev(t, p, 5))
		return -1;
	for (unsigned int i = 0; i < 5; i++)
		if (to_ram(t, p + i * t->page))
			return -1;
	return 0;
}

/* The kernel itself touches a page, to write it to a pipe. */
static int kernel_fault(struct target *t, char *p)
{
	int fds[2], ret;
	__u64 begin;

	hm_fill(p, t->page, 1);
	if (to_dev(t, p, 1) || check(!pipe(fds), "pipe"))
		return -1;
	begin = now_ns();
	ret = check(write(fds[1], p, 8) == 8, "write");
	t->tally->around_ns[TO_RAM] += now_ns() - begin;
	close(fds[0]);
	close(fds[1]);
	return ret;
}

static int remote_fault(struct target *t, char *p)
{
	char c[8];
	struct iovec to = { c, sizeof(c) }, from = { p, sizeof(c) };
	ssize_t got;
	__u64 begin;

	hm_fill(p, t->page, 1);
	if (to_dev(t, p, 1))
		return -1;
	begin = now_ns();
	got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
	t->tally->around_ns[TO_RAM] += now_ns() - begin;
	return check(got == sizeof(c), "process_vm_readv");
}

static int held_fault(struct target *t, char *p)
{
	struct operation op = { t, p };

	hm_fill(p, t->page, 1);
	return to_dev(t, p, 1) ?: held(&(struct held) {
		.fd = t->fd, .gate = HOTMIRROR_GATE_TO_RAM_COLLECTED,
		.flags = HOTMIRROR_GATE_INSTANCE, .run = to_ram_main, .arg = &op,
		.hold = &t->tally->fault });
}

/* What the unplug finds. */
static int stay(struct target *t, char *p)
{
	hm_fill(p, 6 * t->page, 1);
	return to_dev(t, p, 6);
}

static const struct step {
	const char *name;
	int (*run)(struct target *t, char *p);
	bool private;		/* coherent memory has no CPU faults */
	unsigned int pages;
	struct moves moves[NR_DIRECTIONS];
	unsigned int user;
	unsigned int kernel;
	unsigned int remote;
} steps[] = {
	{ .name = "there_and_back", .run = there_and_back, .pages = 8,
	  .moves = {
		[TO_DEV] = { 2, 16, 8, { [NOT_COLLECTED] = 8 } },
		[TO_SYS] = { 2, 16, 8, { [NOT_COLLECTED] = 8 } } } },
	{ .name = "holes", .run = holes, .pages = 7,
	  .moves = {
		[TO_DEV] = { 1, 4, 4, { 0 } },
		[TO_SYS] = { 1, 3, 0, { [NO_TARGET] = 3 } } } },
	{ .name = "referenced", .run = referenced, .pages = 5,
	  .moves = { [TO_DEV] = { 1, 5, 2, { [BUSY] = 3 } } } },
	{ .name = "filled_meanwhile", .run = filled_meanwhile, .pages = 2,
	  .moves = { [TO_DEV] = { 1, 2, 1, { [FAILED] = 1 } } } },
	{ .name = "met_on_its_way", .run = met_on_its_way, .pages = 1,
	  .moves = {
		[TO_DEV] = { 1, 1, 1, { 0 } },
		[TO_SYS] = { 1, 1, 1, { 0 } } } },
	{ .name = "cpu_faults", .run = cpu_faults, .private = true, .pages = 5,
	  .moves = {
		[TO_DEV] = { 1, 5, 5, { 0 } },
		[TO_RAM] = { 5, 5, 5, { 0 } } }, .user = 5 },
	{ .name = "kernel_fault", .run = kernel_fault, .private = true, .pages = 1,
	  .moves = {
		[TO_DEV] = { 1, 1, 1, { 0 } },
		[TO_RAM] = { 1, 1, 1, { 0 } } }, .kernel = 1 },
	{ .name = "remote_fault", .run = remote_fault, .private = true, .pages = 1,
	  .moves = {
		[TO_DEV] = { 1, 1, 1, { 0 } },
		[TO_RAM] = { 1, 1, 1, { 0 } } }, .remote = 1 },
	{ .name = "held_fault", .run = held_fault, .private = true, .pages = 1,
	  .moves = {
		[TO_DEV] = { 1, 1, 1, { 0 } },
		[TO_RAM] = { 1, 1, 1, { 0 } } }, .user = 1 },
	{ .name = "stay", .run = stay, .pages = 6,
	  .moves = { [TO_DEV] = { 1, 6, 6, { 0 } } } },
};

#define NR_STEPS	(sizeof(steps) / sizeof(steps[0]))

/* ---- the target ---- */

static void add_moves(struct moves *to, const struct moves *from)
{
	to->calls += from->calls;
	to->asked += from->asked;
	to->moved += from->moved;
	for (int i = 0; i < NR_LEFT; i++)
		to->left[i] += from->left[i];
}

static int run_step(struct target *t, const struct step *s)
{
	char *p = t->mem + t->used * t->page;

	if (s->private && t->kind != HOTMIRROR_PRIVATE)
		return 0;
	t->used += s->pages;
	if (s->run(t, p)) {
		fprintf(stderr, "hotmirror_workload_memory: step %s failed\n", s->name);
		return -1;
	}
	for (int d = 0; d < NR_DIRECTIONS; d++)
		add_moves(&t->tally->moves[d], &s->moves[d]);
	t->tally->user += s->user;
	t->tally->kernel += s->kernel;
	t->tally->remote += s->remote;
	return 0;
}

/* A mapping of the dax device, with its first pages pinned through the other one. */
static int pin_dax(struct target *t)
{
	int fd = hm_open(t->dax_id);

	t->dax = mmap(NULL, DAX_PAGES * t->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (check(fd >= 0 && t->dax != MAP_FAILED, "mmap of dax memory"))
		return -1;
	hm_fill(t->dax, DAX_PAGES * t->page, 1);
	return check_ret(hm_pin(t->fd, t->dax, DAX_PAGES * t->page, 0, &t->pin, NULL), "PIN");
}

static int target_main(struct hm_parent *parent, void *arg)
{
	struct target *t = arg;

	t->page = hm_page_size();
	t->mem = hm_map(REGION_PAGES);
	t->fd = hm_open(t->id);
	errno = t->fd < 0 ? -t->fd : errno;
	if (check(t->mem && t->fd >= 0, "target") ||
	    check_ret(hm_mirror(t->fd, t->mem, REGION_PAGES * t->page, 0, NULL), "MIRROR"))
		return 1;
	hm_tell(parent, t->fd);
	hm_tell(parent, 0);
	hm_hear(parent);
	for (size_t i = 0; i < NR_STEPS; i++)
		if (run_step(t, &steps[i]))
			return 1;
	if (pin_dax(t))
		return 1;
	hm_tell(parent, 0);
	hm_hear(parent);
	prctl(PR_SET_NAME, "hm_holder");
	if (check_ret(hm_unpin(t->fd, t->pin), "UNPIN"))
		return 1;
	hm_tell(parent, 0);
	hm_hear(parent);
	return 0;
}

/* ---- the parent ---- */

static void skip_unless(bool has, const char *what)
{
	if (has)
		return;
	fprintf(stderr, "%s: boot with memmap=SIZE$START and load test_hotmirror with "
		"arena=SIZE@START\n", what);
	exit(4);
}

/* Private memory if there is any: it has CPU faults. */
static void plug(int control, struct target *t)
{
	struct hotmirror_query q;

	must("QUERY", hm_query(control, &q));
	skip_unless(q.features & HOTMIRROR_HAS_DAX, "no dax memory");
	skip_unless(q.features & (HOTMIRROR_HAS_PRIVATE | HOTMIRROR_HAS_COHERENT),
		    "neither private nor coherent device memory");
	t->kind = q.features & HOTMIRROR_HAS_PRIVATE ? HOTMIRROR_PRIVATE :
						       HOTMIRROR_COHERENT;
	must("PLUG", hm_plug(control, t->kind, q.plug_align, &t->id));
	must("PLUG", hm_plug(control, HOTMIRROR_DAX, q.plug_align, &t->dax_id));
}

static bool is_draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

static void tell_and_hear(struct hm_child *child)
{
	long done;

	must("target", hm_child_tell(child, 0));
	must("target", hm_child_hear(child, &done));
}

/* Time between the first and the last step of the other device's unplug, at most. */
static void unplug(int control, struct target *t, struct hold *hold)
{
	__u64 begin = now_ns();

	must("UNPLUG", hm_unplug(control, t->id, HOTMIRROR_GONE, HM_LIMIT_MS));
	hold->max_ns += now_ns() - begin;
}

/* The dax device drains until the target gives its pins back. */
static void unplug_dax(int control, struct target *t, struct hm_child *child,
		       struct hold *hold)
{
	__u64 begin = now_ns(), draining;
	struct hotmirror_status st;

	must("UNPLUG", hm_unplug(control, t->dax_id, HOTMIRROR_GONE, 0));
	must("drain", hm_wait_status(control, t->dax_id, is_draining, &st));
	draining = now_ns();
	hold_until(draining + HOLD_NS);
	hold->min_ns = now_ns() - draining;
	tell_and_hear(child);
	must("UNPLUG", hm_unplug(control, t->dax_id, HOTMIRROR_GONE, HM_LIMIT_MS));
	hold->max_ns = now_ns() - begin;
}

/* ---- the report ---- */

static void report_hold(const char *name, const struct hold *hold, const char *after)
{
	printf("\"%s\":{", name);
	number("min_ns", hold->min_ns, ",");
	number("max_ns", hold->max_ns, "}");
	printf("%s", after);
}

static void report_moves(const char *name, const struct moves *m, const char *after)
{
	printf("\"%s\":{", name);
	number("calls", m->calls, ",");
	number("asked", m->asked, ",");
	number("moved", m->moved, "");
	for (int i = 0; i < NR_LEFT; i++) {
		printf(",");
		number(left_names[i], m->left[i], "");
	}
	printf("}%s", after);
}

static void report(const struct target *t, const struct hotmirror_status *st,
		   const struct hotmirror_stats *stats, const struct hold *drain)
{
	const struct tally *tally = t->tally;

	printf("REPORT {\"expected\":{\"moves\":{");
	for (int d = 0; d < NR_DIRECTIONS; d++)
		if (tally->moves[d].calls)
			report_moves(direction_names[d], &tally->moves[d], ",");
	report_moves("evict", &(struct moves) {
		.calls = st->evict_rounds,
		.asked = st->evict_rounds * st->pages,
		.moved = st->pages_evicted,
	}, "},");
	printf("\"around_ns\":{");
	number("to_dev", tally->around_ns[TO_DEV], ",");
	number("to_sys", tally->around_ns[TO_SYS], ",");
	number("to_ram", tally->around_ns[TO_RAM], "},");
	printf("\"copy\":{");
	report_hold("to_dev", &tally->copy, ",");
	report_hold("to_sys", &tally->copy_back, "},");
	report_hold("fault", &tally->fault, ",");
	report_hold("wait", &tally->wait, ",");
	number("waits", tally->waits, ",");
	number("pinned", DAX_PAGES, ",");
	report_hold("drain", drain, ",\"faults\":{");
	number("user", tally->user, ",");
	number("kernel", tally->kernel, ",");
	number("remote", tally->remote, "}},\"driver\":{");
	number("private", t->kind == HOTMIRROR_PRIVATE, ",");
	number("to_dev", stats->pages_to_dev, ",");
	number("to_sys", stats->pages_to_sys, ",");
	number("to_ram", stats->pages_to_ram, ",");
	number("evicted", st->pages_evicted, "}}\n");
}

static int run(void)
{
	struct hotmirror_stats stats;
	struct hotmirror_status st;
	struct target t = { .fd = -1 };
	struct hm_child child;
	struct hold drain;
	int control, fd;

	control = must("/dev/hotmirror", hm_control_open());
	plug(control, &t);
	t.tally = shared(sizeof(*t.tally));
	fd = target_start(&child, target_main, &t, 0, t.id);
	tell_and_hear(&child);
	unplug_dax(control, &t, &child, &drain);
	unplug(control, &t, &drain);
	must("STATUS", hm_status(fd, 0, &st));
	must("STATS", hm_stats(fd, &stats));
	must("target", hm_child_tell(&child, 0));
	target_wait(&child);
	report(&t, &st, &stats, &drain);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		bool help = !strcmp(argv[1], "--help");

		fprintf(help ? stdout : stderr,
			"usage: hotmirror_workload_memory < go-line\n"
			"Prints TARGET <pid> 0 0 <id>, waits for a line, moves pages,\n"
			"unplugs both instances of test_hotmirror, prints REPORT <json>.\n"
			"Exit: 0 done, 1 failed, 2 usage, 4 no usable device memory.\n");
		return help ? 0 : 2;
	}
	return run();
}
