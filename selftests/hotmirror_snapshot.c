// SPDX-License-Identifier: GPL-2.0-only
/*
 * SNAPSHOT: the CPU page table as HMM reports it without faulting (claim S10),
 * page by page, whatever the neighbours of a page are.
 */
#include <sys/mman.h>

#include "hm_test.h"
#include "lib/pagemap.h"

#define PAGES	16

FIXTURE(snapshot) {
	struct hm_rig rig;
	int fd;
	size_t page;
	char *mem;		/* PAGES, mirrored, untouched */
	__u32 snap[PAGES];
};

typedef FIXTURE_DATA(snapshot) data;

FIXTURE_SETUP(snapshot)
{
	RIG_SETUP(&self->rig, HM_ANY);
	self->fd = self->rig.fd;
	self->page = self->rig.page;
	self->mem = hm_map(PAGES);
	ASSERT_NE(NULL, self->mem);
	must(hm_mirror(self->fd, self->mem, PAGES * self->page, 0, NULL));
	memset(self->snap, 0xff, sizeof(self->snap));
}

FIXTURE_TEARDOWN(snapshot)
{
	rig_teardown(_metadata, &self->rig);
}

#define VALID	HOTMIRROR_SNAP_VALID
#define WRITE	HOTMIRROR_SNAP_WRITE
#define ERROR	HOTMIRROR_SNAP_ERROR
#define DEVICE	HOTMIRROR_SNAP_DEVICE
#define DWRITE	HOTMIRROR_SNAP_DEVICE_WRITE
#define KIND(k)	(HOTMIRROR_SNAP_KIND_##k << 8)

static void untouched(data *self, char *p)
{
}

static void cpu_read(data *self, char *p)
{
	hm_cpu_touch(p);
}

static void cpu_write(data *self, char *p)
{
	hm_cpu_dirty(p);
}

static void read_only(data *self, char *p)
{
	cpu_write(self, p);
	mprotect(p, self->page, PROT_READ);
}

static void prot_none(data *self, char *p)
{
	cpu_write(self, p);
	mprotect(p, self->page, PROT_NONE);
}

static void hole(data *self, char *p)
{
	munmap(p, self->page);
}

static void device_read(data *self, char *p)
{
	cpu_write(self, p);
	hm_prefetch(self->fd, p, self->page, false);
}

static void device_write(data *self, char *p)
{
	hm_prefetch(self->fd, p, self->page, true);
}

/* A device may keep a right it did not ask for: writable is judged apart. */
static const struct state {
	const char *name;
	void (*make)(data *self, char *p);
	__u32 expect;
	__u32 ignore;
} states[] = {
	{ "untouched", untouched, 0, 0 },
	{ "written", cpu_write, VALID | WRITE, 0 },
	{ "zero page", cpu_read, VALID | KIND(ZERO), 0 },
	{ "read-only", read_only, VALID, 0 },
	{ "PROT_NONE", prot_none, ERROR, 0 },
	{ "hole", hole, ERROR, 0 },
	{ "device read", device_read, VALID | WRITE | DEVICE, DWRITE },
	{ "device write", device_write, VALID | WRITE | DEVICE | DWRITE, 0 },
};

#define NR_STATES	ARRAY_SIZE(states)

static void expect_state(struct __test_metadata *_metadata, const struct state *s,
			 __u32 seen)
{
	/* An order is given for a valid entry only; hm_map() memory has order 0. */
	EXPECT_EQ(s->expect, seen & ~s->ignore)
		TH_LOG("%s: %#x, expected %#x", s->name, seen, s->expect);
}

TEST_F(snapshot, tells_each_state_alone)
{
	for (size_t i = 0; i < NR_STATES; i++) {
		char *p = self->mem + 2 * i * self->page;

		states[i].make(self, p);
		expect_state(_metadata, &states[i], rig_page(_metadata, &self->rig, p));
	}
}

/* One call over all of them, in both directions: a neighbour changes nothing. */
TEST_F(snapshot, tells_each_state_among_others)
{
	for (size_t i = 0; i < NR_STATES; i++) {
		states[i].make(self, self->mem + i * self->page);
		states[NR_STATES - 1 - i].make(self, self->mem + (NR_STATES + i) * self->page);
	}
	must(hm_snapshot(self->fd, self->mem, PAGES * self->page, self->snap));
	for (size_t i = 0; i < NR_STATES; i++) {
		expect_state(_metadata, &states[i], self->snap[i]);
		expect_state(_metadata, &states[NR_STATES - 1 - i],
			     self->snap[NR_STATES + i]);
	}
}

/* VM_MIXEDMAP: RAM that a driver put there is RAM, and the device may use it. */
TEST_F(snapshot, memory_that_a_driver_mapped_is_system_memory)
{
	const size_t page = self->page, length = 3 * page;
	char *mem = self->mem + page, *other, *buf = hm_map(3);
	int ring = hm_driver_ram(3);

	if (ring < 0)
		SKIP(return, "ring of a packet socket (CONFIG_PACKET): %s", strerror(-ring));
	ASSERT_NE(NULL, buf);
	other = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(mem, mmap(mem, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			    ring, 0));
	ASSERT_TRUE(hm_vma_has(mem, "mm"))
		TH_LOG("the ring is not a VM_MIXEDMAP mapping");
	hm_fill(other, length, 1);
	must(hm_snapshot(self->fd, self->mem, 5 * page, self->snap));
	EXPECT_EQ(0, self->snap[0]);
	for (int i = 1; i <= 3; i++)
		EXPECT_EQ(VALID | WRITE | KIND(SYSTEM), self->snap[i]);
	EXPECT_EQ(0, self->snap[4]);
	must(hm_read(self->fd, mem, buf, length));
	expect_filled(buf, length, 1);
	hm_fill(buf, length, 2);
	must(hm_write(self->fd, mem, buf, length));
	expect_filled(mem, length, 2);
	expect_filled(other, length, 2);
	rig_verify(&self->rig);
	/* No fault brings it back. */
	ASSERT_EQ(0, madvise(mem + page, page, MADV_DONTNEED));
	must_err(EFAULT, hm_read(self->fd, mem + page, buf, 1));
	EXPECT_EQ(SIGBUS, hm_cpu_touch(mem + page));
	EXPECT_EQ(0, rig_page(_metadata, &self->rig, mem + page));
	must(hm_read(self->fd, mem + 2 * page, buf, page));
	close(ring);
}

/* VM_MIXEDMAP again, but a special PTE: whatever the pfn is of, it is no page for a device. */
TEST_F(snapshot, bare_pfn_that_a_driver_mapped_is_an_error)
{
	char *bell = self->mem + self->page, byte = 0;

	skip_unless(self->rig.kind != HOTMIRROR_DAX, "a dax instance has no doorbell");
	ASSERT_EQ(bell, mmap(bell, self->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			     self->fd, 0));
	ASSERT_TRUE(hm_vma_has(bell, "mm"))
		TH_LOG("the doorbell is not a VM_MIXEDMAP mapping");
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, hm_cpu_dirty(self->mem + i * self->page));
	must(hm_snapshot(self->fd, self->mem, 3 * self->page, self->snap));
	EXPECT_EQ(VALID | WRITE, self->snap[0]);
	EXPECT_EQ(ERROR, self->snap[1]);
	EXPECT_EQ(VALID | WRITE, self->snap[2]);
	must_err(EFAULT, hm_read(self->fd, bell, &byte, 1));
	must_err(EFAULT, hm_write(self->fd, bell, &byte, 1));
	rig_verify(&self->rig);
	ASSERT_EQ(0, munmap(bell, self->page));
}

TEST_F(snapshot, takes_no_fault)
{
	must(hm_snapshot(self->fd, self->mem, PAGES * self->page, self->snap));
	must(hm_snapshot(self->fd, self->mem, PAGES * self->page, self->snap));
	for (int i = 0; i < PAGES; i++)
		EXPECT_EQ(0, self->snap[i]);
}

TEST_F(snapshot, misaligned_or_empty_is_einval)
{
	must_err(EINVAL, hm_snapshot(self->fd, self->mem + 1, self->page, self->snap));
	must_err(EINVAL, hm_snapshot(self->fd, self->mem, self->page + 1, self->snap));
	must_err(EINVAL, hm_snapshot(self->fd, self->mem, 0, self->snap));
}

TEST_F(snapshot, bad_buffer_is_efault)
{
	must_err(EFAULT, hm_snapshot(self->fd, self->mem, self->page, NULL));
}

/* The order of a huge page's mapping is told, and its parts are told apart from it. */
TEST_F(snapshot, huge_page_has_the_order_of_its_mapping)
{
	size_t pmd = self->rig.q.pmd_size;
	char *area = hm_map(2 * pmd / self->page);
	char *huge = (char *)(((uintptr_t)area + pmd - 1) & -pmd);
	__u32 snap[1];
	int order = 0;

	ASSERT_NE(NULL, area);
	while (self->page << order < pmd)
		order++;
	if (madvise(huge, pmd, MADV_HUGEPAGE))
		SKIP(return, "MADV_HUGEPAGE: %s", strerror(errno));
	*huge = 1;
	must(hm_mirror(self->fd, huge, pmd, 0, NULL));
	must(hm_snapshot(self->fd, huge, self->page, snap));
	if (!HOTMIRROR_SNAP_ORDER(snap[0]))
		SKIP(return, "no huge page to be had");
	EXPECT_EQ(order, HOTMIRROR_SNAP_ORDER(snap[0]));
	EXPECT_EQ(VALID | WRITE, snap[0] & 0xffff);
	must(hm_prefetch(self->fd, huge, pmd, true));
	/* Splitting the mapping changes the order, not the page. */
	ASSERT_EQ(0, madvise(huge + self->page, self->page, MADV_DONTNEED));
	must(hm_snapshot(self->fd, huge, self->page, snap));
	EXPECT_EQ(0, HOTMIRROR_SNAP_ORDER(snap[0]));
	EXPECT_EQ(VALID, snap[0] & VALID);
}

HM_TEST_MAIN
