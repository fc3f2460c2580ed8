// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mmu_notifier.c
// FAULT: a notifier is gone while its callback may still run
// HISTORY: 319561669a59 (2022): mm/mmu_notifier.c: fix race in mmu_interval_notifier_remove()
// FIRST: hotmirror_gate:* hotmirror_life:*
@@ @@
 mmu_interval_notifier_remove(...)
 {
 <...
-if (seq)
-  wait_event(...);
 ...>
 }
