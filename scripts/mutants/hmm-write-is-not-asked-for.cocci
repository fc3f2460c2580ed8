// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: a write to a page that is mapped read-only does not fault
// FIRST: hotmirror_cpu:cpu.anon.write_by_hmm
@@ @@
 hmm_pte_need_fault(...)
 {
 <...
-return HMM_NEED_FAULT | HMM_NEED_WRITE_FAULT;
+return 0;
 ...>
 }
