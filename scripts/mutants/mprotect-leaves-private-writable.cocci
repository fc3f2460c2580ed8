// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/mprotect.c
// FAULT: mprotect(PROT_READ) leaves device private entries writable
// FIRST: hotmirror_migrate:* hotmirror_cpu:cpu.private.write*
@@ @@
 change_softleaf_pte(...)
 {
 <...
-entry = make_readable_device_private_entry(swp_offset(entry));
 ...>
 }
