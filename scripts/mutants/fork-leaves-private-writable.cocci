// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: fork() leaves device private entries writable in both processes
// FIRST: hotmirror_migrate:migrate.private.fork_*
@@ expression e; @@
 copy_nonpresent_pte(...)
 {
 <...
-if (softleaf_is_device_private_write(entry) && e)
+if (0)
 {...}
 ...>
 }
