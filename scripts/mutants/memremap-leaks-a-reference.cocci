// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memremap.c
// FAULT: a device page that is freed keeps its reference on the pgmap
// FIRST: hotmirror_unplug:unplug.private.stops_*
@@ @@
 free_zone_device_folio(...)
 {
 <...
-percpu_ref_put_many(&pgmap->ref, nr);
 ...>
 }
