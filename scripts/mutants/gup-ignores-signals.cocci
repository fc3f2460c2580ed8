// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/gup.c
// FAULT: a fault for a driver goes on when a signal or a cancellation came
// FIRST: hotmirror_uffd:uffd.missing_read.signal_meanwhile_is_eintr
@@ @@
 faultin_page(...)
 {
 <...
-fault_flags |= FAULT_FLAG_INTERRUPTIBLE;
+;
 ...>
 }
