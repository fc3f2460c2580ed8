// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/madvise.c
// FAULT: MADV_FREE cleans pages and tells no notifier
// FIRST: hotmirror_invalidate:*.madv_free_*
@@ @@
 madvise_free_single_vma(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
