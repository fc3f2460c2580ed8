// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: the tail of a huge page is reported as its head
// FIRST: hotmirror_large:large.mprotect_*
@@ expression e; @@
 hmm_vma_handle_pmd(...)
 {
 <...
-pfn = pmd_pfn(pmd) + e;
+pfn = pmd_pfn(pmd);
 ...>
 }
