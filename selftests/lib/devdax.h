/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A real device-dax to compare with, made of a legacy pmem range (memmap=nn!ss).
 *
 * What was on the range is lost, so this is done only on a kernel whose command line
 * says hotmirror.scratch_pmem: that of the guest that scripts/ boots. Its ranges are
 * there in the order of their addresses: for 4 KiB pages, for PMDs.
 */
#ifndef HOTMIRROR_LIB_DEVDAX_H
#define HOTMIRROR_LIB_DEVDAX_H

#include <stdbool.h>
#include <stddef.h>

struct hm_devdax {
	char name[16];		/* dax0.0 */
	char path[32];		/* /dev/dax0.0 */
	size_t align;
	size_t size;
};

/*
 * The device with small or with PMD-sized pages, made on the first call, bound on each.
 * NULL, or why there is none, with the remedy.
 */
const char *hm_devdax_get(struct hm_devdax *d, bool huge);
/* Unbind it from its driver, as hot-unplug does: 0 or -errno. */
int hm_devdax_unbind(const struct hm_devdax *d);

#endif /* HOTMIRROR_LIB_DEVDAX_H */
