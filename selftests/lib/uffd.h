/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * userfaultfd as the gate inside the core kernel: a device access to a missing
 * or write-protected page sleeps in handle_userfault() until the test says so.
 */
#ifndef HOTMIRROR_LIB_UFFD_H
#define HOTMIRROR_LIB_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

struct hm_fault {
	unsigned long addr;	/* page aligned */
	bool write;
	bool wp;		/* write-protected, not missing */
	bool minor;		/* in the file, not in the page table */
	bool rwp;		/* protected against reads, too */
};

/* A userfaultfd of this process, or -errno; ENOSYS and EPERM are reasons to skip. */
int hm_uffd_open(void);
/* One that can protect against reads, too, where the kernel can (7.3). */
int hm_uffd_open_rwp(void);
/* Faults of [addr, addr + length) are ours: missing pages, or writes if @wp. */
int hm_uffd_register(int uffd, void *addr, size_t length, bool wp);
/* The same by HM_UFFD_*; -EINVAL: not this memory, or not in this kernel. */
#define HM_UFFD_MISSING	(1ULL << 0)
#define HM_UFFD_WP	(1ULL << 1)
#define HM_UFFD_MINOR	(1ULL << 2)
#define HM_UFFD_RWP	(1ULL << 3)
int hm_uffd_register_mode(int uffd, void *addr, size_t length, __u64 mode);
/* Protect against reads and writes, or no more. */
int hm_uffd_rwprotect(int uffd, void *addr, size_t length, bool on);
int hm_uffd_protect(int uffd, void *addr, size_t length, bool on);

/* The next fault, within HM_LIMIT_MS; -ETIMEDOUT. */
int hm_uffd_wait(int uffd, struct hm_fault *f);
/* Whether a fault waits to be read, without waiting. */
bool hm_uffd_pending(int uffd);

/* Resolve a missing page with a copy of @from and wake who waits for it. */
int hm_uffd_copy(int uffd, void *addr, const void *from, size_t length);
int hm_uffd_zero(int uffd, void *addr, size_t length);
/* Map what is in the file: resolves a minor fault. */
int hm_uffd_continue(int uffd, void *addr, size_t length);
/* Move pages of this process to where they are missing (6.8 and later). */
int hm_uffd_move(int uffd, void *to, void *from, size_t length);
/* Mark pages that are missing as lost: an access is a memory error (6.6 and later). */
int hm_uffd_poison(int uffd, void *addr, size_t length);
/* Wake who waits in the range without resolving anything: the fault is retried. */
int hm_uffd_wake(int uffd, void *addr, size_t length);

#endif /* HOTMIRROR_LIB_UFFD_H */
