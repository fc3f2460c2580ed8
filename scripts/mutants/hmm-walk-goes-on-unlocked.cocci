// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: the walk goes on after a fault that gave up mmap_lock
// FIRST: hotmirror_hmm_asleep:* hotmirror_uffd:*
@@ @@
 hmm_range_fault_locked(...)
 {
 <...
 if (ret == HMM_FAULT_UNLOCKED) {
   ...
-  return -EBUSY;
+  ret = -EBUSY;
 }
 ...>
 }
