// SPDX-License-Identifier: GPL-2.0-only
/*
 * Surprise removal (claims S5, S6, S7): the contents of what lives in the device are
 * lost, and everyone who asks for them is told, the CPU by SIGBUS, a device and GUP by
 * EFAULT. Nobody ever gets zeroes or another's data instead. The rest of the process
 * goes on: what is lost can be unmapped, moved, forked, dropped and written anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

#include "away.h"
#include "lib/group.h"

AWAY_FIXTURE(lost)

#define need_lost(a)							\
	skip_unless((a)->rig.q.features & HOTMIRROR_HAS_LOST,		\
		    "kernel without CONFIG_DEVICE_PRIVATE")

static __u64 tombstones(struct __test_metadata *_metadata, struct away *a)
{
	struct hotmirror_query q;

	must(hm_query(a->fd, &q));
	return q.tombstones;
}

/* What most tests begin with; the instance is gone at once. */
static void lose(struct __test_metadata *_metadata, struct away *a)
{
	struct hotmirror_status st;

	away_settle(_metadata, a);
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	st = away_status(_metadata, a);
	ASSERT_EQ(a->pages, st.pages_lost);
	ASSERT_EQ(0, st.pages_evicted);
	ASSERT_EQ(0, st.pages_used);
	ASSERT_EQ(a->pages, tombstones(_metadata, a));
}

/* The last of them are gone, and with them what the module had for them. */
static void expect_none_left(struct __test_metadata *_metadata, struct away *a)
{
	EXPECT_EQ(0, tombstones(_metadata, a));
}

/* Every page, in every way of the CPU. */
static void expect_lost(struct __test_metadata *_metadata, struct away *a, char *mem)
{
	EXPECT_EQ(a->pages, away_dead(a, mem));
	for (int i = 0; i < a->pages; i++)
		if (hm_cpu_dirty(mem + i * a->page) != SIGBUS)
			EXPECT_EQ(-1, i)
				TH_LOG("this page can be written");
}

TEST_F(lost, cpu_gets_sigbus)
{
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	expect_lost(_metadata, a, a->mem);
	/* And again: the fault changes nothing. */
	EXPECT_EQ(a->pages, away_dead(a, a->mem));
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
}

/* Other devices get what the CPU gets. */
TEST_F(lost, other_devices_get_efault)
{
	struct away *a = &self->a;
	char *buf = away_map(a);
	__u32 id, snap = ~0U;
	int fd;

	need_lost(a);
	ASSERT_NE(NULL, buf);
	must(hm_plug(a->rig.control, variant->kind, a->rig.bytes, &id));
	fd = must(hm_open(id));
	must(hm_mirror(fd, a->mem, a->length, 0, NULL));
	lose(_metadata, a);
	must_err(EFAULT, hm_read(fd, a->mem, buf, a->length));
	must_err(EFAULT, hm_write(fd, a->mem, buf, a->length));
	must_err(EFAULT, hm_prefetch(fd, a->mem + a->page, a->page, true));
	must_err(EFAULT, hm_gup_read(a->mem, buf, a->page));
	must_err(EFAULT, hm_pin(fd, a->mem, a->page, HOTMIRROR_PIN_WRITE, NULL, NULL));
	must(hm_snapshot(fd, a->mem, a->page, &snap));
	EXPECT_EQ(0, snap & HOTMIRROR_SNAP_VALID);
	/* Nor is it a migration source. */
	EXPECT_EQ(0, must(away_send(a, fd, a->mem)));
	rig_verify_fd(_metadata, fd);
	close(fd);
}

TEST_F(lost, device_had_its_own_mirror)
{
	struct away *a = &self->a;
	char *buf = away_map(a);

	need_lost(a);
	ASSERT_NE(NULL, buf);
	must(hm_mirror(a->fd, a->mem, a->length, 0, NULL));
	away_settle(_metadata, a);
	must(hm_read(a->fd, a->mem, buf, a->length));
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	must_err(ENODEV, hm_read(a->fd, a->mem, buf, a->length));
	expect_lost(_metadata, a, a->mem);
}

TEST_F(lost, dontneed_makes_room_for_new_pages)
{
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	ASSERT_EQ(0, madvise(a->mem, a->length, MADV_DONTNEED));
	expect_none_left(_metadata, a);
	expect_zero(a->mem, a->length);
	away_put(a, a->mem, 0, a->pages, OTHER);
	expect_put(a, 0, a->pages, OTHER);
}

TEST_F(lost, dontneed_of_a_part_leaves_the_rest_lost)
{
	struct away *a = &self->a;
	int half = a->pages / 2;

	need_lost(a);
	lose(_metadata, a);
	ASSERT_EQ(0, madvise(a->mem, a->length / 2, MADV_DONTNEED));
	EXPECT_EQ(half, away_dead(a, a->mem));
	away_put(a, a->mem, 0, half, OTHER);
	expect_put(a, 0, half, OTHER);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(a->mem + half * a->page));
	ASSERT_EQ(0, madvise(a->mem, a->length, MADV_DONTNEED));
	expect_none_left(_metadata, a);
}

TEST_F(lost, munmap_frees_them)
{
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	ASSERT_EQ(0, munmap(a->mem + a->page, a->length - a->page));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(a->mem));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(a->mem + a->page));
	ASSERT_EQ(0, munmap(a->mem, a->page));
	expect_none_left(_metadata, a);
}

TEST_F(lost, other_mappings_can_take_their_place)
{
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	ASSERT_EQ(a->mem, mmap(a->mem, a->length, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_none_left(_metadata, a);
	expect_zero(a->mem, a->length);
}

TEST_F(lost, fork_shares_them)
{
	struct away *a = &self->a;
	struct hm_child c;

	need_lost(a);
	lose(_metadata, a);
	must(hm_child_start(&c, relative, a));
	EXPECT_EQ(a->pages, ask(_metadata, &c, TOUCH, 0));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
	EXPECT_EQ(a->pages, ask(_metadata, &c, TOUCH, 0));
	dismiss(_metadata, &c);
	expect_none_left(_metadata, a);
}

TEST_F(lost, forked_before_all_lose_them)
{
	struct away *a = &self->a;
	struct hm_child c;

	need_lost(a);
	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(a->pages, ask(_metadata, &c, TOUCH, 0));
	expect_lost(_metadata, a, a->mem);
	EXPECT_EQ(0, ask(_metadata, &c, DROP, 0));
	ask(_metadata, &c, PUT, OTHER);
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, OTHER));
	expect_lost(_metadata, a, a->mem);
	dismiss(_metadata, &c);
	ASSERT_EQ(0, munmap(a->mem, a->length));
	expect_none_left(_metadata, a);
}

/* What was copied on write has long been somebody's own. */
TEST_F(lost, copies_are_not_lost)
{
	struct away *a = &self->a;
	struct hm_child c;

	need_lost(a);
	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	ask(_metadata, &c, PUT, OTHER);
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(-1, ask(_metadata, &c, LOOK, OTHER));
	dismiss(_metadata, &c);
	/* The write of the child fetched private pages home. */
	if (variant->kind == HOTMIRROR_COHERENT)
		expect_lost(_metadata, a, a->mem);
	else
		expect_put(a, 0, a->pages, SEED);
}

TEST_F(lost, exit_of_the_owner_frees_them)
{
	struct away *a = &self->a;
	struct hm_child c;
	int status;

	need_lost(a);
	away_settle(_metadata, a);
	must(hm_child_start(&c, relative, a));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	expect_none_left(_metadata, a);
}

TEST_F(lost, mremap_takes_them_along)
{
	struct away *a = &self->a;
	char *spare = away_map(a);

	need_lost(a);
	ASSERT_NE(NULL, spare);
	lose(_metadata, a);
	ASSERT_EQ(spare, mremap(a->mem, a->length, a->length,
				MREMAP_MAYMOVE | MREMAP_FIXED, spare));
	expect_lost(_metadata, a, spare);
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
	ASSERT_EQ(0, munmap(spare, a->length));
	expect_none_left(_metadata, a);
}

/* Nothing that is no order to drop them brings anything back. */
TEST_F(lost, advice_and_protection_change_nothing)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_FREE, MADV_WILLNEED, MADV_NOHUGEPAGE,
		MADV_MERGEABLE, MADV_UNMERGEABLE,
	};
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	for (size_t i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		madvise(a->mem, a->length, advice[i]);
		EXPECT_EQ(a->pages, away_dead(a, a->mem))
			TH_LOG("advice %d", advice[i]);
	}
	ASSERT_EQ(0, mprotect(a->mem, a->length, PROT_READ));
	EXPECT_EQ(a->pages, away_dead(a, a->mem));
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(a->mem));
	ASSERT_EQ(0, mprotect(a->mem, a->length, PROT_READ | PROT_WRITE));
	expect_lost(_metadata, a, a->mem);
	/* Unlocked again: at exit that would be left to the CPU, for when it has time. */
	EXPECT_NE(0, mlock(a->mem, a->length));
	ASSERT_EQ(0, munlock(a->mem, a->length));
	EXPECT_EQ(a->pages, away_dead(a, a->mem));
	EXPECT_NE(0, madvise(a->mem, a->length, MADV_POPULATE_READ));
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
}

/* Row "lost mode" of the access table: at once, or as soon as no PTE is left. */
TEST_F(lost, state_by_state)
{
	struct away *a = &self->a;

	need_lost(a);
	away_settle(_metadata, a);
	must(away_unplug(a, HOTMIRROR_DISABLED, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(0, away_status(_metadata, a).pages_lost);
	if (variant->kind == HOTMIRROR_COHERENT) {
		expect_put(a, 0, a->pages, SEED);
		away_put(a, a->mem, 0, a->pages, OTHER);
	} else {
		expect_lost(_metadata, a, a->mem);
	}
	for (__u32 s = HOTMIRROR_INVALIDATED; s < HOTMIRROR_NR_STATES; s++) {
		/* Without the flag: it cannot be taken back. */
		must(away_unplug(a, s, 0));
		expect_lost(_metadata, a, a->mem);
	}
	EXPECT_EQ(a->pages, away_status(_metadata, a).pages_lost);
	EXPECT_EQ(a->pages, tombstones(_metadata, a));
}

TEST_F(lost, what_is_home_is_safe)
{
	struct away *a = &self->a;

	need_lost(a);
	away_settle(_metadata, a);
	must(away_unplug(a, HOTMIRROR_GONE, 0));
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(0, away_status(_metadata, a).pages_lost);
	expect_none_left(_metadata, a);
	expect_put(a, 0, a->pages, SEED);
}

/* Pages beside those in the device. */
TEST_F(lost, neighbours_are_safe)
{
	struct away *a = &self->a;
	char *other = away_map(a);

	need_lost(a);
	ASSERT_NE(NULL, other);
	away_put(a, other, 0, a->pages, OTHER);
	lose(_metadata, a);
	EXPECT_EQ(-1, away_wrong(a, other, 0, a->pages, OTHER));
	if (variant->large)
		return;
	ASSERT_EQ(0, madvise(a->mem, a->page, MADV_DONTNEED));
	away_put(a, a->mem, 0, 1, SEED);
	EXPECT_EQ(a->pages - 1, away_dead(a, a->mem));
	expect_put(a, 0, 1, SEED);
}

/* It needs no memory, unlike bringing the pages home. */
TEST_F(lost, needs_no_memory)
{
	struct away *a = &self->a;

	need_lost(a);
	need_sabotage(a);
	away_settle(_metadata, a);
	must(hm_sabotage(a->fd, HOTMIRROR_SABOTAGE_FAIL_ALLOC |
				HOTMIRROR_SABOTAGE_FAIL_LARGE));
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	expect_lost(_metadata, a, a->mem);
}

/* A held page has to be waited for, and is its holder's until then. */
TEST_F(lost, held_pages_are_lost_later)
{
	struct away *a = &self->a;
	struct hotmirror_status st;
	struct hm_hold hold;

	need_lost(a);
	if (variant->kind == HOTMIRROR_PRIVATE)
		SKIP(return, "a private page cannot be held: a reference fetches it home");
	away_settle(_metadata, a);
	must(hm_hold(&hold, a->mem + a->page, 2 * a->page));
	must(away_unplug(a, HOTMIRROR_DRAINING, HOTMIRROR_UNPLUG_LOST));
	st = away_status(_metadata, a);
	EXPECT_EQ(2, st.pages_held);
	EXPECT_EQ(2, st.evict_busy);
	EXPECT_EQ(a->pages - 2, st.pages_lost);
	EXPECT_EQ(a->pages - 2, away_dead(a, a->mem));
	expect_put(a, 1, 3, SEED);
	hm_unhold(&hold);
	must(away_unplug(a, HOTMIRROR_GONE, 0));
	expect_lost(_metadata, a, a->mem);
}

/* The grave has the module's code, so the module stays, without any instance. */
TEST_F(lost, module_stays_until_the_last_is_gone)
{
	struct away *a = &self->a;
	int control;

	need_lost(a);
	lose(_metadata, a);
	close(a->rig.control);
	close(a->rig.fd);
	a->rig.control = -1;
	a->rig.fd = -1;
	EXPECT_EQ(-1, syscall(SYS_delete_module, "test_hotmirror", O_NONBLOCK));
	/* Built in, it cannot be removed anyhow. */
	EXPECT_TRUE(errno == EWOULDBLOCK || errno == ENOENT)
		TH_LOG("%s", strerror(errno));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(a->mem));
	ASSERT_EQ(0, munmap(a->mem, a->length));
	control = must(hm_control_open());
	a->fd = control;
	expect_none_left(_metadata, a);
	close(control);
}

static bool has_graves(void)
{
	FILE *f = fopen("/proc/iomem", "re");
	char line[256];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= !!strstr(line, "test_hotmirror tombstones");
	if (f)
		fclose(f);
	return found;
}

/* The physical addresses come back a few grace periods after the last page. */
TEST_F(lost, grave_is_closed_in_the_end)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	struct away *a = &self->a;

	need_lost(a);
	lose(_metadata, a);
	EXPECT_TRUE(has_graves());
	ASSERT_EQ(0, munmap(a->mem, a->length));
	while (has_graves() && hm_left(deadline))
		hm_pause();
	EXPECT_FALSE(has_graves());
}

/* Either what was put there, or SIGBUS, and after that nothing else. */
struct watcher {
	struct hm_async async;
	struct away *a;
	atomic_bool stop;
	int lost;		/* pages that were seen to be */
};

static long watch(void *arg)
{
	struct watcher *w = arg;
	struct away *a = w->a;
	bool *gone = calloc(a->pages, sizeof(*gone));
	__u64 *page = malloc(a->page);

	while (w->lost < a->pages && !atomic_load(&w->stop)) {
		for (int i = 0; i < a->pages; i++) {
			int sig = hm_cpu_read(a->mem + i * a->page, page, sizeof(*page));

			if (sig && sig != SIGBUS)
				return sig;
			if (!sig && (gone[i] || *page != away_word(i, 0, SEED)))
				return -1 - i;
			w->lost += sig && !gone[i];
			gone[i] |= sig;
		}
	}
	return 0;
}

TEST_F(lost, seen_to_happen_by_two_threads)
{
	struct watcher w[2] = {};
	struct away *a = &self->a;
	long result;

	need_lost(a);
	away_settle(_metadata, a);
	/* Private pages come home by being looked at; coherent ones stay. */
	for (int n = 0; n < 2; n++) {
		w[n].a = a;
		must(hm_async_start(&w[n].async, watch, &w[n]));
	}
	must(away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	for (int n = 0; n < 2; n++) {
		if (variant->kind != HOTMIRROR_COHERENT)
			atomic_store(&w[n].stop, true);
		must(hm_async_join(&w[n].async, HM_LIMIT_MS, &result));
		EXPECT_EQ(0, result)
			TH_LOG("negative: of this page; else a signal");
		if (variant->kind == HOTMIRROR_COHERENT)
			EXPECT_EQ(a->pages, w[n].lost);
	}
	EXPECT_EQ(away_status(_metadata, a).pages_lost, tombstones(_metadata, a));
}

/* What a tombstone counts for in the process is what the page did. */
TEST_F(lost, rss_is_as_before)
{
	struct away *a = &self->a;
	long long kib = a->length >> 10, before, with;

	need_lost(a);
	with = hm_number_in("/proc/self/smaps_rollup", "\nAnonymous:");
	lose(_metadata, a);
	before = hm_number_in("/proc/self/status", "RssAnon:");
	ASSERT_EQ(0, munmap(a->mem, a->length));
	EXPECT_GE(before - kib + 64, hm_number_in("/proc/self/status", "RssAnon:"));
	EXPECT_GE(with - kib + 64, hm_number_in("/proc/self/smaps_rollup", "\nAnonymous:"));
}

/* Where there are no private pages there are no tombstones: refused, nothing changed. */
TEST_F(lost, refused_without_private_pages)
{
	struct away *a = &self->a;

	skip_unless(!(a->rig.q.features & HOTMIRROR_HAS_LOST),
		    "this kernel has private device memory");
	away_settle(_metadata, a);
	must_err(EOPNOTSUPP, away_unplug(a, HOTMIRROR_GONE, HOTMIRROR_UNPLUG_LOST));
	EXPECT_EQ(HOTMIRROR_LIVE, away_status(_metadata, a).target);
	expect_put(a, 0, a->pages, SEED);
}

TEST_F(lost, unknown_flag_is_einval)
{
	struct away *a = &self->a;

	must_err(EINVAL, away_unplug(a, HOTMIRROR_GONE, 1U << 1));
	EXPECT_EQ(HOTMIRROR_LIVE, away_status(_metadata, a).target);
	must_err(ENOENT, hm_unplug_flags(a->rig.control, ~0U, HOTMIRROR_GONE, 0,
					 HOTMIRROR_UNPLUG_LOST));
	must_err(EINVAL, away_unplug(a, HOTMIRROR_LIVE, HOTMIRROR_UNPLUG_LOST));
}

HM_TEST_MAIN
