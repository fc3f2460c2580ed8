// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_MOVE moves pages that a device has pinned
// FIRST: hotmirror_movers:*.uffd_move_refuses_*
@@ @@
 move_present_ptes(...)
 {
 <...
-folio_maybe_dma_pinned(...)
+false
 ...>
 }
