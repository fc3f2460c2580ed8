// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "../lib/mem.h"
#include "../lib/pagemap.h"
#include "judge.h"

#define ALL_STATES	((1U << CELL_NR_STATES) - 1)
#define READ		(1U << CELL_READ)
#define WRITE		(1U << CELL_WRITE)
#define ATOMIC		(1U << CELL_ATOMIC)
#define KEYED		(1U << CELL_KEYED)
#define KEYED_RO	(1U << CELL_KEYED_RO)

/* What a page without a PTE, but with a swap-like entry looks like. */
#define NO_PTE		(HM_PM_PRESENT | HM_PM_SWAP | HM_PM_EXCLUSIVE)

/*
 * Where a device is not like the CPU, and why that is right. Nothing else may differ.
 * An access that is to end in another way must do so: the day that the kernel
 * changes, the oracle says so.
 *
 * One more difference needs no row, for it cannot be seen here: HMM sets no accessed
 * bit on a warm access.
 */
static const struct accepted accepted[] = {
	{
		.traits = CELL_OWN,
		.states = CELL(DISABLED) | CELL(INVALIDATED) | CELL(UNPLUGGED),
		.end = CELL_GONE,
		.raw = HM_PM_BITS,
		.settled = HM_PM_BITS,
		.reason = "a file of an unplugged instance answers ENODEV (claim S7)",
	}, {
		.traits = CELL_SHARED,
		.accesses = ATOMIC,
		.end = CELL_REFUSED,
		.reason = "make_device_exclusive() takes anonymous memory only",
	}, {
		.traits = CELL_SECRET,
		.end = CELL_FAULT,
		.raw = HM_PM_BITS,
		.settled = HM_PM_BITS,
		.reason = "memfd_secret() has no direct map: no device may have it",
	}, {
		.traits = CELL_PFNMAP,
		.end = CELL_FAULT,
		.raw = HM_PM_BITS,
		.settled = HM_PM_BITS,
		.reason = "HMM and GUP refuse VM_IO and VM_PFNMAP",
	}, {
		.prots = 1U << CELL_WO,
		.accesses = READ | WRITE,
		.end = CELL_FAULT,
		.raw = HM_PM_BITS,
		.settled = HM_PM_BITS,
		.reason = "HMM refuses a VMA without VM_READ, x86 reads it",
	}, {
		.prots = KEYED | KEYED_RO,
		.end = CELL_OK,
		.keyless = true,
		.reason = "protection keys are a thread's: HMM and GUP from outside know none",
	}, {
		.prots = KEYED,
		.states = CELL(UNTOUCHED),
		.end = CELL_OK,
		.raw = HM_PM_BITS,
		.settled = HM_PM_EXCLUSIVE | HM_PM_FILE,
		.reason = "so it populates what the CPU may not",
	}, {
		.prots = KEYED_RO,
		.states = CELL(UNTOUCHED),
		.accesses = WRITE | ATOMIC,
		.end = CELL_OK,
		.raw = HM_PM_BITS,
		.settled = HM_PM_EXCLUSIVE | HM_PM_FILE,
		.reason = "so it populates what the CPU may not write",
	}, {
		.traits = CELL_AWAY,
		.end = CELL_OK,
		.raw = NO_PTE,
		.reason = "the CPU has to bring a private page home, its device does not",
	}, {
		.states = CELL(EXCLUSIVE),
		.end = CELL_OK,
		.raw = NO_PTE,
		.reason = "a device-exclusive page stays so until the CPU wants it",
	}, {
		.accesses = ATOMIC,
		.end = CELL_OK,
		.raw = NO_PTE,
		.reason = "the CPU has no PTE of a device-exclusive page",
	},
};

/* The access went to the page at the beginning of the PMD instead of the middle one. */
static bool took_first_page(const struct cell *cell, const struct cell_outcome *device)
{
	size_t target = CELL_TARGET * hm_page_size() + CELL_OFFSET;

	if (cell->access == CELL_READ)
		return device->value == cell_filled(CELL_OFFSET, CELL_SEED);
	return device->own.word == cell_filled(target, CELL_SEED);
}

/*
 * Kernels have bugs. What one of these explains, to the word, is reported as an
 * expected failure, and where the kernel has been mended nobody misses it.
 */
static const struct known_bug {
	unsigned int traits;
	unsigned int diffs;
	bool (*explains)(const struct cell *cell, const struct cell_outcome *device);
	const char *reason;
} bugs[] = {
	{
		.traits = CELL_LARGE,
		.diffs = DIFF_VALUE | DIFF_OWN | DIFF_CHILD | DIFF_LATER | DIFF_STALE,
		.explains = took_first_page,
		.reason = "7.3: hmm_vma_handle_absent_pmd() takes the middle of a large "
			  "device-private folio for its beginning",
	},
};

#define NR_ACCEPTED	(sizeof(accepted) / sizeof(accepted[0]))

static bool applies(const struct accepted *a, const struct cell *cell)
{
	return (!a->traits || a->traits & cell->memory->traits) &&
	       (!a->states || a->states & 1U << cell->state) &&
	       (!a->prots || a->prots & 1U << cell->prot) &&
	       (!a->accesses || a->accesses & 1U << cell->access);
}

/* The key is looked at when the mapping is, before the page. */
static bool key_refuses(const struct cell *cell)
{
	unsigned int key = cell_prots[cell->prot].key;

	return key & PKEY_DISABLE_ACCESS ||
	       (key & PKEY_DISABLE_WRITE && cell->access != CELL_READ);
}

static enum cell_end without_key(const struct cell *cell)
{
	const int *steps = cell_prots[cell->prot].steps;
	int prot = steps[1] >= 0 ? steps[1] : steps[0];
	bool write = cell->access != CELL_READ;

	/* The mapping is looked at before the page. */
	if (cell->state == CELL_UNMAPPED || prot == PROT_NONE)
		return CELL_SEGV;
	if (write && prot >= 0 && !(prot & PROT_WRITE))
		return CELL_SEGV;
	/* There is nobody to bring it back. */
	if (cell->state == CELL_DONTNEED && cell->memory->traits & CELL_MIXEDMAP)
		return CELL_BUS;
	return cell_states[cell->state].ends;
}

enum cell_end cell_expected(const struct cell *cell)
{
	return key_refuses(cell) ? CELL_SEGV : without_key(cell);
}

static __u64 word_after(const struct cell *cell, __u64 before)
{
	if (cell->access == CELL_READ)
		return before;
	return cell->access == CELL_WRITE ? CELL_OPERAND : before + CELL_OPERAND;
}

/* What the CPU would have got and left, had its key not kept it away. */
static struct cell_outcome unlocked(const struct cell *cell, const struct cell_outcome *cpu)
{
	struct cell_outcome out = *cpu;
	__u64 before = cpu->own.word;

	out.end = without_key(cell);
	out.value = cell->access == CELL_WRITE ? CELL_OPERAND : before;
	out.own.word = word_after(cell, before);
	if (out.other.looked && cell->memory->traits & CELL_SHARED)
		out.other.word = out.own.word;
	if (cell->access != CELL_READ)
		out.later = out.own;
	return out;
}

/* The device's end that is the same as the CPU's. */
static enum cell_end same_as(enum cell_end cpu)
{
	return cpu == CELL_SEGV || cpu == CELL_BUS ? CELL_FAULT : cpu;
}

static bool is_keyless(const struct cell *cell)
{
	for (size_t i = 0; i < NR_ACCEPTED; i++)
		if (accepted[i].keyless && applies(&accepted[i], cell))
			return key_refuses(cell);
	return false;
}

/* What is not there at all, or is no page, is refused before the right to write is looked at. */
#define HMM_REFUSES	(CELL(UNMAPPED) | CELL(POISONED))
/* The pages have come home, or are no more. */
#define NOT_AWAY	(CELL(DONTNEED) | CELL(EXCLUSIVE))

/* hmm_do_fault() knows EPERM: there is a page to be faulted, and no VM_WRITE. */
static bool hmm_denies(const struct cell *cell)
{
	const struct cell_memory *memory = cell->memory;
	unsigned int state = 1U << cell->state;

	if (cell->access == CELL_READ || memory->traits & CELL_PFNMAP)
		return false;
	if (cell->prot != CELL_RO && cell->prot != CELL_CLOSED)
		return false;
	/* Of hugetlb, only the fault finds that it is poisoned. */
	if (state & HMM_REFUSES && !(state & CELL(POISONED) && memory->traits & CELL_POOL))
		return false;
	/* Our own private pages are reported, though not writable, and we fault them. */
	return !(memory->traits & CELL_AWAY) || state & NOT_AWAY;
}

static enum cell_end by_hmm(const struct cell *cell, enum cell_end end)
{
	if (end == CELL_FAULT && hmm_denies(cell))
		return CELL_DENIED;
	/* vm_fault_to_errno() is not asked for EHWPOISON. */
	return end == CELL_HWPOISON ? CELL_FAULT : end;
}

/* The first difference in how it ends decides; those in pagemap add up. */
static struct accepted allowed(const struct cell *cell, enum cell_end cpu)
{
	struct accepted sum = { .end = same_as(cpu) };
	bool decided = false;

	for (size_t i = 0; i < NR_ACCEPTED; i++) {
		const struct accepted *a = &accepted[i];

		if (!applies(a, cell))
			continue;
		/* An unplugged instance says so even where the CPU fails, too. */
		if (a->end != CELL_OK && cpu != CELL_OK && a->end != CELL_GONE)
			continue;
		if (a->end != CELL_OK && !decided) {
			sum.end = a->end;
			decided = true;
		}
		sum.raw |= a->raw;
		sum.settled |= a->settled;
	}
	if (cell->by_hmm)
		sum.end = by_hmm(cell, sum.end);
	return sum;
}

static bool maps_differ(const __u64 *a, const __u64 *b, __u64 accepted_bits)
{
	for (int i = 0; i < CELL_PAGES; i++)
		if ((a[i] ^ b[i]) & HM_PM_BITS & ~accepted_bits)
			return true;
	return false;
}

/* @refused: the device did not write where the CPU did, so the word differs. */
static bool looks_differ(const struct cell_look *cpu, const struct cell_look *device,
			 bool refused)
{
	if (cpu->ends != device->ends || cpu->sum != device->sum)
		return true;
	return (cpu->word != device->word) != refused;
}

static unsigned int compare_looks(const struct cell_outcome *cpu,
				  const struct cell_outcome *device, bool refused)
{
	bool shared = refused && cpu->own.word == cpu->other.word;
	unsigned int diff = 0;

	if (looks_differ(&cpu->own, &device->own, refused))
		diff |= DIFF_OWN;
	if (looks_differ(&cpu->other, &device->other, shared))
		diff |= DIFF_OTHER;
	if (looks_differ(&cpu->child, &device->child, refused && cpu->child.ends == 0 &&
			 cpu->child.word == cpu->own.word))
		diff |= DIFF_CHILD;
	/* Nobody looks again where nothing was written. */
	if (device->end == CELL_OK && looks_differ(&cpu->later, &device->later, false))
		diff |= DIFF_LATER;
	return diff;
}

static unsigned int compare(const struct cell *cell, const struct cell_outcome *cpu,
			    const struct cell_outcome *device)
{
	struct accepted a = allowed(cell, cpu->end);
	bool refused = cpu->end == CELL_OK && a.end != CELL_OK;
	unsigned int diff = 0;

	if (device->end != a.end)
		diff |= DIFF_END;
	if (!refused && cpu->value != device->value)
		diff |= DIFF_VALUE;
	if (!refused && cpu->seen != device->seen)
		diff |= DIFF_SEEN;
	if (maps_differ(cpu->raw, device->raw, a.raw))
		diff |= DIFF_RAW;
	if (maps_differ(cpu->settled, device->settled, a.settled))
		diff |= DIFF_SETTLED;
	if (cpu->stale || device->stale)
		diff |= DIFF_STALE;
	return diff | compare_looks(cpu, device, refused && cell->access != CELL_READ);
}

unsigned int cell_judge(const struct cell *cell, const struct cell_outcome *cpu,
			const struct cell_outcome *device)
{
	unsigned int diff = cpu->end == cell_expected(cell) ? 0 : DIFF_EXPECTED;
	struct cell_outcome out = *cpu;

	if (!diff && is_keyless(cell))
		out = unlocked(cell, cpu);
	return diff | compare(cell, &out, device);
}

const char *cell_known_bug(const struct cell *cell, const struct cell_outcome *device,
			   unsigned int diff)
{
	for (size_t i = 0; i < sizeof(bugs) / sizeof(bugs[0]); i++)
		if (bugs[i].traits & cell->memory->traits && !(diff & ~bugs[i].diffs) &&
		    bugs[i].explains(cell, device))
			return bugs[i].reason;
	return NULL;
}

const char *cell_diff_name(unsigned int diff)
{
	static const char * const names[NR_DIFFS] = {
		"end", "value", "userfault", "pagemap", "settled pagemap", "contents",
		"the other mapping", "the child's contents", "contents after reclaim",
		"stale device entries", "what a CPU gets",
	};

	for (int i = 0; i < NR_DIFFS; i++)
		if (diff & 1U << i)
			return names[i];
	return "nothing";
}

void cell_name(const struct cell *cell, char *buf, size_t size)
{
	static const char * const accesses[] = { "read", "write", "atomic" };
	static const char * const tables[] = { "cold", "warm", "hot" };

	snprintf(buf, size, "%s.%s.%s%s.%s", cell_prots[cell->prot].name,
		 cell_states[cell->state].name, accesses[cell->access],
		 cell->by_hmm ? "_by_hmm" : "", tables[cell->table]);
}
