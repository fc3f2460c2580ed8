// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mremap.c
// FAULT: mremap() moves pages and tells no notifier
// FIRST: hotmirror_invalidate:*.mremap_*
@@ @@
 move_page_tables(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
