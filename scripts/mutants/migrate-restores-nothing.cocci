// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: pages that cannot be migrated keep their migration entries
// FIRST: hotmirror_migrate:* hotmirror_movers:*
@@ @@
 migrate_device_unmap(...)
 {
 <...
-remove_migration_ptes(folio, folio, 0);
 ...>
 }
