// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: a pfn without a struct page of its own is reported as a page
// FIRST: hotmirror_snapshot:*.bare_pfn_* hotmirror_hmm_fault:bad.bare_pfn*
@@ expression e; @@
 hmm_vma_handle_pte(...)
 {
 <...
-if (!vm_normal_page(...) && e)
+if (0)
 {...}
 ...>
 }
