// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_MOVE tells no notifier
// FIRST: hotmirror_invalidate:* hotmirror_uffd:*
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
