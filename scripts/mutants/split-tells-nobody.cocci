// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/huge_memory.c
// FAULT: a PMD is split without a notifier
// FIRST: hotmirror_cpu:cpu.huge_zero_page.write
@@ @@
 __split_huge_pmd(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
