// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: the CPU takes a device-exclusive page back and tells no notifier
// FIRST: hotmirror_exclusive:*.whoever_*
@@ @@
 remove_device_exclusive_entry(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
