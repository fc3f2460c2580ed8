// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the tables rule out, and why.
 */
#include <stdio.h>

#include "race.h"

/* Operations that make no sense on a memory. */
static void by_memory(void)
{
	const struct race_op *op;
	const char *why;

	for (int m = 0; m < race_nr_memories; m++) {
		for (int i = 0; (op = race_op_nr(i)); i++) {
			why = op->impossible ? op->impossible(race_memories[m].flags) : NULL;
			if (why)
				printf("%s@%s\t%s\n", op->name, race_memories[m].name, why);
		}
	}
}

/* Which operations pass a gate on no memory at all. */
static bool ever(const struct race_gate *gate, const struct race_op *op)
{
	for (int m = 0; m < race_nr_memories; m++) {
		unsigned int memory = race_memories[m].flags;

		if (!(op->impossible && op->impossible(memory)) && race_reaches(gate, op, memory))
			return true;
	}
	return false;
}

static void by_gate(void)
{
	const struct race_op *op;

	for (int g = 0; g < race_nr_gates; g++) {
		printf("*:%s\tis passed by", race_gates[g].name);
		for (int i = 0; (op = race_op_nr(i)); i++)
			if (ever(&race_gates[g], op))
				printf(" %s", op->name);
		printf(" and no other\n");
	}
}

/* What is ruled out whatever the memory is. */
static void by_pair(void)
{
	puts("A+B\ttwo operations that are both not the device's: nothing of a mirror is in it");
	puts("A+B\ttwo operations of one device: read2, write2, ... are those of a second one");
}

int race_list_impossible(void)
{
	by_memory();
	by_gate();
	by_pair();
	return 0;
}
