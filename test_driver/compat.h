/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that the module builds on. The rest of the
 * module is written for 7.3; what an older kernel lacks or spells differently is
 * given the 7.3 form here. HAVE_* come from Kbuild, which greps the headers.
 */
#ifndef _HOTMIRROR_COMPAT_H
#define _HOTMIRROR_COMPAT_H

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

/*
 * 6.15: dax pages are mapped with a reference and a mapcount. Before, a devmap PTE
 * holds neither; a writable shared VMA without ->page_mkwrite gets a writable PTE
 * at once, so @write needs no further step there.
 */
#ifndef HAVE_INSERT_PAGE_MKWRITE
#include <linux/pfn_t.h>

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
#include <linux/pfn_t.h>

static inline vm_fault_t vmf_insert_folio_pmd(struct vm_fault *vmf,
					      struct folio *folio, bool write)
{
	return vmf_insert_pfn_pmd(vmf, __pfn_to_pfn_t(folio_pfn(folio),
						      PFN_DEV | PFN_MAP), write);
}
#endif

/*
 * 6.7: a huge fault is told its order. PMD-mapped instances need that, and memory
 * that can be plugged in PMDs.
 */
#ifdef HAVE_FAULT_ORDER
#define HOTMIRROR_CAN_PMD \
	(IS_ENABLED(CONFIG_TRANSPARENT_HUGEPAGE) && PMD_SIZE <= SUBSECTION_SIZE)
#define HOTMIRROR_HUGE_FAULT(fn)	.huge_fault = fn,
#else
#define HOTMIRROR_CAN_PMD	0
#define HOTMIRROR_HUGE_FAULT(fn)
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

/* 6.2: get_user_pages_remote() can be interrupted by any signal. */
#ifndef HAVE_FOLL_INTERRUPTIBLE
#define FOLL_INTERRUPTIBLE	0
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
