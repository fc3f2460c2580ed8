// SPDX-License-Identifier: GPL-2.0-only
/*
 * A schedule as one C file for a maintainer, who has neither this program nor its
 * framework. The text is that of replay/, C files that are put together here: see the
 * comment in replay/replay.c.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "explain.h"

/* Lines, as strings, made by the Makefile. */
static const char *const replay[] = {
#include "replay/replay.inc"
	NULL
};

static const char *const operations[] = {
#include "replay/operations.inc"
	NULL
};

static const char *const others[] = {
#include "replay/others.inc"
	NULL
};

static const char *const memories[] = {
#include "replay/memories.inc"
	NULL
};

static const char *const run[] = {
#include "replay/run.inc"
	NULL
};

static const struct {
	const char *name;
	const char *const *lines;
} parts[] = {
	{ "operations", operations }, { "others", others }, { "memories", memories },
	{ "run", run },
};

/* ---- what a schedule needs ---- */

#define WORDS	128
#define WORD	40

struct wanted {
	char word[WORDS][WORD];
	int nr;
};

static void want(struct wanted *w, const char *word)
{
	if (w->nr < WORDS)
		snprintf(w->word[w->nr++], WORD, "%s", word);
}

/* "read2" is read, by another device; "anon-missing" is anon, with userfaultfd. */
static const char *op_base(const struct race_op *op)
{
	static char name[WORD];
	size_t length = snprintf(name, sizeof(name), "%s", op->name);

	if (op->flags & OP_SECOND && name[length - 1] == '2')
		name[length - 1] = '\0';
	return name;
}

static const char *memory_base(const struct race_memory *memory)
{
	static char name[WORD];

	snprintf(name, sizeof(name), "%s", memory->name);
	name[strcspn(name, "-")] = '\0';
	return name;
}

/* What the page faults of an operation are without it, as orders.c has them. */
static const char *faults_of(const struct race_op *op)
{
	if (op->flags & (OP_EXCLUDES | OP_PINS))
		return "faults_pin";
	if (op->flags & OP_POPULATES)
		return op->flags & OP_WRITES ? "op_prefetch_w" : "op_prefetch";
	return NULL;
}

/* A snapshot of what may be moving. */
static bool may_be_absent(const struct race_schedule *s)
{
	unsigned int ops = 0;

	for (int i = 0; i < s->sides; i++)
		ops |= s->op[i]->flags;
	return ops & OP_SNAPSHOTS &&
	       (s->memory->flags & MEM_DEVICE || ops & (OP_BEST_EFFORT | OP_EXCLUDES));
}

static void want_flags(struct wanted *w, const struct race_schedule *s)
{
	unsigned int gates = 0, ops = 0, memory = s->memory->flags;

	for (int i = 0; i < s->gates; i++)
		gates |= s->hold[i].gate->flags;
	for (int i = 0; i < s->sides; i++)
		ops |= s->op[i]->flags;
	bool dropped = memory & (MEM_UFFD | MEM_UFFD_POISON);
	const struct {
		bool wanted;
		const char *word;
	} flags[] = {
		{ may_be_absent(s), "absent" },
		{ gates & GATE_WARM, "warm" },
		{ gates & GATE_WARM && memory & MEM_USERFAULT, "warm_around" },
		{ gates & GATE_WARM && !(memory & MEM_USERFAULT), "warm_whole" },
		{ !(memory & (MEM_HOLE | MEM_CLEAN)) && !(ops & OP_WIDENS), "warm_write" },
		{ gates & GATE_DROPPED, "dropped" },
		{ gates & GATE_TWO_PASS, "two_pass" }, { gates & GATE_CORE, "core" },
		{ gates & GATE_UFFD, "uffd_gate" },
		{ memory & MEM_USERFAULT || ops & OP_UFFD, "uffd" },
		{ memory & MEM_USERFAULT, "uffd_part" },
		{ memory & MEM_UFFD, "uffd_missing" }, { memory & MEM_UFFD_WP, "uffd_wp" },
		{ memory & MEM_UFFD_MINOR, "uffd_minor" },
		{ memory & MEM_UFFD_POISON, "uffd_poisoned" },
		{ dropped && memory & MEM_SHARED, "drop_file" },
		{ memory & MEM_UFFD_MINOR || (dropped && !(memory & MEM_SHARED)), "drop_mapping" },
		{ memory & MEM_FILE, "is_file" },
		{ memory & MEM_FILE && !(memory & (MEM_SHMEM | MEM_HUGETLB)), "ramfs" },
		{ !(memory & (MEM_HOLE | MEM_CLEAN)), "fills" }, { ops & OP_SECOND, "second" },
		{ ops & OP_MOVES, "moves" }, { ops & OP_FREES, "frees" },
		{ ops & OP_EXITS, "exits" },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].wanted)
			want(w, flags[i].word);
	for (int i = 0; i < s->sides; i++) {
		if (faults_of(s->op[i]))
			want(w, faults_of(s->op[i]));
		if (s->op[i]->prepare)
			want(w, "prepares");
	}
}

/* A line "@for words" that has one of them. */
static bool is_wanted(const struct wanted *w, const char *line)
{
	static const char space[] = { ' ', '\n', '\0' };
	char text[256], *rest, *word;

	snprintf(text, sizeof(text), "%s", line);
	for (word = strtok_r(text, space, &rest); word; word = strtok_r(NULL, space, &rest))
		for (int i = 0; i < w->nr; i++)
			if (!strcmp(word, w->word[i]))
				return true;
	return false;
}

static bool has_word(const char *const *lines, const char *word)
{
	struct wanted w = {};

	want(&w, word);
	for (; *lines; lines++)
		if (strstr(*lines, "/* @for ") && is_wanted(&w, strstr(*lines, "/* @for ") + 8))
			return true;
	return false;
}

/* Without C text of its operations and memory there is nothing to print. */
static int has_text(const struct race_schedule *s)
{
	const char *lacks = NULL;

	if (!has_word(memories, memory_base(s->memory)) || s->memory->flags & MEM_UFFD_RWP)
		lacks = s->memory->name;
	for (int i = 0; i < s->sides; i++)
		if (!has_word(operations, op_base(s->op[i])) &&
		    !has_word(others, op_base(s->op[i])))
			lacks = s->op[i]->name;
	if (lacks)
		fprintf(stderr, "no reproducer: there is no C text for %s\n", lacks);
	return lacks ? 2 : 0;
}

/* ---- head and tables ---- */

static void config(const struct race_schedule *s)
{
	unsigned int memory = s->memory->flags;
	__u64 needs = s->memory->needs;

	for (int i = 0; i < s->sides; i++)
		needs |= s->op[i]->needs;
	printf(" * Config that matters: HMM_MIRROR ZONE_DEVICE");
	if (needs & (HOTMIRROR_HAS_PRIVATE | HOTMIRROR_HAS_EXCLUSIVE) ||
	    !(needs & HOTMIRROR_HAS_COHERENT))
		printf(" DEVICE_PRIVATE");
	if (memory & (MEM_THP | MEM_PMD))
		printf(" TRANSPARENT_HUGEPAGE");
	if (memory & MEM_HUGETLB)
		printf(" HUGETLBFS");
	if (memory & MEM_USERFAULT)
		printf(" USERFAULTFD");
	if (memory & MEM_DAX)
		printf(" FS_DAX");
	for (int i = 0; i < s->gates; i++)
		if (s->hold[i].gate->flags & GATE_CORE)
			printf(" DYNAMIC_FTRACE_WITH_REGS");
	printf(".\n * Module parameters: %s.\n", memory & (MEM_DAX | MEM_COHERENT) ?
	       "arena=SIZE@START, physical memory that was reserved at boot" : "none");
}

static void head(const struct race_schedule *s, const char *name)
{
	const struct race_text t = { stdout, " * ", 96 };

	printf("// %s: GPL-2.0-only\n/*\n", "SPDX-License-Identifier");
	printf(" * Subject: race.%s\n *\n", name);
	printf(" * A race of %d operations on memory that a device mirrors, forced:\n *\n",
	       s->sides);
	race_explain_steps(&t, s);
	printf(" *\n");
	race_explain_picture(&t, s);
	printf(" *\n * To build and to run it, as root, with test_hotmirror.ko loaded:\n *\n"
	       " *	gcc -O2 -pthread -I DIRECTORY_OF_test_hotmirror_uapi.h -o replay THIS_FILE\n"
	       " *	./replay\n *\n"
	       " * It makes each order by itself first, then the race, prints what became of each page, and\n"
	       " * ends with 0: explained by an order, 1: not, 2: it could not run.\n *\n"
	       " * Kernel: the first line that it prints.\n");
	config(s);
	printf(" */\n");
}

static void gate_macro(const struct race_gate *gate)
{
	printf("HOTMIRROR_GATE_");
	for (const char *c = gate->name; *c; c++)
		putchar(*c == '.' ? '_' : toupper(*c));
}

static bool exits(const struct race_schedule *s)
{
	for (int i = 0; i < s->sides; i++)
		if (s->op[i]->flags & OP_EXITS)
			return true;
	return false;
}

/* Each function once. */
static void declare(struct wanted *said, const char *name)
{
	if (!name || is_wanted(said, name))
		return;
	want(said, name);
	printf("static void %s(int side);\n", name);
}

static void declare_all(const struct race_schedule *s)
{
	struct wanted said = {};
	char function[WORD];

	for (int i = 0; i < s->sides; i++) {
		snprintf(function, sizeof(function), "op_%.30s", op_base(s->op[i]));
		declare(&said, function);
		declare(&said, faults_of(s->op[i]));
	}
	declare(&said, "look");
	printf("\n");
}

static void side_rows(const struct race_schedule *s)
{
	static const char *const words[] = { "false", "true" };

	printf("static const struct {\n	const char *name;\n"
	       "	void (*run)(int side), (*faults)(int side);\n"
	       "	int file;		/* 0: of the device, 1: of the second one */\n"
	       "	bool recorded;		/* best effort: how it ends is not judged */\n"
	       "	bool remote;		/* made by the orchestrator, which outlives the child */\n"
	       "} sides[SIDES + 1] = {\n");
	for (int i = 0; i < s->sides; i++)
		printf("	{ \"%s\", op_%s, %s, %d, %s, %s },\n",
		       s->op[i]->name, op_base(s->op[i]), faults_of(s->op[i]) ?: "NULL",
		       !!(s->op[i]->flags & OP_SECOND),
		       words[!!(s->op[i]->flags & OP_BEST_EFFORT)],
		       words[exits(s) && s->op[i]->flags & OP_DEVICE]);
	printf("	{ \"look\", look, NULL, 0, false, false },\n};\n\n");
}

static void order_rows(const struct race_schedule *s)
{
	static const char *const plain[][6] = { { "AB", "BA" },
		{ "ABC", "ACB", "BAC", "BCA", "CAB", "CBA" } };
	int nr = s->sides == 2 ? 2 : 6;

	printf("/* A small letter: the page faults of that side, and nothing else of it. */\n"
	       "static const char *const orders[] = {\n");
	for (int faulter = -1; faulter < s->sides; faulter++) {
		char small[] = { 'a' + faulter, '\0' };

		if (faulter >= 0 && !faults_of(s->op[faulter]))
			continue;
		for (int i = 0; i < nr; i++)
			printf("%s\"%s%s\"%s", i ? " " : "\t", faulter < 0 ? "" : small,
			       plain[s->sides - 2][i], i < nr - 1 ? "," : ",\n");
	}
	printf("};\n\n#define PLAIN	%d		/* of them, without such */\n"
	       "#define ORDERS	(sizeof(orders) / sizeof(orders[0]))\n", nr);
}

static void gate_rows(const struct race_schedule *s)
{
	printf("#define GATES	%d\n\nstatic const struct {\n	const char *name;\n"
	       "	__u32 nr, flags;\n	int side, file;\n"
	       "	bool any;		/* not the side's own thread stands there */\n"
	       "} gates[GATES] = {\n", s->gates);
	for (int i = 0; i < s->gates; i++) {
		const struct race_gate *gate = s->hold[i].gate;
		bool any = gate->flags & GATE_ANY_TASK;

		printf("	{ \"%s\", ", gate->name);
		if (gate->nr)
			gate_macro(gate);
		else
			putchar('0');
		printf(", %s, %d, %d, %s },\n", any ? "HOTMIRROR_GATE_INSTANCE" : "0",
		       s->hold[i].side, race_gate_device(s, &s->hold[i]), any ? "true" : "false");
	}
	printf("};\n\n");
}

/* As many to a line as it holds. */
static int wait_row(int at, const char *function)
{
	if (at + strlen(function) + 4 > 94)
		return 6 + printf("\n\t\"%s\",", function);
	return at + printf(" \"%s\",", function);
}

/* First those that count anywhere in the stack. */
static void wait_rows(void)
{
	const char *function;
	int at = 100, nr = 0;
	bool anywhere;

	printf("/* Asleep there is blocked, with these first in the stack, or anywhere in it. */\n"
	       "static const char *const wait_points[] = {");
	for (int pass = 1; pass >= 0; pass--) {
		for (int i = 0; race_wait_point(i, &function, &anywhere); i++) {
			at = anywhere == pass ? wait_row(at, function) : at;
			nr += anywhere && pass;
		}
	}
	printf("\n};\n\n#define ANYWHERE %d\n", nr);
}

static void schedule(const struct race_schedule *s, const char *name)
{
	static const char *const kinds[] = {
		"0", "HOTMIRROR_PRIVATE", "HOTMIRROR_COHERENT", "HOTMIRROR_DAX"
	};

	printf("#define NAME	\"race.%s\"\n#define SIDES	%d\n"
	       "#define KIND	%s	/* of the device's own memory; 0: any */\n\n",
	       name, s->sides, kinds[s->memory->kind]);
	declare_all(s);
	side_rows(s);
	order_rows(s);
	gate_rows(s);
	wait_rows();
}

/* ---- put together ---- */

struct printing {
	const struct race_schedule *s;
	const struct wanted *wanted;
	const char *name;
	int depth;		/* of blocks */
	int hidden;		/* depth of the outermost that is left out; 0: none */
};

static void print(struct printing *p, const char *const *lines);

static void begin_block(struct printing *p, bool shown)
{
	p->depth++;
	if (!shown && !p->hidden)
		p->hidden = p->depth;
}

static void end_block(struct printing *p)
{
	if (p->hidden == p->depth)
		p->hidden = 0;
	p->depth--;
}

static void part(struct printing *p, const char *name)
{
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!strncmp(name, parts[i].name, strlen(parts[i].name)))
			print(p, parts[i].lines);
}

static void directive(struct printing *p, const char *text)
{
	if (!strncmp(text, "for ", 4)) {
		begin_block(p, is_wanted(p->wanted, text + 4));
	} else if (!strncmp(text, "end", 3)) {
		end_block(p);
	} else if (!strncmp(text, "part ", 5)) {
		part(p, text + 5);
	} else if (!strncmp(text, "head", 4)) {
		head(p->s, p->name);
		begin_block(p, false);
	} else if (!strncmp(text, "schedule", 8)) {
		schedule(p->s, p->name);
		begin_block(p, false);
	}
}

static void print(struct printing *p, const char *const *lines)
{
	for (; *lines; lines++) {
		const char *at = strstr(*lines, "/* @");

		if (at && strspn(*lines, "\t") == (size_t)(at - *lines))
			directive(p, at + 4);
		else if (!p->hidden && strncmp(*lines, "// SPDX", 7))
			fputs(*lines, stdout);
	}
}

int race_reproducer(const struct race_schedule *s)
{
	char name[RACE_NAME];
	struct wanted wanted = {};
	struct printing p = { .s = s, .wanted = &wanted, .name = name };

	if (has_text(s))
		return 2;
	for (int i = 0; i < s->sides; i++)
		want(&wanted, op_base(s->op[i]));
	want(&wanted, memory_base(s->memory));
	want_flags(&wanted, s);
	race_name(s, name, sizeof(name));
	print(&p, replay);
	return 0;
}
