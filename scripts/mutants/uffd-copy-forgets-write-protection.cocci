// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_COPY with write protection leaves the page writable
// FIRST: hotmirror_movers:*.copied_page_*
@@ identifier p; @@
 mfill_atomic_install_pte(...)
 {
 <...
-if (flags & MFILL_ATOMIC_WP) p = pte_mkuffd(p);
 ...>
 }
