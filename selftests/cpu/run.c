// SPDX-License-Identifier: GPL-2.0-only
#include <sys/mman.h>

#include "run.h"

struct cell_outcome *cell_outcomes(int nr)
{
	void *p = mmap(NULL, nr * sizeof(struct cell_outcome), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* In the child: all cells, one after the other; each is told when it is done. */
static int side_main(struct hm_parent *parent, void *arg)
{
	struct cell_run *run = arg;
	struct cell_side side = { .device = run->device, .sabotage = run->sabotage };
	int ret = cell_side_open(&side, run->kind);

	hm_tell(parent, ret);
	for (int i = 0; i < run->nr && !ret; i++) {
		cell_run(&side, &run->cells[i], &run->out[i]);
		hm_tell(parent, i);
	}
	return 0;
}

static int follow(struct cell_run *run, struct hm_child *child)
{
	long value = 0;
	int ret = hm_child_hear(child, &value) ?: value;

	for (run->at = -1; !ret && ++run->at < run->nr; )
		ret = hm_child_hear(child, &value);
	return ret;
}

int cell_run_side(struct cell_run *run)
{
	struct hm_child child;
	int ret = hm_child_start(&child, side_main, run);

	if (ret)
		return ret;
	ret = follow(run, &child);
	hm_child_end(&child);
	return ret;
}
