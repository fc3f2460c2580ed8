// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to the memory of a cell before the access: states and protections.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/pagemap.h"
#include "../lib/uffd.h"
#include "cell.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#endif

static int lacks(struct cell_place *place, int ret, const char *why)
{
	place->why = why;
	return ret;
}

static int advise(struct cell_place *place, size_t length, int advice, const char *why)
{
	if (madvise(place->mem, length, advice))
		return lacks(place, -errno, why);
	return 0;
}

static int lazily_free(struct cell_place *place)
{
	return advise(place, place->length, MADV_FREE, "no MADV_FREE for this memory");
}

static int drop(struct cell_place *place)
{
	return advise(place, place->length, MADV_DONTNEED, "no MADV_DONTNEED for this memory");
}

static int guard(struct cell_place *place)
{
	return advise(place, place->length, MADV_GUARD_INSTALL,
		      "no MADV_GUARD_INSTALL in this kernel");
}

static int swap_out(struct cell_place *place)
{
	int ret = advise(place, CELL_PAGES * place->page, MADV_PAGEOUT,
			 "no MADV_PAGEOUT in this kernel");

	if (!ret && !(hm_pagemap(cell_target(place)) & HM_PM_SWAP))
		return lacks(place, -ENOSPC, "the page was not swapped out (no swap space?)");
	return ret;
}

/* A clean page, and a right to write that says nothing about it. */
static int swap_out_and_in(struct cell_place *place)
{
	int ret = swap_out(place);

	for (int i = 0; !ret && i < CELL_PAGES; i++)
		if (hm_cpu_touch(place->mem + i * place->page))
			ret = -EFAULT;
	return ret;
}

/* In the child: tell what is in the pages, as often as asked. */
static int look_when_asked(struct hm_parent *parent, void *arg)
{
	struct cell_place *place = arg;
	struct cell_look look;

	for (;;) {
		hm_hear(parent);
		look = cell_look_at(place->mem, place->page);
		hm_tell(parent, look.ends);
		hm_tell(parent, look.word);
		hm_tell(parent, look.sum);
	}
	return 0;
}

static int fork_child(struct cell_place *place)
{
	return hm_child_start(&place->child, look_when_asked, place);
}

/* Shared once, and no more when the access comes. */
static int fork_and_lose_child(struct cell_place *place)
{
	int ret = fork_child(place);

	if (!ret)
		hm_child_end(&place->child);
	return ret;
}

static int to_device_and_back(struct cell_place *place)
{
	struct cell_instance *inst = &place->side->first;
	size_t length = CELL_PAGES * place->page;
	__u64 to_dev = 0, to_sys = 0;
	int ret;

	if (inst->kind == HOTMIRROR_DAX)
		return lacks(place, -EINVAL, "no private and no coherent memory");
	ret = hm_to_dev(inst->fd, place->mem, length, &to_dev);
	ret = ret ?: hm_to_sys(inst->fd, place->mem, length, &to_sys);
	if (!ret && (to_dev < CELL_PAGES || to_sys < CELL_PAGES))
		return lacks(place, -EBUSY, "the pages did not move");
	return ret;
}

static int resolve(struct cell_place *place, struct hm_fault *f)
{
	static char fresh[1 << 16];
	char *page = (char *)(f->addr & -place->grain);

	if (f->wp)
		return hm_uffd_protect(place->uffd, page, place->grain, false);
	cell_fill(fresh, place->page, 9);
	return hm_uffd_copy(place->uffd, page, fresh, place->grain);
}

/* Resolves every fault as it should be, until it is stopped. */
static void *handle_faults(void *arg)
{
	struct cell_place *place = arg;
	struct pollfd p[] = {
		{ .fd = place->stop, .events = POLLIN },
		{ .fd = place->uffd, .events = POLLIN },
	};
	struct hm_fault f;

	for (;;) {
		poll(p, 2, -1);
		if (p[0].revents)
			return NULL;
		if (hm_uffd_wait(place->uffd, &f))
			continue;
		place->seen |= 1 | f.write << 1 | f.wp << 2;
		resolve(place, &f);
	}
}

static int open_uffd(struct cell_place *place, bool wp)
{
	place->uffd = hm_uffd_open();
	if (place->uffd < 0)
		return lacks(place, place->uffd, "no userfaultfd for the kernel's faults");
	return hm_uffd_register(place->uffd, place->mem, place->length, wp);
}

static int start_handler(struct cell_place *place)
{
	place->stop = eventfd(0, EFD_CLOEXEC);
	return -pthread_create(&place->handler, NULL, handle_faults, place);
}

static int write_protect(struct cell_place *place)
{
	int ret = open_uffd(place, true);

	ret = ret ?: hm_uffd_protect(place->uffd, place->mem, place->length, true);
	return ret ?: start_handler(place);
}

static int miss(struct cell_place *place)
{
	return open_uffd(place, false) ?: start_handler(place);
}

/* As userfaultfd marks a page whose contents are lost somewhere else. */
static int mark_poisoned(struct cell_place *place)
{
	int ret = drop(place) ?: open_uffd(place, false);

	ret = ret ?: hm_uffd_poison(place->uffd, place->mem, CELL_PAGES * place->page);
	if (ret)
		return lacks(place, ret, "no UFFDIO_POISON in this kernel");
	return 0;
}

static int poison(struct cell_place *place)
{
	int ret = hm_poison(cell_target(place), place->page);

	return ret ? lacks(place, ret, "no MADV_HWPOISON (CONFIG_MEMORY_FAILURE)") : 0;
}

static int clean_soft_dirty(struct cell_place *place)
{
	int ret = hm_clear_soft_dirty();

	return ret ? lacks(place, ret, "no /proc/self/clear_refs") : 0;
}

static int make_exclusive(struct cell_place *place)
{
	struct hotmirror_atomic atomic = {};
	char *word = cell_target(place) + CELL_OFFSET;
	int ret = hm_atomic(place->side->first.fd, word, &atomic);

	return ret ? lacks(place, ret, "no device-exclusive access in this kernel") : 0;
}

/* To another address and back: the page table entries are moved, twice. */
static int move_there_and_back(struct cell_place *place)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t grain = place->side->q.pmd_size;
	size_t length = place->length + grain;
	char *area = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *there = (char *)(((uintptr_t)area + grain - 1) & -grain);
	int ret = 0;

	if (area == MAP_FAILED)
		return -errno;
	if (mremap(place->mem, place->length, place->length, flags, there) != there ||
	    mremap(there, place->length, place->length, flags, place->mem) != place->mem)
		ret = -errno;
	munmap(area, length);
	return ret;
}

static int cut_off(struct cell_place *place)
{
	return ftruncate(place->file, 0) ? -errno : 0;
}

static int punch(struct cell_place *place)
{
	if (fallocate(place->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      place->length))
		return lacks(place, -errno, "this file takes no holes");
	return 0;
}

static int unmap(struct cell_place *place)
{
	return munmap(place->mem, place->length) ? -errno : 0;
}

static int unplug(struct cell_place *place, __u32 target)
{
	return hm_unplug(place->side->control, place->dax->id, target, HM_LIMIT_MS);
}

static int disable(struct cell_place *place)
{
	return unplug(place, HOTMIRROR_DISABLED);
}

static int invalidate(struct cell_place *place)
{
	return unplug(place, HOTMIRROR_INVALIDATED);
}

static int unplug_all(struct cell_place *place)
{
	return unplug(place, HOTMIRROR_GONE);
}

const struct cell_state cell_states[CELL_NR_STATES] = {
	[CELL_UNTOUCHED] = { "untouched", CELL_NOTHING, NULL, CELL_OK },
	[CELL_TOUCHED] = { "touched", CELL_LOOKED_AT, NULL, CELL_OK },
	[CELL_WRITTEN] = { "written", CELL_FILLED, NULL, CELL_OK },
	[CELL_FREED] = { "freed", CELL_FILLED, lazily_free, CELL_OK },
	[CELL_DONTNEED] = { "dontneed", CELL_FILLED, drop, CELL_OK },
	[CELL_SWAPPED] = { "swapped", CELL_FILLED, swap_out, CELL_OK },
	[CELL_SWAPPED_IN] = { "swapped_in", CELL_FILLED, swap_out_and_in, CELL_OK },
	[CELL_FORKED] = { "forked", CELL_FILLED, fork_child, CELL_OK },
	[CELL_ORPHANED] = { "orphaned", CELL_FILLED, fork_and_lose_child, CELL_OK },
	[CELL_ROUND_TRIP] = { "round_trip", CELL_FILLED, to_device_and_back, CELL_OK },
	[CELL_WP] = { "wp", CELL_FILLED, write_protect, CELL_OK },
	[CELL_MISSING] = { "missing", CELL_NOTHING, miss, CELL_OK },
	[CELL_SOFT_CLEAN] = { "soft_clean", CELL_FILLED, clean_soft_dirty, CELL_OK },
	[CELL_EXCLUSIVE] = { "exclusive", CELL_FILLED, make_exclusive, CELL_OK },
	[CELL_MOVED] = { "moved", CELL_FILLED, move_there_and_back, CELL_OK },
	[CELL_GUARDED] = { "guarded", CELL_FILLED, guard, CELL_SEGV },
	[CELL_MARKED] = { "marked", CELL_NOTHING, mark_poisoned, CELL_HWPOISON },
	[CELL_POISONED] = { "poisoned", CELL_FILLED, poison, CELL_HWPOISON },
	[CELL_TRUNCATED] = { "truncated", CELL_FILLED, cut_off, CELL_BUS },
	[CELL_PUNCHED] = { "punched", CELL_FILLED, punch, CELL_OK },
	[CELL_UNMAPPED] = { "unmapped", CELL_FILLED, unmap, CELL_SEGV },
	[CELL_DISABLED] = { "disabled", CELL_FILLED, disable, CELL_OK },
	[CELL_INVALIDATED] = { "invalidated", CELL_FILLED, invalidate, CELL_BUS },
	[CELL_UNPLUGGED] = { "unplugged", CELL_FILLED, unplug_all, CELL_BUS },
};

#define EVERY_STATE	((1U << CELL_NR_STATES) - 1)
#define FEW_STATES	(CELL(UNTOUCHED) | CELL(WRITTEN))
#define EVERY_TABLE	((1U << CELL_NR_TABLES) - 1)
#define WARM		(1U << CELL_WARM)
#define USED		(WARM | 1U << CELL_HOT)

/* What takes a right away has to take it from a device that used it: warm. */
const struct cell_prot cell_prots[CELL_NR_PROTS] = {
	[CELL_RW] = { "rw", { -1, -1 }, 0, EVERY_STATE, EVERY_TABLE },
	[CELL_RO] = { "ro", { PROT_READ, -1 }, 0, EVERY_STATE, WARM },
	[CELL_NONE] = { "none", { PROT_NONE, -1 }, 0, FEW_STATES, WARM },
	[CELL_WO] = { "wo", { PROT_WRITE, -1 }, 0, FEW_STATES, WARM },
	[CELL_REOPENED] = { "reopened", { PROT_READ, PROT_READ | PROT_WRITE }, 0,
			    FEW_STATES, WARM },
	[CELL_CLOSED] = { "closed", { PROT_NONE, PROT_READ }, 0, FEW_STATES, WARM },
	[CELL_KEYED] = { "keyed", { -1, -1 }, PKEY_DISABLE_ACCESS, FEW_STATES, USED },
	[CELL_KEYED_RO] = { "keyed_ro", { -1, -1 }, PKEY_DISABLE_WRITE, FEW_STATES, USED },
};

/* The key is the thread's, and after a signal handler it has the rights of none. */
static int lock_up(struct cell_place *place, unsigned int rights)
{
	int key = pkey_alloc(0, 0);

	if (key < 0)
		return lacks(place, -errno, "no protection keys in this CPU or kernel");
	place->key = key;
	if (pkey_mprotect(place->mem, place->length, PROT_READ | PROT_WRITE, key) ||
	    pkey_set(key, rights))
		return -errno;
	return 0;
}

void cell_unlock(struct cell_place *place)
{
	if (place->key)
		pkey_set(place->key, 0);
}

int cell_protect(struct cell_place *place, const struct cell_prot *prot)
{
	for (int i = 0; i < 2; i++) {
		if (prot->steps[i] < 0)
			continue;
		if (mprotect(place->mem, place->length, prot->steps[i]))
			return -errno;
	}
	return prot->key ? lock_up(place, prot->key) : 0;
}
