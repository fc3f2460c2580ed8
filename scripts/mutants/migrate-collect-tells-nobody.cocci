// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: pages are collected without a notifier
// FIRST: hotmirror_migrate:migrate.private.device_write_*
@@ @@
 migrate_vma_collect(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
