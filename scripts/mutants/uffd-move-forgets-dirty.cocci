// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_MOVE loses the dirty bit of a page
// FIRST: hotmirror_movers:*.written_after_madv_free_survives_uffd_move
@@ expression e; @@
 move_present_ptes(...)
 {
 <...
-if (pte_dirty(...)) e = pte_mkdirty(e);
 ...>
 }
