// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same-as-CPU oracle (claim S6): a device access and a CPU access to identical
 * memory in identical state give the same value or fail in the same way, and leave
 * the same state behind. A test is a memory kind and an access; its cells are every
 * state, protection and device page table that the kind can have. See cpu/cell.h.
 */
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/setting.h"
#include "cpu/judge.h"
#include "cpu/run.h"

/* What the memory kinds can be in. */
#define SOME	(CELL(UNTOUCHED) | CELL(TOUCHED) | CELL(WRITTEN) | CELL(DONTNEED) | \
		 CELL(SOFT_CLEAN) | CELL(UNMAPPED))
#define HUGE	(SOME | CELL(FORKED) | CELL(ORPHANED) | CELL(FREED) | \
		 CELL(SWAPPED) | CELL(SWAPPED_IN) | CELL(WP) | CELL(MOVED) | \
		 CELL(ROUND_TRIP) | CELL(EXCLUSIVE) | CELL(GUARDED) | CELL(POISONED))
#define ANON	(HUGE | CELL(MISSING) | CELL(MARKED))
#define OBJECT	(SOME | CELL(GUARDED) | CELL(TRUNCATED) | CELL(PUNCHED))
#define SHMEM	(SOME | CELL(GUARDED) | CELL(WP) | CELL(MISSING) | CELL(MARKED) | \
		 CELL(POISONED) | CELL(MOVED))
#define ZERO	(CELL(TOUCHED) | CELL(FORKED) | CELL(SOFT_CLEAN) | CELL(MOVED) | \
		 CELL(WP) | CELL(ROUND_TRIP))
#define HUGETLB	(CELL(UNTOUCHED) | CELL(WRITTEN) | CELL(DONTNEED) | CELL(FREED) | \
		 CELL(POISONED))
#define AWAY	(CELL(WRITTEN) | CELL(DONTNEED) | CELL(FORKED) | CELL(ORPHANED) | \
		 CELL(SOFT_CLEAN) | CELL(MOVED) | CELL(UNMAPPED) | CELL(WP) | \
		 CELL(FREED) | CELL(EXCLUSIVE))
#define DAX	(CELL(UNTOUCHED) | CELL(TOUCHED) | CELL(WRITTEN) | CELL(MOVED) | \
		 CELL(SOFT_CLEAN) | CELL(DISABLED) | CELL(INVALIDATED))
#define DRIVER	(SOME | CELL(FORKED) | CELL(MOVED))
#define ROM	(CELL(UNTOUCHED) | CELL(TOUCHED) | CELL(FORKED) | CELL(UNMAPPED))

#define KEYS	(1 << CELL_KEYED | 1 << CELL_KEYED_RO)

/* For memory that is slow to build: fewer cells. */
#define SLOW	.memory.no_tables = 1 << CELL_HOT,				\
		.memory.no_prots = 1 << CELL_NONE | 1 << CELL_WO | KEYS |	\
				   1 << CELL_REOPENED | 1 << CELL_CLOSED

FIXTURE(cpu) {
	struct hm_rig rig;
	struct cell *cells;
	int nr;
	struct cell_outcome *cpu, *device;	/* shared with the two children */
	const char *bug;	/* of the kernel, that a cell has met */
	struct hm_setting settings[4];
};

FIXTURE_VARIANT(cpu) {
	struct cell_memory memory;
	bool pool;		/* huge pages are needed */
	bool ksm;
};

typedef FIXTURE_DATA(cpu) data;
typedef FIXTURE_VARIANT(cpu) variants;

#define ROW(name, builder, ...)						\
FIXTURE_VARIANT_ADD(cpu, name) {					\
	.memory.build = builder,					\
	__VA_ARGS__							\
}

/* Each side poisons one a cell, and a poisoned one is in use for ever. */
#define HUGE_PAGES	12

ROW(anon, cell_anon, .memory.states = ANON);
ROW(thp, cell_thp, .memory.states = HUGE & ~(CELL(ORPHANED) | CELL(SWAPPED_IN)), SLOW);
ROW(zero_page, cell_anon, .memory.states = ZERO, .memory.traits = CELL_NO_FILL);
ROW(huge_zero_page, cell_thp, .memory.states = ZERO, .memory.traits = CELL_NO_FILL);
ROW(shmem, cell_shmem, .memory.states = SHMEM, .memory.traits = CELL_SHARED);
ROW(memfd, cell_memfd, .memory.states = SHMEM | OBJECT | CELL(FORKED),
    .memory.traits = CELL_SHARED);
ROW(file_shared, cell_file_shared, .memory.states = OBJECT, .memory.traits = CELL_SHARED);
ROW(file_private, cell_file_private, .memory.states = OBJECT | CELL(FORKED) |
    CELL(ORPHANED) | CELL(ROUND_TRIP) | CELL(SWAPPED) | CELL(SWAPPED_IN));
ROW(file_clean, cell_file_private, .memory.states = CELL(TOUCHED) | CELL(FORKED) |
    CELL(TRUNCATED) | CELL(PUNCHED), .memory.traits = CELL_NO_FILL);
ROW(program, cell_program, .memory.states = SOME, .memory.traits = CELL_NO_FILL,
    .memory.no_prots = KEYS);
ROW(hugetlb, cell_hugetlb, .memory.states = HUGETLB | CELL(FORKED),
    .memory.traits = CELL_SHARED | CELL_POOL, .pool = true);
ROW(hugetlb_memfd, cell_hugetlb_memfd, .memory.states = HUGETLB | CELL(TRUNCATED) |
    CELL(PUNCHED), .memory.traits = CELL_SHARED | CELL_POOL, .pool = true);
ROW(ksm, cell_anon, .memory.settle = cell_merge, .ksm = true,
    .memory.states = CELL(WRITTEN) | CELL(FORKED) | CELL(WP), SLOW);
ROW(secret, cell_secret, .memory.states = CELL(UNTOUCHED) | CELL(WRITTEN) | CELL(UNMAPPED),
    .memory.traits = CELL_SECRET);
ROW(mixedmap, cell_driver, .memory.states = DRIVER,
    .memory.traits = CELL_SHARED | CELL_MIXEDMAP);
ROW(pfnmap, cell_pfnmap, .memory.states = ROM,
    .memory.no_prots = 1 << CELL_RW | 1 << CELL_WO | 1 << CELL_REOPENED | KEYS,
    .memory.traits = CELL_PFNMAP | CELL_NO_FILL);
ROW(private, cell_anon, .memory.settle = cell_to_device, .memory.states = AWAY,
    .memory.device = HOTMIRROR_PRIVATE, .memory.traits = CELL_AWAY);
ROW(private_large, cell_thp, .memory.settle = cell_to_device_large,
    .memory.states = CELL(WRITTEN) | CELL(FORKED) | CELL(WP), SLOW,
    .memory.device = HOTMIRROR_PRIVATE, .memory.traits = CELL_AWAY | CELL_LARGE);
ROW(private_foreign, cell_anon, .memory.settle = cell_to_foreign, .memory.states = AWAY,
    .memory.no_prots = KEYS);
ROW(coherent, cell_anon, .memory.settle = cell_to_device, .memory.states = AWAY,
    .memory.device = HOTMIRROR_COHERENT);
ROW(dax, cell_dax, .memory.states = DAX | CELL(UNPLUGGED), .memory.traits = CELL_SHARED);
ROW(own_dax, cell_own_dax, .memory.states = DAX, .memory.device = HOTMIRROR_DAX,
    .memory.traits = CELL_SHARED | CELL_OWN);

/* Before 7.3 HMM cannot wait for userfaultfd: see hotmirror_hmm_asleep. */
#define USERFAULTS	(CELL(MISSING) | CELL(WP))
/* Markers: some kernels' HMM takes them for nothing at all, and a fault of that for EPERM. */
#define MARKERS		(CELL(MARKED) | CELL(GUARDED))

/*
 * Where HMM takes the fault there is nothing of use in the device page table, and where it
 * cannot sleep, nobody who would have to be waited for.
 */
static bool is_by_hmm(const struct cell *cell, bool sleeps)
{
	unsigned int state = 1U << cell->state;

	if (cell->table == CELL_HOT || (cell->table == CELL_WARM && cell->prot == CELL_RW))
		return false;
	if (cell->prot == CELL_RO && cell->access == CELL_WRITE && state & MARKERS)
		return false;
	return sleeps || !(state & USERFAULTS);
}

/* The atomics that are refused anyway are refused in a few cells. */
static bool is_a_cell(const struct cell *cell)
{
	const struct cell_memory *memory = cell->memory;
	const struct cell_prot *prot = &cell_prots[cell->prot];

	if (cell->access == CELL_ATOMIC && memory->traits & CELL_SHARED &&
	    (cell->table != CELL_COLD || cell->prot != CELL_RW))
		return false;
	return memory->states & prot->states & 1U << cell->state &&
	       prot->tables & 1U << cell->table &&
	       !(memory->no_prots & 1U << cell->prot) &&
	       !(memory->no_tables & 1U << cell->table);
}

/* Of a test. */
struct how {
	enum cell_access access;
	bool by_hmm;
	bool sleeps;		/* HMM can */
};

/* Write the cells to @cells, unless it is NULL; their number. */
static int enumerate(const struct cell_memory *memory, const struct how *how,
		     struct cell *cells)
{
	struct cell cell = {
		.memory = memory,
		.access = how->access,
		.by_hmm = how->by_hmm,
	};
	int nr = 0;

	for (cell.prot = 0; cell.prot < CELL_NR_PROTS; cell.prot++)
		for (cell.state = 0; cell.state < CELL_NR_STATES; cell.state++)
			for (cell.table = 0; cell.table < CELL_NR_TABLES; cell.table++) {
				if (!is_a_cell(&cell))
					continue;
				if (how->by_hmm && !is_by_hmm(&cell, how->sleeps))
					continue;
				if (cells)
					cells[nr] = cell;
				nr++;
			}
	return nr;
}

#define KSM(name)	"/sys/kernel/mm/ksm/" name

static void configure(data *self, const variants *variant)
{
	if (variant->pool)
		hm_huge_pool(&self->settings[0], HUGE_PAGES);
	if (!variant->ksm)
		return;
	hm_setting_set(&self->settings[0], KSM("sleep_millisecs"), 0);
	hm_setting_set(&self->settings[1], KSM("pages_to_scan"), 1000);
	/* It passes over addresses that did not merge before, though the memory is new. */
	hm_setting_set(&self->settings[2], KSM("smart_scan"), 0);
	hm_setting_set(&self->settings[3], KSM("run"), 1);
}

FIXTURE_SETUP(cpu)
{
	const struct hm_kind *kind = hm_kind(variant->memory.device);

	rig_begin(_metadata, variant, &self->rig);
	if (kind && !(self->rig.q.features & kind->feature))
		SKIP(return, "%s", kind->lacking);
	if (!hm_any_kind(&self->rig.q))
		SKIP(return, "no kind of device memory on this kernel");
	configure(self, variant);
}

FIXTURE_TEARDOWN(cpu)
{
	for (size_t i = 0; i < ARRAY_SIZE(self->settings); i++)
		hm_setting_restore(&self->settings[i]);
	rig_end(_metadata, &self->rig);
}

/* The cell at which a side dies or hangs is named. */
static void run_side(struct __test_metadata *_metadata, struct cell_run *run)
{
	char name[100] = "its start";
	int ret = cell_run_side(run);

	if (ret && run->at >= 0)
		cell_name(&run->cells[run->at], name, sizeof(name));
	ASSERT_EQ(0, ret)
		TH_LOG("the %s's side ended in %s: %s", run->device ? "device" : "CPU",
		       name, strerror(-ret));
}

/* Totals of the run, shared by all tests of this process. */
struct totals {
	int cells, skipped, ends[CELL_NR_ENDS];
};

static struct totals *totals;

static void show(struct __test_metadata *_metadata, const char *who,
		 const struct cell_outcome *o)
{
	TH_LOG("  %s: %s (%d), value %#llx, seen %u, stale %llu", who,
	       cell_end_name(o->end), o->error, o->value, o->seen, o->stale);
	for (int i = 0; i < CELL_PAGES; i++)
		TH_LOG("    page %d: pagemap %#llx, then %#llx", i, o->raw[i],
		       o->settled[i]);
	TH_LOG("    own %x %#llx %#llx, other %x %#llx, child %x %#llx, later %x %#llx %#llx",
	       o->own.ends, o->own.word, o->own.sum, o->other.ends, o->other.word,
	       o->child.ends, o->child.word, o->later.ends, o->later.word, o->later.sum);
}

static void judge_cell(struct __test_metadata *_metadata, data *self, int i)
{
	const struct cell_outcome *cpu = &self->cpu[i], *device = &self->device[i];
	unsigned int diff = cell_judge(&self->cells[i], cpu, device);
	const char *bug;
	char name[100];

	totals->ends[cpu->end]++;
	if (!diff)
		return;
	cell_name(&self->cells[i], name, sizeof(name));
	bug = cell_known_bug(&self->cells[i], device, diff);
	if (bug) {
		self->bug = bug;
		TH_LOG("%s differs: %s, by a known bug", name, cell_diff_name(diff));
		return;
	}
	EXPECT_EQ(0, diff)
		TH_LOG("%s differs: %s", name, cell_diff_name(diff));
	show(_metadata, "CPU", cpu);
	show(_metadata, "device", device);
}

/* Cells that cannot be built: one line a state and reason. Their number. */
static int judge(struct __test_metadata *_metadata, data *self)
{
	unsigned int said = 0;
	int skipped = 0;

	for (int i = 0; i < self->nr; i++) {
		const struct cell_outcome *cpu = &self->cpu[i], *device = &self->device[i];
		int state = self->cells[i].state;

		if (!cpu->skipped && !device->skipped) {
			judge_cell(_metadata, self, i);
			continue;
		}
		skipped++;
		EXPECT_EQ(cpu->skipped, device->skipped)
			TH_LOG("one side built %s, the other did not: %s%s",
			       cell_states[state].name, cpu->why, device->why);
		if (!(said & 1U << state))
			TH_LOG("skipped: %s: %s: %s", cell_states[state].name, cpu->why,
			       strerror(-cpu->skipped));
		said |= 1U << state;
	}
	return skipped;
}

static void make_cells(struct __test_metadata *_metadata, data *self,
		       const struct cell_memory *memory, const struct how *how)
{
	self->nr = enumerate(memory, how, NULL);
	self->cells = calloc(self->nr, sizeof(*self->cells));
	self->cpu = cell_outcomes(self->nr);
	self->device = cell_outcomes(self->nr);
	ASSERT_NE(NULL, self->cells);
	ASSERT_NE(NULL, self->cpu);
	ASSERT_NE(NULL, self->device);
	enumerate(memory, how, self->cells);
}

static void compare(struct __test_metadata *_metadata, data *self,
		    const variants *variant, const struct how *how)
{
	struct cell_run run = { .kind = variant->memory.device };
	int skipped;

	make_cells(_metadata, self, &variant->memory, how);
	run.cells = self->cells;
	run.nr = self->nr;
	run.out = self->cpu;
	run_side(_metadata, &run);
	run.device = true;
	run.out = self->device;
	run_side(_metadata, &run);

	skipped = judge(_metadata, self);
	totals->cells += self->nr;
	totals->skipped += skipped;
	TH_LOG("%d cells, %d of them skipped", self->nr, skipped);
	if (self->bug)
		rig_xfail(_metadata, self->bug);
	/* A skip must not hide a side that did build what the other could not. */
	if (skipped == self->nr && test_code(_metadata) != KSFT_FAIL)
		SKIP(return, "%s: %s", self->cpu[0].why, strerror(-self->cpu[0].skipped));
}

TEST_F(cpu, read)
{
	compare(_metadata, self, variant, &(struct how){ .access = CELL_READ });
}

TEST_F(cpu, write)
{
	compare(_metadata, self, variant, &(struct how){ .access = CELL_WRITE });
}

TEST_F(cpu, atomic)
{
	skip_unless(self->rig.q.features & HOTMIRROR_HAS_EXCLUSIVE,
		    "kernel without CONFIG_DEVICE_PRIVATE: no device-exclusive access");
	compare(_metadata, self, variant, &(struct how){ .access = CELL_ATOMIC });
}

/* The device has HMM take the fault, as most drivers do. */
static void compare_by_hmm(struct __test_metadata *_metadata, data *self,
			   const variants *variant, enum cell_access access)
{
	struct how how = {
		.access = access,
		.by_hmm = true,
		.sleeps = self->rig.q.features & HOTMIRROR_HAS_HMM_SLEEPS,
	};

	compare(_metadata, self, variant, &how);
}

TEST_F(cpu, read_by_hmm)
{
	compare_by_hmm(_metadata, self, variant, CELL_READ);
}

TEST_F(cpu, write_by_hmm)
{
	compare_by_hmm(_metadata, self, variant, CELL_WRITE);
}

/* The table itself: it has something to say on every way to fail. */
FIXTURE(table) {
};

FIXTURE_SETUP(table)
{
}

FIXTURE_TEARDOWN(table)
{
}

TEST_F(table, has_cells_of_every_end)
{
	const struct __fixture_variant_metadata *v;
	int ends[CELL_NR_ENDS] = {}, total = 0;
	struct cell cells[256];

	for (v = _cpu_fixture_object.variant; v; v = v->next) {
		const variants *variant = v->data;

		for (int access = CELL_READ; access <= CELL_ATOMIC; access++) {
			struct how how = { .access = access };
			int nr = enumerate(&variant->memory, &how, NULL);

			ASSERT_GE(ARRAY_SIZE(cells), nr);
			EXPECT_LT(0, nr);
			enumerate(&variant->memory, &how, cells);
			for (int i = 0; i < nr; i++)
				ends[cell_expected(&cells[i])]++;
			total += nr;
		}
	}
	TH_LOG("%d cells, of them %d SEGV, %d BUS, %d EHWPOISON", total,
	       ends[CELL_SEGV], ends[CELL_BUS], ends[CELL_HWPOISON]);
	EXPECT_LE(200, total);
	EXPECT_LE(10, ends[CELL_SEGV]);
	EXPECT_LE(10, ends[CELL_BUS]);
	EXPECT_LE(10, ends[CELL_HWPOISON]);
}

static void report(void)
{
	if (totals->cells)
		fprintf(stderr,
			"# %d cells, %d skipped; the CPU got: %d ok, %d SEGV, %d BUS, %d EHWPOISON\n",
			totals->cells, totals->skipped, totals->ends[CELL_OK],
			totals->ends[CELL_SEGV], totals->ends[CELL_BUS],
			totals->ends[CELL_HWPOISON]);
	hm_swap_off();
}

int main(int argc, char **argv)
{
	totals = mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		return KSFT_FAIL;
	if (need_module(argc, argv)) {
		hm_swap_on();
		atexit(report);
	}
	return test_harness_run(argc, argv);
}
