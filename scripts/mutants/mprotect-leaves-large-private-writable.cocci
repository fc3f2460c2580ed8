// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/huge_memory.c
// FAULT: mprotect(PROT_READ) leaves a PMD-sized device private entry writable
// FIRST: hotmirror_large:large.mprotect_*
@@ @@
 change_non_present_huge_pmd(...)
 {
 <...
-entry = make_readable_device_private_entry(swp_offset(entry));
 ...>
 }
