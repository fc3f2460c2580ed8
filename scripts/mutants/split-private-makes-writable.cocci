// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/huge_memory.c
// FAULT: splitting a read-only PMD-sized device private entry makes the pages writable
// FIRST: hotmirror_large:* hotmirror_process:*
@@ expression e; @@
 __split_huge_pmd_locked(...)
 {
 <...
-write = softleaf_is_device_private_write(entry);
+write = true;
 ...>
 }
