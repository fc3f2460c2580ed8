// SPDX-License-Identifier: GPL-2.0-only
/*
 * A memory error (MADV_HWPOISON) in device memory, mapped in pages and in PMDs: every
 * process that maps it gets SIGBUS with the address and the size of what is lost, no
 * mirror keeps an entry, the neighbours are not touched, and the device can be
 * unplugged, and its place in the arena be used again.
 */
#include <fcntl.h>
#include <sys/prctl.h>

#include "dax_test.h"
#include "lib/devdax.h"

#define SEED	1
#define BAD	1		/* the unit with the error */

FIXTURE(poison) {
	struct region r;
	int other;		/* file of another instance that mirrors r.mem as well */
	char *bad;		/* the page with the error, in the middle of its unit */
};

FIXTURE_VARIANT(poison) {
	bool pmd;
};

FIXTURE_VARIANT_ADD(poison, pte) { .pmd = false };
FIXTURE_VARIANT_ADD(poison, pmd) { .pmd = true };

typedef FIXTURE_DATA(poison) data;

static void mirror(struct __test_metadata *_metadata, const struct region *r, int fd)
{
	must(hm_mirror(fd, r->mem, r->length, 0, NULL));
	must(hm_prefetch(fd, r->mem, r->length, true));
}

FIXTURE_SETUP(poison)
{
	struct region *r = &self->r;
	__u32 id;

	self->other = -1;
	if (!setup_region(_metadata, variant, r, variant->pmd))
		return;
	must(hm_plug_dax(r->rig.control, r->rig.bytes, r->unit, &id));
	self->other = must(hm_open(id));
	put_units(r, r->mem, UNITS, SEED);
	mirror(_metadata, r, r->fd);
	mirror(_metadata, r, self->other);
	self->bad = r->mem + BAD * r->unit + r->unit / 2 / r->page * r->page;
}

FIXTURE_TEARDOWN(poison)
{
	if (self->other >= 0) {
		rig_verify_fd(_metadata, self->other);
		close(self->other);
	}
	rig_teardown(_metadata, &self->r.rig);
}

/* The error happens; false where the kernel cannot pretend one. */
static bool poisoned(struct __test_metadata *_metadata, char *bad, size_t page)
{
	int err = hm_poison(bad, page);

	if (err == -EINVAL)
		SKIP(return false, "kernel without CONFIG_MEMORY_FAILURE");
	must(err);
	return true;
}

static bool lose_page(struct __test_metadata *_metadata, data *self)
{
	return poisoned(_metadata, self->bad, self->r.page);
}

static char *start_of(const struct region *r, const void *p)
{
	return (char *)((uintptr_t)p & -r->unit);
}

/* A CPU access to a page that is lost says so, and where. */
static void expect_lost(struct __test_metadata *_metadata, const struct region *r,
			char *page)
{
	struct hm_signal s;

	EXPECT_EQ(SIGBUS, hm_cpu_touch(page + 8));
	s = hm_last_signal();
	EXPECT_EQ(BUS_MCEERR_AR, s.code);
	EXPECT_EQ(page, (char *)((uintptr_t)s.addr & -r->page));
	EXPECT_LE(__builtin_ctzl(r->page), s.lsb);
	EXPECT_EQ(SIGBUS, hm_cpu_dirty(page));
	EXPECT_EQ(BUS_MCEERR_AR, hm_last_signal().code);
}

static void expect_neighbours(struct __test_metadata *_metadata, const struct region *r,
			      char *mem)
{
	for (int i = 0; i < UNITS; i++)
		if (i != BAD)
			EXPECT_TRUE(is_unit(r, mem + i * r->unit, SEED + i));
}

TEST_F(poison, tells_address_and_size)
{
	struct region *r = &self->r;
	struct hm_signal s;

	if (!lose_page(_metadata, self))
		return;
	s = hm_last_signal();
	EXPECT_EQ(BUS_MCEERR_AR, s.code);
	/* Of a PMD it is the start, wherever in it the error is. */
	EXPECT_EQ(start_of(r, self->bad), s.addr);
	EXPECT_EQ(__builtin_ctzl(r->unit), s.lsb);
}

/* Not only once: there is no page to come back to. */
TEST_F(poison, is_there_to_stay)
{
	struct region *r = &self->r;

	if (!lose_page(_metadata, self))
		return;
	for (int i = 0; i < 2; i++) {
		expect_lost(_metadata, r, self->bad);
		expect_lost(_metadata, r, start_of(r, self->bad));
		expect_lost(_metadata, r, start_of(r, self->bad) + r->unit - r->page);
		ASSERT_EQ(0, madvise(r->mem, r->length, MADV_DONTNEED));
	}
	expect_neighbours(_metadata, r, r->mem);
	must_err(EFAULT, hm_poison(self->bad, r->page));
}

/* The same as the CPU (S6): no entry, no data, EHWPOISON. */
static void expect_device_lost(struct __test_metadata *_metadata, data *self, int fd)
{
	struct region *r = &self->r;
	struct hotmirror_verify v;

	for (int i = 0; i < UNITS; i++) {
		__u32 snap = look(_metadata, fd, r->mem + i * r->unit);

		EXPECT_EQ(i != BAD, !!(snap & HOTMIRROR_SNAP_DEVICE));
		EXPECT_EQ(i != BAD, !!(snap & HOTMIRROR_SNAP_VALID));
	}
	must(hm_verify(fd, &v));
	EXPECT_EQ((UNITS - 1) * r->unit / r->page, v.present);
	EXPECT_EQ(0, v.stale);
	must_err(EHWPOISON, hm_read(fd, self->bad, r->buf, 1));
	must_err(EHWPOISON, hm_write(fd, self->bad, r->buf, 1));
	must_err(EHWPOISON, hm_prefetch(fd, start_of(r, self->bad), r->page, false));
	must(hm_read(fd, r->mem, r->buf, r->unit));
	EXPECT_TRUE(is_unit(r, r->buf, SEED));
}

TEST_F(poison, takes_the_entries_of_every_mirror)
{
	if (!lose_page(_metadata, self))
		return;
	expect_device_lost(_metadata, self, self->r.fd);
	expect_device_lost(_metadata, self, self->other);
	must_err(EFAULT, hm_gup_read(self->bad, self->r.buf, 1));
	must_err(EHWPOISON, hm_pin(self->r.fd, self->bad, self->r.page, 0, NULL, NULL));
}

TEST_F(poison, later_mapping_is_sigbus)
{
	struct region *r = &self->r;
	char *p;

	if (!lose_page(_metadata, self))
		return;
	p = map_dax(r->fd, r->length, 0);
	ASSERT_NE(MAP_FAILED, p);
	expect_lost(_metadata, r, p + (self->bad - r->mem));
	expect_neighbours(_metadata, r, p);
	ASSERT_EQ(0, munmap(r->mem, r->length));
	expect_lost(_metadata, r, p + (self->bad - r->mem));
}

/* The control file's mapping comes to the same page by another way. */
TEST_F(poison, mapping_of_the_arena_is_sigbus)
{
	struct region *r = &self->r;
	struct hotmirror_status st;
	char *p;

	must(hm_status(r->fd, 0, &st));
	p = map_dax(r->rig.control, r->length, st.arena_offset);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_TRUE(is_unit(r, p + BAD * r->unit, SEED + BAD));
	if (!lose_page(_metadata, self))
		return;
	expect_lost(_metadata, r, p + (self->bad - r->mem));
	expect_neighbours(_metadata, r, p);
	ASSERT_EQ(0, munmap(p, r->length));
}

static int sharer(struct hm_parent *p, void *arg)
{
	data *self = arg;
	struct hm_signal s;

	close(self->r.rig.control);
	hm_tell(p, hm_cpu_touch(self->bad));
	hm_hear(p);
	hm_tell(p, hm_cpu_touch(self->bad));
	s = hm_last_signal();
	hm_tell(p, s.code);
	hm_tell(p, s.addr == self->bad);
	hm_tell(p, units_differ(&self->r, self->r.mem, BAD, SEED));
	return 0;
}

/* A process that did not ask for it learns of it when it gets there. */
TEST_F(poison, other_process_gets_sigbus_when_it_touches)
{
	struct hm_child c;
	long value;
	int status;

	must(hm_child_start(&c, sharer, self));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	if (!lose_page(_metadata, self))
		return;
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(SIGBUS, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(BUS_MCEERR_AR, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(1, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(-1, value);
	must(hm_child_wait(&c, &status));
}

/* Maps all of it at a place of its own, wants to be told at once, and waits. */
static int early(struct hm_parent *p, void *arg)
{
	static const struct timespec limit = { .tv_sec = HM_LIMIT_MS / 1000 };
	data *self = arg;
	struct region *r = &self->r;
	char *mem = map_dax(r->fd, r->length, 0);
	siginfo_t info = {};
	sigset_t set;

	close(r->rig.control);
	munmap(r->mem, r->length);
	sigemptyset(&set);
	sigaddset(&set, SIGBUS);
	sigprocmask(SIG_BLOCK, &set, NULL);
	prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
	hm_tell(p, hm_cpu_touch(mem + (self->bad - r->mem)));
	hm_tell(p, sigtimedwait(&set, &info, &limit));
	hm_tell(p, info.si_code);
	hm_tell(p, start_of(r, info.si_addr) - mem);
	hm_tell(p, info.si_addr_lsb);
	return 0;
}

TEST_F(poison, other_process_is_told_at_once_if_it_asked)
{
	struct region *r = &self->r;
	struct hm_child c;
	long value;
	int status;

	must(hm_child_start(&c, early, self));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	if (!lose_page(_metadata, self))
		return;
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(SIGBUS, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(BUS_MCEERR_AO, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(BAD * r->unit, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(__builtin_ctzl(r->unit), value);
	must(hm_child_wait(&c, &status));
}

static bool draining(const struct hotmirror_status *st)
{
	return st->state == HOTMIRROR_DRAINING;
}

/* Who holds the page keeps it, lost or not: the drain waits as ever (S4). */
TEST_F(poison, pinned_page_still_holds_the_device)
{
	struct region *r = &self->r;
	struct hotmirror_status st;
	__u32 id;

	must(hm_pin(r->fd, self->bad, r->page, HOTMIRROR_PIN_WRITE, &id, NULL));
	if (!lose_page(_metadata, self))
		return;
	must(hm_unplug(r->rig.control, r->rig.id, HOTMIRROR_GONE, 0));
	must(hm_wait_status(r->fd, 0, draining, &st));
	EXPECT_EQ(r->unit / r->page, st.pages_held);
	must(hm_unpin(r->fd, id));
	must(hm_wait_gone(r->fd, HM_LIMIT_MS));
}

/* An error is none of the next one's: as the memmap is made anew, so is its flag. */
TEST_F(poison, place_can_be_plugged_again)
{
	struct region *r = &self->r;
	struct hotmirror_status st;
	__u64 place;
	__u32 id;
	char *p;
	int fd;

	must(hm_status(r->fd, 0, &st));
	place = st.arena_offset;
	if (!lose_page(_metadata, self))
		return;
	unplug_region(_metadata, r);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(self->bad));
	EXPECT_NE(BUS_MCEERR_AR, hm_last_signal().code);
	must(hm_plug_dax(r->rig.control, r->rig.bytes, r->unit, &id));
	must(hm_status(r->rig.control, id, &st));
	EXPECT_EQ(place, st.arena_offset);
	fd = must(hm_open(id));
	p = map_dax(fd, r->length, 0);
	ASSERT_NE(MAP_FAILED, p);
	expect_zero(p, r->length);
	put_units(r, p, UNITS, SEED);
	must(hm_mirror(fd, p, r->length, 0, NULL));
	must(hm_read(fd, p + BAD * r->unit, r->buf, r->unit));
	EXPECT_TRUE(is_unit(r, r->buf, SEED + BAD));
	close(fd);
}

TEST_F(poison, every_unit_of_it)
{
	struct region *r = &self->r;

	self->bad = r->mem;
	if (!lose_page(_metadata, self))
		return;
	for (int i = 1; i < UNITS; i++)
		must(hm_poison(r->mem + i * r->unit, r->page));
	for (int i = 0; i < UNITS; i++) {
		expect_lost(_metadata, r, r->mem + i * r->unit);
		must_err(EHWPOISON, hm_read(self->other, r->mem + i * r->unit, r->buf, 1));
	}
	unplug_region(_metadata, r);
}

/* The same in a real device-dax, with a mirror of it. */
FIXTURE(real) {
	struct hm_rig rig;
	struct hm_devdax dax;
	int fd;
	char *mem;		/* a unit of it, filled at both ends */
	char *bad;
};

FIXTURE_VARIANT(real) {
	bool pmd;
};

FIXTURE_VARIANT_ADD(real, pte) { .pmd = false };
FIXTURE_VARIANT_ADD(real, pmd) { .pmd = true };

FIXTURE_SETUP(real)
{
	const char *why;

	rig_begin(_metadata, variant, &self->rig);
	self->fd = -1;
	why = hm_devdax_get(&self->dax, variant->pmd);
	if (why) {
		rig_end(_metadata, &self->rig);
		SKIP(return, "%s", why);
	}
	if (!rig_plug(_metadata, &self->rig, HM_ANY)) {
		rig_end(_metadata, &self->rig);
		return;
	}
	self->fd = open(self->dax.path, O_RDWR | O_CLOEXEC);
	self->mem = map_dax(self->fd, self->dax.align, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	self->bad = self->mem + self->dax.align / 2 / self->rig.page * self->rig.page;
	hm_fill(self->bad, self->rig.page, SEED);
	must(hm_mirror(self->rig.fd, self->mem, self->dax.align, 0, NULL));
	must(hm_prefetch(self->rig.fd, self->mem, self->dax.align, true));
}

FIXTURE_TEARDOWN(real)
{
	rig_teardown(_metadata, &self->rig);
	if (self->fd < 0)
		return;
	/* The next one to bind it makes its struct pages anew, without the error. */
	munmap(self->mem, self->dax.align);
	close(self->fd);
	EXPECT_EQ(0, hm_devdax_unbind(&self->dax));
}

TEST_F(real, tells_address_and_size)
{
	struct hm_signal s;

	if (!poisoned(_metadata, self->bad, self->rig.page))
		return;
	s = hm_last_signal();
	EXPECT_EQ(BUS_MCEERR_AR, s.code);
	EXPECT_EQ(self->mem, s.addr);
	EXPECT_EQ(__builtin_ctzl(self->dax.align), s.lsb);
	EXPECT_EQ(0, look(_metadata, self->rig.fd, self->bad) & HOTMIRROR_SNAP_DEVICE);
}

/*
 * Kernel, 6.12.107 and 7.3.4: dev_dax_fault() does not look at PageHWPoison(), so the
 * next fault maps the page again: to the CPU and, worse, to a mirror, that no machine
 * check will tell. Ours is SIGBUS and EHWPOISON (is_there_to_stay, takes_the_entries_*).
 */
TEST_F(real, is_there_to_stay)
{
	size_t page = self->rig.page;
	char *buf = hm_map(1);

	ASSERT_NE(NULL, buf);
	if (!poisoned(_metadata, self->bad, page))
		return;
	if (hm_cpu_touch(self->bad) == SIGBUS) {
		must_err(EHWPOISON, hm_read(self->rig.fd, self->bad, buf, page));
		return;
	}
	must(hm_read(self->rig.fd, self->bad, buf, page));
	expect_filled(buf, page, SEED);
	rig_xfail(_metadata, "device-dax maps a poisoned page again at the next fault");
}

HM_TEST_MAIN
