// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: a device page is put into a hole without a notifier
// FIRST: hotmirror_pair:pair.private.zero_page_*
@@ @@
 __migrate_device_pages(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
