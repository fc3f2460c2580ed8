// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: a page mapped read-only is reported writable
// FIRST: hotmirror_mirror:mirror.prefetch_*
@@ expression pte; @@
 pte_to_hmm_pfn_flags(...)
 {
 <...
-pte_write(pte)
+1
 ...>
 }
