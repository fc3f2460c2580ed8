// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: mmu_interval_read_begin() does not wait for an invalidation that goes on
// FIRST: hotmirror_pair:*.mirror_made_during_an_invalidation_waits_for_its_end
@@ @@
 mmu_interval_read_begin(...)
 {
 <...
-if (is_invalidating)
-  wait_event(...);
 ...>
 }
