// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory kinds of the same-as-CPU oracle: one builder each, on both sides the
 * same. A kind that is a place to be moved to has a second function that settles
 * the filled pages there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/pagemap.h"
#include "../lib/task.h"
#include "cell.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret	-1
#endif

/* Seeds of cell_fill(): of a file before anybody maps it. */
#define SEED_FILE	7

void cell_place_init(struct cell_place *place, struct cell_side *side)
{
	*place = (struct cell_place){
		.side = side,
		.page = hm_page_size(),
		.grain = hm_page_size(),
		.length = CELL_PAGES * hm_page_size(),
		.file = -1,
		.uffd = -1,
		.stop = -1,
	};
}

void cell_place_end(struct cell_place *place)
{
	for (int i = 0; i < place->nr_areas; i++)
		munmap(place->areas[i].start, place->areas[i].length);
	if (place->key)
		pkey_free(place->key);
	if (place->file >= 0)
		close(place->file);
}

/* "This machine lacks something", for the report. */
static int lacks(struct cell_place *place, int ret, const char *why)
{
	place->why = why;
	return ret;
}

/*
 * Map place->length at a multiple of a PMD, and of nothing else: an area that no
 * other mapping merges with. NULL with errno.
 */
static char *map(struct cell_place *place, int prot, int flags, int fd, off_t offset)
{
	size_t align = place->side->q.pmd_size;
	size_t length = place->length + 2 * align;
	char *area, *start;

	area = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		    -1, 0);
	if (area == MAP_FAILED)
		return NULL;
	place->areas[place->nr_areas].start = area;
	place->areas[place->nr_areas++].length = length;
	start = (char *)(((uintptr_t)area + align) & -align);
	if (mmap(start, place->length, prot, flags | MAP_FIXED, fd, offset) != start)
		return NULL;
	return start;
}

static int map_mem(struct cell_place *place, int flags)
{
	place->mem = map(place, PROT_READ | PROT_WRITE, flags, place->file, 0);
	return place->mem ? 0 : -errno;
}

/* The same object again: what others see of it. */
static int map_other(struct cell_place *place)
{
	place->other = map(place, PROT_READ | PROT_WRITE, MAP_SHARED, place->file, 0);
	return place->other ? 0 : -errno;
}

int cell_anon(struct cell_place *place)
{
	int ret = map_mem(place, MAP_PRIVATE | MAP_ANONYMOUS);

	/* EINVAL from a kernel without huge pages is as good. */
	if (!ret && madvise(place->mem, place->length, MADV_NOHUGEPAGE) && errno != EINVAL)
		ret = -errno;
	return ret;
}

int cell_thp(struct cell_place *place)
{
	int ret;

	place->length = place->side->q.pmd_size;
	ret = map_mem(place, MAP_PRIVATE | MAP_ANONYMOUS);
	if (!ret && madvise(place->mem, place->length, MADV_HUGEPAGE))
		return lacks(place, -errno, "kernel without transparent huge pages");
	return ret;
}

int cell_shmem(struct cell_place *place)
{
	return map_mem(place, MAP_SHARED | MAP_ANONYMOUS);
}

/* An object of the right size and contents, by write(2) before it is mapped. */
static int fill_file(struct cell_place *place)
{
	size_t length = CELL_PAGES * place->page;
	char buf[length];

	cell_fill(buf, length, SEED_FILE);
	if (ftruncate(place->file, place->length) ||
	    pwrite(place->file, buf, length, 0) != (ssize_t)length)
		return -errno;
	return 0;
}

int cell_memfd(struct cell_place *place)
{
	place->file = memfd_create("hotmirror", MFD_CLOEXEC);
	if (place->file < 0)
		return -errno;
	return fill_file(place) ?: map_mem(place, MAP_SHARED) ?: map_other(place);
}

static int open_file(struct cell_place *place)
{
	place->file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (place->file < 0)
		return lacks(place, -errno, "/tmp has no O_TMPFILE");
	return fill_file(place);
}

int cell_file_shared(struct cell_place *place)
{
	return open_file(place) ?: map_mem(place, MAP_SHARED) ?: map_other(place);
}

int cell_file_private(struct cell_place *place)
{
	return open_file(place) ?: map_mem(place, MAP_PRIVATE) ?: map_other(place);
}

/* Pages of a file that nobody may write: this program. */
int cell_program(struct cell_place *place)
{
	place->file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (place->file < 0)
		return -errno;
	return map_mem(place, MAP_PRIVATE);
}

/* The pages are reserved by the test; none free is a skip. */
static int hugetlb(struct cell_place *place, int ret)
{
	return ret == -ENOMEM ? lacks(place, ret, "no free huge pages (vm.nr_hugepages)") : ret;
}

int cell_hugetlb(struct cell_place *place)
{
	place->length = place->side->q.pmd_size;
	place->grain = place->length;
	return hugetlb(place, map_mem(place, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB));
}

int cell_hugetlb_memfd(struct cell_place *place)
{
	place->length = place->side->q.pmd_size;
	place->grain = place->length;
	place->file = memfd_create("hotmirror", MFD_CLOEXEC | MFD_HUGETLB);
	if (place->file < 0)
		return lacks(place, -errno, "kernel without hugetlbfs");
	if (ftruncate(place->file, place->length))
		return -errno;
	return hugetlb(place, map_mem(place, MAP_SHARED) ?: map_other(place));
}

int cell_secret(struct cell_place *place)
{
	place->file = syscall(SYS_memfd_secret, O_CLOEXEC);
	if (place->file < 0)
		return lacks(place, -errno, "kernel without memfd_secret()");
	if (ftruncate(place->file, place->length))
		return -errno;
	return map_mem(place, MAP_SHARED) ?: map_other(place);
}

#define SYSTEM_ROM	0xf0000

/* Memory without a struct page that GUP would take: the firmware's ROM, read-only. */
int cell_pfnmap(struct cell_place *place)
{
	place->file = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	if (place->file < 0)
		return lacks(place, -errno, "no /dev/mem");
	place->mem = map(place, PROT_READ, MAP_SHARED, place->file, SYSTEM_ROM);
	return place->mem ? 0 : lacks(place, -errno, "/dev/mem refuses the system ROM");
}

/* RAM that a driver mapped: VM_MIXEDMAP, all of it present, and no fault handler. */
int cell_driver(struct cell_place *place)
{
	place->file = hm_driver_ram(CELL_PAGES);
	if (place->file < 0)
		return lacks(place, place->file, "no ring of a packet socket (CONFIG_PACKET)");
	return map_mem(place, MAP_SHARED) ?: map_other(place);
}

static int map_dax(struct cell_place *place, struct cell_instance *inst)
{
	int ret = cell_instance(place->side, inst, HOTMIRROR_DAX);

	if (ret)
		return lacks(place, ret, hm_kind(HOTMIRROR_DAX)->lacking);
	place->dax = inst;
	place->mem = map(place, PROT_READ | PROT_WRITE, MAP_SHARED, inst->fd, 0);
	place->other = map(place, PROT_READ | PROT_WRITE, MAP_SHARED, inst->fd, 0);
	if (!place->mem || !place->other)
		return -errno;
	/* The memory outlives every mapping: what the last cell left goes. */
	for (size_t i = 0; i < place->length / sizeof(long); i++)
		((long *)place->other)[i] = 0;
	return 0;
}

int cell_dax(struct cell_place *place)
{
	return map_dax(place, &place->side->second);
}

int cell_own_dax(struct cell_place *place)
{
	return map_dax(place, &place->side->first);
}

static int moved(struct cell_place *place, int ret, __u64 pages)
{
	if (!ret && pages < CELL_PAGES)
		return lacks(place, -EBUSY, "the pages did not move");
	return ret;
}

int cell_to_device(struct cell_place *place)
{
	__u64 pages;
	int ret = hm_to_dev(place->side->first.fd, place->mem, place->length, &pages);

	return moved(place, ret, pages);
}

int cell_to_device_large(struct cell_place *place)
{
	struct cell_side *side = place->side;
	struct hotmirror_stats before, after;
	__u64 pages;
	int ret;

	if (!(side->q.features & HOTMIRROR_HAS_LARGE))
		return lacks(place, -EOPNOTSUPP, "kernel without large device-private folios");
	ret = hm_stats(side->first.fd, &before);
	ret = ret ?: hm_migrate(side->first.fd, HOTMIRROR_MIGRATE_TO_DEV, place->mem,
				place->length, HOTMIRROR_MIGRATE_LARGE, &pages);
	ret = ret ?: hm_stats(side->first.fd, &after);
	if (!ret && after.large_to_dev == before.large_to_dev)
		return lacks(place, -EBUSY, "the huge page did not move as one");
	return ret;
}

/* To another device: the mirroring one may not look inside (owner filter). */
int cell_to_foreign(struct cell_place *place)
{
	__u64 pages;
	int ret = cell_instance(place->side, &place->side->second, HOTMIRROR_PRIVATE);

	if (ret)
		return lacks(place, ret, hm_kind(HOTMIRROR_PRIVATE)->lacking);
	ret = hm_to_dev(place->side->second.fd, place->mem, place->length, &pages);
	return moved(place, ret, pages);
}

/*
 * A page of KSM's with one mapping only is halfway: if the second copy cannot join
 * it, the first gets a page of its own again.
 */
static bool merged(const struct cell_place *place)
{
	for (int i = 0; i < CELL_PAGES; i++) {
		const char *page = place->mem + i * place->page;

		if (!(hm_page_flags(page) & HM_KPF_KSM) ||
		    hm_pagemap(page) & HM_PM_EXCLUSIVE)
			return false;
	}
	return true;
}

/* KSM needs a second copy of each page, and time; the test has set it running. */
int cell_merge(struct cell_place *place)
{
	long long deadline = hm_deadline(HM_LIMIT_MS / 2);
	char *twin = map(place, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (!twin)
		return -errno;
	for (size_t i = 0; i < place->length; i++)
		twin[i] = place->mem[i];
	if (madvise(twin, place->length, MADV_MERGEABLE) ||
	    madvise(place->mem, place->length, MADV_MERGEABLE))
		return lacks(place, -errno, "kernel without KSM");
	while (!merged(place)) {
		if (!hm_left(deadline))
			return lacks(place, -ETIMEDOUT, "KSM did not merge the pages");
		hm_pause();
	}
	return 0;
}
