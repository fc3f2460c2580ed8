// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/rmap.c
// FAULT: reclaim unmaps pages without a notifier
// FIRST: hotmirror_cpu:cpu.anon.read
@@ @@
 try_to_unmap_one(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
