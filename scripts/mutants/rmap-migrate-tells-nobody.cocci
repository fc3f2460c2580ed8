// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/rmap.c
// FAULT: a page that is migrated is unmapped without a notifier
// FIRST: hotmirror_movers:* hotmirror_core_list:*
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
