// SPDX-License-Identifier: GPL-2.0-only
// FILE: drivers/dax/device.c
// FAULT: device-dax shows its first page everywhere
// FIRST: hotmirror_devdax:devdax.pte.maps_*
@@ @@
 __dev_dax_pte_fault(...)
 {
 <...
-phys = dax_pgoff_to_phys(dev_dax, vmf->pgoff, PAGE_SIZE);
+phys = dax_pgoff_to_phys(dev_dax, 0, PAGE_SIZE);
 ...>
 }
