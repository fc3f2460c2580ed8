// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: fork() write-protects pages and tells no notifier
// FIRST: hotmirror_invalidate:invalidate.one_pass.fork_*
@@ @@
 copy_page_range(...)
 {
 <...
(
-mmu_notifier_invalidate_range_start(&range);
|
-mmu_notifier_invalidate_range_end(&range);
)
 ...>
 }
