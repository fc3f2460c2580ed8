// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page that KSM has merged, in a device: one page of two addresses. Who has to find them
 * (try_to_migrate(), remove_migration_ptes()) goes by rmap_walk_ksm(), which knows the
 * addresses at which ksmd merged the page, and no others.
 *
 * Kernel bugs, on 6.12 where a coherent page shows them, and on 7.3.4:
 *
 * - mremap() calls ksm_madvise(MADV_UNMERGEABLE), which is to take the page apart, because
 *   the walk would not find it at the new address. break_ksm_pmd_entry() looks at present
 *   entries and at migration entries, not at device-private ones: the entry moves as it is.
 *   A coherent page is taken apart. By kprobes, of a page at 7fd968a01000 and 7fd968801000:
 *     ksm_madvise: start=0x7fd968a01000 advice=13; break_ksm_pmd_entry: 0
 *     migrate_vma_setup: start=0x7fd968601000, to where it was moved
 *     rmap_walk_ksm: folio=0xffce962933e00000; try_to_migrate_one: addr=0x7fd968801000
 *     rmap_walk_ksm: folio=0xffce962544104e80; remove_migration_pte: addr=0x7fd968801000
 * - A scan of ksmd drops the addresses (rmap_items) at which it sees no page to merge. That
 *   is so for entries that are not present, and ksm_next_page_pmd_entry() also passes over
 *   every ZONE_DEVICE page: after one scan rmap_walk_ksm() calls nobody for such a page.
 * - ksm_memory_callback() forgets pages in memory that goes offline. memunmap_pages() does
 *   not call it: the stable tree still names the device's pages, and the next scan reads a
 *   struct page that is no more. 7.3.4, private memory, KSM set running by the next test:
 *     BUG: unable to handle page fault for address: fff96dd6f3e00008
 *     RIP: 0010:ksm_get_folio+0x3b/0x130
 *      remove_rmap_item_from_tree+0x60/0x130
 *      ksm_scan_thread+0x760/0x1ef0
 *   The test puts a device in the same place before KSM looks.
 *
 * What follows from the first two: migrate_vma_collect_pmd() puts a migration entry at the
 * address of the fault or of the call. Where the walk misses that one, the page comes home
 * (or stays), and the entry is left behind. Where it misses the other address, the page
 * cannot be migrated at all. Both ways the CPU faults for ever: nobody has the page behind
 * a left migration entry locked, so migration_entry_wait() comes back at once. That entry
 * names a page of the device that may be free by now, which exit takes for one of shmem:
 * `Bad rss-counter`. 6.12 checks that lock with BUG_ON(), in the fault, at exit and for
 * /proc/PID/pagemap: it dies, holding the page table lock. So no such test is run there.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "hm_test.h"
#include "lib/pagemap.h"
#include "lib/setting.h"

#define SEED	1

#define KSM(name)	"/sys/kernel/mm/ksm/" name

enum { STOP, RUN, UNMERGE };	/* of KSM("run") */

/* What the child, whose memory it is, does when it is told so. */
enum { MERGE, SEND, HOME, MOVE, READ, READ_OTHER, IS_MERGED };

FIXTURE(merged) {
	struct hm_rig rig;
	struct hm_child child;
	struct hm_setting ksm[4];	/* the last is KSM("run") */
	bool tree_is_bad;		/* KSM must not look at it */
	char *mem, *other;		/* one page each, with the same contents */
};

FIXTURE_VARIANT(merged) {
	__u32 kind;
};

FIXTURE_VARIANT_ADD(merged, private) { .kind = HOTMIRROR_PRIVATE };
FIXTURE_VARIANT_ADD(merged, coherent) { .kind = HOTMIRROR_COHERENT };

typedef FIXTURE_DATA(merged) data;

/* With one mapping only a merged page is halfway. */
static bool is_merged(const char *page)
{
	return hm_page_flags(page) & HM_KPF_KSM && !(hm_pagemap(page) & HM_PM_EXCLUSIVE);
}

static long merge(data *self)
{
	long long deadline = hm_deadline(HM_LIMIT_MS / 2);
	size_t page = self->rig.page;

	hm_fill(self->mem, page, SEED);
	hm_fill(self->other, page, SEED);
	if (madvise(self->mem, page, MADV_MERGEABLE) ||
	    madvise(self->other, page, MADV_MERGEABLE))
		return -errno;
	while (!is_merged(self->mem) || !is_merged(self->other)) {
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* The pages that went, or -errno. A file mirrors its opener: this one is the child's. */
static long migrate(data *self, __u32 direction)
{
	int fd = hm_open(self->rig.id);
	__u64 moved;
	int ret;

	if (fd < 0)
		return fd;
	ret = hm_migrate(fd, direction, self->mem, self->rig.page, 0, &moved);
	close(fd);
	return ret ?: (long)moved;
}

static long move(data *self)
{
	size_t page = self->rig.page;
	char *to = hm_map(1);

	if (!to || mremap(self->mem, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
		return -errno;
	self->mem = to;
	return 0;
}

/* 0, the number of the signal, or -EIO for other contents. */
static long look(data *self, const char *page)
{
	static char buf[1 << 16];
	int signal = hm_cpu_read(page, buf, self->rig.page);

	return signal ?: hm_differs(buf, self->rig.page, SEED) < 0 ? 0 : -EIO;
}

static long step(data *self, long what)
{
	switch (what) {
	case MERGE:
		return merge(self);
	case SEND:
		return migrate(self, HOTMIRROR_MIGRATE_TO_DEV);
	case HOME:
		return migrate(self, HOTMIRROR_MIGRATE_TO_SYS);
	case MOVE:
		return move(self);
	case READ:
		return look(self, self->mem);
	case READ_OTHER:
		return look(self, self->other);
	case IS_MERGED:
		return is_merged(self->mem);
	}
	return -EINVAL;
}

static int owner(struct hm_parent *p, void *arg)
{
	for (;;)
		hm_tell(p, step(arg, hm_hear(p)));
	return 0;
}

static long ask(struct __test_metadata *_metadata, data *self, int what)
{
	long answer;

	must(hm_child_tell(&self->child, what));
	must(hm_child_hear(&self->child, &answer));
	return answer;
}

static void run_ksm(struct __test_metadata *_metadata, int how)
{
	char text[] = { '0' + how, 0 };

	must(hm_put_text(KSM("run"), text));
}

/* A scan that has begun may have passed the pages: the second is one of all. */
static void scan(struct __test_metadata *_metadata)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	long first = must(hm_setting_get(KSM("full_scans")));

	run_ksm(_metadata, RUN);
	while (hm_setting_get(KSM("full_scans")) < first + 2) {
		ASSERT_LT(0, hm_left(deadline));
		hm_pause();
	}
	run_ksm(_metadata, STOP);
}

static __u64 pages_used(struct __test_metadata *_metadata, data *self)
{
	struct hotmirror_status st;

	must(hm_status(self->rig.fd, 0, &st));
	return st.pages_used;
}

/* KSM is set running by who needs it, and only then: it must not come in between. */
static bool have_ksm(struct __test_metadata *_metadata, data *self)
{
	long run = hm_setting_get(KSM("run"));

	if (run < 0)
		SKIP(return false, "kernel without KSM");
	if (run == RUN)
		SKIP(return false, "KSM is in use on this machine");
	must(hm_setting_set(&self->ksm[3], KSM("run"), UNMERGE));
	/* Without what it still knows of the dead. */
	ASSERT_EQ(0, hm_setting_get(KSM("pages_shared")));
	must(hm_setting_set(&self->ksm[0], KSM("sleep_millisecs"), 0));
	must(hm_setting_set(&self->ksm[1], KSM("pages_to_scan"), 1000));
	/* It passes over addresses that did not merge before, though the memory is new. */
	hm_setting_set(&self->ksm[2], KSM("smart_scan"), 0);
	return true;
}

FIXTURE_SETUP(merged)
{
	RIG_SETUP(&self->rig, variant->kind);
	rig_memory(_metadata, &self->rig, 1, &self->mem, &self->other);
	if (!have_ksm(_metadata, self))
		return;
	must(hm_child_start(&self->child, owner, self));
	run_ksm(_metadata, RUN);
	ASSERT_EQ(0, ask(_metadata, self, MERGE));
	run_ksm(_metadata, STOP);
	ASSERT_EQ(1, ask(_metadata, self, SEND));
	ASSERT_EQ(1, pages_used(_metadata, self));
}

/*
 * What the bug looks like in the log: a page that is mapped though no entry is left that says
 * so, and with the mm, which KSM had a reference to, comes the verdict on its counters.
 */
static void count_known(const char *line, void *arg)
{
	*(int *)arg += strstr(line, "Bad rss-counter state") ||
		       strstr(line, "WARNING: at softleaf_");
}

static void expect_complaints(struct __test_metadata *_metadata)
{
	int expected = 0, bad;

	EXPECT_EQ(0, hm_visit_cpus(NULL));
	bad = hm_log_read(&test_log, count_known, &expected);
	EXPECT_EQ(expected, bad);
}

/*
 * The owner first: no entry may name a page of an instance that is gone, nor may KSM's
 * tree. UNMERGE looks at all of that, and gives up what KSM has of the owner.
 */
FIXTURE_TEARDOWN(merged)
{
	if (self->child.pid)
		hm_child_end(&self->child);
	if (self->ksm[3].path && !self->tree_is_bad) {
		EXPECT_EQ(0, hm_put_text(KSM("run"), "2"));
		EXPECT_EQ(0, hm_setting_get(KSM("pages_shared")));
		for (int i = 0; i < 4; i++)
			hm_setting_restore(&self->ksm[i]);
	}
	if (test_code(_metadata) == KSFT_XFAIL)
		expect_complaints(_metadata);
	rig_teardown(_metadata, &self->rig);
}

/* The faults that a process has taken, -1 if it is gone. */
static long faults(pid_t pid)
{
	char path[64], text[1024], *name;
	long n = -1;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	name = hm_slurp(path, text, sizeof(text)) > 0 ? strrchr(text, ')') : NULL;
	if (name)
		sscanf(name, ") %*c %*d %*d %*d %*d %*d %*u %ld", &n);
	return n;
}

/* A read of one page takes a fault, or a few. Behind so many it will not end. */
#define FOR_EVER	1000

/* The CPU finds the data; false if it faults for ever instead. */
static bool finds_data(struct __test_metadata *_metadata, data *self, int what)
{
	struct pollfd answered = { .fd = self->child.from, .events = POLLIN };
	long long deadline = hm_deadline(HM_LIMIT_MS);
	long before = must(faults(self->child.pid)), wrong;

	must(hm_child_tell(&self->child, what));
	while (hm_left(deadline) && !poll(&answered, 1, 0)) {
		if (faults(self->child.pid) > before + FOR_EVER)
			return false;
		hm_pause();
	}
	must(hm_child_hear(&self->child, &wrong));
	EXPECT_EQ(0, wrong);
	return true;
}

#define LOST	"kernel bug: a walk of KSM's misses a page in a device; the CPU faults for ever"

static void expect_data(struct __test_metadata *_metadata, data *self, int what, bool lost)
{
	if (finds_data(_metadata, self, what))
		return;
	if (lost)
		rig_xfail(_metadata, LOST);
	EXPECT_TRUE(lost)
		TH_LOG("the CPU faults for ever");
}

static bool survives_left_entry(void)
{
	struct utsname name;

	return !uname(&name) && atoi(name.release) >= 7;
}

#define need_survival()	\
	skip_unless(survives_left_entry(), "kernel bug: it would lose the page, and then die of " \
		    "BUG_ON(!folio_test_locked())")

TEST_F(merged, each_address_finds_the_data)
{
	EXPECT_TRUE(finds_data(_metadata, self, READ));
	EXPECT_TRUE(finds_data(_metadata, self, READ_OTHER));
	EXPECT_EQ(variant->kind != HOTMIRROR_PRIVATE, pages_used(_metadata, self));
}

TEST_F(merged, comes_home)
{
	EXPECT_EQ(1, ask(_metadata, self, HOME));
	EXPECT_EQ(0, pages_used(_metadata, self));
	EXPECT_TRUE(finds_data(_metadata, self, READ));
	EXPECT_TRUE(finds_data(_metadata, self, READ_OTHER));
	EXPECT_EQ(1, ask(_metadata, self, IS_MERGED));
}

TEST_F(merged, mremap_takes_it_apart)
{
	if (variant->kind == HOTMIRROR_PRIVATE)
		need_survival();
	ASSERT_EQ(0, ask(_metadata, self, MOVE));
	expect_data(_metadata, self, READ, variant->kind == HOTMIRROR_PRIVATE);
	if (test_code(_metadata) != KSFT_XFAIL)
		EXPECT_EQ(0, ask(_metadata, self, IS_MERGED));
}

TEST_F(merged, mremap_leaves_the_other_address)
{
	ASSERT_EQ(0, ask(_metadata, self, MOVE));
	expect_data(_metadata, self, READ_OTHER, variant->kind == HOTMIRROR_PRIVATE);
}

TEST_F(merged, is_found_after_a_scan)
{
	if (variant->kind == HOTMIRROR_PRIVATE)
		need_survival();
	scan(_metadata);
	expect_data(_metadata, self, READ, variant->kind == HOTMIRROR_PRIVATE);
}

TEST_F(merged, comes_home_after_a_scan)
{
	need_survival();
	scan(_metadata);
	EXPECT_LE(0, ask(_metadata, self, HOME));
	expect_data(_metadata, self, READ, true);
}

/* Where the memory of the module is: its lines of /proc/iomem. */
static void place(struct __test_metadata *_metadata, char *text, size_t size)
{
	FILE *f = fopen("/proc/iomem", "re");
	size_t n = 0;

	ASSERT_NE(NULL, f);
	while (n + 1 < size && fgets(text + n, size - n, f))
		if (strstr(text + n, "test_hotmirror"))
			n += strlen(text + n);
	text[n] = 0;
	fclose(f);
	ASSERT_LT(0, n);
}

static bool all_lines_in(char *lines, const char *text)
{
	for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"))
		if (!strstr(text, line))
			return false;
	return true;
}

/* Have devices until there is memory again in the place. The first may get another. */
static bool plug_there(struct __test_metadata *_metadata, data *self, const char *there)
{
	char *lines, now[1024];
	bool same = false;
	__u32 id;

	for (int i = 0; i < 4 && !same; i++) {
		must(hm_plug(self->rig.control, self->rig.kind, self->rig.bytes, &id));
		place(_metadata, now, sizeof(now));
		lines = strdup(there);
		same = lines && all_lines_in(lines, now);
		free(lines);
	}
	return same;
}

TEST_F(merged, is_forgotten_when_its_memory_goes)
{
	char there[1024];
	bool named;

	must(rig_settle(&self->rig));
	place(_metadata, there, sizeof(there));
	hm_child_end(&self->child);
	self->child.pid = 0;
	self->tree_is_bad = true;
	must(hm_unplug(self->rig.control, self->rig.id, HOTMIRROR_GONE, HM_LIMIT_MS));
	must(hm_wait_gone(self->rig.fd, HM_LIMIT_MS));
	named = hm_setting_get(KSM("pages_shared"));
	ASSERT_TRUE(plug_there(_metadata, self, there))
		TH_LOG("KSM must not run any more on this machine");
	self->tree_is_bad = false;
	if (named)
		rig_xfail(_metadata, "kernel bug: KSM names a page of a device that is gone; "
			  "its next scan would read what was the struct page");
}

HM_TEST_MAIN
