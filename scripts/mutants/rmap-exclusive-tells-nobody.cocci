// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/rmap.c
// FAULT: a page becomes device-exclusive and no other mirror is told
// FIRST: hotmirror_race:race.read+atomic2@anon:populate.done
@@ @@
 make_device_exclusive(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
