// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_MOVE tells no notifier
// FIRST: hotmirror_race:race.read+uffd_move_away@anon:access.locked
@@ @@
 move_pages_ptes(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
