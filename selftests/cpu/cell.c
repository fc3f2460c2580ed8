// SPDX-License-Identifier: GPL-2.0-only
/*
 * One side of a cell: build the memory, make the access, see what it left behind.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/pagemap.h"
#include "cell.h"

static bool is_live(const struct cell_instance *inst)
{
	struct hotmirror_status st;

	return inst->fd >= 0 && !hm_status(inst->fd, 0, &st) &&
	       st.target == HOTMIRROR_LIVE;
}

int cell_instance(struct cell_side *side, struct cell_instance *inst, __u32 kind)
{
	int ret;

	if (is_live(inst))
		return 0;
	if (inst->fd >= 0)
		close(inst->fd);
	inst->fd = -1;
	inst->kind = kind;
	ret = hm_plug(side->control, kind, side->q.plug_align, &inst->id);
	if (ret)
		return ret;
	inst->fd = hm_open(inst->id);
	if (inst->fd < 0)
		return inst->fd;
	return side->device && side->sabotage ? hm_sabotage(inst->fd, side->sabotage) : 0;
}

int cell_side_open(struct cell_side *side, __u32 kind)
{
	int ret = hm_stay_on_one_cpu();

	side->first = (struct cell_instance){ .kind = kind, .fd = -1 };
	side->second = (struct cell_instance){ .fd = -1 };
	side->control = hm_control_open();
	if (side->control < 0)
		return side->control;
	ret = ret ?: hm_query(side->control, &side->q);
	if (!ret && kind == HM_ANY)
		side->first.kind = hm_any_kind(&side->q);
	return ret ?: cell_instance(side, &side->first, side->first.kind);
}

static int mirror(struct cell_place *place)
{
	int ret = hm_mirror(place->side->first.fd, place->mem, place->length, 0,
			    &place->range);

	place->mirrored = !ret;
	return ret;
}

/* As a device that used the memory before: for writing if it may. */
static void warm_up(struct cell_place *place, bool write)
{
	int fd = place->side->first.fd;
	size_t length = CELL_PAGES * place->page;

	if (!write || hm_prefetch(fd, place->mem, length, true))
		hm_prefetch(fd, place->mem, length, false);
}

static int put_content(struct cell_place *place, const struct cell *cell)
{
	enum cell_content content = cell_states[cell->state].content;

	if (content == CELL_FILLED && !(cell->memory->traits & CELL_NO_FILL))
		cell_fill(place->mem, CELL_PAGES * place->page, CELL_SEED);
	else if (content != CELL_NOTHING)
		cell_look_at(place->mem, place->page);
	return 0;
}

static int prepare(struct cell_place *place, const struct cell *cell)
{
	const struct cell_memory *memory = cell->memory;
	const struct cell_state *state = &cell_states[cell->state];
	int ret = cell_instance(place->side, &place->side->first,
				place->side->first.kind);

	ret = ret ?: memory->build(place);
	ret = ret ?: mirror(place);
	if (!ret && cell->table == CELL_WARM)
		warm_up(place, true);
	ret = ret ?: put_content(place, cell);
	if (memory->settle)
		ret = ret ?: memory->settle(place);
	if (state->apply)
		ret = ret ?: state->apply(place);
	if (cell->state != CELL_UNMAPPED)
		ret = ret ?: cell_protect(place, &cell_prots[cell->prot]);
	if (!ret && cell->table == CELL_HOT)
		warm_up(place, false);
	return ret;
}

static void make_access(struct cell_place *place, const struct cell *cell,
			struct cell_outcome *out)
{
	char *word = cell_target(place) + CELL_OFFSET;

	out->value = cell->access == CELL_READ ? 0 : CELL_OPERAND;
	if (place->side->device)
		out->end = cell_device(cell, place->side->first.fd, word, &out->value,
				       &out->error);
	else
		out->end = cell_cpu(cell->access, word, &out->value);
	if (out->end != CELL_OK)
		out->value = 0;
	out->seen = place->seen;
}

static void page_map(struct cell_place *place, __u64 *pages)
{
	hm_pagemap_range(place->mem, CELL_PAGES, pages);
	for (int i = 0; i < CELL_PAGES; i++)
		pages[i] &= HM_PM_BITS;
}

static void ask_child(struct cell_place *place, struct cell_look *look)
{
	long ends = 0, word = 0, sum = 0;

	if (!place->child.pid || hm_child_tell(&place->child, 0))
		return;
	hm_child_hear(&place->child, &ends);
	hm_child_hear(&place->child, &word);
	hm_child_hear(&place->child, &sum);
	*look = (struct cell_look){ .ends = ends, .word = word, .sum = sum };
}

static void see(struct cell_place *place, const struct cell *cell,
		struct cell_outcome *out)
{
	struct hotmirror_verify v = {};

	page_map(place, out->raw);
	if (place->side->device && !hm_verify(place->side->first.fd, &v))
		out->stale = v.stale;
	if (place->other)
		out->other = cell_look_at(place->other, place->page);
	ask_child(place, &out->child);
	out->own = cell_look_at(place->mem, place->page);
	page_map(place, out->settled);
	/* What reclaim takes for clean comes back as something else. */
	if (cell->access == CELL_READ || out->end != CELL_OK)
		return;
	madvise(place->mem, CELL_PAGES * place->page, MADV_PAGEOUT);
	out->later = cell_look_at(place->mem, place->page);
}

static void stop_handler(struct cell_place *place)
{
	if (place->stop >= 0) {
		eventfd_write(place->stop, 1);
		pthread_join(place->handler, NULL);
		close(place->stop);
	}
	if (place->uffd >= 0)
		close(place->uffd);
}

static void clean_up(struct cell_place *place)
{
	hm_child_end(&place->child);
	stop_handler(place);
	if (place->mirrored)
		hm_unmirror(place->side->first.fd, place->range);
	cell_place_end(place);
}

void cell_run(struct cell_side *side, const struct cell *cell, struct cell_outcome *out)
{
	struct cell_place place;

	cell_place_init(&place, side);
	memset(out, 0, sizeof(*out));
	cell_catch_faults();
	out->skipped = prepare(&place, cell);
	cell_catch_faults();
	if (out->skipped) {
		snprintf(out->why, sizeof(out->why), "%s", place.why ?: "cannot be built");
	} else {
		make_access(&place, cell, out);
		cell_unlock(&place);
		see(&place, cell, out);
	}
	clean_up(&place);
}
