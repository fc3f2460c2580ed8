// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: the walk goes on after a fault that gave up mmap_lock
// FIRST: hotmirror_hmm_asleep:asleep.missing_read.*
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
