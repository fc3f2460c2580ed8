// SPDX-License-Identifier: GPL-2.0-only
/*
 * A schedule in words, and as a picture: time runs down, one column for each party.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "explain.h"

#define COLUMNS	(RACE_SIDES + 1)
#define CELL	64

/* ---- text ---- */

/* Words, as many to a line as it holds; the first line begins with @mark, if any. */
static void say(const struct race_text *t, const char *mark, const char *format, ...)
	__attribute__((__format__(printf, 3, 4)));

static void say(const struct race_text *t, const char *mark, const char *format, ...)
{
	char text[1024], *rest, *word;
	int indent = strlen(mark), at = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (at && at + 1 + (int)strlen(word) > t->width) {
			fputc('\n', t->file);
			at = 0;
			mark = "";
		}
		at += at ? fprintf(t->file, " %s", word) :
			   fprintf(t->file, "%s%-*s%s", t->prefix, indent, mark, word);
	}
	fputc('\n', t->file);
}

static void gap(const struct race_text *t)
{
	int length = strlen(t->prefix);

	while (length && t->prefix[length - 1] == ' ')
		length--;
	fprintf(t->file, "%.*s\n", length, t->prefix);
}

static char letter(int side)
{
	return 'A' + side;
}

static const char *which_pages(const struct race_schedule *s)
{
	if (s->memory->flags & MEM_HUGETLB ||
	    (s->memory->flags & MEM_DAX && s->memory->flags & MEM_PMD))
		return "Two pages are looked at, at a PMD's edge: the middle is the second one.";
	return "Four pages are looked at: the middle is pages 1 and 2.";
}

/* ---- what is held ---- */

#define SECTION	"no lock, but it is in the section that disable waits for"

#define DRIVER	"the driver lock"
#define CALLBACK "what the caller of the notifier holds"
#define MOVING	"mmap_lock for reading and the folios' locks; the page table has migration entries"
#define FAULT	"mmap_lock or the VMA lock for reading"

/* The longest beginning of a gate's name that fits. */
static const struct {
	const char *gate, *text;
} held[] = {
	{ "access.begin", SECTION },
	{ "access.locked", DRIVER },
	{ "fault.", "nothing: the page fault for the device is taken outside of every lock" },
	{ "populate.", SECTION },
	{ "populate.locked", DRIVER },
	{ "populate.checked", DRIVER },
	{ "snapshot.", SECTION },
	{ "snapshot.locked", DRIVER },
	{ "invalidate.enter", CALLBACK "; the range's sequence is not set yet, so that a populate "
	  "may still read it" },
	{ "invalidate.locked", DRIVER ", and " CALLBACK },
	{ "invalidate.cleared", DRIVER ", and " CALLBACK },
	{ "invalidate.", CALLBACK "; the range's sequence is set, and who reads it waits until the "
	  "invalidation is over" },
	{ "migrate.", "mmap_lock for reading" },
	{ "migrate.collected", MOVING },
	{ "migrate.copied", MOVING },
	{ "migrate.moved", MOVING },
	{ "to_ram.enter", FAULT "; on newer kernels the page's folio lock, too" },
	{ "to_ram.", FAULT ", and the page's folio lock; the page table has a migration entry" },
	{ "exclusive.", SECTION },
	{ "exclusive.converted", "the page's folio lock" },
	{ "exclusive.locked", "the page's folio lock and the driver lock" },
	{ "pin.", SECTION },
	{ "dax.", FAULT ", and it is in the section that disable waits for" },
	{ "unplug.", "no lock: unplug's worker stands there" },
	{ "evict.", "the folios' locks; the page table has migration entries. Unplug's worker "
	  "stands there" },
	{ "uffd.", "no lock: it sleeps in handle_userfault() until the fault is resolved" },
	{ "core.hmm_range_fault", "mmap_lock for reading" },
	{ "core.make_device_exclusive", "mmap_lock for reading" },
	{ "core.migrate_vma_setup", "mmap_lock for reading" },
	{ "core.migrate_vma_", MOVING },
	{ "core.", "what the caller of that function holds" },
};

const char *race_held(const struct race_gate *gate)
{
	size_t best = 0;
	const char *text = NULL;

	for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
		size_t length = strlen(held[i].gate);

		if (length > best && !strncmp(gate->name, held[i].gate, length)) {
			best = length;
			text = held[i].text;
		}
	}
	return text;
}

static bool section(const struct race_gate *gate)
{
	const char *text = race_held(gate);

	return text && strstr(text, "section");
}

/* ---- what happens ---- */

static void start_state(const struct race_text *t, const struct race_schedule *s)
{
	unsigned int state = race_state(s);

	say(t, "  memory    ", "%s. %s", s->memory->words, which_pages(s));
	say(t, "  mirror    ", "%s%s", state & GATE_WARM ?
	    "of the device, its page table populated with what is present" :
	    "of the device, its page table empty",
	    state & GATE_TWO_PASS ? "; the notifier is of the two-pass form" : "");
	if (state & GATE_DROPPED)
		say(t, "            ", "The mapping's PTEs are dropped before A begins, so that "
		    "the next access faults.");
	for (int i = 0; i < s->sides; i++) {
		char mark[] = "  A         ";

		mark[2] = letter(i);
		say(t, mark, "%s: %s", s->op[i]->name, s->op[i]->words);
	}
}

static const struct race_hold *hold_of(const struct race_schedule *s, int side)
{
	for (int i = 0; i < s->gates; i++)
		if (s->hold[i].side == side)
			return &s->hold[i];
	return NULL;
}

/* What is known beforehand about one that starts while another is held. */
static void expect(const struct race_text *t, const struct race_schedule *s, int side)
{
	const struct race_gate *gate = s->hold[0].gate;
	unsigned int flags = s->op[side]->flags;

	if (s->hold[0].side >= side)
		return;
	if (flags & OP_NOTIFIES && gate->flags & GATE_LOCKED)
		say(t, "     ", "Where it invalidates the mirror, it waits for the driver lock.");
	if (flags & OP_UNPLUGS && section(gate))
		say(t, "     ", "Disable waits for whoever is in the section; an unplug that goes "
		    "further opens the gate by itself.");
}

static void step(const struct race_text *t, const struct race_schedule *s, int side)
{
	const struct race_hold *hold = hold_of(s, side);
	char mark[16];

	snprintf(mark, sizeof(mark), "  %d. ", side + 1);
	if (!hold) {
		say(t, mark, "%c starts and runs until it is done or blocked.", letter(side));
		expect(t, s, side);
		return;
	}
	say(t, mark, "%c starts and runs to %s%s: %s. Held there: %s.", letter(side),
	    hold->gate->name, side ? ", or until it is done or blocked" : "", hold->gate->words,
	    race_held(hold->gate) ?: "see the module");
}

static void steps(const struct race_text *t, const struct race_schedule *s)
{
	char gates[RACE_GATES * 64] = "", mark[16];
	int n = 0;

	for (int i = 0; i < s->sides; i++)
		step(t, s, i);
	for (int i = 0; i < s->gates; i++)
		n += snprintf(gates + n, sizeof(gates) - n, "%s%s", i ? ", then " : "",
			      s->hold[i].gate->name);
	snprintf(mark, sizeof(mark), "  %d. ", s->sides + 1);
	if (s->gates)
		say(t, mark, "%s %s opened%s. All go on and must come to an end.", gates,
		    s->gates > 1 ? "are" : "is",
		    s->hold[0].gate->flags & GATE_UFFD ? ", by resolving the fault" : "");
	else
		say(t, mark, "All must come to an end.");
}

static void verdict(const struct race_text *t, const struct race_schedule *s)
{
	static const struct {
		unsigned int flag;
		const char *text;
	} notes[] = {
		{ OP_BEST_EFFORT, "%c is best effort: its own result is not judged." },
		{ OP_FREES, "After %c a page that nobody wrote again may be old or zero." },
		{ OP_EXITS, "%c ends the process: device operations are made by another one, which "
		  "has its device file, and the end is looked at from there." },
	};
	char note[256];

	say(t, "  judged    ", "Each page must be as one of the orders (%s) makes it on this "
	    "kernel: how each side ended and what it read, whether a mapping is left, what the CPU and the "
	    "device read in the end. No device entry may be stale, no object may be left, the "
	    "kernel log is silent.", s->sides == 2 ? "A, then B; B, then A" : "of A, B and C");
	for (size_t i = 0; i < s->sides * sizeof(notes) / sizeof(notes[0]); i++) {
		int side = i % s->sides;

		snprintf(note, sizeof(note), notes[i / s->sides].text, letter(side));
		if (s->op[side]->flags & notes[i / s->sides].flag)
			say(t, "            ", "%s", note);
	}
}

void race_explain_steps(const struct race_text *t, const struct race_schedule *s)
{
	start_state(t, s);
	gap(t);
	steps(t, s);
	gap(t);
	verdict(t, s);
}

/* ---- the picture ---- */

struct picture {
	const struct race_text *text;
	const struct race_schedule *s;
	char cell[COLUMNS][CELL];
	char line[RACE_SIDES];		/* ' ' not begun, '|' runs, '#' stands at a gate */
};

static void row(struct picture *p)
{
	const int first = 26;
	int column = (p->text->width - first) / p->s->sides, cell = column - 3;
	char line[COLUMNS * CELL];
	int n = snprintf(line, sizeof(line), "  %-*s", first - 2, p->cell[0]);

	for (int i = 0; i < p->s->sides; i++)
		n += snprintf(line + n, sizeof(line) - n, "%c %-*.*s ", p->line[i], cell, cell,
			      p->cell[i + 1]);
	while (n && line[n - 1] == ' ')
		n--;
	fprintf(p->text->file, "%s%.*s\n", p->text->prefix, n, line);
	memset(p->cell, 0, sizeof(p->cell));
}

#define PUT(p, column, ...)	snprintf((p)->cell[column], CELL, __VA_ARGS__)

static void head(struct picture *p)
{
	PUT(p, 0, "orchestrator");
	for (int i = 0; i < p->s->sides; i++)
		PUT(p, i + 1, "%c: %s", letter(i), p->s->op[i]->name);
	row(p);
	for (int i = 0; i < p->s->gates; i++) {
		if (p->s->hold[i].gate->flags & GATE_UFFD)
			continue;
		PUT(p, 0, "arm %c's gate", letter(p->s->hold[i].side));
		row(p);
	}
}

static void begins(struct picture *p, int side)
{
	const struct race_hold *hold = hold_of(p->s, side);

	PUT(p, 0, "start %c", letter(side));
	p->line[side] = '|';
	PUT(p, side + 1, "runs");
	row(p);
	if (hold) {
		PUT(p, 0, "wait for it there");
		p->line[side] = '#';
		PUT(p, side + 1, "%s", hold->gate->name);
	} else {
		PUT(p, 0, "until done or blocked");
		PUT(p, side + 1, "done or blocked");
	}
	row(p);
}

static void ends(struct picture *p)
{
	for (int i = 0; i < p->s->gates; i++) {
		const struct race_hold *hold = &p->s->hold[i];

		PUT(p, 0, hold->gate->flags & GATE_UFFD ? "resolve %c's fault" : "open %c's gate",
		    letter(hold->side));
		p->line[hold->side] = '|';
		PUT(p, hold->side + 1, "goes on");
		row(p);
	}
	PUT(p, 0, "wait for all");
	for (int i = 0; i < p->s->sides; i++) {
		p->line[i] = '.';
		PUT(p, i + 1, "done");
	}
	row(p);
	memset(p->line, ' ', sizeof(p->line));
	PUT(p, 0, "look and judge");
	row(p);
}

void race_explain_picture(const struct race_text *t, const struct race_schedule *s)
{
	struct picture p = { .text = t, .s = s, .line = "   " };

	head(&p);
	for (int i = 0; i < s->sides; i++)
		begins(&p, i);
	ends(&p);
}

int race_explain(const struct race_schedule *s)
{
	const struct race_text t = { stdout, "", 96 };
	char name[RACE_NAME];

	race_name(s, name, sizeof(name));
	printf("race.%s\n\n", name);
	race_explain_steps(&t, s);
	gap(&t);
	race_explain_picture(&t, s);
	printf("\n  |  runs    #  is held at its gate    .  done\n");
	return 0;
}
