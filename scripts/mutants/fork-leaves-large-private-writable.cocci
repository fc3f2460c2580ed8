// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/huge_memory.c
// FAULT: fork() leaves a PMD-sized device private entry writable
// FIRST: hotmirror_large:large.fork_*
@@ @@
 copy_huge_non_present_pmd(...)
 {
 <...
-if (softleaf_is_device_private_write(entry))
+if (0)
 {...}
 ...>
 }
