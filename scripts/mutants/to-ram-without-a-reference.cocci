// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memory.c
// FAULT: migrate_to_ram() runs without a reference on the page
// HISTORY: 16ce101db85d (2022): mm/memory.c: fix race when faulting a device private page
// FIRST: hotmirror_migrate:* hotmirror_movers:*
@@ @@
 do_swap_page(...)
 {
 <...
(
-get_page(vmf->page);
|
-put_page(vmf->page);
)
 ...>
 }
