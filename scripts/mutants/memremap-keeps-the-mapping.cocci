// SPDX-License-Identifier: GPL-2.0-only
// FILE: mm/memremap.c
// FAULT: a freed device page keeps its stale mapping
// HISTORY: b7a523109fb5 (2019): mm: don't clear ->mapping in hmm_devmem_free, and its repair
// FIRST: hotmirror_migrate:migrate.private.to_device_*
@@ @@
 free_zone_device_folio(...)
 {
 <...
-folio->mapping = NULL;
 ...>
 }
