// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/userfaultfd.c
// FAULT: UFFDIO_POISON leaves a hole
// FIRST: hotmirror_cpu:cpu.anon.read
@@ @@
 mfill_atomic_pte_poison(...)
 {
 <...
-set_pte_at(...);
 ...>
 }
