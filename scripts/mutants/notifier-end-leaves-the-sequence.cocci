// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: the end of an invalidation does not move the sequence
// FIRST: hotmirror_exclusive:exclusive.survives_dontneed_and_munmap
@@ @@
 mn_itree_inv_end(...)
 {
 <...
-subscriptions->invalidate_seq++;
+subscriptions->invalidate_seq--;
 ...>
 }
