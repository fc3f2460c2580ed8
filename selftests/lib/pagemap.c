// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "pagemap.h"

#define PFN_MASK	((1ULL << 55) - 1)

/* Elements of 64 bits of a /proc file; 0 for those that cannot be read. */
static void elements(int fd, __u64 index, size_t n, __u64 *values)
{
	ssize_t got = pread(fd, values, n * sizeof(*values), index * sizeof(*values));

	for (size_t i = got > 0 ? got / sizeof(*values) : 0; i < n; i++)
		values[i] = 0;
}

/* The file stays open, and is whose who opened it: a child needs its own. */
static int pagemap_of_self(void)
{
	static pid_t owner;
	static int fd = -1;

	if (owner == getpid())
		return fd;
	if (fd >= 0)
		close(fd);
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	owner = getpid();
	return fd;
}

void hm_pagemap_range(const void *addr, size_t n, __u64 *entries)
{
	elements(pagemap_of_self(), (uintptr_t)addr / hm_page_size(), n, entries);
}

__u64 hm_pagemap(const void *addr)
{
	__u64 entry;

	hm_pagemap_range(addr, 1, &entry);
	return entry;
}

/* What a file of /proc that has an element for each pfn says of the page at @addr. */
static __u64 page_in(const char *path, const void *addr)
{
	__u64 entry = hm_pagemap(addr), value;
	int fd;

	if (!(entry & HM_PM_PRESENT) || !(entry & PFN_MASK))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	elements(fd, entry & PFN_MASK, 1, &value);
	close(fd);
	return value;
}

__u64 hm_page_flags(const void *addr)
{
	return page_in("/proc/kpageflags", addr);
}

bool hm_page_charged(const void *addr)
{
	return page_in("/proc/kpagecgroup", addr);
}

bool hm_vma_has(const void *addr, const char *flag)
{
	unsigned long start, end, at = (uintptr_t)addr;
	bool here = false, found = false;
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], word[8];

	snprintf(word, sizeof(word), " %s ", flag);
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= at && at < end;
		else if (here && !strncmp(line, "VmFlags:", 8))
			found = strstr(line, word);
	}
	if (f)
		fclose(f);
	return found;
}

int hm_clear_soft_dirty(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, "4", 1) != 1)
		ret = -errno;
	close(fd);
	return ret;
}
