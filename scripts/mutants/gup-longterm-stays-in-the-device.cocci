// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/gup.c
// FAULT: pages that are pinned for long stay where they may not stay
// FIRST: hotmirror_pin:pin.coherent.takes_the_pages_*
@@ @@
 check_and_migrate_movable_pages_or_folios(...)
 {
 ...
-if (!collected)
+if (true)
 return 0;
 ...
 }
