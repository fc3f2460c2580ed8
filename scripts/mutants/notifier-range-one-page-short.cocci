// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: an interval that begins with the last page of a range is not told
// FIRST: hotmirror_invalidate:* hotmirror_model:*
@@ expression a; @@
 mn_itree_inv_start_range(...)
 {
 <...
 interval_tree_iter_first(a, range->start,
-range->end - 1
+range->end - 1 - PAGE_SIZE
 )
 ...>
 }
