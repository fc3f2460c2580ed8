/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror, loaded with dmirror=1: the ioctls of /dev/hmm_dmirror0..3 as
 * lib/test_hmm.c defines them, so that hmm-tests runs on this module, too.
 *
 * What differs: outputs are written back on failure, too, and an unknown ioctl gives
 * ENOTTY. New tests want test_hotmirror_uapi.h instead.
 */
#ifndef _TEST_HOTMIRROR_DMIRROR_UAPI_H
#define _TEST_HOTMIRROR_DMIRROR_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct hmm_dmirror_cmd - the argument of every HMM_DMIRROR_* ioctl
 * @addr: where in the opener's mm, page aligned
 * @ptr: the caller's buffer: a page a page, SNAPSHOT: a byte a page
 * @npages: how many pages, not 0; FLAGS: the flags
 * @cpages: out: pages done
 * @faults: out: READ, WRITE: how often the device page table had to be populated;
 *	each time all that was left, so 0 is warm and 1 is cold
 *
 * Errors: EINVAL (alignment, no or too many pages), EFAULT, ENODEV, ESRCH, ENOMEM.
 */
struct hmm_dmirror_cmd {
	__u64 addr;
	__u64 ptr;
	__u64 npages;
	__u64 cpages;
	__u64 faults;
};

#define HMM_DMIRROR_IO(nr)		_IOWR('H', nr, struct hmm_dmirror_cmd)
#define HMM_DMIRROR_READ		HMM_DMIRROR_IO(0x00)
/* EPERM: the memory is mapped read-only */
#define HMM_DMIRROR_WRITE		HMM_DMIRROR_IO(0x01)
/* Reads what it moved. EINVAL: hole, PROT_NONE; ENOENT: a page is not in this device */
#define HMM_DMIRROR_MIGRATE_TO_DEV	HMM_DMIRROR_IO(0x02)
#define HMM_DMIRROR_MIGRATE_TO_SYS	HMM_DMIRROR_IO(0x03)
#define HMM_DMIRROR_SNAPSHOT		HMM_DMIRROR_IO(0x04)
/* Takes the pages from the CPU and reads them */
#define HMM_DMIRROR_EXCLUSIVE		HMM_DMIRROR_IO(0x05)
/* EPERM: a page still is exclusive */
#define HMM_DMIRROR_CHECK_EXCLUSIVE	HMM_DMIRROR_IO(0x06)
/* Moves everything in the device to system memory */
#define HMM_DMIRROR_RELEASE		HMM_DMIRROR_IO(0x07)
#define HMM_DMIRROR_FLAGS		HMM_DMIRROR_IO(0x08)
/* As READ, which here may always sleep in userfaultfd */
#define HMM_DMIRROR_READ_UNLOCKED	HMM_DMIRROR_IO(0x09)

/* The next allocation of a large folio fails, on either side. */
#define HMM_DMIRROR_FLAG_FAIL_ALLOC	0x1ULL

/* SNAPSHOT: nothing there, or READ or WRITE with a size and a kind; or ERROR. */
#define HMM_DMIRROR_PROT_NONE			0x00
#define HMM_DMIRROR_PROT_READ			0x01
#define HMM_DMIRROR_PROT_WRITE			0x02
#define HMM_DMIRROR_PROT_PMD			0x04
#define HMM_DMIRROR_PROT_PUD			0x08
#define HMM_DMIRROR_PROT_ZERO			0x10
#define HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL	0x20
#define HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE	0x30
#define HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL	0x40
#define HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE	0x50
#define HMM_DMIRROR_PROT_ERROR			0xff

#endif /* _TEST_HOTMIRROR_DMIRROR_UAPI_H */
