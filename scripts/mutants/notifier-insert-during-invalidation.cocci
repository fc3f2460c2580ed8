// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: an interval inserted while an invalidation goes on does not count as invalidated
// FIRST: hotmirror_pair:*.mirror_made_during_an_invalidation_waits_for_its_end
@@ @@
 __mmu_interval_notifier_insert(...)
 {
 <...
-interval_sub->invalidate_seq = subscriptions->invalidate_seq;
+interval_sub->invalidate_seq = subscriptions->invalidate_seq - 2;
 ...>
 }
