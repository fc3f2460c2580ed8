// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/rmap.c
// FAULT: a page that is migrated is unmapped without a notifier
// FIRST: hotmirror_invalidate:*.page_that_the_core_moves_loses_its_entry
@@ @@
 try_to_migrate_one(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
