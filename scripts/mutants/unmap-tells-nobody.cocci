// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: munmap() tells no notifier
// FIRST: hotmirror_invalidate:*.munmap_*
@@ @@
 unmap_vmas(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
