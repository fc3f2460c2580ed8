// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of schedules, and all of them.
 *
 *	read+munmap@anon:populate.begin		one gate, A stands at it
 *	read+munmap@anon:populate.begin,B=invalidate.enter
 *	read+munmap+write@anon:populate.begin	a third side
 *
 * Names never change: results are compared by them across years.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "race.h"

/* ---- tables by name ---- */

const struct race_op *race_op_nr(int i)
{
	const struct {
		const struct race_op *op;
		int nr;
	} tables[] = {
		{ race_ops_device, race_nr_ops_device },
		{ race_ops_cpu, race_nr_ops_cpu },
		{ race_ops_map, race_nr_ops_map },
		{ race_ops_mm, race_nr_ops_mm },
		{ race_ops_file, race_nr_ops_file },
		{ race_ops_uffd, race_nr_ops_uffd },
		{ race_ops_process, race_nr_ops_process },
		{ race_ops_away, race_nr_ops_away },
	};

	for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); i -= tables[t++].nr)
		if (i < tables[t].nr)
			return &tables[t].op[i];
	return NULL;
}

const struct race_op *race_op(const char *name)
{
	const struct race_op *op;

	for (int i = 0; (op = race_op_nr(i)); i++)
		if (!strcmp(op->name, name))
			return op;
	return NULL;
}

const struct race_memory *race_memory(const char *name)
{
	for (int i = 0; i < race_nr_memories; i++)
		if (!strcmp(race_memories[i].name, name))
			return &race_memories[i];
	return NULL;
}

const struct race_gate *race_gate(const char *name)
{
	for (int i = 0; i < race_nr_gates; i++)
		if (!strcmp(race_gates[i].name, name))
			return &race_gates[i];
	return NULL;
}

static const char *op_name(int i)
{
	const struct race_op *op = race_op_nr(i);

	return op ? op->name : NULL;
}

static const char *memory_name(int i)
{
	return i < race_nr_memories ? race_memories[i].name : NULL;
}

static const char *gate_name(int i)
{
	return i < race_nr_gates ? race_gates[i].name : NULL;
}

/* "no operation 'red'; there are: read write ..." */
static int unknown(char *why, size_t size, const char *what, const char *given,
		   const char *(*name)(int i))
{
	size_t n = snprintf(why, size, "there is no %s '%s'; there are:", what, given);

	for (int i = 0; name(i) && n < size; i++)
		n += snprintf(why + n, size - n, " %s", name(i));
	return -EINVAL;
}

/* ---- to text ---- */

int race_name(const struct race_schedule *s, char *name, size_t size)
{
	size_t n = 0;

	for (int i = 0; i < s->sides; i++)
		n += snprintf(name + n, size - n, "%s%s", i ? "+" : "", s->op[i]->name);
	n += snprintf(name + n, size - n, "@%s", s->memory->name);
	for (int i = 0; i < s->gates; i++) {
		n += snprintf(name + n, size - n, "%c", i ? ',' : ':');
		if (s->hold[i].side)
			n += snprintf(name + n, size - n, "%c=", 'A' + s->hold[i].side);
		n += snprintf(name + n, size - n, "%s", s->hold[i].gate->name);
	}
	return n < size ? 0 : -ENAMETOOLONG;
}

/* ---- from text ---- */

static int parse_ops(char *text, struct race_schedule *s, char *why, size_t size)
{
	char *rest, *word;

	for (word = strtok_r(text, "+", &rest); word; word = strtok_r(NULL, "+", &rest)) {
		if (s->sides == RACE_SIDES)
			return snprintf(why, size, "more than %d operations", RACE_SIDES), -EINVAL;
		s->op[s->sides] = race_op(word);
		if (!s->op[s->sides++])
			return unknown(why, size, "operation", word, op_name);
	}
	if (s->sides < 2)
		return snprintf(why, size, "a race needs two operations: A+B@memory:gate"), -EINVAL;
	return 0;
}

static int parse_gates(char *text, struct race_schedule *s, char *why, size_t size)
{
	char *rest, *word;

	for (word = strtok_r(text, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
		struct race_hold *hold = &s->hold[s->gates];

		if (s->gates == RACE_GATES)
			return snprintf(why, size, "more than %d gates", RACE_GATES), -EINVAL;
		if (word[0] >= 'A' && word[0] < 'A' + s->sides && word[1] == '=') {
			hold->side = word[0] - 'A';
			word += 2;
		}
		hold->gate = race_gate(word);
		if (!hold->gate)
			return unknown(why, size, "gate", word, gate_name);
		s->gates++;
	}
	return 0;
}

int race_read(const char *name, struct race_schedule *s, char *why, size_t size)
{
	char text[RACE_NAME], *memory, *gates;
	int ret;

	*s = (struct race_schedule){};
	if (!strncmp(name, "race.", 5))
		name += 5;
	if (snprintf(text, sizeof(text), "%s", name) >= (int)sizeof(text))
		return snprintf(why, size, "the name is too long"), -EINVAL;
	memory = strchr(text, '@');
	gates = memory ? strchr(memory, ':') : NULL;
	if (!memory || !gates)
		return snprintf(why, size,
				"a schedule looks like read+munmap@anon:populate.begin"), -EINVAL;
	*memory++ = '\0';
	*gates++ = '\0';
	ret = parse_ops(text, s, why, size);
	if (ret)
		return ret;
	s->memory = race_memory(memory);
	if (!s->memory)
		return unknown(why, size, "memory", memory, memory_name);
	return parse_gates(gates, s, why, size);
}

int race_parse(const char *name, struct race_schedule *s, char *why, size_t size)
{
	int ret = race_read(name, s, why, size);
	const char *bad = ret ? NULL : race_impossible(s);

	if (bad)
		ret = (snprintf(why, size, "%s: %s", name, bad), -EINVAL);
	return ret;
}

/* ---- what can be ---- */

static bool first_device(const struct race_op *op)
{
	return op->flags & OP_DEVICE && !(op->flags & OP_SECOND);
}

/* Whether there are entries is asked of A's gate: one of a populate is met without them. */
unsigned int race_state(const struct race_schedule *s)
{
	unsigned int state = 0;

	for (int i = 0; i < s->gates; i++) {
		state |= s->hold[i].gate->flags & (GATE_TWO_PASS | GATE_DROPPED);
		if (!s->hold[i].side)
			state |= s->hold[i].gate->flags & GATE_WARM;
	}
	return state;
}

/* Beside plain anonymous memory the part of userfaultfd is raced over where it matters. */
static bool userfault_matters(const struct race_schedule *s)
{
	if ((s->memory->flags & ~(MEM_USERFAULT | MEM_THIN)) == MEM_ANON)
		return true;
	for (int i = 0; i < s->sides; i++)
		if (s->op[i]->flags & OP_UFFD)
			return true;
	for (int i = 0; i < s->gates; i++)
		if (s->hold[i].gate->flags & (GATE_UFFD | GATE_FAULTS))
			return true;
	return !s->gates;
}

/* The folio is unlocked right after the gate, while a fork() tries to lock it. */
static bool held_locked_exclusive(const struct race_schedule *s)
{
	for (int i = 0; i < s->gates; i++)
		if (s->hold[i].gate->nr == HOTMIRROR_GATE_EXCLUSIVE_LOCKED)
			return true;
	return false;
}

const char *race_impossible(const struct race_schedule *s)
{
	unsigned int memory = s->memory->flags, all = 0;
	const char *why;
	int devices = 0;

	for (int i = 0; i < s->sides; i++) {
		devices += first_device(s->op[i]);
		all |= s->op[i]->flags;
		why = s->op[i]->impossible ? s->op[i]->impossible(memory) : NULL;
		if (why)
			return why;
	}
	if (!devices)
		return "no operation of the device is in it";
	if (s->sides == 2 && devices == 2)
		return "both are operations of one device: its second one is a device of its own";
	if (all & OP_BY_HMM && !(s->op[0]->flags & OP_BY_HMM))
		return "HMM's fault is the one that is held open: beside others see prefetch_w";
	if (all & OP_SECOND && memory & MEM_THIN)
		return "the second device on this memory is like the first";
	if (all & OP_PINS && all & OP_EVICTS && memory & (MEM_DAX | MEM_COHERENT))
		return "a pin keeps the device's memory: this unplug would wait for ever";
	for (int i = 0; i < s->gates; i++) {
		if (!race_reaches(s->hold[i].gate, s->op[s->hold[i].side], memory))
			return "this operation does not pass that gate on this memory";
		if (s->hold[i].gate->flags & GATE_SAME && memory & MEM_THIN)
			return "what happens at this gate does not depend on the memory: see anon";
	}
	if (memory & MEM_USERFAULT & ~MEM_UFFD && all & (OP_UNPLUGS | OP_EXITS))
		return "what goes away under a fault of userfaultfd: see memory that is missing";
	if (memory & MEM_USERFAULT && !userfault_matters(s))
		return "userfaultfd has no part in it: see the memory without";
	if (all & OP_FORKS && held_locked_exclusive(s))
		return "fork() meets a kernel bug there by chance: see exclusive.converted";
	if (all & OP_FORKS && all & OP_WRITES && all & OP_SNAPSHOTS)
		return "a snapshot sees the moment between fork() and the write";
	/*
	 * mremap() takes merged pages apart, and overlooks those that live in a device. The
	 * next fault is then taken for ever, and the page is lost with its rss counter (7.3);
	 * hotmirror_ksm shows it.
	 */
	if (all & OP_MOVES && all & OP_MIGRATES && memory & MEM_KSM)
		return "kernel bug: mremap() of a merged page in a device loses it";
	if (all & OP_WIDENS && all & OP_EXCLUDES)
		return "read-only memory is not made exclusive";
	if (all & OP_EXITS && s->sides > 2)
		return "after an exit there is nobody to make a third operation";
	if (all & OP_EXITS && !first_device(s->op[0]) && s->gates && !s->hold[0].side)
		return "a process that exits is not held (design, section 5)";
	return NULL;
}

static void enumerate_gates(struct race_schedule *s,
			    void (*fn)(const struct race_schedule *s, void *arg), void *arg)
{
	s->gates = 0;
	if (race_impossible(s))
		return;
	s->gates = 1;
	s->hold[0].side = 0;
	for (int g = 0; g < race_nr_gates; g++) {
		s->hold[0].gate = &race_gates[g];
		if (!race_impossible(s))
			fn(s, arg);
	}
}

void race_enumerate(void (*fn)(const struct race_schedule *s, void *arg), void *arg)
{
	struct race_schedule s = { .sides = 2 };

	for (int m = 0; m < race_nr_memories; m++) {
		s.memory = &race_memories[m];
		for (int a = 0; (s.op[0] = race_op_nr(a)); a++) {
			for (int b = 0; (s.op[1] = race_op_nr(b)); b++) {
				if (first_device(s.op[0]) != first_device(s.op[1]))
					enumerate_gates(&s, fn, arg);
			}
		}
	}
}

/* ---- what kind it is ---- */

const char *race_class(const struct race_schedule *s)
{
	static const struct {
		unsigned int ops, memory;
		const char *name;
	} classes[] = {
		{ OP_UNPLUGS, 0, "unplug" },
		{ OP_EXITS, 0, "exit" },
		{ OP_FORKS, 0, "fork" },
		{ OP_SLOW, 0, "slow" },
		{ 0, MEM_KSM, "ksm" },
		{ 0, MEM_USERFAULT, "uffd" },
		{ 0, MEM_DAX, "dax" },
		{ 0, MEM_THP | MEM_HUGETLB | MEM_PMD | MEM_SMALL, "huge" },
		{ 0, MEM_DEVICE, "device" },
		{ 0, MEM_FILE | MEM_SHARED | MEM_SHMEM, "file" },
	};
	unsigned int ops = 0;

	for (int i = 0; i < s->sides; i++)
		ops |= s->op[i]->flags;
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (ops & classes[i].ops || s->memory->flags & classes[i].memory)
			return classes[i].name;
	return "anon";
}

static unsigned int hash(const char *text)
{
	unsigned int h = 2166136261U;

	while (*text)
		h = (h ^ (unsigned char)*text++) * 16777619U;
	return h ^ h >> 15;
}

/* One of how many is in the default subset; by name, so that the subset does not change. */
static bool one_of(const struct race_schedule *s, unsigned int share)
{
	unsigned int every = 4;
	char name[RACE_NAME];

	race_name(s, name, sizeof(name));
	if (s->op[0]->flags & OP_BY_HMM || strcmp(race_class(s), "anon"))
		every = 24;
	return hash(name) % (every * share) == 0;
}

int race_tier(const struct race_schedule *s)
{
	return one_of(s, 1) ? 1 : 2;
}

/* A quarter of the default subset. */
bool race_is_brief(const struct race_schedule *s)
{
	return one_of(s, 4);
}
