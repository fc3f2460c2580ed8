// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: the dirty bit of a page that is collected is lost
// HISTORY: fd35ca3d12cc (2022): mm/migrate_device.c: copy pte dirty bit to page
// FIRST: hotmirror_movers:*.written_after_madv_free_*
@@ @@
 migrate_vma_collect_pmd(...)
 {
 <...
-if (pte_present(pte) && pte_dirty(pte))
-  folio_mark_dirty(folio);
 ...>
 }
