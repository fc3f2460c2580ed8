// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/migrate_device.c
// FAULT: a page mapped read-only comes to the device writable
// FIRST: hotmirror_ksm:merged.private.each_address_finds_the_data
@@ @@
 migrate_vma_collect_pmd(...)
 {
 <...
-mpfn |= pte_write(pte) ? MIGRATE_PFN_WRITE : 0;
+mpfn |= MIGRATE_PFN_WRITE;
 ...>
 }
