// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the process does with its memory: accesses.
 */
#include "../lib/mem.h"
#include "race.h"

static char *page_at(const struct race_run *r, int i)
{
	return r->area->sample + i * hm_page_size();
}

static void cpu_read(struct race_run *r)
{
	for (int i = r->area->b_first; i < r->area->b_first + r->area->b_pages; i++)
		r->page[i].side[r->side] = race_load(page_at(r, i), &r->page[i].seen[r->side]);
}

static void cpu_write(struct race_run *r)
{
	for (int i = r->area->b_first; i < r->area->b_first + r->area->b_pages; i++)
		r->page[i].side[r->side] = race_store(page_at(r, i), race_written(r->side));
}

const struct race_op race_ops_cpu[] = {
	{ "cpu_read", "the CPU reads a word of each middle page", OP_READS | OP_TOUCHES, 0, NULL,
	  NULL, cpu_read },
	{ "cpu_write", "the CPU writes a word of each middle page", OP_WRITES | OP_TOUCHES, 0, NULL,
	  NULL, cpu_write },
};

const int race_nr_ops_cpu = sizeof(race_ops_cpu) / sizeof(race_ops_cpu[0]);
