// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/gup.c
// FAULT: a page that is shared with a child is pinned, and stays with the child when the parent writes
// HISTORY: a7f226604170 (2022): mm/gup: trigger FAULT_FLAG_UNSHARE when R/O-pinning a possibly shared anonymous page
// FIRST: hotmirror_pin:pin.anon.sees_what_*
@@ @@
 follow_page_pte(...)
 {
 <...
-if (!pte_write(...) && gup_must_unshare(...)) { ... }
 ...>
 }
@@ @@
 gup_fast_pte_range(...)
 {
 <...
-if (!pte_write(...) && gup_must_unshare(...)) { ... }
 ...>
 }
