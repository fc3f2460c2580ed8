/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that the module builds on. The rest of the
 * module is written for 7.3; what an older kernel lacks or spells differently is
 * given the 7.3 form here. HAVE_* come from Kbuild, which greps the headers.
 */
#ifndef _HOTMIRROR_COMPAT_H
#define _HOTMIRROR_COMPAT_H

#include <linux/hmm.h>
#include <linux/memcontrol.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>

/* 6.14: the pgmap moved from struct page to struct folio. */
#ifndef HAVE_PAGE_PGMAP
static inline struct dev_pagemap *page_pgmap(const struct page *page)
{
	return page->pgmap;
}
#endif

/* 7.0: device folios have an order, and are told their pgmap. */
#ifndef HAVE_FOLIO_INIT
static inline void zone_device_folio_init(struct folio *folio,
					  struct dev_pagemap *pgmap,
					  unsigned int order)
{
	zone_device_page_init(&folio->page);
}
#endif

/* 7.0: dev_pagemap_ops frees folios; before, pages. */
#ifdef HAVE_FOLIO_FREE
#define HOTMIRROR_DEFINE_FOLIO_FREE(fn)
#define HOTMIRROR_FOLIO_FREE(fn)	.folio_free = fn
#else
#define HOTMIRROR_DEFINE_FOLIO_FREE(fn)			\
	static void fn##_page(struct page *page)	\
	{						\
		fn(page_folio(page));			\
	}
#define HOTMIRROR_FOLIO_FREE(fn)	.page_free = fn##_page
#endif

/* 6.17: no more pfn_t. A special PTE, of whatever pfn. */
#ifdef HAVE_PFN_T
#include <linux/pfn_t.h>
#endif

static inline vm_fault_t hotmirror_insert_pfn(struct vm_fault *vmf, unsigned long pfn)
{
#ifdef HAVE_PFN_T
	return vmf_insert_mixed(vmf->vma, vmf->address, __pfn_to_pfn_t(pfn, PFN_DEV));
#else
	return vmf_insert_mixed(vmf->vma, vmf->address, pfn);
#endif
}

/*
 * 6.15: dax pages are mapped with a reference and a mapcount. Before, a devmap PTE
 * holds neither; a writable shared VMA without ->page_mkwrite gets a writable PTE
 * at once, so @write needs no further step there.
 */
#ifndef HAVE_INSERT_PAGE_MKWRITE
static inline vm_fault_t vmf_insert_page_mkwrite(struct vm_fault *vmf,
						 struct page *page, bool write)
{
	return vmf_insert_mixed(vmf->vma, vmf->address,
				__pfn_to_pfn_t(page_to_pfn(page),
					       PFN_DEV | PFN_MAP));
}
#endif

/* 6.15: the same for PMDs. */
#ifndef HAVE_INSERT_FOLIO_PMD
static inline vm_fault_t vmf_insert_folio_pmd(struct vm_fault *vmf,
					      struct folio *folio, bool write)
{
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(folio_pfn(folio),
						      PFN_DEV | PFN_MAP), write);
}
#endif

/* 6.12: whether a folio has a charge. */
#ifndef HAVE_MEMCG_CHARGED
#define folio_memcg_charged(folio) (!!folio_memcg(folio))
#endif

/* PMD-mapped instances need memory that can be plugged in PMDs. */
#define HOTMIRROR_CAN_PMD \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && PMD_SIZE <= SUBSECTION_SIZE)

/* 6.7: a huge fault is told its order; before, one of three sizes. */
#ifdef HAVE_FAULT_ORDER
#define HOTMIRROR_DEFINE_HUGE_FAULT(fn)
#define HOTMIRROR_HUGE_FAULT(fn)	.huge_fault = fn
#else
static inline unsigned int hotmirror_order_of(enum page_entry_size size)
{
	return (size == PE_SIZE_PTE ? PAGE_SHIFT :
		size == PE_SIZE_PMD ? PMD_SHIFT : PUD_SHIFT) - PAGE_SHIFT;
}

#define HOTMIRROR_DEFINE_HUGE_FAULT(fn)						\
	static vm_fault_t fn##_size(struct vm_fault *vmf, enum page_entry_size size)	\
	{									\
		return fn(vmf, hotmirror_order_of(size));			\
	}
#define HOTMIRROR_HUGE_FAULT(fn)	.huge_fault = fn##_size
#endif

/*
 * 7.3: HMM takes mmap_lock itself and may drop it for a fault, hence wait for
 * userfaultfd. Before, such a fault fails; -EBUSY is returned at once.
 */
#ifdef HAVE_HMM_UNLOCKED
#define HOTMIRROR_HMM_SLEEPS	1
#else
#define HOTMIRROR_HMM_SLEEPS	0

static inline int hmm_range_fault_unlocked_timeout(struct hmm_range *range,
						   unsigned long timeout)
{
	struct mm_struct *mm = range->notifier->mm;
	int ret;

	range->notifier_seq = mmu_interval_read_begin(range->notifier);
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = hmm_range_fault(range);
	mmap_read_unlock(mm);
	return ret;
}
#endif

/* 7.0: the kmalloc_obj() family. */
#ifndef kzalloc_obj
#define kmalloc_obj(obj, gfp)	kmalloc(sizeof(obj), gfp)
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(obj), gfp)
#endif

/* 6.15: one page at a time, and the folio is handed out. */
#ifndef HAVE_MAKE_EXCLUSIVE
#include <linux/rmap.h>

static inline struct page *make_device_exclusive(struct mm_struct *mm,
						 unsigned long addr, void *owner,
						 struct folio **folio)
{
	struct page *page = NULL;
	int ret = make_device_exclusive_range(mm, addr, addr + PAGE_SIZE, &page,
					      owner);

	if (ret < 0)
		return ERR_PTR(ret);
	if (!page)
		return ERR_PTR(-EBUSY);
	*folio = page_folio(page);
	return page;
}
#endif

/* 6.3: vm_flags are written by functions. The caller has mmap_lock for writing. */
#ifndef HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, unsigned long flags)
{
	vma->vm_flags |= flags;
}
#endif

/* 6.4: a class may be constant. */
#ifdef HAVE_CONST_CLASS
#define HOTMIRROR_CLASS	const struct class
#else
#define HOTMIRROR_CLASS	struct class
#endif

/* 6.2: the rss of a process is counted per CPU. */
static inline void hotmirror_rss_add(struct mm_struct *mm, int member, long n)
{
#ifdef HAVE_RSS_PERCPU
	percpu_counter_add(&mm->rss_stat[member], n);
#else
	atomic_long_add(n, &mm->rss_stat.count[member]);
#endif
}

/* 6.6: a hint of NUMA balancing is no obstacle any more, unless it is asked for. */
#ifndef HAVE_HONOR_NUMA_FAULT
#define FOLL_HONOR_NUMA_FAULT	0
#endif

/* 6.4: ftrace's own name for it. */
#include <linux/ftrace.h>
#ifndef ftrace_regs_set_instruction_pointer
#define ftrace_regs_set_instruction_pointer(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, ip)
#endif

/*
 * 6.2: get_user_pages_remote() can be interrupted by any signal. Before, only a fatal
 * one ends a fault of it, and unplug could not wake who sleeps in userfaultfd. So
 * faults are taken here, one by one, as the page fault handler of the architecture
 * takes them, and the core's function gets what is present then.
 */
#ifndef HAVE_FOLL_INTERRUPTIBLE
#include <linux/sched/signal.h>

#define FOLL_INTERRUPTIBLE	0

/* A page that is gone again so often is left to the core, killable only. */
#define HOTMIRROR_GUP_TRIES	8

static inline long hotmirror_gup_fault(struct mm_struct *mm, unsigned long addr,
				       unsigned int flags, int *locked)
{
	unsigned long allowed = flags & FAULT_FLAG_WRITE ? VM_WRITE : VM_READ;
	struct vm_area_struct *vma;
	vm_fault_t fault;

	flags |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE |
		 FAULT_FLAG_INTERRUPTIBLE | FAULT_FLAG_REMOTE;
	for (;;) {
		vma = vma_lookup(mm, addr);
		if (!vma || vma->vm_flags & (VM_IO | VM_PFNMAP) ||
		    !(vma->vm_flags & allowed))
			return -EFAULT;
		fault = handle_mm_fault(vma, addr, flags, NULL);
		if (fault & VM_FAULT_ERROR)
			return vm_fault_to_errno(fault, FOLL_HWPOISON);
		if (!(fault & (VM_FAULT_RETRY | VM_FAULT_COMPLETED)))
			return 0;
		*locked = 0;
		if (signal_pending(current) || mmap_read_lock_killable(mm))
			return -EINTR;
		*locked = 1;
		if (fault & VM_FAULT_COMPLETED)
			return 0;
		flags |= FAULT_FLAG_TRIED;
	}
}

static inline long hotmirror_gup_present(struct mm_struct *mm, unsigned long addr,
					 unsigned long nr, unsigned int flags,
					 struct page **pages, bool pin)
{
	return pin ? pin_user_pages_remote(mm, addr, nr, flags, pages, NULL, NULL) :
		     get_user_pages_remote(mm, addr, nr, flags, pages, NULL, NULL);
}

static inline long hotmirror_gup(struct mm_struct *mm, unsigned long addr,
				 unsigned long nr, unsigned int flags,
				 struct page **pages, int *locked, bool pin)
{
	unsigned int fault = flags & FOLL_WRITE ? FAULT_FLAG_WRITE :
			     pin ? FAULT_FLAG_UNSHARE : 0;
	unsigned long done = 0, tries = 0;
	long got;

	if (!pages)
		return hotmirror_gup_fault(mm, addr, fault, locked) ?: nr;
	if (flags & FOLL_NOFAULT)
		return hotmirror_gup_present(mm, addr, nr, flags, pages, pin);
	while (done < nr) {
		if (tries < HOTMIRROR_GUP_TRIES)
			flags |= FOLL_NOFAULT;
		else
			flags &= ~FOLL_NOFAULT;
		got = hotmirror_gup_present(mm, addr + (done << PAGE_SHIFT), nr - done,
					    flags, pages + done, pin);
		if (got == -EFAULT && flags & FOLL_NOFAULT) {
			tries++;
			got = hotmirror_gup_fault(mm, addr + (done << PAGE_SHIFT),
						  fault, locked);
		} else if (got > 0) {
			tries = 0;
			done += got;
			got = 0;
		}
		if (got)
			return done ?: got;
	}
	return done;
}

#define get_user_pages_remote(mm, addr, nr, flags, pages, locked) \
	hotmirror_gup(mm, addr, nr, flags, pages, locked, false)
#define pin_user_pages_remote(mm, addr, nr, flags, pages, locked) \
	hotmirror_gup(mm, addr, nr, flags, pages, locked, true)
#endif

/* 6.8: <linux/io_uring/cmd.h>. A command must be able to sleep interruptibly, too. */
#if defined(HAVE_SQE_CMD) && defined(HAVE_FOLL_INTERRUPTIBLE) && \
	IS_ENABLED(CONFIG_IO_URING)
#define HOTMIRROR_CAN_URING	1
#include <linux/io_uring/cmd.h>

/* 7.x: the payload has a type. */
#ifndef HAVE_SQE_CMD_TYPE
#define io_uring_sqe_cmd(sqe, type)	((const type *)io_uring_sqe_cmd(sqe))
#endif
#else
#define HOTMIRROR_CAN_URING	0
#endif

/* 7.0: device private folios of PMD size. */
#ifdef HAVE_SELECT_COMPOUND
#define HOTMIRROR_CAN_LARGE	IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE)
#define HOTMIRROR_FOLIO_SPLIT(fn)	.folio_split = fn,

/* What the core does for a driver without ->folio_split(). */
static inline void hotmirror_split_tail(struct folio *head, struct folio *tail)
{
	if (!tail)
		return;
	tail->pgmap = head->pgmap;
	tail->page.mapping = head->page.mapping;
}
#else
#define HOTMIRROR_CAN_LARGE	0
#define HOTMIRROR_FOLIO_SPLIT(fn)

static inline void hotmirror_split_tail(struct folio *head, struct folio *tail)
{
}

#define MIGRATE_VMA_SELECT_COMPOUND	0
#define MIGRATE_PFN_COMPOUND	0
#endif

#endif /* _HOTMIRROR_COMPAT_H */
