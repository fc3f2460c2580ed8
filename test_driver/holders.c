// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who holds the memory of an instance: how much of it, and how.
 */
#include <linux/mm.h>
#include "compat.h"
#include "hotmirror.h"

/* Pages of the folio that begins at a page. It may be changing: the books, not it, say. */
static unsigned long hotmirror_folio_pages(struct hotmirror_instance *inst,
					   unsigned long index)
{
	if (inst->kind == HOTMIRROR_DAX)
		return 1UL << inst->pgmap.vmemmap_shift;
	if (inst->large && IS_ALIGNED(index, HOTMIRROR_LEAF_PAGES) &&
	    test_bit(index / HOTMIRROR_LEAF_PAGES, inst->large))
		return HOTMIRROR_LEAF_PAGES;
	return 1;
}

/* References that are not the driver's own: it has one to each folio of the dax kind. */
static unsigned long hotmirror_references(struct hotmirror_instance *inst,
					  struct folio *folio)
{
	unsigned long refs = folio_ref_count(folio);

	return inst->kind == HOTMIRROR_DAX && refs ? refs - 1 : refs;
}

/* The drain waits for every page that backs somebody's memory, or is referenced. */
static bool hotmirror_is_held(struct hotmirror_instance *inst, struct folio *folio)
{
	return inst->kind != HOTMIRROR_DAX || hotmirror_references(inst, folio);
}

static void hotmirror_count_folio(struct hotmirror_instance *inst, struct folio *folio,
				  unsigned long nr, struct hotmirror_status *status)
{
	if (inst->state >= HOTMIRROR_INVALIDATED && hotmirror_is_held(inst, folio))
		status->pages_held += nr;
	if (folio_maybe_dma_pinned(folio))
		status->pages_pinned += nr;
	if (folio_mapped(folio))
		status->pages_mapped += nr;
	status->references += hotmirror_references(inst, folio);
}

/**
 * hotmirror_holders - count the pages that are held
 * @inst: the instance; its lock is held, so that the struct pages stay
 * @status: pages_held, pages_pinned, pages_mapped and references are filled in
 */
void hotmirror_holders(struct hotmirror_instance *inst,
		       struct hotmirror_status *status)
{
	unsigned long i, nr;

	status->pages_held = 0;
	status->pages_pinned = 0;
	status->pages_mapped = 0;
	status->references = 0;
	if (inst->state < HOTMIRROR_DISABLED || !inst->mapped)
		return;
	for (i = 0; i < inst->nr_pages; i += nr) {
		nr = hotmirror_folio_pages(inst, i);
		if (inst->used && !test_bit(i, inst->used))
			continue;
		hotmirror_count_folio(inst, page_folio(pfn_to_page(inst->first_pfn + i)),
				      nr, status);
	}
}
