// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: of several intervals in a range only the first is told
// FIRST: hotmirror_invalidate:* hotmirror_model:*
@@ expression e; @@
 mn_itree_invalidate(...)
 {
 <...
-interval_sub = mn_itree_inv_next(...)
+interval_sub = NULL
 ...>
 }
