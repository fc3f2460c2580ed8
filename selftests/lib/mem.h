/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory under test: mappings, contents that tell where they belong, and CPU
 * accesses that report a signal instead of dying of it.
 */
#ifndef HOTMIRROR_LIB_MEM_H
#define HOTMIRROR_LIB_MEM_H

#include <stddef.h>
#include <linux/types.h>
#include <sys/mman.h>
#include <sys/types.h>

#ifndef MADV_COLLAPSE		/* glibc before 2.37 */
#define MADV_COLLAPSE	25
#endif

size_t hm_page_size(void);

/*
 * Private anonymous memory, not yet touched, never a huge page, with an
 * inaccessible page on each side so that nothing merges with it; NULL if there
 * is none. It starts one page behind a PMD boundary, so that the number of walks and
 * migrations that a small operation takes does not depend on where mmap() put it.
 * Freed by the end of the test's process.
 */
void *hm_map(size_t pages);
/*
 * The same, of @length bytes that are a power of two and of which it is a multiple,
 * and of huge pages where the kernel has one to give.
 */
void *hm_map_huge(size_t length);

/*
 * A file of which exactly @pages pages can be mapped, shared: RAM that a driver puts
 * there when it is mapped, and never by a fault (VM_MIXEDMAP). -errno.
 */
int hm_driver_ram(size_t pages);

/* Fill with bytes that depend on @seed and on their offset. */
void hm_fill(void *mem, size_t length, unsigned int seed);
/* Offset of the first byte that hm_fill() would have made different, -1 if none. */
ssize_t hm_differs(const void *mem, size_t length, unsigned int seed);
ssize_t hm_not_zero(const void *mem, size_t length);

/* CPU accesses: 0, or the number of the signal that they got. */
int hm_cpu_read(const void *from, void *to, size_t length);
int hm_cpu_write(void *to, const void *from, size_t length);
/* Of an aligned word, as one access. */
int hm_cpu_load(const void *from, __u64 *word);
int hm_cpu_store(void *to, __u64 word);
/* Of one byte, for its fault. */
int hm_cpu_touch(const void *p);
int hm_cpu_dirty(void *p);

/* What the signal of the last of these accesses, or of hm_poison(), said. */
struct hm_signal {
	int code;		/* si_code; 0: there was no signal */
	int lsb;		/* si_addr_lsb, of BUS_MCEERR_* only */
	void *addr;
};

struct hm_signal hm_last_signal(void);

/* Pretend a memory error (MADV_HWPOISON) and survive its SIGBUS; 0 or -errno. */
int hm_poison(void *addr, size_t length);

/*
 * An access by get_user_pages(): 0 or -errno. The references are dropped at once
 * (process_vm_readv() of this process).
 */
int hm_gup_read(const void *from, void *to, size_t length);
/* References to pages, held by a pipe that they were spliced into. */
struct hm_hold {
	int pipe[2];
};

/* Hold the pages of [addr, addr + length) by vmsplice() until hm_unhold(); 0 or -errno. */
int hm_hold(struct hm_hold *h, void *addr, size_t length);
void hm_unhold(struct hm_hold *h);

#endif /* HOTMIRROR_LIB_MEM_H */
