// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/hmm.c
// FAULT: device private pages of another device are reported as one's own
// HISTORY: 8a295dbbaf72 (2022): mm/hmm: fault non-owner device private entries
// FIRST: hotmirror_migrate:migrate.private.access_by_another_*
@@ expression a, b; @@
 hmm_vma_handle_pte(...)
 {
 <...
 softleaf_is_device_private(...)
-&& a->owner == b
 ...>
 }
