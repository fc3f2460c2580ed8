// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: a fault where nothing is mapped is no error
// FIRST: hotmirror_hmm_fault:bad.hole*
@@ @@
 hmm_vma_walk_hole(...)
 {
 <...
-if (required_fault)
-  return -EFAULT;
 return hmm_pfns_fill(...);
 ...>
 }
