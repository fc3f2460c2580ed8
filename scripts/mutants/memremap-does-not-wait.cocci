// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memremap.c
// FAULT: memunmap_pages() does not wait for the last reference
// FIRST: hotmirror_drain:drain.coherent.waits_*
@@ @@
 memunmap_pages(...)
 {
 <...
-wait_for_completion(&pgmap->done);
 ...>
 }
