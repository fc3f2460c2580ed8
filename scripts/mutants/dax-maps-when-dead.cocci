// SPDX-License-Identifier: GPL-2.0-only
// FILE: drivers/dax/device.c
// FAULT: a device-dax that is gone maps pages
// FIRST: hotmirror_devdax:devdax.pte.gone_maps_*
@@ @@
 __check_vma(...)
 {
 <...
-if (!dax_alive(...))
-  return -ENXIO;
 ...>
 }
