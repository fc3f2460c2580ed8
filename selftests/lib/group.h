/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers in the files of the kernel, and a cgroup (v2, with the memory controller) of
 * the test's own.
 */
#ifndef HOTMIRROR_LIB_GROUP_H
#define HOTMIRROR_LIB_GROUP_H

#define HM_CGROUP	"/sys/fs/cgroup"
#define HM_GROUP	HM_CGROUP "/hotmirror-selftest"

/* The first number after @key in a file, or of the file if that is ""; -1: none. */
long long hm_number_in(const char *path, const char *key);
int hm_write_to(const char *path, const char *text);

/* Move this process to HM_GROUP, and back, when the group is no more; 0 or -errno. */
int hm_group_begin(void);
int hm_group_end(void);

#endif /* HOTMIRROR_LIB_GROUP_H */
