// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memremap.c
// FAULT: the driver is not told that its page is free
// FIRST: hotmirror_migrate:migrate.private.to_device_*
@@ @@
 free_zone_device_folio(...)
 {
 <...
-pgmap->ops->folio_free(folio);
 percpu_ref_put_many(...);
 ...>
 }
