// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/gup.c
// FAULT: pages that are unpinned stay pinned
// FIRST: hotmirror_pin:pin.*.pinned_pages_do_not_migrate hotmirror_pin:pin.dax.unplug_waits_for_pins_*
@@ @@
 unpin_user_pages(...)
 {
 <...
-gup_put_folio(...);
 ...>
 }
