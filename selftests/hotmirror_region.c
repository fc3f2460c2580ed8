// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a mapping of device memory can go through, be it mapped in pages or in PMDs:
 * every system call that changes or uses a VMA, several processes, several mappings
 * at different offsets, mirrors of them. At the end of each the device can be
 * unplugged, whatever still maps it.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "dax_test.h"
#include "lib/core.h"
#include "lib/setting.h"

#define SEED	1

FIXTURE(region) {
	struct region r;
};

FIXTURE_VARIANT(region) {
	bool pmd;
};

FIXTURE_VARIANT_ADD(region, pte) { .pmd = false };
FIXTURE_VARIANT_ADD(region, pmd) { .pmd = true };

typedef FIXTURE_DATA(region) data;

FIXTURE_SETUP(region)
{
	if (setup_region(_metadata, variant, &self->r, variant->pmd))
		put_units(&self->r, self->r.mem, UNITS, SEED);
}

FIXTURE_TEARDOWN(region)
{
	rig_teardown(_metadata, &self->r.rig);
}

/* Entries for every page of all units. */
static void prefetch(struct __test_metadata *_metadata, const struct region *r, int fd,
		     char *mem)
{
	must(hm_mirror(fd, mem, r->length, 0, NULL));
	must(hm_prefetch(fd, mem, r->length, true));
}

/* How many of the units have a PTE or a PMD, as @fd sees it without a fault. */
static int units_mapped(struct __test_metadata *_metadata, const struct region *r, int fd,
			char *mem)
{
	int n = 0;

	for (int i = 0; i < UNITS; i++)
		n += !!(look(_metadata, fd, mem + i * r->unit) & HOTMIRROR_SNAP_VALID);
	return n;
}

static void expect_dead(struct __test_metadata *_metadata, const struct region *r,
			char *mem, int n)
{
	for (int i = 0; i < n; i++) {
		EXPECT_EQ(SIGBUS, hm_cpu_touch(mem + i * r->unit));
		EXPECT_EQ(SIGBUS, hm_cpu_dirty(mem + (i + 1) * r->unit - 1));
	}
}

/* Another dax instance of the same alignment. */
static int other_instance(struct __test_metadata *_metadata, struct region *r, __u32 *id)
{
	must(hm_plug_dax(r->rig.control, r->rig.bytes, r->unit, id));
	return must(hm_open(*id));
}

TEST_F(region, partial_munmap_leaves_the_rest)
{
	struct region *r = &self->r;
	struct hotmirror_verify v;

	prefetch(_metadata, r, r->fd, r->mem);
	ASSERT_EQ(0, munmap(r->mem + r->unit, r->unit));
	EXPECT_TRUE(is_unit(r, r->mem, SEED));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem + r->unit));
	EXPECT_EQ(-1, units_differ(r, r->mem + 2 * r->unit, 2, SEED + 2));
	must(hm_verify(r->fd, &v));
	EXPECT_EQ(3 * r->unit / r->page, v.present);
	must_err(EFAULT, hm_read(r->fd, r->mem + r->unit, r->buf, 1));
	unplug_region(_metadata, r);
	expect_dead(_metadata, r, r->mem, 1);
	expect_dead(_metadata, r, r->mem + 2 * r->unit, 2);
}

TEST_F(region, mremap_of_the_same_size_is_no_change)
{
	struct region *r = &self->r;

	prefetch(_metadata, r, r->fd, r->mem);
	EXPECT_EQ(r->mem, mremap(r->mem, r->length, r->length, 0));
	EXPECT_EQ(r->mem, mremap(r->mem, r->length, r->length, MREMAP_MAYMOVE));
	EXPECT_EQ(UNITS, units_mapped(_metadata, r, r->fd, r->mem));
	expect_units(r, r->mem, UNITS, SEED);
}

TEST_F(region, mremap_moves_it)
{
	struct region *r = &self->r;
	char *to = reserve(r->length, r->unit);
	struct hotmirror_verify v;

	prefetch(_metadata, r, r->fd, r->mem);
	ASSERT_EQ(to, mremap(r->mem, r->length, r->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			     to));
	expect_units(r, to, UNITS, SEED);
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem));
	must(hm_verify(r->fd, &v));
	EXPECT_EQ(0, v.present);
	prefetch(_metadata, r, r->fd, to);
	unplug_region(_metadata, r);
	expect_dead(_metadata, r, to, UNITS);
}

TEST_F(region, mremap_of_a_part_moves_that)
{
	struct region *r = &self->r;
	char *to = reserve(r->unit, r->unit);

	ASSERT_EQ(to, mremap(r->mem + 2 * r->unit, r->unit, r->unit,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(is_unit(r, to, SEED + 2));
	EXPECT_EQ(-1, units_differ(r, r->mem, 2, SEED));
	EXPECT_TRUE(is_unit(r, r->mem + 3 * r->unit, SEED + 3));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem + 2 * r->unit));
}

TEST_F(region, mremap_does_not_grow_it)
{
	struct region *r = &self->r;

	EXPECT_EQ(MAP_FAILED, mremap(r->mem, r->length, r->length + r->unit, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(r->mem, r->unit, r->length + r->unit, 0));
	EXPECT_EQ(EFAULT, errno);
	expect_units(r, r->mem, UNITS, SEED);
	/* But shrink. */
	ASSERT_EQ(r->mem, mremap(r->mem, r->length, 2 * r->unit, 0));
	EXPECT_EQ(-1, units_differ(r, r->mem, 2, SEED));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem + 2 * r->unit));
}

TEST_F(region, mprotect_is_obeyed_by_cpu_and_device)
{
	struct region *r = &self->r;

	prefetch(_metadata, r, r->fd, r->mem);
	ASSERT_EQ(0, mprotect(r->mem + r->unit, r->unit, PROT_READ));
	EXPECT_EQ(SIGSEGV, hm_cpu_dirty(r->mem + r->unit));
	must_err(EFAULT, hm_write(r->fd, r->mem + r->unit, r->buf, 1));
	must(hm_read(r->fd, r->mem + r->unit, r->buf, 1));
	ASSERT_EQ(0, mprotect(r->mem + r->unit, r->unit, PROT_NONE));
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem + r->unit));
	must_err(EFAULT, hm_read(r->fd, r->mem + r->unit, r->buf, 1));
	ASSERT_EQ(0, mprotect(r->mem + r->unit, r->unit, PROT_READ | PROT_WRITE));
	expect_units(r, r->mem, UNITS, SEED);
	must(hm_write(r->fd, r->mem + r->unit, r->buf, 1));
	/* No access at all, and yet it has to go. */
	ASSERT_EQ(0, mprotect(r->mem, r->length, PROT_NONE));
	unplug_region(_metadata, r);
	EXPECT_EQ(SIGSEGV, hm_cpu_touch(r->mem));
}

TEST_F(region, dontneed_keeps_the_contents)
{
	struct region *r = &self->r;
	struct hotmirror_verify v;

	prefetch(_metadata, r, r->fd, r->mem);
	ASSERT_EQ(0, madvise(r->mem, 2 * r->unit, MADV_DONTNEED));
	EXPECT_EQ(2, units_mapped(_metadata, r, r->fd, r->mem));
	must(hm_verify(r->fd, &v));
	EXPECT_EQ(2 * r->unit / r->page, v.present);
	expect_units(r, r->mem, UNITS, SEED);
}

/* In kB; -1 if /proc does not say. */
static long locked_memory(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long kb = -1;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

/* As with device-dax: it brings the pages in, and counts none. */
TEST_F(region, mlock_populates_and_does_not_count)
{
	struct region *r = &self->r;
	long before = locked_memory();

	must(hm_mirror(r->fd, r->mem, r->length, 0, NULL));
	ASSERT_EQ(0, madvise(r->mem, r->length, MADV_DONTNEED));
	EXPECT_EQ(0, units_mapped(_metadata, r, r->fd, r->mem));
	EXPECT_EQ(0, mlock(r->mem, r->length));
	EXPECT_EQ(UNITS, units_mapped(_metadata, r, r->fd, r->mem));
	EXPECT_LE(0, before);
	EXPECT_EQ(before, locked_memory());
	unplug_region(_metadata, r);
	expect_dead(_metadata, r, r->mem, UNITS);
	EXPECT_EQ(0, munlock(r->mem, r->length));
}

TEST_F(region, mlock_of_a_dead_one_is_no_success)
{
	struct region *r = &self->r;

	unplug_region(_metadata, r);
	EXPECT_EQ(-1, mlock(r->mem, r->length));
}

/* There is nothing behind it to write to; device-dax has no fsync() either. */
TEST_F(region, msync_has_nowhere_to_write)
{
	struct region *r = &self->r;

	EXPECT_EQ(0, msync(r->mem, r->length, MS_ASYNC));
	EXPECT_EQ(0, msync(r->mem, r->length, MS_INVALIDATE));
	EXPECT_EQ(-1, msync(r->mem, r->length, MS_SYNC));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, fsync(r->fd));
	EXPECT_EQ(EINVAL, errno);
	expect_units(r, r->mem, UNITS, SEED);
}

TEST_F(region, mappings_at_different_offsets)
{
	struct region *r = &self->r;
	char *two = map_dax(r->fd, 2 * r->unit, r->unit);
	char *one = map_dax(r->fd, r->unit, 3 * r->unit);
	__u32 id;
	int fd = other_instance(_metadata, r, &id);

	ASSERT_NE(MAP_FAILED, two);
	ASSERT_NE(MAP_FAILED, one);
	EXPECT_EQ(-1, units_differ(r, two, 2, SEED + 1));
	EXPECT_TRUE(is_unit(r, one, SEED + 3));
	/* Each mirrored by another file; written through one, seen by all. */
	must(hm_mirror(r->fd, r->mem, r->length, 0, NULL));
	must(hm_mirror(fd, two, 2 * r->unit, 0, NULL));
	must(hm_mirror(fd, one, r->unit, 0, NULL));
	put_unit(r, r->buf, 50);
	must(hm_write(fd, two + r->unit, r->buf, r->unit));
	EXPECT_TRUE(is_unit(r, r->mem + 2 * r->unit, 50));
	put_unit(r, r->buf, 51);
	must(hm_write(r->fd, r->mem + 3 * r->unit, r->buf, r->unit));
	EXPECT_TRUE(is_unit(r, one, 51));
	unplug_region(_metadata, r);
	expect_dead(_metadata, r, r->mem, UNITS);
	expect_dead(_metadata, r, two, 2);
	expect_dead(_metadata, r, one, 1);
	must_err(EFAULT, hm_read(fd, two, r->buf, 1));
	rig_verify_fd(_metadata, fd);
	close(fd);
}

/* Both see the same: pages of a dax device, its own or not, in the order of a unit. */
static void expect_mirrored(struct __test_metadata *_metadata, struct region *r, int fd,
			    bool own)
{
	prefetch(_metadata, r, fd, r->mem);
	for (size_t i = 0; i < r->length; i += r->unit) {
		__u32 snap = look(_metadata, fd, r->mem + i + r->unit - r->page);

		EXPECT_EQ(HOTMIRROR_SNAP_KIND_DAX, HOTMIRROR_SNAP_KIND(snap));
		EXPECT_EQ(unit_order(r), HOTMIRROR_SNAP_ORDER(snap));
		EXPECT_EQ(own, !!(snap & HOTMIRROR_SNAP_OWN));
		EXPECT_NE(0, snap & HOTMIRROR_SNAP_DEVICE_WRITE);
		must(hm_read(fd, r->mem + i, r->buf, r->unit));
		EXPECT_TRUE(is_unit(r, r->buf, SEED + i / r->unit));
	}
	put_unit(r, r->buf, 60 + own);
	must(hm_write(fd, r->mem, r->buf, r->unit));
	EXPECT_TRUE(is_unit(r, r->mem, 60 + own));
	put_unit(r, r->mem, SEED);
}

TEST_F(region, mirrored_by_itself_and_by_another)
{
	struct region *r = &self->r;
	__u32 id;
	int fd = other_instance(_metadata, r, &id);

	expect_mirrored(_metadata, r, r->fd, true);
	expect_mirrored(_metadata, r, fd, false);
	unplug_region(_metadata, r);
	/* Through its own file: the device is gone. Through another: the memory is. */
	must_err(ENODEV, hm_read(r->fd, r->mem, r->buf, 1));
	must_err(EFAULT, hm_read(fd, r->mem, r->buf, 1));
	EXPECT_EQ(0, look(_metadata, fd, r->mem) & HOTMIRROR_SNAP_DEVICE);
	rig_verify_fd(_metadata, fd);
	close(fd);
}

/* The unplug of the one that mirrors takes nothing from the one that is mirrored. */
TEST_F(region, unplug_of_the_mirror_leaves_the_memory)
{
	struct region *r = &self->r;
	__u32 id;
	int fd = other_instance(_metadata, r, &id);

	prefetch(_metadata, r, fd, r->mem);
	prefetch(_metadata, r, r->fd, r->mem);
	must(hm_unplug(r->rig.control, id, HOTMIRROR_GONE, HM_LIMIT_MS));
	EXPECT_EQ(UNITS, units_mapped(_metadata, r, r->fd, r->mem));
	expect_units(r, r->mem, UNITS, SEED);
	close(fd);
}

struct mapper {
	const struct region *r;
	int unit;		/* that it maps, and that is all */
};

/* A process of its own mapping, of one unit at its offset, by its own file. */
static int mapper(struct hm_parent *p, void *arg)
{
	const struct mapper *m = arg;
	const struct region *r = m->r;
	int fd = hm_open(r->rig.id);
	char *mem = map_dax(fd, r->unit, m->unit * r->unit);

	close(r->rig.control);
	munmap(r->mem, r->length);
	hm_tell(p, mem != MAP_FAILED && is_unit(r, mem, SEED + m->unit));
	put_unit(r, mem, 70 + m->unit);
	hm_tell(p, hm_mirror(fd, mem, r->unit, 0, NULL));
	hm_tell(p, hm_prefetch(fd, mem, r->unit, true));
	hm_hear(p);
	hm_tell(p, hm_cpu_touch(mem));
	hm_tell(p, hm_read(fd, mem, r->buf, 1));
	return 0;
}

TEST_F(region, several_processes_map_and_mirror_it)
{
	struct region *r = &self->r;
	struct hm_child c[UNITS];
	struct mapper m[UNITS];
	long value;
	int status;

	prefetch(_metadata, r, r->fd, r->mem);
	for (int i = 0; i < UNITS; i++) {
		m[i] = (struct mapper){ r, i };
		must(hm_child_start(&c[i], mapper, &m[i]));
		must(hm_child_hear(&c[i], &value));
		EXPECT_EQ(1, value);
		must(hm_child_hear(&c[i], &value));
		EXPECT_EQ(0, value);
		must(hm_child_hear(&c[i], &value));
		EXPECT_EQ(0, value);
	}
	expect_units(r, r->mem, UNITS, 70);
	unplug_region(_metadata, r);
	for (int i = 0; i < UNITS; i++) {
		must(hm_child_tell(&c[i], 0));
		must(hm_child_hear(&c[i], &value));
		EXPECT_EQ(SIGBUS, value);
		must(hm_child_hear(&c[i], &value));
		EXPECT_EQ(-ENODEV, value);
		must(hm_child_wait(&c[i], &status));
	}
}

static int forked(struct hm_parent *p, void *arg)
{
	data *self = arg;
	struct region *r = &self->r;

	close(r->rig.control);
	hm_tell(p, units_differ(r, r->mem, UNITS, SEED));
	put_units(r, r->mem, UNITS, 80);
	hm_tell(p, 0);
	hm_hear(p);
	hm_tell(p, hm_cpu_touch(r->mem));
	hm_tell(p, munmap(r->mem, r->unit));
	return 0;
}

TEST_F(region, fork_shares_it)
{
	struct region *r = &self->r;
	struct hm_child c;
	long value;
	int status;

	must(hm_child_start(&c, forked, self));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(-1, value);
	must(hm_child_hear(&c, &value));
	expect_units(r, r->mem, UNITS, 80);
	unplug_region(_metadata, r);
	must(hm_child_tell(&c, 0));
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(SIGBUS, value);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	must(hm_child_wait(&c, &status));
}

/* Becomes another program, which waits for the end of its input. */
static int become_cat(struct hm_parent *p, void *arg)
{
	data *self = arg;
	struct region *r = &self->r;
	int fd = hm_open(r->rig.id);
	char *mem = map_dax(fd, r->length, 0);

	close(r->rig.control);
	close(fd);
	put_units(r, mem, UNITS, 90);
	hm_tell(p, 0);
	hm_hear(p);
	dup2(p->from, 0);
	execlp("cat", "cat", NULL);
	return 1;
}

static bool has_one_file(const struct hotmirror_status *st)
{
	return st->mirrors == 1;
}

/* The mapping is what keeps the file of the process open. */
TEST_F(region, exec_lets_go_of_it)
{
	struct region *r = &self->r;
	struct hotmirror_status st;
	struct hm_child c;
	long value;
	int status;

	must(hm_child_start(&c, become_cat, self));
	must(hm_child_hear(&c, &value));
	must(hm_status(r->fd, 0, &st));
	EXPECT_EQ(2, st.mirrors);
	must(hm_child_tell(&c, 0));
	/* Its end of the pipe is closed by exec(). */
	EXPECT_EQ(-EPIPE, hm_child_hear(&c, &value));
	must(hm_wait_status(r->fd, 0, has_one_file, &st));
	expect_units(r, r->mem, UNITS, 90);
	unplug_region(_metadata, r);
	must(hm_child_kill(&c, SIGKILL));
	must(hm_child_wait(&c, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
}

/* Dies with a core dump that has the dax mappings in it. */
static int dumper(struct hm_parent *p, void *arg)
{
	static const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	data *self = arg;
	int fd = open("/proc/self/coredump_filter", O_WRONLY);

	close(self->r.rig.control);
	prctl(PR_SET_DUMPABLE, 1);
	setrlimit(RLIMIT_CORE, &all);
	/* Anonymous memory would only be more to write; bit 8: shared dax. */
	hm_tell(p, fd < 0 || write(fd, "0x100", 5) != 5);
	hm_hear(p);
	abort();
}

/* A core dump of a child with @self's mapping: fd of the file. */
static int dump_core(struct __test_metadata *_metadata, data *self)
{
	struct hm_text pattern;
	struct hm_child c;
	char path[64];
	int status, fd;
	long value;

	must(hm_child_start(&c, dumper, self));
	snprintf(path, sizeof(path), "/tmp/hotmirror-core.%d", c.pid);
	must(hm_child_hear(&c, &value));
	EXPECT_EQ(0, value);
	must(hm_text_set(&pattern, "/proc/sys/kernel/core_pattern", "/tmp/hotmirror-core.%p"));
	must(hm_child_tell(&c, 0));
	status = 0;
	EXPECT_EQ(0, hm_child_wait(&c, &status));
	hm_text_restore(&pattern);
	EXPECT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	unlink(path);
	ASSERT_LE(0, fd);
	return fd;
}

TEST_F(region, core_dump_has_its_contents)
{
	struct region *r = &self->r;
	int core = dump_core(_metadata, self);

	for (int i = 0; i < UNITS; i++) {
		must(hm_core_read(core, r->mem + i * r->unit, r->buf, r->unit));
		EXPECT_TRUE(is_unit(r, r->buf, SEED + i));
	}
	close(core);
}

/* What cannot be read is a hole, not a hang, and holds nothing. */
TEST_F(region, core_dump_of_a_dead_one_has_a_hole)
{
	struct region *r = &self->r;
	int core;

	unplug_region(_metadata, r);
	core = dump_core(_metadata, self);
	for (int i = 0; i < UNITS; i++) {
		must(hm_core_read(core, r->mem + i * r->unit, r->buf, r->unit));
		expect_zero(r->buf, r->unit);
	}
	close(core);
}

/* Used in every way at once; then gone, and nothing of it in the next one. */
TEST_F(region, all_of_it_at_once_and_nothing_left_after_replug)
{
	struct region *r = &self->r;
	char *again = map_dax(r->fd, r->unit, r->unit), *moved = reserve(r->unit, r->unit);
	struct hotmirror_status st;
	struct mapper m = { r, 1 };
	struct hm_child c;
	__u64 place;
	__u32 id, pin;
	long value;
	int fd;

	must(hm_status(r->fd, 0, &st));
	place = st.arena_offset;
	fd = other_instance(_metadata, r, &id);
	prefetch(_metadata, r, r->fd, r->mem);
	prefetch(_metadata, r, fd, r->mem);
	must(hm_child_start(&c, mapper, &m));
	for (int i = 0; i < 3; i++)
		must(hm_child_hear(&c, &value));
	ASSERT_NE(MAP_FAILED, again);
	ASSERT_EQ(0, mlock(r->mem, 2 * r->unit));
	ASSERT_EQ(moved, mremap(r->mem + 2 * r->unit, r->unit, r->unit,
				MREMAP_MAYMOVE | MREMAP_FIXED, moved));
	ASSERT_EQ(0, mprotect(r->mem, r->unit, PROT_READ));
	must(hm_pin(fd, moved, r->page, HOTMIRROR_PIN_WRITE | HOTMIRROR_PIN_LONGTERM, &pin,
		    NULL));
	must(hm_unplug(r->rig.control, r->rig.id, HOTMIRROR_DRAINING, HM_LIMIT_MS));
	must(hm_status(r->fd, 0, &st));
	EXPECT_EQ(r->unit / r->page, st.pages_held);
	must(hm_unpin(fd, pin));
	unplug_region(_metadata, r);
	EXPECT_EQ(SIGBUS, hm_cpu_touch(r->mem));
	expect_dead(_metadata, r, r->mem + r->unit, 1);
	expect_dead(_metadata, r, again, 1);
	expect_dead(_metadata, r, moved, 1);

	must(hm_plug_dax(r->rig.control, r->rig.bytes, r->unit, &id));
	must(hm_status(r->rig.control, id, &st));
	EXPECT_EQ(place, st.arena_offset);
	again = map_dax(must(hm_open(id)), r->rig.bytes, 0);
	ASSERT_NE(MAP_FAILED, again);
	expect_zero(again, r->rig.bytes);
	expect_dead(_metadata, r, r->mem + r->unit, 1);
	hm_child_end(&c);
	close(fd);
}

HM_TEST_MAIN
