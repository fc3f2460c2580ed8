// SPDX-License-Identifier: GPL-2.0-only
/*
 * Scenarios for an observation: a while of real operations on test_hotmirror, by
 * several named threads, so that there is something to see.
 *
 *	hotmirror_scenario NAME SECONDS		SIGTERM or SIGINT ends it early
 *	hotmirror_scenario --list		names, scripts that fit, what they do
 *
 * At the end one JSON object goes to stdout: what was done (counts, and delays that
 * were caused on purpose), what the driver counted, the names of the threads.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem.h"
#include "scene.h"
#include "uffd.h"

/* ---- pingpong: memory goes to the device and comes back, by ioctl and by fault ---- */

static int ping(struct scene *s, struct worker *w)
{
	size_t length = s->pages * s->page;
	__u64 moved;

	(void)w;
	for (unsigned int i = 0; !over(s); i++) {
		hm_fill(s->mem, length, i);
		if (check("to the device", hm_to_dev(s->fd[0], s->mem, length, &moved)))
			return -1;
		add(s, "pages_to_dev", moved);
		if (i % 2) {
			if (check("back", hm_to_sys(s->fd[0], s->mem, length, &moved)))
				return -1;
			add(s, "pages_to_sys", moved);
		}
		if (hm_differs(s->mem, length, i) >= 0)
			return check("the contents after a round trip", -EBADMSG);
		add(s, "rounds", 1);
	}
	return 0;
}

static int device_reader(struct scene *s, struct worker *w)
{
	char c;

	for (unsigned int i = w - s->workers; !over(s); i += 7) {
		if (check("READ", hm_read(s->fd[0], page_of(s, i), &c, 1)))
			return -1;
		add(s, "device_reads", 1);
	}
	return 0;
}

static int run_pingpong(struct scene *s)
{
	static const char *const names[] = {
		"rounds", "pages_to_dev", "pages_to_sys", "device_reads", NULL };
	__u32 kind = s->q.features & HOTMIRROR_HAS_PRIVATE ? HOTMIRROR_PRIVATE :
		     s->q.features & HOTMIRROR_HAS_COHERENT ? HOTMIRROR_COHERENT : 0;

	if (!kind)
		return lacking("neither private nor coherent device memory (arena=)");
	declare(s, names);
	if (plug(s, kind, 64, 1) || start(s, "migrator", 0, ping) ||
	    start(s, "device-reader", 1, device_reader))
		failed = 1;
	return join(s, 0);
}

/* ---- unplug: device memory goes away while it is mapped, mirrored, read and pinned ---- */

#define PIN_NS	(20 * MSEC)

/* Ends when the memory is gone: then it gets what a CPU would. */
static int reader_until_gone(struct scene *s, struct worker *w)
{
	unsigned int i = w - s->workers;
	char c;
	int ret;

	do {
		ret = hm_read(s->fd[0], page_of(s, i++), &c, 1);
		if (!ret)
			add(s, "device_reads", 1);
	} while (!ret && !failed);
	if (ret != -EFAULT)
		return check("READ of memory that goes away", ret);
	add(s, "device_efaults", 1);
	return 0;
}

/* Another owner of references, who lets go only a while after unplug waits for it. */
static int pin_holder(struct scene *s, struct worker *w)
{
	struct hotmirror_status st = {};
	long long deadline = hm_deadline(HM_LIMIT_MS);

	(void)w;
	do {
		if (check("status", hm_status(s->control, s->dax, &st)))
			return -1;
		hm_pause();
	} while (st.state < HOTMIRROR_DRAINING && hm_left(deadline));
	spend(PIN_NS);
	add(s, "held_ns", PIN_NS);
	return check("UNPIN", hm_unpin(s->fd[0], s->pin));
}

static int gone_for_the_cpu(struct scene *s)
{
	char c;

	if (hm_cpu_read(s->mem, &c, 1) == SIGBUS)
		return 0;
	fprintf(stderr, "hotmirror_scenario: unplugged memory can still be read\n");
	return failed = 1;
}

static int unplug_once(struct scene *s)
{
	size_t length = s->pages * s->page;
	int fd = hm_open(s->dax), range_ok, first = s->nr_workers;
	__u32 range;

	if (check("opening the dax instance", fd) < 0)
		return -1;
	s->mem = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (check("mmap", s->mem == MAP_FAILED ? -errno : 0))
		return -1;
	hm_fill(s->mem, length, s->dax);
	range_ok = !check("MIRROR", hm_mirror(s->fd[0], s->mem, length, 0, &range)) &&
		   !check("PIN", hm_pin(s->fd[0], s->mem, s->page, 0, &s->pin, NULL));
	if (range_ok) {
		start(s, "device-reader", 0, reader_until_gone);
		start(s, "device-reader", 1, reader_until_gone);
		start(s, "pin-holder", 2, pin_holder);
		check("UNPLUG", hm_unplug(s->control, s->dax, HOTMIRROR_GONE, HM_LIMIT_MS));
		join(s, first);
		gone_for_the_cpu(s);
		check("UNMIRROR", hm_unmirror(s->fd[0], range));
	}
	s->nr_workers = first;
	munmap(s->mem, length);
	add(s, "unplugs", 1);
	return failed ? -1 : 0;
}

static int unplugger(struct scene *s, struct worker *w)
{
	(void)w;
	while (!over(s)) {
		if (check("PLUG", hm_plug_dax(s->control, s->q.plug_align, s->page, &s->dax)) ||
		    unplug_once(s))
			return -1;
	}
	return 0;
}

static int run_unplug(struct scene *s)
{
	static const char *const names[] = {
		"unplugs", "held_ns", "device_reads", "device_efaults", NULL };

	if (!(s->q.features & HOTMIRROR_HAS_DAX))
		return lacking("no dax device memory (load test_hotmirror with arena=)");
	declare(s, names);
	s->pages = 64;
	/* The mirror is another instance, which stays. */
	if (check("PLUG", hm_plug(s->control, HOTMIRROR_DAX, s->q.plug_align, &s->id)))
		return -1;
	s->fd[0] = hm_open(s->id);
	if (check("opening the instance", s->fd[0]) < 0 || start(s, "unplugger", 3, unplugger))
		failed = 1;
	return join(s, 0);
}

/* ---- uffd: device accesses wait for user space, 1, 5 and 20 ms ---- */

static const unsigned int delays_ms[] = { 1, 5, 20 };

static int uffd_reader(struct scene *s, struct worker *w)
{
	/* Each has a half of the memory, so that no page is awaited twice. */
	unsigned int first = w->cpu * (s->pages / 2), i = 0;
	char c, *p;

	while (!over(s)) {
		p = page_of(s, first + i++ % (s->pages / 2));
		if (check("READ", hm_read(s->fd[0], p, &c, 1)) ||
		    check("MADV_DONTNEED", madvise(p, s->page, MADV_DONTNEED)))
			return -1;
		add(s, "device_reads", 1);
	}
	return 0;
}

static int answer(struct scene *s)
{
	static const char *const names[] = { "faults_1ms", "faults_5ms", "faults_20ms" };
	struct hm_fault fault;
	unsigned int i;

	if (check("the fault", hm_uffd_wait(s->uffd, &fault)))
		return -1;
	i = (fault.addr - (unsigned long)s->mem) / s->page % 3;
	spend(delays_ms[i] * MSEC);
	add(s, names[i], 1);
	return check("UFFDIO_COPY",
		     hm_uffd_copy(s->uffd, (void *)fault.addr, s->buf, s->page));
}

static bool any_runs(const struct scene *s)
{
	for (int i = 0; i < s->nr_workers; i++)
		if (!hm_async_done(&s->workers[i].async))
			return true;
	return false;
}

static int handle_faults(struct scene *s)
{
	struct pollfd fault = { .fd = s->uffd, .events = POLLIN };

	while (any_runs(s))
		if (poll(&fault, 1, 100) > 0 && answer(s))
			return -1;
	return 0;
}

static int run_uffd(struct scene *s)
{
	static const char *const names[] = {
		"device_reads", "faults_1ms", "faults_5ms", "faults_20ms", NULL };
	__u32 kind = hm_any_kind(&s->q);

	if (!kind)
		return lacking("no device memory of any kind");
	declare(s, names);
	s->uffd = hm_uffd_open();
	if (s->uffd < 0)
		return lacking("no userfaultfd for this user in this kernel");
	if (plug(s, kind, 60, 1) ||
	    check("UFFDIO_REGISTER",
		  hm_uffd_register(s->uffd, s->mem, s->pages * s->page, false)))
		return -1;
	hm_fill(s->buf, s->page, 1);
	if (start(s, "device-reader", 0, uffd_reader) ||
	    start(s, "device-reader", 1, uffd_reader))
		return -1;
	return handle_faults(s) || join(s, 0) ? -1 : 0;
}

/* ---- notifier: two mirrors read what three threads protect and drop ---- */

static int mirror_reader(struct scene *s, struct worker *w)
{
	int fd = s->fd[w->cpu];
	char c;

	for (unsigned int i = w - s->workers; !over(s); i += 13) {
		if (check("READ", hm_read(fd, page_of(s, i), &c, 1)))
			return -1;
		add(s, "device_reads", 1);
	}
	return 0;
}

static int protector(struct scene *s, struct worker *w)
{
	unsigned int i = 0;
	char *p;

	(void)w;
	while (!over(s)) {
		/* Two pages that are not touched by the CPU in between. */
		p = page_of(s, i += 2);
		if (check("mprotect", mprotect(p, 2 * s->page, PROT_READ)) ||
		    check("mprotect", mprotect(p, 2 * s->page, PROT_READ | PROT_WRITE)))
			return -1;
		add(s, "mprotects", 2);
	}
	return 0;
}

static int dropper(struct scene *s, struct worker *w)
{
	(void)w;
	for (unsigned int i = 0; !over(s); i += 3) {
		if (check("MADV_DONTNEED", madvise(page_of(s, i), s->page, MADV_DONTNEED)))
			return -1;
		add(s, "dontneeds", 1);
	}
	return 0;
}

static int run_notifier(struct scene *s)
{
	static const char *const names[] = { "device_reads", "mprotects", "dontneeds", NULL };
	__u32 kind = hm_any_kind(&s->q);

	if (!kind)
		return lacking("no device memory of any kind");
	declare(s, names);
	if (plug(s, kind, 256, 2))
		return -1;
	hm_fill(s->mem, s->pages * s->page, 1);
	if (start(s, "mirror-reader", 0, mirror_reader) ||
	    start(s, "mirror-reader", 1, mirror_reader) ||
	    start(s, "protector", 2, protector) || start(s, "dropper", 3, dropper))
		failed = 1;
	return join(s, 0);
}

/* ---- which, and what came of it ---- */

static const struct scenario {
	const char *name;
	const char *scripts;	/* what to observe it with, if nobody says */
	const char *text;
	int (*run)(struct scene *s);
} scenarios[] = {
	{ "pingpong", "migration timeline",
	  "memory migrates to the device and back, by ioctl and by CPU fault", run_pingpong },
	{ "unplug", "unplug_phases timeline_device",
	  "device memory is unplugged while it is mapped, mirrored, read and pinned",
	  run_unplug },
	{ "uffd", "fault_latency timeline",
	  "device accesses wait 1, 5 and 20 ms for a userfaultfd", run_uffd },
	{ "notifier", "retry_storms timeline",
	  "two mirrors read memory that other threads protect and drop", run_notifier },
	{}
};

static void number(const char *name, unsigned long long n, const char *after)
{
	printf("\"%s\":%llu%s", name, n, after);
}

static void report_driver(const struct scene *s)
{
	struct hotmirror_stats sum = {}, one;

	for (int i = 0; i < MAX_FILES; i++) {
		__u64 *to = &sum.populates, *from = &one.populates;

		if (s->fd[i] < 0 || check("STATS", hm_stats(s->fd[i], &one)))
			continue;
		while ((char *)from < (char *)(&one + 1))
			*to++ += *from++;
	}
	number("populates", sum.populates, ",");
	number("retries", sum.retries, ",");
	number("faults", sum.faults, ",");
	number("fault_ns", sum.fault_ns, ",");
	number("invalidates", sum.invalidates, ",");
	number("invalidate_ns", sum.invalidate_ns, ",");
	number("pages_to_dev", sum.pages_to_dev, ",");
	number("pages_to_sys", sum.pages_to_sys, ",");
	number("pages_to_ram", sum.pages_to_ram, "");
}

static void report(const struct scene *s, const struct scenario *what, __u64 begin_ns)
{
	printf("{\"scenario\":\"%s\",", what->name);
	number("ns", now_ns() - begin_ns, ",\"did\":{");
	for (const struct count *c = s->counts; c->name; c++)
		number(c->name, c->n, c[1].name ? "," : "");
	printf("},\"driver\":{");
	report_driver(s);
	printf("},\"threads\":{\"%d\":\"main\"", getpid());
	for (int i = 0; i < s->nr_workers; i++)
		if (s->workers[i].tid)
			printf(",\"%d\":\"%s\"", s->workers[i].tid, s->workers[i].name);
	printf("},\"interrupted\":%s}\n", interrupted ? "true" : "false");
}

static void on_signal(int number)
{
	__atomic_store_n(&interrupted, number, __ATOMIC_RELAXED);
}

static int run(const struct scenario *what, double seconds)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct scene s = { .fd = { -1, -1 }, .uffd = -1 };
	__u64 begin = now_ns();
	int ret;

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	s.page = hm_page_size();
	s.end_ns = begin + seconds * 1e9;
	s.control = hm_control_open();
	if (s.control < 0)
		return lacking("no /dev/hotmirror: load test_hotmirror.ko");
	if (check("QUERY", hm_query(s.control, &s.q)))
		return 1;
	ret = what->run(&s);
	if (ret == 4)
		return 4;
	report(&s, what, begin);
	return ret || failed ? 1 : 0;
}

static int list(void)
{
	for (const struct scenario *what = scenarios; what->name; what++)
		printf("%s\t%s\t%s\n", what->name, what->scripts, what->text);
	return 0;
}

static int complain(void)
{
	fprintf(stderr, "usage: hotmirror_scenario NAME SECONDS, or --list\n"
		"Exit: 0 done, 1 failed, 2 usage, 4 this machine lacks what it needs.\n");
	return 2;
}

int main(int argc, char **argv)
{
	double seconds = argc == 3 ? strtod(argv[2], NULL) : 0;

	if (argc == 2 && !strcmp(argv[1], "--list"))
		return list();
	for (const struct scenario *what = scenarios; what->name; what++)
		if (seconds > 0 && seconds <= 3600 && !strcmp(argv[1], what->name))
			return run(what, seconds);
	return complain();
}
