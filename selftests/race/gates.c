// SPDX-License-Identifier: GPL-2.0-only
/*
 * The gates, in which state A begins so that it meets them, and who does.
 */
#include <string.h>

#include "race.h"

/* The device takes a page fault only where the walk found nothing that will do. */
static bool faults(const struct race_op *op, unsigned int memory)
{
	if (op->flags & (OP_EXCLUDES | OP_BY_HMM))
		return true;
	if (!(op->flags & OP_POPULATES))
		return false;
	if (memory & (MEM_UFFD_WP | MEM_CLEAN))
		return op->flags & OP_WRITES;
	return memory & (MEM_HOLE | MEM_USERFAULT);
}

static bool excludes(const struct race_op *op, unsigned int memory)
{
	return op->flags & OP_EXCLUDES && !(memory & MEM_UFFD_POISON);
}

/* The pages are replaced: a fault that writes, or that fetches them home. */
static bool replaces(const struct race_op *op, unsigned int memory)
{
	if (!(op->flags & OP_TOUCHES))
		return false;
	return memory & MEM_PRIVATE || (memory & MEM_CLEAN && op->flags & OP_WRITES);
}

/* Its own exclusive conversion is announced to a device and held by no gate. */
static bool notifies(const struct race_op *op, unsigned int memory)
{
	if (op->flags & OP_EXCLUDES)
		return op->flags & OP_SECOND;
	/* Nothing to be copied: no anonymous page was ever there. */
	if (op->flags & OP_FORKS && (memory & MEM_HOLE || !(memory & MEM_ANON)))
		return false;
	if (op->flags & OP_SPLITS && memory & MEM_THP)
		return true;
	return op->flags & (OP_NOTIFIES | OP_RECLAIMS) || replaces(op, memory);
}

/* A private page is fetched home by whoever is not its device. */
static bool fetches(const struct race_op *op, unsigned int memory)
{
	if (!(memory & MEM_PRIVATE))
		return false;
	return op->flags & (OP_TOUCHES | OP_PINS | OP_EXCLUDES) ||
	       (op->flags & OP_SECOND && op->flags & OP_POPULATES);
}

static bool faults_dax(const struct race_op *op, unsigned int memory)
{
	return memory & MEM_DAX && op->flags & (OP_TOUCHES | OP_PINS | OP_POPULATES);
}

/* Coherent pages are taken from the CPU, which maps them, when they are invalidated. */
static bool evicts(const struct race_op *op, unsigned int memory)
{
	return (op->flags & OP_EVICTS && memory & MEM_DEVICE) ||
	       (op->flags & OP_INVALIDATES && memory & MEM_COHERENT);
}

/* A child is not registered: what it faults is its own affair. */
static bool uses(const struct race_op *op)
{
	if (op->flags & OP_FORKS && !(op->flags & OP_WRITES))
		return false;
	return op->flags & (OP_TOUCHES | OP_PINS | OP_EXCLUDES | OP_POPULATES);
}

static bool misses(const struct race_op *op, unsigned int memory)
{
	return memory & MEM_UFFD && uses(op);
}

static bool is_write_protected(const struct race_op *op, unsigned int memory)
{
	if (!(memory & MEM_UFFD_WP) || !uses(op))
		return false;
	/* mlock() writes only what is copied on write. */
	if (op->flags & OP_SPLITS && memory & MEM_SHARED)
		return false;
	return op->flags & (OP_WRITES | OP_PINS);
}

static bool is_minor(const struct race_op *op, unsigned int memory)
{
	return memory & MEM_UFFD_MINOR && uses(op);
}

static bool is_protected(const struct race_op *op, unsigned int memory)
{
	return memory & MEM_UFFD_RWP && uses(op);
}

/*
 * Not of a large private folio: the module guards its migration entries at its own gates,
 * against zap_huge_pmd_folio() of 7.3, and cannot do so inside the core.
 */
static bool migrates_unguarded(const struct race_op *op, unsigned int memory)
{
	return op->flags & OP_MIGRATES && !(memory & MEM_PRIVATE && memory & MEM_PMD);
}

static bool reads_sequence(const struct race_op *op, unsigned int memory)
{
	return op->flags & (OP_POPULATES | OP_SNAPSHOTS) || excludes(op, memory);
}

/* HMM reads the sequence itself, and (7.3) has no lock held when it is called. */
static bool walks(const struct race_op *op, unsigned int memory)
{
	(void)memory;
	return op->flags & OP_POPULATES && !(op->flags & OP_BY_HMM);
}

static bool walks_or_looks(const struct race_op *op, unsigned int memory)
{
	return walks(op, memory) || op->flags & OP_SNAPSHOTS;
}

static bool is_op(const struct race_op *op, const char *name)
{
	return !strncmp(op->name, name, strlen(name));
}

static bool unmaps(const struct race_op *op, unsigned int memory)
{
	(void)memory;
	return is_op(op, "munmap");
}

static bool protects(const struct race_op *op, unsigned int memory)
{
	(void)memory;
	return is_op(op, "mprotect");
}

static bool moves(const struct race_op *op, unsigned int memory)
{
	(void)memory;
	return is_op(op, "mremap");
}

static bool fills_hole(const struct race_op *op, unsigned int memory)
{
	return memory & MEM_HOLE && (faults(op, memory) || op->flags & (OP_TOUCHES | OP_PINS));
}

static bool invalidates(const struct race_op *op, unsigned int memory)
{
	(void)memory;
	return op->flags & OP_NAMED || op->flags & OP_EXCLUDES;
}

/* Passed by the operations that have one of these flags, or of which a function says so. */
#define GATE(name, NAME, flags, ops, words)		\
	{ name, words, HOTMIRROR_GATE_##NAME, flags, ops, NULL }
#define GATE_IF(name, NAME, flags, reached, words)	\
	{ name, words, HOTMIRROR_GATE_##NAME, flags, 0, reached }

#define CORE(function, flags, ops, words)		\
	{ "core." function, words, 0, GATE_CORE | (flags), ops, NULL }
#define CORE_IF(function, flags, reached, words)	\
	{ "core." function, words, 0, GATE_CORE | (flags), 0, reached }

const struct race_gate race_gates[] = {
	GATE("access.begin", ACCESS_BEGIN, GATE_SAME, OP_COPIES, "before it takes the driver lock"),
	GATE("access.locked", ACCESS_LOCKED, GATE_LOCKED, OP_COPIES,
	     "with the driver lock, a good entry at hand, no byte copied"),
	GATE_IF("fault.enter", FAULT_ENTER, GATE_FAULTS, faults,
		"before the page fault for the device"),
	GATE_IF("fault.done", FAULT_DONE, GATE_SAME, faults, "after the page fault for the device"),
	GATE_IF("populate.begin", POPULATE_BEGIN, 0, walks,
		"the sequence is read, the CPU page table not yet walked"),
	GATE("populate.faulted", POPULATE_FAULTED, 0, OP_POPULATES,
	     "the CPU page table is walked, the driver lock not yet taken"),
	GATE("populate.locked", POPULATE_LOCKED, GATE_SAME | GATE_LOCKED, OP_POPULATES,
	     "with the driver lock, the sequence not yet checked"),
	GATE("populate.checked", POPULATE_CHECKED, GATE_LOCKED, OP_POPULATES,
	     "with the driver lock, the sequence checked, nothing stored"),
	GATE("populate.done", POPULATE_DONE, GATE_SAME, OP_POPULATES,
	     "entries stored, driver lock dropped"),
	GATE("snapshot.begin", SNAPSHOT_BEGIN, GATE_SAME, OP_SNAPSHOTS,
	     "the sequence is read, the CPU page table not yet walked"),
	GATE("snapshot.walked", SNAPSHOT_WALKED, 0, OP_SNAPSHOTS,
	     "the CPU page table is walked, the driver lock not yet taken"),
	GATE("snapshot.locked", SNAPSHOT_LOCKED, GATE_SAME | GATE_LOCKED, OP_SNAPSHOTS,
	     "with the driver lock, the sequence not yet checked"),
	GATE_IF("invalidate.enter", INVALIDATE_ENTER, GATE_WARM, notifies,
		"the callback has begun, the driver lock not yet taken"),
	GATE_IF("invalidate.locked", INVALIDATE_LOCKED, GATE_SAME | GATE_WARM | GATE_LOCKED,
		notifies, "in the callback, with the driver lock, the sequence set, none cleared"),
	GATE_IF("invalidate.cleared", INVALIDATE_CLEARED, GATE_WARM | GATE_LOCKED, notifies,
		"in the callback, entries cleared, the driver lock held"),
	GATE_IF("invalidate.done", INVALIDATE_DONE, GATE_SAME | GATE_WARM | GATE_CALLED, notifies,
		"the callback is about to return"),
	GATE_IF("invalidate.between", INVALIDATE_BETWEEN, GATE_WARM | GATE_TWO_PASS, notifies,
		"between the two passes: new entries are stopped, old ones are there"),
	GATE("migrate.begin", MIGRATE_BEGIN, GATE_SAME | GATE_MMAP, OP_MIGRATES,
	     "before migrate_vma_setup()"),
	GATE("migrate.collected", MIGRATE_COLLECTED, GATE_MMAP, OP_MIGRATES,
	     "pages are collected and unmapped: migration entries"),
	GATE("migrate.copied", MIGRATE_COPIED, GATE_MMAP, OP_MIGRATES, "the contents are copied"),
	GATE("migrate.moved", MIGRATE_MOVED, GATE_MMAP, OP_MIGRATES,
	     "after migrate_vma_pages(), migration entries still there"),
	GATE("migrate.done", MIGRATE_DONE, GATE_SAME | GATE_MMAP, OP_MIGRATES,
	     "after migrate_vma_finalize(), mmap_lock still held"),
	GATE_IF("to_ram.enter", TO_RAM_ENTER, GATE_SAME | GATE_ANY_TASK, fetches,
		"a fault on a private page has begun"),
	GATE_IF("to_ram.collected", TO_RAM_COLLECTED, GATE_ANY_TASK, fetches,
		"the private page is unmapped: a migration entry"),
	GATE_IF("to_ram.copied", TO_RAM_COPIED, GATE_FAULTS | GATE_ANY_TASK, fetches,
		"its contents are copied"),
	GATE_IF("to_ram.moved", TO_RAM_MOVED, GATE_SAME | GATE_ANY_TASK, fetches,
		"after migrate_vma_pages()"),
	GATE_IF("exclusive.begin", EXCLUSIVE_BEGIN, GATE_SAME, excludes,
		"the sequence is read, the page not yet taken from the CPU"),
	GATE_IF("exclusive.converted", EXCLUSIVE_CONVERTED, 0, excludes,
		"the CPU has no PTE any more, the folio is locked"),
	GATE_IF("exclusive.locked", EXCLUSIVE_LOCKED, GATE_SAME | GATE_LOCKED, excludes,
		"with the driver lock, the sequence not yet checked"),
	GATE_IF("exclusive.done", EXCLUSIVE_DONE, GATE_SAME, excludes,
		"the entry is stored, the folio unlocked"),
	GATE("pin.begin", PIN_BEGIN, GATE_SAME, OP_PINS, "before get_user_pages()"),
	GATE("pin.done", PIN_DONE, 0, OP_PINS, "after get_user_pages()"),
	GATE_IF("dax.fault", DAX_FAULT, GATE_DROPPED | GATE_ANY_TASK, faults_dax,
		"a fault on device memory, nothing mapped yet"),
	GATE_IF("dax.inserted", DAX_INSERTED, GATE_DROPPED | GATE_ANY_TASK, faults_dax,
		"a fault on device memory, the page is mapped"),
	GATE("unplug.disabled", UNPLUG_DISABLED, GATE_ANY_TASK, OP_UNPLUGS,
	     "the instance is disabled"),
	GATE("unplug.invalidated", UNPLUG_INVALIDATED, GATE_ANY_TASK, OP_INVALIDATES,
	     "the instance is invalidated"),
	GATE("unplug.draining", UNPLUG_DRAINING, GATE_ANY_TASK, OP_EVICTS, "the drain begins"),
	GATE_IF("evict.collected", EVICT_COLLECTED, GATE_ANY_TASK, evicts,
		"unplug has unmapped the pages: migration entries"),
	GATE_IF("evict.copied", EVICT_COPIED, GATE_ANY_TASK, evicts, "their contents are copied"),
	GATE_IF("evict.moved", EVICT_MOVED, GATE_ANY_TASK, evicts, "after migrate_device_pages()"),
	CORE_IF("__mmu_notifier_invalidate_range_start", GATE_SAME | GATE_WARM, invalidates,
		"about to call the mirrors, no page table entry changed"),
	CORE_IF("__mmu_notifier_invalidate_range_end", GATE_SAME | GATE_WARM | GATE_CALLED,
		invalidates, "page table entries changed, the invalidation not yet ended"),
	CORE_IF("mmu_interval_read_begin", GATE_SAME, reads_sequence, "about to read the sequence"),
	CORE_IF("hmm_range_fault", GATE_SAME | GATE_MMAP, walks_or_looks,
		"about to walk the CPU page table"),
	CORE("migrate_vma_setup", GATE_SAME | GATE_MMAP, OP_MIGRATES,
	     "about to collect and unmap the pages"),
	CORE_IF("migrate_vma_pages", GATE_SAME | GATE_MMAP, migrates_unguarded,
		"about to move the pages"),
	CORE_IF("migrate_vma_finalize", GATE_SAME | GATE_MMAP, migrates_unguarded,
		"about to take the migration entries away"),
	CORE_IF("make_device_exclusive", GATE_SAME | GATE_MMAP, excludes,
		"about to take the page from the CPU"),
	CORE_IF("unmap_vmas", GATE_WARM, unmaps, "the VMA is taken out, its pages still mapped"),
	CORE_IF("change_protection", GATE_SAME | GATE_WARM, protects,
		"the PTEs are about to change"),
	CORE_IF("move_page_tables", GATE_WARM, moves, "the new VMA is there, the PTEs in the old"),
	CORE("copy_page_range", GATE_WARM, OP_FORKS, "the child's VMA is there, without its pages"),
	CORE_IF("do_anonymous_page", 0, fills_hole, "a fault on a hole, about to allocate a page"),
	{ "uffd.missing", "asleep in handle_userfault(): the page is missing", 0, GATE_UFFD,
	  0, misses },
	{ "uffd.wp", "asleep in handle_userfault(): the page is write-protected", 0, GATE_UFFD,
	  0, is_write_protected },
	{ "uffd.minor", "asleep in handle_userfault(): the page is in the file, not mapped", 0,
	  GATE_UFFD, 0, is_minor },
	{ "uffd.rwp", "asleep in handle_userfault(): the page is protected against all access", 0,
	  GATE_UFFD, 0, is_protected },
};

bool race_reaches(const struct race_gate *gate, const struct race_op *op, unsigned int memory)
{
	return gate->reached ? gate->reached(op, memory) : op->flags & gate->ops;
}

const int race_nr_gates = sizeof(race_gates) / sizeof(race_gates[0]);
