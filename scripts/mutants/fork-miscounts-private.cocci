// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: fork() does not count device private pages of the child
// FIRST: hotmirror_migrate:migrate.private.fork_*
@@ @@
 copy_nonpresent_pte(...)
 {
 <...
 folio_get(folio);
-rss[mm_counter(folio)]++;
 ...>
 }
