// SPDX-License-Identifier: GPL-2.0-only
// FILE: drivers/dax/bus.c
// FAULT: a device-dax that goes leaves its mappings in place
// FIRST: hotmirror_devdax:devdax.pte.gone_*
@@ @@
 kill_dev_dax(...)
 {
 <...
-unmap_mapping_range(...);
 ...>
 }
