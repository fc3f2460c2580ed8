// SPDX-License-Identifier: GPL-2.0-only
/*
 * Invalidations against a model, entry by entry (claim S2). A few hundred random
 * steps on three leaves of memory that several mirrors watch: what the process does
 * to its memory takes from every device page table exactly the entries that it names,
 * and what a device does adds exactly those that it asked for. After each step every
 * page of every mirror is compared with what the model has.
 *
 * The steps come from a seed that is printed. To see them again:
 *	HOTMIRROR_MODEL_SEED=n [HOTMIRROR_MODEL_STEPS=n] ./hotmirror_model
 *
 * The kernel may notify for more than was asked. fork() does so for whole VMAs that
 * have pages of their own: here each gets one at once. A VMA that is split where it
 * covers all of a PMD loses that PMD's entries, huge page or not
 * (__split_huge_pmd()): here one page of each leaf is a VMA of its own, for ever.
 */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hm_test.h"
#include "model/model.h"

#define STEPS	400
#define SEED	20190820

FIXTURE(model) {
	struct hm_rig rig;
	int fd[MODEL_FILES];	/* 0: none */
	__u32 id[MODEL_RANGES];
	__u32 flags;
	struct model m;
	char *away;		/* as large: where it is moved to, never mirrored */
	char *buf;
	__u32 *snap;
	int step;
	char what[80];		/* the step in words */
	bool quiet;		/* differences are wanted: do not fail */
};

FIXTURE_VARIANT(model) {
	__u32 flags;
};

FIXTURE_VARIANT_ADD(model, one_pass) { .flags = 0 };
FIXTURE_VARIANT_ADD(model, two_pass) { .flags = HOTMIRROR_MIRROR_TWO_PASS };

typedef FIXTURE_DATA(model) data;

static int compare_range(struct __test_metadata *_metadata, data *self, int r)
{
	int start = model_start(&self->m, r), n = model_end(&self->m, r) - start;
	int file = model_ranges[r].file, wrong = 0;

	must(hm_snapshot(self->fd[file], model_addr(&self->m, start), n * self->m.page,
			 self->snap));
	for (int i = 0; i < n; i++) {
		if (model_is_right(&self->m, file, start + i, self->snap[i]))
			continue;
		if (!wrong++ && !self->quiet)
			TH_LOG("step %d, %s: file %d, range %d, page %d: %#x, expected %#x",
			       self->step, self->what, file, r, start + i,
			       self->snap[i] & MODEL_KNOWN,
			       model_expected(&self->m.state[start + i], file));
	}
	return wrong;
}

/* The sums: no entry outside of what was looked at, none taken twice or in between. */
static void compare_sums(struct __test_metadata *_metadata, data *self, int file)
{
	struct hotmirror_verify v;
	struct hotmirror_stats s;

	must(hm_verify(self->fd[file], &v));
	must(hm_stats(self->fd[file], &s));
	EXPECT_EQ(0, v.stale);
	EXPECT_EQ(model_entries(&self->m, file), v.present);
	EXPECT_EQ(self->m.cleared[file], s.entries_cleared)
		TH_LOG("step %d, %s: file %d", self->step, self->what, file);
}

/* Every page of every mirror; the number of those that are not as they should be. */
static int compare(struct __test_metadata *_metadata, data *self)
{
	int wrong = 0;

	for (int r = 0; r < MODEL_RANGES; r++)
		wrong += compare_range(_metadata, self, r);
	if (self->quiet)
		return wrong;
	for (int f = 0; f < MODEL_FILES; f++)
		compare_sums(_metadata, self, f);
	ASSERT_EQ(0, wrong)
		TH_LOG("%d pages differ; replay with HOTMIRROR_MODEL_SEED=%llu", wrong,
		       self->m.seed);
	return 0;
}

/* ---- the steps ---- */

struct step {
	const char *name;
	void (*take)(struct __test_metadata *_metadata, data *self, int first, int end);
	int weight;
};

/* From somewhere in the first page to somewhere in the last. */
static void device(struct __test_metadata *_metadata, data *self, int first, int end,
		   unsigned int cmd, bool write)
{
	char *from = model_addr(&self->m, first) + model_random(&self->m, self->m.page);
	char *to = model_addr(&self->m, end) - model_random(&self->m, self->m.page);
	bool prefetch = cmd == HOTMIRROR_PREFETCH;
	struct hotmirror_access out = {
		.flags = prefetch && write ? HOTMIRROR_ACCESS_WRITE : 0,
	};
	int file = model_random(&self->m, MODEL_FILES), ret;
	size_t done;

	if (from >= to)
		from = model_addr(&self->m, first);
	done = model_device(&self->m, file, from, to, write, &ret);
	EXPECT_EQ(ret, hm_access(self->fd[file], cmd, from, prefetch ? NULL : self->buf,
				 to - from, &out));
	EXPECT_EQ(done, out.done)
		TH_LOG("step %d, %s by file %d", self->step, self->what, file);
}

/* Populate all of a range that the memory allows, from hole to hole. */
static void fill_range(struct __test_metadata *_metadata, data *self, int r, bool write)
{
	char *from = model_addr(&self->m, model_start(&self->m, r));
	char *end = model_addr(&self->m, model_end(&self->m, r));
	int file = model_ranges[r].file, ret;
	size_t done;

	for (; from < end; from += done + self->m.page) {
		struct hotmirror_access out = {
			.flags = write ? HOTMIRROR_ACCESS_WRITE : 0,
		};

		done = model_device(&self->m, file, from, end, write, &ret);
		EXPECT_EQ(ret, hm_access(self->fd[file], HOTMIRROR_PREFETCH, from, NULL,
					 end - from, &out));
		EXPECT_EQ(done, out.done);
	}
}

/* Small ranges, too: single accesses seldom fall into them. */
static void fill_some(struct __test_metadata *_metadata, data *self, int first, int end)
{
	for (int r = 0; r < MODEL_RANGES; r++)
		if (model_random(&self->m, 2))
			fill_range(_metadata, self, r, model_random(&self->m, 2));
}

static void device_read(struct __test_metadata *_metadata, data *self, int first, int end)
{
	device(_metadata, self, first, end, HOTMIRROR_READ, false);
}

static void device_write(struct __test_metadata *_metadata, data *self, int first, int end)
{
	device(_metadata, self, first, end, HOTMIRROR_WRITE, true);
}

static void prefetch(struct __test_metadata *_metadata, data *self, int first, int end)
{
	device(_metadata, self, first, end, HOTMIRROR_PREFETCH, model_random(&self->m, 2));
}

static void cpu_read(struct __test_metadata *_metadata, data *self, int first, int end)
{
	for (int i = first; i < end; i++) {
		if (self->m.state[i].prot < RO)
			continue;
		EXPECT_EQ(0, hm_cpu_touch(model_addr(&self->m, i)));
		model_fault(&self->m, i, false);
	}
}

static void cpu_write(struct __test_metadata *_metadata, data *self, int first, int end)
{
	for (int i = first; i < end; i++) {
		if (self->m.state[i].prot != RW)
			continue;
		EXPECT_EQ(0, hm_cpu_dirty(model_addr(&self->m, i)));
		model_fault(&self->m, i, true);
	}
}

static void unmap(struct __test_metadata *_metadata, data *self, int first, int end)
{
	ASSERT_EQ(0, munmap(model_addr(&self->m, first), (end - first) * self->m.page));
	model_set(&self->m, first, end, HOLE);
}

static void map_vma(struct __test_metadata *_metadata, data *self, int first, int end)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	char *start = model_addr(&self->m, first);
	size_t length = (end - first) * self->m.page;

	/* VMAs that differ in this never merge. */
	if (model_is_post(&self->m, first))
		flags |= MAP_NORESERVE;
	ASSERT_EQ(start, mmap(start, length, PROT_READ | PROT_WRITE, flags, -1, 0));
	/* EINVAL from a kernel without huge pages is as good. */
	if (madvise(start, length, MADV_NOHUGEPAGE))
		ASSERT_EQ(EINVAL, errno);
	model_set(&self->m, first, end, RW);
	cpu_write(_metadata, self, first, first + 1);
}

/* In place of what is there, if anything. */
static void map(struct __test_metadata *_metadata, data *self, int first, int end)
{
	for (int next = first; first < end; first = next) {
		do {
			next++;
		} while (next < end && !model_is_post(&self->m, first) &&
			 !model_is_post(&self->m, next));
		map_vma(_metadata, self, first, next);
	}
}

static void unmap_and_map(struct __test_metadata *_metadata, data *self, int first, int end)
{
	unmap(_metadata, self, first, end);
	map(_metadata, self, first, end);
}

/* A VMA that allows this already is passed over by the kernel. */
static void protect(struct __test_metadata *_metadata, data *self, int first, int end)
{
	static const int bits[] = {
		[NONE] = PROT_NONE, [RO] = PROT_READ, [RW] = PROT_READ | PROT_WRITE,
	};
	enum prot prot = NONE + model_random(&self->m, 3);

	for (int next; first < end; first = next) {
		next = model_run_end(&self->m, first, end);
		if (self->m.state[first].prot == HOLE)
			continue;
		ASSERT_EQ(0, mprotect(model_addr(&self->m, first), (next - first) * self->m.page,
				      bits[prot]));
		if (self->m.state[first].prot != prot)
			model_invalidate(&self->m, first, next);
		for (int i = first; i < next; i++)
			self->m.state[i].prot = prot;
	}
}

/* Past holes it goes on, and says so in the end. */
static void dontneed(struct __test_metadata *_metadata, data *self, int first, int end)
{
	bool hole = false;

	for (int i = first; i < end; i++)
		hole |= self->m.state[i].prot == HOLE;
	EXPECT_EQ(hole ? -1 : 0, madvise(model_addr(&self->m, first),
					 (end - first) * self->m.page, MADV_DONTNEED));
	model_invalidate(&self->m, first, end);
	for (int i = first; i < end; i++)
		self->m.state[i].pte = ABSENT;
}

/* All at once, or page by page where that would be several VMAs. */
static void move(struct __test_metadata *_metadata, data *self, char *from, char *to, int n)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t length = n * self->m.page;

	if (mremap(from, length, length, flags, to) == to)
		return;
	ASSERT_EQ(EFAULT, errno);
	for (size_t off = 0; off < length; off += self->m.page)
		ASSERT_EQ(to + off, mremap(from + off, self->m.page, self->m.page, flags,
					   to + off));
}

static void move_and_back(struct __test_metadata *_metadata, data *self, int first, int end)
{
	for (int next; first < end; first = next) {
		char *here = model_addr(&self->m, first);
		char *there = self->away + (here - self->m.mem);

		next = model_run_end(&self->m, first, end);
		if (self->m.state[first].prot == HOLE)
			continue;
		move(_metadata, self, here, there, next - first);
		move(_metadata, self, there, here, next - first);
		/* Nobody else may settle there. */
		ASSERT_EQ(there, mmap(there, (next - first) * self->m.page, PROT_NONE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		model_invalidate(&self->m, first, next);
	}
}

struct family {
	data *self;
	int first, end;
};

/* In the child: copies of the first half of the interval; the rest stays lent. */
static int child_writes(struct hm_parent *parent, void *arg)
{
	struct family *f = arg;

	long failed = 0;

	for (int i = f->first; i < (f->first + f->end) / 2; i++)
		if (f->self->m.state[i].prot == RW)
			failed |= hm_cpu_dirty(model_addr(&f->self->m, i));
	hm_tell(parent, failed);
	hm_hear(parent);
	return 0;
}

/* fork(), a child that writes, then a device that writes while the child lives. */
static void fork_and_write(struct __test_metadata *_metadata, data *self, int first, int end)
{
	struct family f = { .self = self, .first = first, .end = end };
	struct hm_child child;
	long told;
	int status;

	must(hm_child_start(&child, child_writes, &f));
	must(hm_child_hear(&child, &told));
	EXPECT_EQ(0, told);
	model_lend(&self->m, first, end);
	prefetch(_metadata, self, first, end);
	prefetch(_metadata, self, first, end);
	compare(_metadata, self);
	device_write(_metadata, self, first, end);
	must(hm_child_tell(&child, 0));
	must(hm_child_wait(&child, &status));
	EXPECT_EQ(0, status);
	model_give_back(&self->m);
}

static void mirror(struct __test_metadata *_metadata, data *self, int r)
{
	int start = model_start(&self->m, r);

	must(hm_mirror(self->fd[model_ranges[r].file], model_addr(&self->m, start),
		       (model_end(&self->m, r) - start) * self->m.page, self->flags,
		       &self->id[r]));
}

/* A range that goes takes its entries along, also those that another one covers. */
static void mirror_again(struct __test_metadata *_metadata, data *self, int first, int end)
{
	int r = model_random(&self->m, MODEL_RANGES);

	must(hm_unmirror(self->fd[model_ranges[r].file], self->id[r]));
	for (int i = model_start(&self->m, r); i < model_end(&self->m, r); i++)
		self->m.state[i].entry[model_ranges[r].file] = EMPTY;
	mirror(_metadata, self, r);
}

static const struct step steps[] = {
	{ "device read", device_read, 4 },
	{ "device write", device_write, 4 },
	{ "prefetch", prefetch, 4 },
	{ "prefetch of ranges", fill_some, 5 },
	{ "CPU read", cpu_read, 1 },
	{ "CPU write", cpu_write, 2 },
	{ "munmap", unmap, 1 },
	{ "mmap", map, 3 },
	{ "munmap and mmap", unmap_and_map, 1 },
	{ "mprotect", protect, 3 },
	{ "dontneed", dontneed, 2 },
	{ "mremap and back", move_and_back, 2 },
	{ "fork", fork_and_write, 1 },
	{ "unmirror and mirror", mirror_again, 4 },
};

static const struct step *random_step(data *self)
{
	int sum = 0, pick;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		sum += steps[i].weight;
	pick = model_random(&self->m, sum);
	for (size_t i = 0; ; i++) {
		pick -= steps[i].weight;
		if (pick < 0)
			return &steps[i];
	}
}

/* ---- the tests ---- */

static void open_files(struct __test_metadata *_metadata, data *self)
{
	__u32 other;

	must(hm_plug(self->rig.control, self->rig.kind, self->rig.bytes, &other));
	self->fd[0] = self->rig.fd;
	self->fd[1] = must(hm_open(other));
	self->fd[2] = must(hm_open(self->rig.id));
}

/* Memory that begins at the edge of a leaf, has a neighbour on each side, no hole. */
static char *map_leaves(data *self, size_t pmd)
{
	char *area = hm_map((MODEL_LEAVES + 1) * self->m.leaf);

	return area ? (char *)(((uintptr_t)area + pmd - 1) & -pmd) : NULL;
}

FIXTURE_SETUP(model)
{
	size_t pmd;

	RIG_SETUP(&self->rig, HM_ANY);
	if (variant->flags && !(self->rig.q.features & HOTMIRROR_HAS_TWO_PASS))
		SKIP(return, "no invalidate_start() in mmu_interval_notifier_ops");
	must(hm_stay_on_one_cpu());
	pmd = self->rig.q.pmd_size;
	self->flags = variant->flags;
	self->m.page = self->rig.page;
	self->m.leaf = pmd / self->m.page;
	self->m.pages = MODEL_LEAVES * self->m.leaf;
	self->m.mem = map_leaves(self, pmd);
	self->away = map_leaves(self, pmd);
	self->buf = hm_map(self->m.pages);
	self->snap = calloc(self->m.pages, sizeof(*self->snap));
	self->m.state = calloc(self->m.pages, sizeof(*self->m.state));
	ASSERT_NE(NULL, self->m.mem);
	ASSERT_NE(NULL, self->away);
	ASSERT_NE(NULL, self->buf);
	ASSERT_NE(NULL, self->snap);
	ASSERT_NE(NULL, self->m.state);
	self->m.seed = model_setting("HOTMIRROR_MODEL_SEED", SEED);
	self->m.random = self->m.seed ?: 1;
	open_files(_metadata, self);
	map(_metadata, self, 0, self->m.pages);
	for (int r = 0; r < MODEL_RANGES; r++)
		mirror(_metadata, self, r);
}

FIXTURE_TEARDOWN(model)
{
	for (int f = 1; f < MODEL_FILES; f++)
		if (self->fd[f])
			close(self->fd[f]);
	rig_teardown(_metadata, &self->rig);
}

static void random_steps(struct __test_metadata *_metadata, data *self, int n)
{
	for (int i = 1; i <= n; i++) {
		const struct step *step = random_step(self);
		int first, end;

		model_interval(&self->m, &first, &end);
		self->step = i;
		snprintf(self->what, sizeof(self->what), "%s of pages %d to %d",
			 step->name, first, end - 1);
		step->take(_metadata, self, first, end);
		compare(_metadata, self);
	}
}

TEST_F(model, every_step_takes_what_it_names_and_nothing_beside_it)
{
	int n = model_setting("HOTMIRROR_MODEL_STEPS", STEPS);

	random_steps(_metadata, self, n);
	TH_LOG("%d steps with seed %llu: %llu, %llu and %llu entries taken", n,
	       self->m.seed, self->m.cleared[0], self->m.cleared[1], self->m.cleared[2]);
	/* It was no walk in an empty place. */
	for (int f = 0; f < MODEL_FILES; f++)
		EXPECT_LT(n / 4, self->m.cleared[f]);
}

/* Negative controls: what a wrong module would do, the comparison finds, to the page. */
TEST_F(model, entries_that_stay_are_found)
{
	int r = MODEL_WIDEST, edge = self->m.leaf;

	skip_unless(self->rig.q.features & HOTMIRROR_HAS_SABOTAGE,
		    "module loaded without sabotage=1");
	fill_range(_metadata, self, r, true);
	EXPECT_EQ(0, compare(_metadata, self));
	must(hm_sabotage(self->fd[model_ranges[r].file],
			 HOTMIRROR_SABOTAGE_SKIP_INVALIDATE));
	self->quiet = true;
	dontneed(_metadata, self, edge - 3, edge + 4);
	EXPECT_EQ(7, compare(_metadata, self));
	dontneed(_metadata, self, edge + 4, edge + 5);
	EXPECT_EQ(8, compare(_metadata, self));
}

TEST_F(model, entries_taken_beside_are_found)
{
	int edge = self->m.leaf;

	fill_range(_metadata, self, MODEL_WIDEST, true);
	EXPECT_EQ(0, compare(_metadata, self));
	self->quiet = true;
	/* The model does not know; nothing else is there. */
	ASSERT_EQ(0, madvise(model_addr(&self->m, edge - 100), self->m.page,
			     MADV_DONTNEED));
	EXPECT_EQ(1, compare(_metadata, self));
	ASSERT_EQ(0, madvise(model_addr(&self->m, edge - 102), 2 * self->m.page,
			     MADV_DONTNEED));
	EXPECT_EQ(3, compare(_metadata, self));
}

HM_TEST_MAIN
