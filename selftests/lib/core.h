/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Core dumps: the memory of a process that died, by its addresses.
 */
#ifndef HOTMIRROR_LIB_CORE_H
#define HOTMIRROR_LIB_CORE_H

#include <stddef.h>

/*
 * What the core file @fd has of [addr, addr + length), which lies in one segment; 0,
 * -ENOENT if the segment or its contents are not in it, or another -errno.
 */
int hm_core_read(int fd, const void *addr, void *buf, size_t length);

#endif /* HOTMIRROR_LIB_CORE_H */
