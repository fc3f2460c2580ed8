// SPDX-License-Identifier: GPL-2.0-only
/*
 * Waits in known numbers and of known length, for observers to be compared with:
 * device accesses that must start again, invalidations that a callback holds up,
 * populates that wait for such an invalidation, userfaults.
 *
 * A process of its own (the target) mirrors a region of its memory and lets named
 * threads meet there, at gates and in userfaultfd. What observers must have seen is
 * counted under the name and the key of the map that has it. One line each way:
 *
 *	-> TARGET <pid> <start> <end> <id>	ready: observe this process and region
 *	<- any line				all observers are ready: go
 *	-> REPORT <json>			what was done, what the driver says
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "actor.h"
#include "dev.h"
#include "gate.h"
#include "known.h"
#include "mem.h"
#include "tally.h"
#include "task.h"
#include "uffd.h"

#define ONE_PASS_PAGES	48
#define TWO_PASS_PAGES	16
#define REGION_PAGES	(ONE_PASS_PAGES + TWO_PASS_PAGES)
#define HOLD_NS		250000000ULL	/* of an invalidation: above the threshold */
#define STALL_NS	30000000ULL
#define LOST_NS		5000000ULL	/* at least, from an invalidation to the next attempt */
#define NR(array)	(sizeof(array) / sizeof(*(array)))

struct target {
	struct tally *tally;
	char *mem;
	size_t page;
	unsigned int used;	/* pages of the one-pass range that steps have taken */
	unsigned int used_two;
	__u32 id;
	int fd;
	int kvm;		/* a virtual machine: a subscriber of the other kind */
	bool two_pass;
};

/* ---- what happens to the memory, and who is called back for it ---- */

/* One invalidation of pages of one range. */
static void called_back(struct target *t, const char *event, bool two_pass)
{
	if (two_pass) {
		tally_add(t->tally, "callbacks", 1, "hotmirror_invalidate_start,%s", event);
		tally_add(t->tally, "callbacks", 1, "hotmirror_invalidate_finish,%s", event);
	} else {
		tally_add(t->tally, "callbacks", 1, "hotmirror_invalidate,%s", event);
	}
	if (t->kvm >= 0)
		tally_add(t->tally, "callbacks", 1,
			  "kvm_mmu_notifier_invalidate_range_start,%s", event);
}

static char *take_page(struct target *t)
{
	char *p = t->mem + t->used++ * t->page;

	return t->used > ONE_PASS_PAGES ? NULL : p;
}

/* The first page that the two-pass range has left. */
static char *take_page_two(struct target *t)
{
	return t->mem + (ONE_PASS_PAGES + t->used_two++) * t->page;
}

static long do_read(struct actor *a)
{
	char c;

	return hm_read(a->t->fd, a->p, &c, 1);
}

static long do_write(struct actor *a)
{
	char c = 1;

	return hm_write(a->t->fd, a->p, &c, 1);
}

static long do_discard(struct actor *a)
{
	return madvise(a->p, a->t->page, MADV_DONTNEED);
}

/* To and fro: each is an invalidation. */
static long do_protect(struct actor *a)
{
	return mprotect(a->p, a->t->page, a->times & 1 ? PROT_READ : PROT_READ | PROT_WRITE);
}

/* ---- accesses that must start again ---- */

/* Before and after, never beside: a mirror that was invalidated is no race. */
static long do_calm(struct actor *a)
{
	for (a->times = 1; a->times <= 10; a->times++)
		if (do_read(a) || do_protect(a))
			return -1;
	return 0;
}

static int calm(struct target *t)
{
	struct actor a = { .name = "hm_calm", .run = do_calm, .p = take_page(t) };

	*a.p = 1;
	if (actor_do(&a, t))
		return -1;
	for (int i = 0; i < 10; i++)
		called_back(t, "PROTECTION_VMA", false);
	return 0;
}

static const struct storm {
	const char *culprit;
	long (*strike)(struct actor *a);
	const char *event;
	unsigned int times;	/* attempts of one access that are spoiled */
} storms[] = {
	{ "hm_protect", do_protect, "PROTECTION_VMA", 1 },
	{ "hm_protect", do_protect, "PROTECTION_VMA", 3 },
	{ "hm_discard", do_discard, "CLEAR", 1 },
};

/* The culprit strikes while the victim stands between its walk and the driver lock. */
static int strike(struct target *t, const struct storm *s, int gate, char *p, unsigned int nth)
{
	struct actor culprit = { .name = s->culprit, .run = s->strike, .p = p, .times = nth };
	__u64 begin;

	if (check_ret(hm_gate_wait(gate, HM_LIMIT_MS), "wait for the victim"))
		return -1;
	if (actor_do(&culprit, t))
		return -1;
	begin = now_ns();
	hold_until(begin + LOST_NS);
	tally_time(t->tally, "lost", now_ns() - begin, 0, "hm_victim");
	tally_add(t->tally, "retries", 1, "hm_victim,%s,%s", s->culprit, s->event);
	called_back(t, s->event, false);
	return check_ret(hm_gate_release(gate), "release the victim");
}

static int storm(struct target *t, const struct storm *s)
{
	struct actor victim = { .name = "hm_victim", .run = do_read, .p = take_page(t) };
	int gates[8];

	*victim.p = 1;
	if (actor_start(&victim, t))
		return -1;
	for (unsigned int i = 0; i < s->times; i++) {
		struct hm_gate_arm how = { .tid = victim.thread.tid, .nth = i + 1 };

		gates[i] = hm_gate_open(t->fd, HOTMIRROR_GATE_POPULATE_FAULTED, 0);
		if (check_ret(gates[i], "gate") || check_ret(hm_gate_arm(gates[i], &how), "arm"))
			return -1;
	}
	if (actor_go(&victim))
		return -1;
	for (unsigned int i = 0; i < s->times; i++)
		if (strike(t, s, gates[i], victim.p, i + 1))
			return -1;
	if (actor_join(&victim))
		return -1;
	tally_time(t->tally, "lost", 0, victim.end - victim.begin, "hm_victim");
	for (unsigned int i = 0; i < s->times; i++)
		close(gates[i]);
	return 0;
}

/* The fault that a write takes on the zero page invalidates what the walk had seen. */
static int by_itself(struct target *t)
{
	struct actor a = { .name = "hm_victim", .run = do_read, .p = take_page(t) };

	if (actor_do(&a, t))
		return -1;
	a.run = do_write;
	if (actor_do(&a, t))
		return -1;
	tally_time(t->tally, "lost", 0, a.end - a.begin, "hm_victim");
	tally_add(t->tally, "retries", 1, "hm_victim,itself,CLEAR");
	called_back(t, "CLEAR", false);
	return 0;
}

/* ---- callbacks that take long, and who waits for them ---- */

static const struct hold {
	__u32 gate;
	bool two_pass;
	bool waiter;		/* the mirror's sequence is set: a populate must wait */
	const char *function;
} holds[] = {
	{ HOTMIRROR_GATE_INVALIDATE_ENTER, false, false, "hotmirror_invalidate" },
	{ HOTMIRROR_GATE_INVALIDATE_DONE, false, true, "hotmirror_invalidate" },
	{ HOTMIRROR_GATE_INVALIDATE_BETWEEN, true, false, "hotmirror_invalidate_start" },
	{ HOTMIRROR_GATE_INVALIDATE_CLEARED, true, false, "hotmirror_invalidate_finish" },
};

/* Wait until the thread is asleep in a function of the kernel. */
static int wait_asleep_in(pid_t tid, const char *function)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	char path[64], stack[4096];

	snprintf(path, sizeof(path), "/proc/self/task/%d/stack", tid);
	while (hm_left(deadline) > 0) {
		if (hm_task_state(tid) == 'D' && hm_slurp(path, stack, sizeof(stack)) > 0 &&
		    strstr(stack, function))
			return 0;
		hm_pause();
	}
	errno = ETIMEDOUT;
	return check(0, function);
}

/* While the callback is held: somebody wants to populate. */
static int held(struct target *t, const struct hold *h, int gate, struct actor *waiter)
{
	__u64 begin = now_ns(), asleep = 0;

	if (h->waiter) {
		if (actor_go(waiter) ||
		    wait_asleep_in(waiter->thread.tid, "mmu_interval_read_begin"))
			return -1;
		asleep = now_ns();
	}
	hold_until(begin + HOLD_NS);
	if (h->waiter)
		tally_time(t->tally, "wait", now_ns() - asleep, 0, "hm_waiter");
	tally_time(t->tally, "slow", now_ns() - begin, 0, "%s", h->function);
	return check_ret(hm_gate_release(gate), "release the callback");
}

static int hold(struct target *t, const struct hold *h)
{
	struct actor slow = { .name = "hm_slow", .run = do_discard };
	struct actor waiter = { .name = "hm_waiter", .run = do_read };
	int gate = hm_gate_open(t->fd, h->gate, 0);

	slow.p = h->two_pass ? take_page_two(t) : take_page(t);
	waiter.p = take_page(t);
	*slow.p = *waiter.p = 1;
	/* Nobody starts a thread while the callback is held: that needs mmap_lock. */
	if (check_ret(gate, "gate") || actor_start(&slow, t) ||
	    (h->waiter && actor_start(&waiter, t)) ||
	    check_ret(hm_gate_arm_tid(gate, slow.thread.tid), "arm") || actor_go(&slow) ||
	    check_ret(hm_gate_wait(gate, HM_LIMIT_MS), "wait for the callback") ||
	    held(t, h, gate, &waiter) || actor_join(&slow) ||
	    (h->waiter && actor_join(&waiter)))
		return -1;
	close(gate);
	tally_add(t->tally, "slow_calls", 1, "hm_slow,%s,CLEAR", h->function);
	tally_time(t->tally, "slow", 0, slow.end - slow.begin, "%s", h->function);
	called_back(t, "CLEAR", h->two_pass);
	if (!h->waiter)
		return 0;
	tally_add(t->tally, "waits", 1, "hm_waiter,hm_slow,CLEAR");
	tally_time(t->tally, "wait", 0, waiter.end - waiter.begin, "hm_waiter");
	return 0;
}

/* ---- userfaults ---- */

static long do_touch(struct actor *a)
{
	for (unsigned int i = 0; i < a->times; i++)
		if (hm_cpu_touch(a->p + i * a->t->page))
			return -EFAULT;
	return 0;
}

static long do_device_reads(struct actor *a)
{
	char c;

	for (unsigned int i = 0; i < a->times; i++)
		if (hm_read(a->t->fd, a->p + i * a->t->page, &c, 1))
			return -EFAULT;
	return 0;
}

/* Any mapped memory will do as contents: the first page of the region. */
static long resolve(struct actor *a, int (*how)(struct actor *a, void *p))
{
	struct hm_fault fault;

	for (unsigned int i = 0; i < a->times; i++) {
		__u64 seen;

		if (hm_uffd_wait(a->uffd, &fault))
			return -1;
		seen = now_ns();
		hold_until(seen + STALL_NS);
		tally_time(a->t->tally, "stall", now_ns() - seen, 0, "all");
		if (how(a, (void *)fault.addr))
			return -1;
	}
	return 0;
}

static int copy_page(struct actor *a, void *p)
{
	return hm_uffd_copy(a->uffd, p, a->t->mem, a->t->page);
}

static int zero_page(struct actor *a, void *p)
{
	return hm_uffd_zero(a->uffd, p, a->t->page);
}

static long do_copy(struct actor *a)
{
	return resolve(a, copy_page);
}

static long do_zero(struct actor *a)
{
	return resolve(a, zero_page);
}

static const struct stall {
	struct actor stalled, handler;
	const char *ioctl;
} stalls[] = {
	{ { .name = "hm_cpu", .run = do_touch, .times = 3 },
	  { .name = "hm_copier", .run = do_copy, .times = 3 }, "COPY" },
	{ { .name = "hm_device", .run = do_device_reads, .times = 2 },
	  { .name = "hm_zeroer", .run = do_zero, .times = 2 }, "ZEROPAGE" },
};

/* Pages that are missing and belong to a userfaultfd of their own. */
static int missing(struct target *t, unsigned int pages, char **p)
{
	int uffd = hm_uffd_open();

	*p = t->mem + t->used * t->page;
	t->used += pages;
	if (check_ret(uffd, "userfaultfd") ||
	    check_ret(hm_uffd_register(uffd, *p, pages * t->page, false), "UFFDIO_REGISTER"))
		return -1;
	return uffd;
}

static int stall(struct target *t, const struct stall *s)
{
	struct actor stalled = s->stalled, handler = s->handler;
	int uffd = missing(t, stalled.times, &stalled.p);

	handler.uffd = uffd;
	if (uffd < 0 || actor_start(&stalled, t) || actor_start(&handler, t) ||
	    actor_go(&handler) || actor_go(&stalled) ||
	    actor_join(&stalled) || actor_join(&handler))
		return -1;
	close(uffd);
	tally_add(t->tally, "stalls", stalled.times, "%s,%d", stalled.name,
		  stalled.thread.tid);
	tally_add(t->tally, "handled", handler.times, "%s,%d,%s", handler.name,
		  handler.thread.tid, s->ioctl);
	tally_time(t->tally, "stall", 0, stalled.end - stalled.begin, "all");
	return 0;
}

static void no_op(int sig)
{
	(void)sig;
}

static long do_interrupted(struct actor *a)
{
	char c;

	return hm_read(a->t->fd, a->p, &c, 1) == -EINTR ? 0 : -1;
}

/* A signal, not a handler, ends this one. */
static int interrupt(struct target *t)
{
	struct actor a = { .name = "hm_signalled", .run = do_interrupted };
	struct sigaction action = { .sa_handler = no_op };
	struct hm_fault fault;
	int uffd = missing(t, 1, &a.p);
	__u64 seen;

	if (uffd < 0 || check(!sigaction(SIGUSR1, &action, NULL), "sigaction") ||
	    actor_start(&a, t) || actor_go(&a) ||
	    check_ret(hm_uffd_wait(uffd, &fault), "wait for the fault"))
		return -1;
	seen = now_ns();
	hold_until(seen + STALL_NS);
	tally_time(t->tally, "stall", now_ns() - seen, 0, "all");
	if (check(!pthread_kill(a.thread.thread, SIGUSR1), "pthread_kill") || actor_join(&a))
		return -1;
	close(uffd);
	tally_add(t->tally, "stalls", 1, "%s,%d", a.name, a.thread.tid);
	tally_add(t->tally, "interrupted", 1, "%s,%d", a.name, a.thread.tid);
	tally_time(t->tally, "stall", 0, a.end - a.begin, "all");
	return 0;
}

/* ---- the target ---- */

static int run_steps(struct target *t)
{
	if (calm(t))
		return -1;
	for (size_t i = 0; i < NR(storms); i++)
		if (storm(t, &storms[i]))
			return -1;
	if (by_itself(t))
		return -1;
	for (size_t i = 0; i < NR(holds); i++)
		if (holds[i].two_pass <= t->two_pass && hold(t, &holds[i]))
			return -1;
	for (size_t i = 0; i < NR(stalls); i++)
		if (stall(t, &stalls[i]))
			return -1;
	return interrupt(t);
}

/* The end of the process: release, then unmap of it all, when KVM is no more told. */
static void tally_exit(struct target *t)
{
	static const char * const events[] = { "RELEASE", "UNMAP" };
	int kvm = t->kvm;

	t->kvm = -1;
	for (int i = 0; i < 2; i++) {
		called_back(t, events[i], false);
		if (t->two_pass)
			called_back(t, events[i], true);
	}
	if (kvm >= 0)
		tally_add(t->tally, "callbacks", 1, "kvm_mmu_notifier_release,RELEASE");
}

/* A virtual machine without memory or processors, -1 where there is no KVM. */
static int make_vm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		return -1;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	close(kvm);
	return vm;
}

static int target_main(struct hm_parent *parent, void *arg)
{
	struct target *t = arg;
	size_t one = ONE_PASS_PAGES * hm_page_size(), two = TWO_PASS_PAGES * hm_page_size();

	t->page = hm_page_size();
	t->mem = hm_map(REGION_PAGES);
	t->fd = hm_open(t->id);
	if (check(!!t->mem, "memory") || check_ret(t->fd, "the device") ||
	    check_ret(hm_mirror(t->fd, t->mem, one, 0, NULL), "MIRROR") ||
	    (t->two_pass && check_ret(hm_mirror(t->fd, t->mem + one, two,
						HOTMIRROR_MIRROR_TWO_PASS, NULL), "MIRROR")))
		return 1;
	t->kvm = make_vm();
	hm_tell(parent, t->fd);
	hm_tell(parent, (long)t->mem);
	hm_hear(parent);
	if (run_steps(t))
		return 1;
	tally_exit(t);
	return 0;
}

/* ---- the parent ---- */

static __u32 plug(int control, struct target *t)
{
	struct hotmirror_query q;
	__u32 kind, id;

	must("QUERY", hm_query(control, &q));
	t->two_pass = q.features & HOTMIRROR_HAS_TWO_PASS;
	kind = hm_any_kind(&q);
	if (!kind || !(q.features & HOTMIRROR_HAS_GATES)) {
		fprintf(stderr, "no device memory or no gates: boot with memmap=SIZE$START and "
			"load test_hotmirror with arena=SIZE@START\n");
		exit(4);
	}
	must("PLUG", hm_plug(control, kind, q.plug_align, &id));
	return id;
}

static void report(const struct target *t, const struct hotmirror_stats *s)
{
	printf("REPORT {\"expected\":");
	tally_print(t->tally);
	printf(",\"driver\":{\"invalidates\":%llu,\"retries\":%llu,",
	       s->invalidates, s->retries);
	printf("\"faults\":%llu,\"populates\":%llu}}\n", s->faults, s->populates);
}

static int run(void)
{
	struct target t = { .fd = -1, .kvm = -1, .tally = tally_new() };
	struct hotmirror_stats stats;
	struct hm_child child;
	int control, fd;

	control = must("/dev/hotmirror", hm_control_open());
	t.id = plug(control, &t);
	fd = target_start(&child, target_main, &t, REGION_PAGES * hm_page_size(), t.id);
	must("target", hm_child_tell(&child, 0));
	target_wait(&child);
	must("STATS", hm_stats(fd, &stats));
	must("UNPLUG", hm_unplug(control, t.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	report(&t, &stats);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		bool help = !strcmp(argv[1], "--help");

		fprintf(help ? stdout : stderr,
			"usage: hotmirror_waits < go-line\n"
			"Prints TARGET <pid> <start> <end> <id>, waits for a line, lets threads wait\n"
			"for each other on an instance of test_hotmirror, prints REPORT <json>.\n"
			"Exit: 0 done, 1 failed, 2 usage, 4 no usable device memory.\n");
		return help ? 0 : 2;
	}
	return run();
}
