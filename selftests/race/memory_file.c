// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory with an object behind it: shmem, files, huge pages of the pool, device memory.
 *
 * Files are of a ramfs of our own that is mounted nowhere: page cache like that of a disk
 * file, on every machine the same, and nothing is ever written back.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/mount.h>

#include "../lib/mem.h"
#include "memory.h"

int race_build_shmem(struct race_setup *s)
{
	race_small(s);
	return race_map_filled(s, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static int resize(struct race_setup *s)
{
	return ftruncate(s->shared->file, s->area->length) ? -errno : 0;
}

int race_build_memfd(struct race_setup *s)
{
	race_small(s);
	s->shared->file = memfd_create("hotmirror", MFD_CLOEXEC);
	if (s->shared->file < 0)
		return -errno;
	return resize(s) ?: race_map_filled(s, MAP_SHARED, s->shared->file);
}

/* ---- files ---- */

static int mount_ramfs(void)
{
	int fs = syscall(SYS_fsopen, "ramfs", FSOPEN_CLOEXEC), mount = -1;

	if (fs < 0)
		return -errno;
	if (!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	mount = mount < 0 ? -errno : mount;
	close(fs);
	return mount;
}

/* A file with the contents 'o' under each page; mapped with @flags. */
static int file(struct race_setup *s, int flags)
{
	static int ramfs = -1;
	size_t page = hm_page_size();
	int ret;

	race_small(s);
	if (ramfs < 0)
		ramfs = mount_ramfs();
	if (ramfs < 0)
		return race_lacks(s, -EOPNOTSUPP, "no ramfs can be mounted");
	s->shared->file = openat(ramfs, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->shared->file < 0)
		return -errno;
	ret = resize(s);
	for (size_t i = 0; i < s->area->length && !ret; i += page) {
		__u64 word = race_word('o', s->area->mem + i);

		if (pwrite(s->shared->file, &word, sizeof(word), i) != sizeof(word) ||
		    pwrite(s->shared->file, &word, sizeof(word), i + page - sizeof(word)) !=
		    sizeof(word))
			ret = -errno;
	}
	return ret ?: race_map(s, flags, s->shared->file);
}

int race_build_file_shared(struct race_setup *s)
{
	int ret = file(s, MAP_SHARED);

	if (!ret)
		race_fill_area(s);
	return ret;
}

/* Every page is present, none is ours. */
int race_build_file_private(struct race_setup *s)
{
	int ret = file(s, MAP_PRIVATE);

	for (size_t i = 0; i < s->area->length && !ret; i += hm_page_size())
		ret = hm_cpu_touch(s->area->mem + i) ? -EFAULT : 0;
	return ret;
}

int race_build_file_cow(struct race_setup *s)
{
	int ret = file(s, MAP_PRIVATE);

	if (!ret)
		race_fill_area(s);
	return ret;
}

/* ---- huge pages of the pool ---- */

static int hugetlb(struct race_setup *s, int flags, int fd)
{
	int ret = race_map_filled(s, flags, fd);

	return ret == -ENOMEM ? race_lacks(s, -EOPNOTSUPP, "no huge pages in the pool") : ret;
}

int race_build_hugetlb(struct race_setup *s)
{
	race_across_pmds(s);
	return hugetlb(s, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

int race_build_hugetlb_memfd(struct race_setup *s)
{
	race_across_pmds(s);
	s->shared->file = memfd_create("hotmirror", MFD_CLOEXEC | MFD_HUGETLB);
	if (s->shared->file < 0)
		return race_lacks(s, -EOPNOTSUPP, "kernel without hugetlbfs");
	return resize(s) ?: hugetlb(s, MAP_SHARED, s->shared->file);
}

/* ---- dax ---- */

int race_build_dax(struct race_setup *s)
{
	race_small(s);
	return race_map_filled(s, MAP_SHARED, s->shared->fd[RACE_DAX]);
}

int race_build_dax_pmd(struct race_setup *s)
{
	race_across_pmds(s);
	return race_map_filled(s, MAP_SHARED, s->shared->fd[RACE_DAX]);
}
