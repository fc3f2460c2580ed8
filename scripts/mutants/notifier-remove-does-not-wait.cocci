// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: a notifier is gone while its callback may still run
// FIRST: hotmirror_gate:* hotmirror_life:*
@@ @@
 mmu_interval_notifier_remove(...)
 {
 <...
-if (seq)
-  wait_event(...);
 ...>
 }
