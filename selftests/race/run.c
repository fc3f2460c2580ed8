// SPDX-License-Identifier: GPL-2.0-only
/*
 * What every run has, a race as well as a sequential order: fresh memory in the beginning,
 * calls of the sides, a look at the memory in the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../lib/mem.h"
#include "orders.h"
#include "session.h"

int race_worker_of(const struct race_schedule *s, int side)
{
	bool exits = false;

	for (int i = 0; i < s->sides; i++)
		exits |= s->op[i]->flags & OP_EXITS;
	return exits && s->op[side]->flags & OP_DEVICE ? RACE_REMOTE : side;
}

void race_fresh_pages(struct race_page *page)
{
	for (int i = 0; i < RACE_PAGES; i++) {
		memset(&page[i], '-', sizeof(page[i]));
		memset(page[i].side, '.', sizeof(page[i].side));
	}
}

int race_begin(struct race_engine *e, const struct race_schedule *s, char *why, size_t size)
{
	struct race_worker *setup = &e->sh->worker[RACE_SETUP];
	int ret = race_session_ready(e, s, why, size);

	if (ret)
		return ret;
	e->sh->memory = s->memory;
	e->sh->state = race_state(s);
	for (int i = 0; i < RACE_SIDES; i++)
		e->sh->prepare[i] = i < s->sides ? s->op[i] : NULL;
	for (int i = 0; i < s->sides; i++) {
		struct race_worker *w = &e->sh->worker[race_worker_of(s, i)];

		w->op = s->op[i];
		w->side = i;
		race_fresh_pages(w->page);
		if (w == &e->sh->worker[RACE_REMOTE] && race_session_remote(e))
			return snprintf(why, size, "no remote process"), -ECHILD;
		e->used_up |= s->op[i]->flags & OP_UNPLUGS;
	}
	race_fresh_pages(e->sh->look.page);
	race_call(e, RACE_SETUP, RACE_BUILD);
	ret = race_wait(e, RACE_SETUP, RACE_LIMIT_MS, true) ?: setup->ret;
	if (ret)
		snprintf(why, size, "%s", setup->why[0] ? setup->why : strerror(-ret));
	return ret && setup->why[0] ? -EOPNOTSUPP : ret;
}

/* The process is gone: what is there to be seen from outside. */
static void look_from_outside(struct race_engine *e)
{
	struct race_outcome *look = &e->sh->look;
	__u64 word;

	look->pages = e->sh->area.pages;
	for (int i = 0; i < look->pages; i++) {
		look->page[i].map = 'G';
		look->page[i].dev =
			race_error(hm_read(e->fd[RACE_DEVICE],
					   e->sh->area.sample + i * hm_page_size(), &word,
					   sizeof(word)));
	}
}

static void collect(struct race_engine *e, const struct race_schedule *s, struct race_outcome *o)
{
	*o = e->sh->look;
	for (int side = 0; side < s->sides; side++) {
		const struct race_worker *w = &e->sh->worker[race_worker_of(s, side)];

		for (int i = 0; i < o->pages; i++) {
			o->page[i].side[side] = w->page[i].side[side];
			o->page[i].seen[side] = w->page[i].seen[side];
		}
	}
}

/* Look at the memory, and clear it away. */
int race_finish(struct race_engine *e, const struct race_schedule *s, bool died,
		struct race_outcome *o)
{
	int ret = 0;

	if (died) {
		look_from_outside(e);
		collect(e, s, o);
		return race_session_kill(e);
	}
	race_call(e, RACE_SETUP, RACE_LOOK);
	ret = race_wait(e, RACE_SETUP, RACE_LIMIT_MS, true);
	collect(e, s, o);
	if (!ret) {
		race_call(e, RACE_SETUP, RACE_CLEAR);
		ret = race_wait(e, RACE_SETUP, RACE_LIMIT_MS, true);
		ret = ret ?: e->sh->worker[RACE_SETUP].ret;
	}
	if (!ret && e->used_up)
		ret = race_session_replace(e);
	return ret;
}

void race_go(struct race_engine *e, const struct race_schedule *s, int side)
{
	race_call(e, race_worker_of(s, side), RACE_OP);
}

/* 0: it is done; -ESRCH: the target is dead, as it should be or not. */
int race_join(struct race_engine *e, const struct race_schedule *s, int side, int limit_ms)
{
	return race_wait(e, race_worker_of(s, side), limit_ms, true);
}
