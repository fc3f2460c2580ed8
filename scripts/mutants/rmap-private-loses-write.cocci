// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/rmap.c
// FAULT: a device private page that is unmapped by rmap loses write permission for good
// FIRST: hotmirror_evict:* hotmirror_process:*
@@ @@
 try_to_migrate_one(...)
 {
 <...
-writable = softleaf_is_device_private_write(entry);
+writable = true;
 ...>
 }
