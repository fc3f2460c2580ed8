// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: pages with references that nobody accounts for are migrated
// FIRST: hotmirror_migrate:*.pinned_page_*
@@ @@
 migrate_vma_check_page(...)
 {
 <...
-return false;
+return true;
 ...>
 }
