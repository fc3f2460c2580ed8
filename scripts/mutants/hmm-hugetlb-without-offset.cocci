// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: the tail of a hugetlb page is reported as its head
// FIRST: hotmirror_cpu:cpu.hugetlb.read
@@ expression e; @@
 hmm_vma_walk_hugetlb_entry(...)
 {
 <...
-pfn = pte_pfn(entry) + e;
+pfn = pte_pfn(entry);
 ...>
 }
