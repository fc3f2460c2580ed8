// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: a huge page mapped read-only is reported writable
// FIRST: hotmirror_cpu:cpu.thp.write*
@@ expression pmd; @@
 pmd_to_hmm_pfn_flags(...)
 {
 <...
-pmd_write(pmd)
+1
 ...>
 }
