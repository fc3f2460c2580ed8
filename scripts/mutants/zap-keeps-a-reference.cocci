// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: unmapping a device private page keeps its reference
// FIRST: hotmirror_migrate:* hotmirror_left:*
@@ @@
 zap_nonpresent_ptes(...)
 {
 <...
 folio_remove_rmap_pte(...);
-folio_put(folio);
 ...>
 }
