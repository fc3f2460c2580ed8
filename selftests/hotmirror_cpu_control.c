// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls of the same-as-CPU oracle: for each thing that it compares, two
 * cells that differ in it, or a device that was broken on purpose. The oracle must
 * find what differs, and must find nothing where both sides are the same.
 */
#include "hm_test.h"
#include "cpu/judge.h"
#include "cpu/run.h"

struct pick {
	int prot;
	int state;
	enum cell_access access;
	enum cell_table table;
};

FIXTURE(control) {
	struct hm_rig rig;
	struct cell_memory memory;
	struct cell_outcome *cpu, *device;
};

FIXTURE_VARIANT(control) {
	int (*build)(struct cell_place *place);
	struct pick cpu;
	struct pick device;
	__u64 sabotage;		/* of the device */
	unsigned int diff;	/* that must be found, beside others */
};

typedef FIXTURE_DATA(control) data;

#define ROW(name, builder, ...)						\
FIXTURE_VARIANT_ADD(control, name) {					\
	.build = builder,						\
	__VA_ARGS__							\
}

#define PICK(prot, state, access, table)				\
	{ CELL_##prot, CELL_##state, CELL_##access, CELL_##table }

/* The same cell on both sides, and a device that lies. */
#define BROKEN(how, prot, state, access, table)				\
	.cpu = PICK(prot, state, access, table),			\
	.device = PICK(prot, state, access, table),			\
	.sabotage = HOTMIRROR_SABOTAGE_##how

ROW(end, cell_anon, .diff = DIFF_END,
    .cpu = PICK(RW, WRITTEN, WRITE, COLD), .device = PICK(RO, WRITTEN, WRITE, COLD));
ROW(value, cell_anon, .diff = DIFF_VALUE,
    .cpu = PICK(RW, WRITTEN, READ, COLD), .device = PICK(RW, DONTNEED, READ, COLD));
ROW(userfault, cell_anon, .diff = DIFF_SEEN,
    .cpu = PICK(RW, WP, WRITE, COLD), .device = PICK(RW, WRITTEN, WRITE, COLD));
ROW(uffd_wp_bit, cell_anon, .diff = DIFF_RAW | DIFF_SETTLED,
    .cpu = PICK(RW, WP, READ, COLD), .device = PICK(RW, WRITTEN, READ, COLD));
ROW(soft_dirty_bit, cell_anon, .diff = DIFF_RAW | DIFF_SETTLED,
    .cpu = PICK(RW, SOFT_CLEAN, READ, COLD), .device = PICK(RW, SOFT_CLEAN, WRITE, COLD));
ROW(exclusive_bit, cell_anon, .diff = DIFF_RAW | DIFF_SETTLED,
    .cpu = PICK(RW, FORKED, READ, COLD), .device = PICK(RW, WRITTEN, READ, COLD));
ROW(contents, cell_anon, .diff = DIFF_OWN,
    .cpu = PICK(RW, WRITTEN, READ, COLD), .device = PICK(RW, WRITTEN, WRITE, COLD));
ROW(other_mapping, cell_memfd, .diff = DIFF_OTHER,
    .cpu = PICK(RW, WRITTEN, READ, COLD), .device = PICK(RW, WRITTEN, WRITE, COLD));
ROW(child, cell_shmem, .diff = DIFF_CHILD,
    .cpu = PICK(RW, FORKED, READ, COLD), .device = PICK(RW, FORKED, WRITE, COLD));
ROW(key, cell_anon, .diff = DIFF_END,
    .cpu = PICK(KEYED, WRITTEN, READ, WARM), .device = PICK(NONE, WRITTEN, READ, WARM));
ROW(keyed_contents, cell_anon, .diff = DIFF_OWN,
    .cpu = PICK(KEYED_RO, WRITTEN, WRITE, HOT), .device = PICK(KEYED_RO, WRITTEN, READ, HOT));
ROW(keyed_value, cell_anon, .diff = DIFF_VALUE,
    .cpu = PICK(KEYED, WRITTEN, READ, HOT), .device = PICK(KEYED, UNTOUCHED, READ, HOT));
ROW(expected, cell_anon, .diff = DIFF_EXPECTED,
    .cpu = PICK(RW, POISONED, READ, COLD), .device = PICK(RW, WRITTEN, READ, COLD));
ROW(lost_write, cell_anon, .diff = DIFF_LATER,
    BROKEN(DROP_DIRTY, RW, FREED, WRITE, HOT));
ROW(lost_invalidation, cell_anon, .diff = DIFF_STALE | DIFF_END,
    BROKEN(SKIP_INVALIDATE, RW, DONTNEED, READ, WARM));
ROW(lost_protection, cell_anon, .diff = DIFF_STALE,
    BROKEN(SKIP_INVALIDATE, RO, WRITTEN, WRITE, WARM));

FIXTURE_SETUP(control)
{
	rig_begin(_metadata, variant, &self->rig);
	if (!hm_any_kind(&self->rig.q))
		SKIP(return, "no kind of device memory on this kernel");
	if (variant->sabotage && !(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE))
		SKIP(return, "module loaded without sabotage=1");
	self->memory.build = variant->build;
	self->cpu = cell_outcomes(1);
	self->device = cell_outcomes(1);
	ASSERT_NE(NULL, self->cpu);
	ASSERT_NE(NULL, self->device);
}

FIXTURE_TEARDOWN(control)
{
	rig_end(_metadata, &self->rig);
}

static struct cell cell_of(data *self, const struct pick *pick)
{
	return (struct cell){
		.memory = &self->memory,
		.prot = pick->prot,
		.state = pick->state,
		.access = pick->access,
		.table = pick->table,
	};
}

static void run_cell(struct __test_metadata *_metadata, const struct cell *cell,
		     bool device, __u64 sabotage, struct cell_outcome *out)
{
	struct cell_run run = {
		.cells = cell,
		.nr = 1,
		.device = device,
		.sabotage = sabotage,
		.out = out,
	};

	must(cell_run_side(&run));
}

/* Why one of the cells could not be built, or NULL. */
static const char *cannot(const data *self)
{
	if (self->cpu->skipped)
		return self->cpu->why;
	return self->device->skipped ? self->device->why : NULL;
}

TEST_F(control, difference_is_found)
{
	struct cell cpu = cell_of(self, &variant->cpu);
	struct cell device = cell_of(self, &variant->device);
	const char *why;
	unsigned int diff;

	run_cell(_metadata, &cpu, false, 0, self->cpu);
	run_cell(_metadata, &device, true, variant->sabotage, self->device);
	why = cannot(self);
	if (why)
		SKIP(return, "%s", why);
	/* By the device's cell, what the CPU got is not what was to be expected. */
	diff = cell_judge(variant->diff == DIFF_EXPECTED ? &device : &cpu, self->cpu,
			  self->device);
	EXPECT_EQ(variant->diff, diff & variant->diff)
		TH_LOG("found: %#x, the first of it %s", diff, cell_diff_name(diff));
}

TEST_F(control, no_difference_is_found_where_there_is_none)
{
	struct cell cell = cell_of(self, &variant->cpu);
	const char *why;
	unsigned int diff;

	run_cell(_metadata, &cell, false, 0, self->cpu);
	run_cell(_metadata, &cell, true, 0, self->device);
	why = cannot(self);
	if (why)
		SKIP(return, "%s", why);
	diff = cell_judge(&cell, self->cpu, self->device);
	EXPECT_EQ(0, diff)
		TH_LOG("found: %#x, the first of it %s", diff, cell_diff_name(diff));
}

HM_TEST_MAIN
