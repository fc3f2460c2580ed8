// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mprotect.c
// FAULT: mprotect() tells no notifier
// FIRST: hotmirror_invalidate:*.mprotect_*
@@ @@
 change_pud_range(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
