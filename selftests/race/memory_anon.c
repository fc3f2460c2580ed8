// SPDX-License-Identifier: GPL-2.0-only
/*
 * Anonymous memory: small pages, huge ones, merged ones, and such that live in a device.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/pagemap.h"
#include "../lib/task.h"
#include "machine.h"
#include "memory.h"

int race_build_hole(struct race_setup *s)
{
	int ret;

	race_small(s);
	ret = race_map(s, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* EINVAL from a kernel without huge pages is as good. */
	if (!ret && madvise(s->area->mem, s->area->length, MADV_NOHUGEPAGE) && errno != EINVAL)
		ret = -errno;
	return ret;
}

int race_build_anon(struct race_setup *s)
{
	int ret = race_build_hole(s);

	if (!ret)
		race_fill_area(s);
	return ret;
}

int race_build_thp(struct race_setup *s)
{
	int ret;

	race_within_pmd(s);
	ret = race_map(s, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!ret && madvise(s->area->mem, s->area->length, MADV_HUGEPAGE))
		return race_lacks(s, -EOPNOTSUPP, "kernel without transparent huge pages");
	if (!ret)
		race_fill_area(s);
	return ret;
}

/* Only the pages that are looked at: a collapse takes the rest as zeroes. */
int race_build_pmd_of_pages(struct race_setup *s)
{
	int ret;

	race_within_pmd(s);
	ret = race_map(s, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!ret && madvise(s->area->mem, s->area->length, MADV_NOHUGEPAGE))
		return race_lacks(s, -EOPNOTSUPP, "kernel without transparent huge pages");
	if (ret)
		return ret;
	race_fill_area(s);
	return madvise(s->area->mem, s->area->length, MADV_HUGEPAGE) ? -errno : 0;
}

/* ---- KSM ---- */

int race_map_mergeable(struct race_setup *s)
{
	const struct race_area *a = s->area;
	int ret = race_map_at(a->twin, a->length, 'i');

	if (!ret && (madvise(a->twin, a->length, MADV_MERGEABLE) ||
		     madvise(a->mem, a->length, MADV_MERGEABLE)))
		return race_lacks(s, -EOPNOTSUPP, "kernel without KSM");
	return ret;
}

/* Merged for good: a page with one mapping only is halfway. */
static bool merged(const struct race_area *a)
{
	for (int i = 0; i < a->pages; i++) {
		const char *page = a->sample + i * hm_page_size();

		if (!(hm_page_flags(page) & HM_KPF_KSM) || hm_pagemap(page) & HM_PM_EXCLUSIVE)
			return false;
	}
	return true;
}

int race_build_merged(struct race_setup *s)
{
	long long deadline = hm_deadline(RACE_LIMIT_MS / 2);
	struct race_worker *setup = &s->shared->worker[RACE_SETUP];
	int ret = race_build_anon(s) ?: race_map_mergeable(s);

	while (!ret && !merged(s->area)) {
		ret = race_run_ksm(setup);
		if (!ret && !hm_left(deadline))
			return race_lacks(s, -EOPNOTSUPP, "KSM did not merge the pages");
	}
	return ret;
}

/* ---- device memory ---- */

static int to_device(struct race_setup *s, int (*build)(struct race_setup *s), __u32 flags)
{
	struct race_area *a = s->area;
	__u64 moved = 0;
	int ret = build(s);

	ret = ret ?: hm_migrate(s->shared->fd[RACE_DEVICE], HOTMIRROR_MIGRATE_TO_DEV, a->mem,
				a->length, flags, &moved);
	if (!ret && moved * hm_page_size() < a->length)
		return race_lacks(s, -EBUSY, "the pages did not move to the device");
	return ret;
}

int race_build_device(struct race_setup *s)
{
	return to_device(s, race_build_anon, 0);
}

int race_build_device_large(struct race_setup *s)
{
	return to_device(s, race_build_thp, HOTMIRROR_MIGRATE_LARGE);
}
