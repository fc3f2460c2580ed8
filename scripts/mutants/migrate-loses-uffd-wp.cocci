// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: userfaultfd write protection of a page that is collected is lost
// FIRST: hotmirror_movers:*.write_protection_*
@@ @@
 migrate_vma_collect_pmd(...)
 {
 <...
-if (pte_uffd(pte))
-  swp_pte = pte_swp_mkuffd(swp_pte);
 ...>
 }
