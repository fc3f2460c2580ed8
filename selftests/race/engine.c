// SPDX-License-Identifier: GPL-2.0-only
/*
 * The race itself: one schedule, from its gates to the verdict.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../lib/gate.h"
#include "../lib/mem.h"
#include "../lib/task.h"
#include "orders.h"
#include "session.h"

/* One look at whether B is blocked; it is woken earlier by B's end. */
#define LOOK_MS		1
/*
 * An operation that has used so much of a CPU waits for somebody who stands at a gate,
 * without sleep: a fault that finds its page locked, for one, is simply taken again.
 */
#define SPIN_NS		(300LL * 1000 * 1000)
/* A hit is held no longer, whatever happens to us. */
#define HOLD_NS		(20ULL * 1000 * HM_MSEC)

static bool exits(const struct race_schedule *s, int side)
{
	return s->op[side]->flags & OP_EXITS;
}

/* One schedule under way. */
struct racing {
	struct race_engine *e;
	const struct race_schedule *s;
	struct race_result *result;
	int gate[RACE_GATES];
	bool died;
	__u32 entries[RACE_PAGES];	/* of the device page table, when it began */
};

static const struct race_hold *hold_of(const struct racing *r, int side, int *nr)
{
	for (*nr = 0; *nr < r->s->gates; ++*nr)
		if (r->s->hold[*nr].side == side)
			return &r->s->hold[*nr];
	return NULL;
}

static int fail(struct racing *r, const char *why)
{
	r->result->verdict = RACE_FAIL;
	if (!r->result->why[0])
		snprintf(r->result->why, sizeof(r->result->why), "%s", why);
	return -1;
}

static pid_t tid_of(const struct racing *r, int side)
{
	return r->e->sh->worker[race_worker_of(r->s, side)].tid;
}

/* A worker of the kernel stands there in the side's stead. */
static bool of_worker(const struct racing *r, const struct race_hold *hold)
{
	return hold->gate->flags & GATE_ANY_TASK && r->s->op[hold->side]->flags & OP_UNPLUGS;
}

/*
 * A worker or a child may. Of several gates only a worker's may be anybody's, or one side
 * would stand at another's.
 */
static bool any_task(const struct racing *r, const struct race_hold *hold)
{
	return of_worker(r, hold) || (hold->gate->flags & GATE_ANY_TASK && r->s->gates == 1);
}

static int arm(struct racing *r)
{
	for (int i = 0; i < r->s->gates; i++) {
		const struct race_hold *hold = &r->s->hold[i];
		struct hm_gate_arm how = {
			.tid = any_task(r, hold) ? 0 : tid_of(r, hold->side),
			.flags = HOTMIRROR_GATE_ALLOW_EXIT,
			.nth = 1,
			.timeout_ns = HOLD_NS,
		};
		int ret;

		r->gate[i] = -1;
		if (hold->gate->flags & GATE_UFFD)
			continue;
		r->gate[i] = race_session_gate(r->e, r->s, hold);
		ret = r->gate[i] < 0 ? r->gate[i] : hm_gate_arm(r->gate[i], &how);
		if (ret) {
			snprintf(r->result->why, sizeof(r->result->why), "%s: %s", hold->gate->name,
				 ret == -ENXIO ? "no function of this kernel, or inlined" :
				 strerror(-ret));
			return ret;
		}
	}
	return 0;
}

/* The task to look at: that of the side, or a child that it waits for. */
static enum race_sleep asleep(struct racing *r, int side, const char **where)
{
	struct race_worker *w = &r->e->sh->worker[race_worker_of(r->s, side)];
	enum race_sleep sleep = race_asleep(w->tid, where);

	if (sleep == RACE_UNKNOWN && w->proxy)
		sleep = race_asleep(w->proxy, where);
	return sleep;
}

/* Where a side got to. */
enum got { AT_GATE, DONE, BLOCKED };

static enum got blocked(struct racing *r, const char *where)
{
	snprintf(r->result->blocked, sizeof(r->result->blocked), "%s", where);
	return BLOCKED;
}

/*
 * Until the side stands at its gate, is done, or is blocked by somebody who stands at one.
 * Its page faults are resolved unless one of them is its gate, or somebody is held: then
 * it is blocked there. -ESRCH: the target is dead; -ETIMEDOUT.
 */
static int run_side(struct racing *r, int side, const struct race_hold *hold, int gate)
{
	struct race_engine *e = r->e;
	bool uffd = hold && hold->gate->flags & GATE_UFFD;
	bool serve = !side && !uffd;
	struct pollfd p[] = {
		{ .fd = uffd ? e->uffd : gate, .events = POLLIN },
		{ .fd = e->sh->worker[race_worker_of(r->s, side)].done, .events = POLLIN },
		{ .fd = e->pidfd, .events = POLLIN },
		{ .fd = serve ? e->uffd : -1, .events = POLLIN },
	};
	long long deadline = hm_deadline(RACE_LIMIT_MS), begin = race_cpu_ns(tid_of(r, side));
	const char *where = NULL;
	bool done = false;

	while (hm_left(deadline)) {
		poll(p, 4, LOOK_MS);
		if (p[0].revents & POLLIN)
			return AT_GATE;
		if (p[0].revents)
			p[0].fd = -1;		/* opened for good */
		/* Whoever asked for a state may know of it before the worker is at the gate. */
		if (p[1].revents) {
			done = true;
			p[1].fd = -1;
		}
		if (done && (p[0].fd < 0 || !(hold && of_worker(r, hold))))
			return DONE;
		if (p[2].revents)
			return -ESRCH;
		if (p[3].revents)
			race_resolve(e);
		else if ((side || !hold) && asleep(r, side, &where) == RACE_BLOCKED)
			return blocked(r, where);
		else if (side && race_cpu_ns(tid_of(r, side)) - begin > SPIN_NS)
			return blocked(r, "spinning");
	}
	return -ETIMEDOUT;
}

/* ---- what a callback has done: claim S2, entry by entry ---- */

static bool read_entries(struct racing *r, __u32 *entries)
{
	const struct race_area *area = &r->e->sh->area;

	return hm_entries(r->e->fd[RACE_DEVICE], area->sample, area->pages * hm_page_size(),
			  entries) >= 0;
}

/* Before the callback returns all that it names is cleared, and nothing beside it. */
static const char *wrong_entry(const struct racing *r, const struct race_gate *gate, int page,
			       __u32 entry)
{
	const struct race_area *area = &r->e->sh->area;
	bool named = page >= area->b_first && page < area->b_first + area->b_pages;
	bool returns = gate->flags & GATE_CALLED;

	if (named && returns)
		return entry ? "the callback left an entry that it names" : NULL;
	return entry == r->entries[page] ? NULL : "an entry went that no callback names";
}

/* Where it is known which pages are named, and the driver lock is free. */
static bool can_check_entries(const struct racing *r, const struct race_hold *hold)
{
	unsigned int gate = hold->gate->flags, op = r->s->op[hold->side]->flags;

	if (r->e->options.no_entries || !(gate & GATE_WARM) || gate & GATE_LOCKED)
		return false;
	/* A PMD is split or called back for as a whole; mremap() unmaps its target first. */
	return op & OP_NAMED && !(gate & GATE_CORE && op & OP_MOVES) &&
	       r->e->sh->area.length < r->e->q.pmd_size;
}

static int check_entries(struct racing *r, const struct race_hold *hold)
{
	const struct race_gate *gate = hold->gate;
	__u32 now[RACE_PAGES];

	if (!can_check_entries(r, hold) || !read_entries(r, now))
		return 0;
	for (int i = 0; i < r->e->sh->area.pages; i++) {
		const char *wrong = wrong_entry(r, gate, i, now[i]);
		char why[128];

		if (!wrong)
			continue;
		snprintf(why, sizeof(why), "%s: page %d, at %s, %#x was %#x", wrong, i,
			 gate->name, now[i], r->entries[i]);
		return fail(r, why);
	}
	return 0;
}

/* The target's, and who does a side's work for it. */
static void show_tasks(struct racing *r, int side)
{
	pid_t proxy = r->e->sh->worker[race_worker_of(r->s, side)].proxy;

	hm_show_tasks(r->e->target);
	if (proxy)
		hm_show_tasks(proxy);
}

/* 0; 1: there is no race, because A never came to its gate; -1: failed. */
static int start_side(struct racing *r, int side)
{
	const struct race_hold *hold;
	int nr, ret;

	race_go(r->e, r->s, side);
	hold = hold_of(r, side, &nr);
	ret = run_side(r, side, hold, hold ? r->gate[nr] : -1);
	if (ret == -ESRCH && exits(r->s, side))
		return 0;
	if (ret == -ESRCH)
		return fail(r, "the target died");
	if (ret == -ETIMEDOUT) {
		show_tasks(r, side);
		return fail(r, hold ? "neither at its gate nor done: see the stacks" :
			    "unknown wait: asleep at no wait point of the list, see the stacks");
	}
	/* What is wrong already is told in the end; the race goes on, to be cleared away. */
	if (ret == AT_GATE && !side)
		check_entries(r, hold);
	if (side || !hold || ret != DONE)
		return 0;
	r->result->verdict = RACE_UNREACHABLE;
	return 1;
}

static void open_gates(struct racing *r)
{
	for (int i = 0; i < r->s->gates; i++) {
		if (r->gate[i] >= 0)
			hm_gate_release(r->gate[i]);
		race_resolve(r->e);
	}
}

/* All sides come to an end once nothing is held. */
static int join_all(struct racing *r, int started)
{
	for (int side = 0; side < started; side++) {
		int ret = race_join(r->e, r->s, side, RACE_LIMIT_MS);

		if (ret == -ESRCH)
			r->died = true;
		if (ret == -ETIMEDOUT) {
			hm_show_tasks(r->e->target);
			return fail(r, "deadlock: nothing is held and it does not end");
		}
	}
	for (int side = 0; side < started; side++)
		if (exits(r->s, side))
			return r->died ? 0 : fail(r, "the target did not exit");
	return r->died ? fail(r, "the target died") : 0;
}

/* Entries that the CPU page table does not justify, when all is over. */
static void verify(struct racing *r)
{
	for (int i = 0; i < 2 && !r->e->options.no_verify && !r->died; i++) {
		struct hotmirror_verify v = {};
		int ret = r->e->fd[i] < 0 || r->e->sh->range[i] == RACE_NONE ? -ENODEV :
			  hm_verify(r->e->fd[i], &v);

		r->result->verify_unsure |= ret == -EAGAIN || ret == -ETIMEDOUT;
		if (!ret && v.stale) {
			char why[128];

			snprintf(why, sizeof(why), "%llu stale entries, the first of page %lld",
				 (unsigned long long)v.stale,
				 (long long)((char *)v.first - r->e->sh->area.sample) /
				 (long long)hm_page_size());
			fail(r, why);
		}
	}
}

static void accuse(const char *line, void *arg)
{
	char why[300];

	snprintf(why, sizeof(why), "kernel: %s", line);
	fail(arg, why);
}

static void read_log(struct racing *r)
{
	if (!r->e->options.no_log && r->e->log.fd >= 0 &&
	    hm_log_read(&r->e->log, accuse, r) == -EPIPE)
		fail(r, "the kernel log overran: cannot judge it");
}

static void nothing_left(struct racing *r)
{
	struct hotmirror_query q;
	char why[128];

	if (hm_query(r->e->control, &q))
		return;
	if (q.pages_used == r->e->q.pages_used && q.pins == r->e->q.pins &&
	    q.ranges == r->e->q.ranges)
		return;
	snprintf(why, sizeof(why), "left behind: %lld device pages, %d pins, %d ranges",
		 (long long)(q.pages_used - r->e->q.pages_used), (int)(q.pins - r->e->q.pins),
		 (int)(q.ranges - r->e->q.ranges));
	fail(r, why);
}

static int explained(struct racing *r, const struct race_orders *orders)
{
	struct race_result *result = r->result;

	return race_judge(r->s, &result->outcome, r->e->options.sabotage, orders->order, orders->nr,
			  result->why, sizeof(result->why));
}

static void judge(struct racing *r, struct race_orders *orders)
{
	struct race_result *result = r->result;

	if (r->e->options.no_order || result->verdict != RACE_PASS)
		return;
	result->took = explained(r, orders);
	if (result->took < 0 && !orders->all &&
	    !race_orders_more(r->e, r->s, orders, result->why, sizeof(result->why)))
		result->took = explained(r, orders);
	if (result->took < 0)
		result->verdict = RACE_FAIL;
	else
		result->why[0] = '\0';
}

static void give_up(struct racing *r)
{
	if (race_session_kill(r->e)) {
		r->result->verdict = RACE_LOST;
		strncat(r->result->why, "; and the target cannot be killed",
			sizeof(r->result->why) - strlen(r->result->why) - 1);
	}
	race_session_replace(r->e);
}

/* The device, and whose memory it is. These files are not to be used again. */
static void sabotage(struct racing *r)
{
	struct race_engine *e = r->e;

	if (!e->options.sabotage)
		return;
	hm_sabotage(e->fd[RACE_DEVICE], e->options.sabotage);
	if (r->s->memory->flags & MEM_DAX)
		hm_sabotage(e->fd[RACE_DAX], e->options.sabotage);
	e->reopen = true;
}

static void race(struct racing *r, struct race_orders *orders)
{
	int side = 0, ret;

	read_entries(r, r->entries);
	ret = arm(r);
	if (ret) {
		r->result->verdict = ret == -ENXIO || ret == -EOPNOTSUPP ? RACE_SKIP : RACE_FAIL;
		race_finish(r->e, r->s, false, &r->result->outcome);
		return;
	}
	sabotage(r);
	while (side < r->s->sides && !(ret = start_side(r, side)))
		side++;
	open_gates(r);
	if (ret >= 0)
		ret = join_all(r, side < r->s->sides ? side + 1 : side);
	if (ret < 0) {
		give_up(r);
		return;
	}
	verify(r);
	if (race_finish(r->e, r->s, r->died, &r->result->outcome)) {
		fail(r, "it cannot be cleared away");
		give_up(r);
		return;
	}
	nothing_left(r);
	judge(r, orders);
}

static long microseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

/* A skip where something is missing, a failure where it went wrong. */
static void not_begun(struct race_result *result, int ret)
{
	result->verdict = ret == -EOPNOTSUPP ? RACE_SKIP : RACE_FAIL;
}

void race_engine_run(struct race_engine *e, const struct race_schedule *s,
		     struct race_result *result)
{
	struct racing r = { .e = e, .s = s, .result = result };
	struct race_orders *orders;
	long begin;
	int ret;

	*result = (struct race_result){ .took = -1 };
	orders = race_orders(e, s, result->why, sizeof(result->why), &ret);
	if (!orders) {
		if (ret == -ETIMEDOUT && !result->why[0])
			snprintf(result->why, sizeof(result->why), "a sequential run does not end");
		not_begun(result, ret);
		if (result->verdict == RACE_FAIL)
			give_up(&r);
		if (race_known(s, result))
			result->verdict = RACE_XFAIL;
		return;
	}
	begin = microseconds();
	ret = race_begin(e, s, result->why, sizeof(result->why));
	if (ret) {
		not_begun(result, ret);
		give_up(&r);
		return;
	}
	race(&r, orders);
	read_log(&r);
	if (result->verdict == RACE_FAIL && race_known(s, result))
		result->verdict = RACE_XFAIL;
	result->us = microseconds() - begin;
}

struct race_engine *race_engine_start(const struct race_options *options, char *why, size_t size)
{
	struct race_engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->options = *options;
	if (race_session_start(e, why, size)) {
		free(e);
		return NULL;
	}
	if (hm_log_begin(&e->log, "hotmirror_race") < 0)
		e->log.fd = -1;
	return e;
}

void race_engine_set(struct race_engine *e, const struct race_options *options)
{
	e->options = *options;
}

bool race_engine_may_sabotage(const struct race_engine *e)
{
	return e->q.features & HOTMIRROR_HAS_SABOTAGE;
}

int race_engine_end(struct race_engine *e, char *why, size_t size)
{
	struct hotmirror_query before = e->q;
	int control, ret;

	race_session_end(e);
	free(e);
	control = hm_control_open();
	/* Our control file stands for the one that was open at the start. */
	ret = control < 0 ? control : hm_settle(control, before.controls + before.devices +
						before.files + before.ranges + before.pins,
						0, RACE_LIMIT_MS);
	if (ret)
		snprintf(why, size, "objects of the module are left: %s", strerror(-ret));
	close(control);
	return ret;
}
