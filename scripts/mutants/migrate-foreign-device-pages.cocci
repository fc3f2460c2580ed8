// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: device private pages of another device are collected
// FIRST: hotmirror_pair:pair.private.foreign_*
@@ expression e; @@
 migrate_vma_collect_pmd(...)
 {
 <...
 if (!(migrate->flags & MIGRATE_VMA_SELECT_DEVICE_PRIVATE)
-  || pgmap->owner != migrate->pgmap_owner
   ) goto next;
 ...>
 }
