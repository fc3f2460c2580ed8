// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/gup.c
// FAULT: a page mapped read-only is taken for writing, and nothing is copied
// HISTORY: 19be0eaffa3a (2016): mm: remove gup_flags FOLL_WRITE games from __get_user_pages()
// FIRST: hotmirror_cpu:cpu.anon.write
@@ @@
 can_follow_write_pte(...)
 {
 ...
-if (!can_follow_write_common(...)) return false;
 ...
-return ...;
+return true;
 }
