// SPDX-License-Identifier: GPL-2.0-only
/*
 * Plug, use, unplug, over and over, while another instance works on (claims S4, S7):
 * the same physical memory comes back, of the one before nothing is in it, and the
 * kernel has as much of everything in the end as in the beginning.
 *
 * HOTMIRROR_REPLUG=n in the environment replugs n times in all, instead of 100.
 */
#include <sys/mman.h>

#include "dax_test.h"

#define TIMES		100	/* of all variants together */
#define VARIANTS	4
#define WARM_UP		2	/* rounds before memory is counted */
#define PAGES		256	/* that are used each time, or one PMD */
#define WORK_PAGES	8	/* of the other instance */
/* Of free memory so much may be gone: less than if each page that was used cost one. */
#define MOST_KB		(8 << 10)

FIXTURE(replug) {
	struct hm_rig rig;	/* no instance: each round has its own */
	size_t page, length, unit;
	int times, round;
	__u64 place;		/* where in the arena the first one was */
	struct hm_child worker;
};

FIXTURE_VARIANT(replug) {
	__u32 kind;
	bool pmd;
};

FIXTURE_VARIANT_ADD(replug, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(replug, coherent) { .kind = HOTMIRROR_COHERENT };
FIXTURE_VARIANT_ADD(replug, dax) { .kind = HOTMIRROR_DAX };
FIXTURE_VARIANT_ADD(replug, dax_pmd) { .kind = HOTMIRROR_DAX, .pmd = true };

typedef FIXTURE_DATA(replug) data;
typedef FIXTURE_VARIANT(replug) variants;

static int times(void)
{
	const char *want = getenv("HOTMIRROR_REPLUG");
	int n = want ? atoi(want) : TIMES;

	return (n > VARIANTS ? n : VARIANTS) / VARIANTS;
}

/* ---- the other instance, in another process ---- */

struct work {
	int fd;
	size_t length;
	char *mem, *buf;
};

static int work_setup(struct work *w, struct hm_rig *rig)
{
	__u32 kind = hm_any_kind(&rig->q), id;
	int control = hm_control_open();
	int ret = control < 0 ? control : hm_plug(control, kind, rig->q.plug_align, &id);

	w->fd = ret ? ret : hm_open(id);
	if (w->fd < 0)
		return w->fd;
	w->length = WORK_PAGES * rig->page;
	w->mem = hm_map(WORK_PAGES);
	w->buf = hm_map(WORK_PAGES);
	return hm_mirror(w->fd, w->mem, w->length, 0, NULL);
}

/* By the device, then by the CPU, which brings the pages home that had been migrated. */
static int work_once(struct work *w, unsigned int seed)
{
	struct hotmirror_verify v;
	int ret;

	hm_fill(w->buf, w->length, seed);
	ret = hm_to_dev(w->fd, w->mem, w->length, NULL) ?:
	      hm_write(w->fd, w->mem, w->buf, w->length) ?:
	      hm_read(w->fd, w->mem, w->buf, w->length) ?: hm_verify(w->fd, &v);
	if (ret)
		return ret;
	return v.stale || hm_differs(w->buf, w->length, seed) >= 0 ||
	       hm_differs(w->mem, w->length, seed) >= 0 ? -EBADMSG : 0;
}

/* Works once beside every round, and is idle when the books are read. */
static int worker(struct hm_parent *p, void *arg)
{
	data *self = arg;
	struct work w = {};
	int ret = work_setup(&w, &self->rig);

	while (!ret) {
		hm_tell(p, ret);
		ret = work_once(&w, hm_hear(p));
	}
	hm_tell(p, ret);
	return hm_hear(p);
}

FIXTURE_SETUP(replug)
{
	long ret;

	rig_begin(_metadata, variant, &self->rig);
	/* What still leaves has a place in the arena that the first round must not miss. */
	must(rig_settle(&self->rig));
	if (!(self->rig.q.features & hm_kind(variant->kind)->feature))
		SKIP(return, "%s", hm_kind(variant->kind)->lacking);
	if (variant->pmd && !(self->rig.q.features & HOTMIRROR_HAS_DAX_PMD))
		SKIP(return, "no PMD-mapped device memory in this kernel");
	self->page = self->rig.page;
	self->unit = variant->pmd ? self->rig.q.pmd_size : self->page;
	self->length = variant->pmd ? self->unit : PAGES * self->page;
	self->times = times();
	must(hm_child_start(&self->worker, worker, self));
	must(hm_child_hear(&self->worker, &ret));
	must(ret);
}

FIXTURE_TEARDOWN(replug)
{
	hm_child_end(&self->worker);
	rig_end(_metadata, &self->rig);
}

/* ---- one round ---- */

/* The first and the last word of a page. */
static __u64 *word(data *self, char *mem, size_t at, bool last)
{
	return (__u64 *)(mem + at + (last ? self->page - sizeof(__u64) : 0));
}

/* Mark every page, so that it cannot be taken for another or for one of another round. */
static void mark(data *self, char *mem)
{
	for (size_t at = 0; at < self->length; at += self->page) {
		*word(self, mem, at, false) = ((__u64)self->round << 32) + at + 1;
		*word(self, mem, at, true) = ~*word(self, mem, at, false);
	}
}

/* Offset of the first page that has not its mark, -1 if none. */
static ssize_t unmarked(data *self, char *mem)
{
	for (size_t at = 0; at < self->length; at += self->page) {
		__u64 mark = ((__u64)self->round << 32) + at + 1;

		if (*word(self, mem, at, false) != mark || *word(self, mem, at, true) != ~mark)
			return at;
	}
	return -1;
}

/* Offset of the first page that has something where a mark goes, -1 if none. */
static ssize_t used_before(data *self, char *mem)
{
	for (size_t at = 0; at < self->length; at += self->page)
		if (*word(self, mem, at, false) | *word(self, mem, at, true))
			return at;
	return -1;
}

/* Device memory that nobody has touched. */
static char *fresh(struct __test_metadata *_metadata, data *self, const variants *variant,
		   int fd)
{
	__u64 moved;
	char *mem;

	if (variant->kind == HOTMIRROR_DAX) {
		mem = map_dax(fd, self->length, 0);
		ASSERT_NE(MAP_FAILED, mem);
		return mem;
	}
	mem = hm_map(PAGES);
	ASSERT_NE(NULL, mem);
	must(hm_to_dev(fd, mem, self->length, &moved));
	EXPECT_EQ(PAGES, moved);
	return mem;
}

static void expect_same_place(struct __test_metadata *_metadata, data *self,
			      const variants *variant, int fd)
{
	struct hotmirror_status st;

	must(hm_status(fd, 0, &st));
	if (!self->round)
		self->place = st.arena_offset;
	EXPECT_EQ(self->place, st.arena_offset);
}

/* Used by CPU and device: what one writes the other reads. */
static void use(struct __test_metadata *_metadata, data *self, int fd, char *mem, char *buf)
{
	must(hm_mirror(fd, mem, self->length, 0, NULL));
	must(hm_read(fd, mem, buf, self->length));
	EXPECT_EQ(-1, used_before(self, buf))
		TH_LOG("round %d: the device reads something", self->round);
	mark(self, buf);
	must(hm_write(fd, mem, buf, self->length));
	EXPECT_EQ(-1, unmarked(self, mem))
		TH_LOG("round %d: the CPU reads something else", self->round);
}

static void replug(struct __test_metadata *_metadata, data *self, const variants *variant,
		   char *buf)
{
	int control = must(hm_control_open()), fd;
	char *mem;
	__u32 id;

	if (variant->kind == HOTMIRROR_DAX)
		must(hm_plug_dax(control, self->rig.q.plug_align, self->unit, &id));
	else
		must(hm_plug(control, variant->kind, self->rig.q.plug_align, &id));
	fd = must(hm_open(id));
	expect_same_place(_metadata, self, variant, fd);
	mem = fresh(_metadata, self, variant, fd);
	use(_metadata, self, fd, mem, buf);
	must(hm_unplug(control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	if (variant->kind == HOTMIRROR_DAX)
		EXPECT_EQ(SIGBUS, hm_cpu_touch(mem));
	if (variant->kind != HOTMIRROR_DAX)
		EXPECT_EQ(-1, unmarked(self, mem));
	ASSERT_EQ(0, munmap(mem, self->length));
	close(fd);
	close(control);
}

/* ---- the books ---- */

static void say(const char *line, void *arg)
{
	struct __test_metadata *_metadata = arg;

	TH_LOG("%s", line);
}

/* The sum of the numbers behind @name in the lines of a file that begin with it. */
static long sum_of(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[256];
	long sum = 0;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = line + strspn(line, " ");

		if (!strncmp(at, name, strlen(name)))
			sum += atol(at + strlen(name));
	}
	if (file)
		fclose(file);
	return sum;
}

/* With the lists of free pages of each CPU, which may well be tens of MB. */
static long all_free_kb(void)
{
	return sum_of("/proc/meminfo", "MemFree:") +
	       sum_of("/proc/zoneinfo", "count:") * (long)(hm_page_size() >> 10);
}

/* All that was plugged so far is gone and freed; what there is then. */
static void books(struct __test_metadata *_metadata, const struct hm_books *objects,
		  struct hm_books *b, long *free_kb)
{
	must(hm_books_settle(objects, false, HM_LIMIT_MS, b));
	must(hm_books_all(b));
	*free_kb = all_free_kb();
}

TEST_F(replug, leaves_nothing_and_finds_nothing)
{
	char *buf = hm_map(self->length / self->page);
	struct hm_books objects, before, now;
	long free_before = 0, free_now, ret;

	ASSERT_NE(NULL, buf);
	must(hm_books_open(&objects));
	for (self->round = 0; self->round < self->times + WARM_UP; self->round++) {
		if (self->round == WARM_UP)
			books(_metadata, &objects, &before, &free_before);
		must(hm_child_tell(&self->worker, self->round));
		replug(_metadata, self, variant, buf);
		must(hm_child_hear(&self->worker, &ret));
		EXPECT_EQ(0, ret)
			TH_LOG("round %d, the other instance: %s", self->round,
			       strerror(-ret));
	}
	books(_metadata, &objects, &now, &free_now);
	EXPECT_EQ(0, hm_books_compare(&before, &before, &now, say, _metadata));
	TH_LOG("%d times, %ld kB of free memory less than before", self->times,
	       free_before - free_now);
	EXPECT_GT(MOST_KB, free_before - free_now);
}

HM_TEST_MAIN
