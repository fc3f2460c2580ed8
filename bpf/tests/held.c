// SPDX-License-Identifier: GPL-2.0-only
#include <unistd.h>

#include "dev.h"
#include "gate.h"
#include "held.h"
#include "known.h"
#include "mem.h"
#include "task.h"

/*
 * Somebody who touches a page on its way. His thread is there before: a migration at a
 * gate holds mmap_lock, and a new thread needs a stack.
 */
struct passer_by {
	struct hm_async async;
	char *page;
	int go[2];
	bool going;
};

static long passer_by_main(void *arg)
{
	struct passer_by *who = arg;
	char c;

	if (read(who->go[0], &c, 1) != 1)
		return -1;
	__atomic_store_n(&who->going, true, __ATOMIC_RELEASE);
	return hm_cpu_touch(who->page);
}

static int passer_by_start(struct passer_by *who, char *page)
{
	*who = (struct passer_by) { .page = page };
	return check(!pipe(who->go), "pipe") ?:
	       check_ret(hm_async_start(&who->async, passer_by_main, who), "thread");
}

static int passer_by_meets(struct passer_by *who)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);

	if (check(write(who->go[1], "", 1) == 1, "pipe"))
		return -1;
	while (!__atomic_load_n(&who->going, __ATOMIC_ACQUIRE) && hm_left(deadline))
		hm_pause();
	return check_ret(hm_wait_asleep(who->async.tid), "who waits");
}

static int passer_by_end(struct passer_by *who)
{
	long touched;

	close(who->go[0]);
	close(who->go[1]);
	return check_ret(hm_async_join(&who->async, HM_LIMIT_MS, &touched), "who waited") ?:
	       check(!touched, "the page");
}

/* What happens while the operation stands at its gate. */
static int meanwhile(const struct held *how, struct passer_by *who)
{
	__u64 begin = now_ns(), there;

	if (how->fill && check(!hm_cpu_dirty(how->page), "write to a hole"))
		return -1;
	if (how->meet && passer_by_meets(who))
		return -1;
	there = now_ns();
	hold_until(there + HOLD_NS);
	how->hold->min_ns = now_ns() - there;
	if (how->meet) {
		how->wait->min_ns = how->hold->min_ns;
		how->wait->max_ns = begin;	/* until it is over */
	}
	return 0;
}

static int run_held(int gate, const struct held *how, struct passer_by *who)
{
	__u64 begin = now_ns();
	struct hm_async async;
	long ret = -1;

	if (check_ret(hm_async_start(&async, how->run, how->arg), "thread") ||
	    check_ret(hm_gate_wait(gate, HM_LIMIT_MS), "the gate") ||
	    meanwhile(how, who) ||
	    check_ret(hm_gate_release(gate), "GATE_RELEASE") ||
	    check_ret(hm_async_join(&async, HM_LIMIT_MS, &ret), "what was held"))
		return -1;
	how->hold->max_ns = now_ns() - begin;
	return ret;
}

int held(const struct held *how)
{
	int gate = hm_gate_open(how->fd, how->gate, how->flags), ret;
	struct passer_by who;

	if (check(gate >= 0, "GATE_OPEN") ||
	    check_ret(hm_gate_arm_tid(gate, 0), "GATE_ARM") ||
	    (how->meet && passer_by_start(&who, how->page)))
		return -1;
	ret = run_held(gate, how, &who);
	close(gate);
	if (ret || !how->meet)
		return ret;
	ret = passer_by_end(&who);
	how->wait->max_ns = now_ns() - how->wait->max_ns;
	return ret;
}
