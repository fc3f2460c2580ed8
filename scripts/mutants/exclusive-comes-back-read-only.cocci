// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: a page that was device-exclusive loses userfaultfd write protection
// FIRST: hotmirror_exclusive:*.write_protection_*
@@ @@
 restore_exclusive_pte(...)
 {
 <...
-if (pte_swp_uffd(orig_pte))
-  pte = pte_mkuffd(pte);
 ...>
 }
