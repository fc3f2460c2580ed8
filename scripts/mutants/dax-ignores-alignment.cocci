// SPDX-License-Identifier: GPL-2.0-only
// FILE: drivers/dax/device.c
// FAULT: device-dax accepts mappings against its alignment
// FIRST: hotmirror_devdax:devdax.pmd.maps_a_page
@@ expression e; @@
 __check_vma(...)
 {
 <...
-mask = e;
+mask = 0;
 ...>
 }
