/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * test_hotmirror: page faults that HMM takes for the device. Included by
 * test_hotmirror_uapi.h.
 */
#ifndef _TEST_HOTMIRROR_HMM_UAPI_H
#define _TEST_HOTMIRROR_HMM_UAPI_H

/*
 * A flag of HOTMIRROR_PREFETCH: HMM takes the faults, as most drivers have it, with
 * HMM_PFN_REQ_FAULT, and _WRITE with HOTMIRROR_ACCESS_WRITE, for up to a leaf at once. What
 * fails is tried again page by page, so that @done says where.
 *
 * HOTMIRROR_HAS_HMM_SLEEPS: by hmm_range_fault_unlocked_timeout(), which may sleep in a user
 * fault, killable only. An unplug does not wait for it, nor can it wake it, as no signal can
 * but a fatal one: it ends, with ENODEV, when the fault does or the task is killed.
 * Without: by hmm_range_fault(), for which a fault that userfaultfd would have to resolve
 * fails with EFAULT, at once.
 *
 * With one page HMM faults the rest of what a PMD spans, also private pages of the instance,
 * which come home. What it reports without the right to write that it was asked for (such
 * a page after fork()) is faulted as without this flag, and counted in @faults.
 *
 * Errors that differ from those of HOTMIRROR_PREFETCH:
 *
 *	EPERM	   HOTMIRROR_ACCESS_WRITE and no VM_WRITE: hmm_do_fault(), before 7.3
 *		   hmm_vma_fault(). Of private pages of the instance: EFAULT
 *	EFAULT	   also no VM_READ, VM_IO, VM_PFNMAP: hmm_vma_walk_test(); what is neither
 *		   a page nor on its way to be one: hmm_vma_handle_pte(); and a memory error,
 *		   for EHWPOISON: vm_fault_to_errno()
 *	EOPNOTSUPP through io_uring: the exit of the ring could not interrupt the fault
 */
#define HOTMIRROR_PREFETCH_BY_HMM	(1U << 1)

#endif /* _TEST_HOTMIRROR_HMM_UAPI_H */
