// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part that userfaultfd has in a memory: page 1 is missing, or protected, or lost.
 */
#include <errno.h>
#include <sys/mman.h>

#include "../lib/mem.h"
#include "../lib/uffd.h"
#include "memory.h"

/* One row a flag: how the memory is registered, and what becomes of page 1. */
struct part {
	unsigned int flag;
	__u64 mode;
	bool gone;			/* nothing is left of it */
	bool unmapped;			/* it is in the file only */
	int (*settle)(int uffd, void *page, size_t length);
	const char *lacking;
};

static int protect(int uffd, void *page, size_t length)
{
	return hm_uffd_protect(uffd, page, length, true);
}

static int rwprotect(int uffd, void *page, size_t length)
{
	return hm_uffd_rwprotect(uffd, page, length, true);
}

static const struct part parts[] = {
	{ MEM_UFFD, HM_UFFD_MISSING, true, false, NULL, "no userfaultfd for this memory" },
	{ MEM_UFFD_WP, HM_UFFD_WP, false, false, protect,
	  "no write protection by userfaultfd for this memory" },
	{ MEM_UFFD_MINOR, HM_UFFD_MINOR, false, true, NULL, "no minor faults for this memory" },
	{ MEM_UFFD_POISON, HM_UFFD_MISSING, true, false, hm_uffd_poison, "no UFFDIO_POISON" },
	{ MEM_UFFD_RWP, HM_UFFD_RWP, false, false, rwprotect,
	  "userfaultfd cannot protect against reads in this kernel" },
};

/* Of shared memory the page has to leave the file, too. */
static int drop(const struct race_setup *s, char *page, const struct part *part)
{
	bool shared = s->shared->memory->flags & MEM_SHARED;

	return madvise(page, s->area->grain, part->gone && shared ? MADV_REMOVE : MADV_DONTNEED) ?
	       -errno : 0;
}

static int begin(struct race_setup *s, const struct part *part)
{
	struct race_area *a = s->area;
	char *page = a->sample + hm_page_size();
	int uffd = s->shared->uffd, ret = 0;

	if (uffd < 0)
		return race_lacks(s, -EOPNOTSUPP, "no userfaultfd for the kernel's faults");
	if (part->gone || part->unmapped)
		ret = drop(s, page, part);
	if (ret)
		return ret;
	ret = hm_uffd_register_mode(uffd, a->mem, a->length, part->mode);
	if (!ret && part->settle)
		ret = part->settle(uffd, page, a->grain);
	return ret ? race_lacks(s, -EOPNOTSUPP, part->lacking) : 0;
}

int race_uffd_begin(struct race_setup *s)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (s->shared->memory->flags & parts[i].flag)
			return begin(s, &parts[i]);
	return 0;
}
