// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: the soft-dirty bit of a page that is collected is lost
// FIRST: hotmirror_movers:*.soft_dirty_*
@@ @@
 migrate_vma_collect_pmd(...)
 {
 <...
-if (pte_soft_dirty(pte))
-  swp_pte = pte_swp_mksoft_dirty(swp_pte);
 ...>
 }
