// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/huge_memory.c
// FAULT: splitting a read-only PMD-sized device private entry makes the pages writable
// FIRST: hotmirror_large:large.fork_then_split_leaves_the_child_alone
@@ expression e; @@
 __split_huge_pmd_locked(...)
 {
 <...
-write = softleaf_is_device_private_write(entry);
+write = true;
 ...>
 }
