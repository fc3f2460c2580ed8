// SPDX-License-Identifier: GPL-2.0-only
/*
 * Races as named schedules: see race/race.h. Each is a test of its own, and its name
 * replays it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hm_kselftest.h"
#include "race/program.h"
#include "race/race.h"

static struct {
	struct race_globs globs;
	int tier;			/* 0: all */
	bool brief;			/* one in four of tier 1 */
	unsigned int shard, shards;	/* 1/n; 0/0: all */
	int repeat;
	struct race_options engine;
} options = { .repeat = 1 };

static struct race_schedule *chosen;
static size_t nr_chosen, nr_seen;

/* ---- which ---- */

static bool wanted(const char *name, const struct race_schedule *s)
{
	char full[RACE_NAME + 8];

	if (options.tier && race_tier(s) > options.tier)
		return false;
	if (options.brief && !race_is_brief(s))
		return false;
	snprintf(full, sizeof(full), "race.%s", name);
	return race_globs_match(&options.globs, full);
}

static void add(const struct race_schedule *s)
{
	chosen = reallocarray(chosen, nr_chosen + 1, sizeof(*chosen));
	if (!chosen)
		ksft_exit_fail_msg("out of memory\n");
	chosen[nr_chosen++] = *s;
}

static void choose(const struct race_schedule *s, void *arg)
{
	char name[RACE_NAME];

	(void)arg;
	race_name(s, name, sizeof(name));
	if (!wanted(name, s))
		return;
	if (options.shards && nr_seen++ % options.shards != options.shard - 1)
		return;
	add(s);
}

/* A name that no table enumerates: more gates, more sides. */
static void choose_by_name(void)
{
	const struct race_globs *globs = &options.globs;
	struct race_schedule s;
	char why[2048];

	for (int i = 0; i < globs->nr; i++) {
		if (globs->matched[i] || strpbrk(globs->glob[i], "*?["))
			continue;
		if (race_parse(globs->glob[i], &s, why, sizeof(why)))
			ksft_exit_fail_msg("%s\n", why);
		add(&s);
	}
}

/* ---- run ---- */

static const char *const verdicts[] = {
	[RACE_PASS] = "pass", [RACE_FAIL] = "fail", [RACE_SKIP] = "skip",
	[RACE_UNREACHABLE] = "unreachable", [RACE_LOST] = "lost",
	[RACE_XFAIL] = "xfail",
};

static void one_word(char *text, char space)
{
	for (; *text; text++)
		if (*text == ' ')
			*text = space;
}

/* Facts for scripts: key=value words. */
static void say_facts(const struct race_schedule *s, struct race_result *r)
{
	char outcome[128];

	race_outcome_text(&r->outcome, s->sides, outcome, sizeof(outcome));
	one_word(outcome, '/');
	one_word(r->blocked, '_');
	ksft_print_msg("race: class=%s verdict=%s blocked=%s us=%ld took=%d unsure=%d "
		       "outcome=%s\n", race_class(s), verdicts[r->verdict],
		       r->blocked[0] ? r->blocked : "no", r->us, r->took, r->verify_unsure,
		       outcome);
}

static void skip(const char *name, const char *why)
{
	char full[RACE_NAME + 8];

	snprintf(full, sizeof(full), "race.%s", name);
	race_skip(full, why);
}

static void report(const char *name, const struct race_schedule *s, struct race_result *r)
{
	say_facts(s, r);
	switch (r->verdict) {
	case RACE_PASS:
		ksft_test_result_pass("race.%s\n", name);
		break;
	case RACE_SKIP:
		skip(name, r->why);
		break;
	case RACE_UNREACHABLE:
		skip(name, "unreachable: A never came to the gate");
		break;
	case RACE_XFAIL:
		ksft_print_msg("%s\n", r->why);
		ksft_cnt.ksft_xfail++;
		printf("ok %u race.%s # XFAIL kernel bug: %s\n", ksft_test_num(), name,
		       race_known(s, r));
		break;
	case RACE_FAIL:
	case RACE_LOST:
		ksft_print_msg("%s\n", r->why);
		ksft_test_result_fail("race.%s\n", name);
		break;
	}
}

static void run_all(size_t plan)
{
	struct race_engine *engine;
	struct race_result result;
	char name[RACE_NAME], why[256];

	engine = race_engine_start(&options.engine, why, sizeof(why));
	if (!engine)
		ksft_exit_skip("%s\n", why);
	ksft_set_plan(plan);
	for (size_t i = 0; i < nr_chosen; i++) {
		race_name(&chosen[i], name, sizeof(name));
		printf("#  RUN           race.%s ...\n", name);
		for (int n = 0; n < options.repeat; n++) {
			race_engine_run(engine, &chosen[i], &result);
			if (result.verdict != RACE_PASS && result.verdict != RACE_XFAIL)
				break;
		}
		report(name, &chosen[i], &result);
		fflush(stdout);
		if (result.verdict == RACE_LOST)
			ksft_exit_fail_msg("this machine is lost: a task cannot be killed\n");
	}
	if (race_engine_end(engine, why, sizeof(why)))
		ksft_exit_fail_msg("%s\n", why);
}

/* ---- texts ---- */

static void list_one(const struct race_schedule *s, void *arg)
{
	char name[RACE_NAME];

	(void)arg;
	race_name(s, name, sizeof(name));
	printf("race.%s\t%d\n", name, race_tier(s));
}

static int list(void)
{
	puts("# NAMES");
	race_enumerate(list_one, NULL);
	return 0;
}

static int list_operations(void)
{
	const struct race_op *op;

	for (int i = 0; (op = race_op_nr(i)); i++)
		printf("%-20s %s\n", op->name, op->words);
	return 0;
}

static int list_memories(void)
{
	for (int i = 0; i < race_nr_memories; i++)
		printf("%-20s %s\n", race_memories[i].name, race_memories[i].words);
	return 0;
}

static int list_gates(void)
{
	for (int i = 0; i < race_nr_gates; i++)
		printf("%-20s %s\n", race_gates[i].name, race_gates[i].words);
	return 0;
}

static int list_sabotages(void)
{
	for (int i = 0; race_sabotage_name(i); i++)
		puts(race_sabotage_name(i));
	return 0;
}

/* What counts as blocked. */
static int list_blocked(void)
{
	const char *name, *function;
	bool anywhere;

	for (int i = 0; (name = race_wait_point(i, &function, &anywhere)); i++)
		printf("%-20s %s*%s\n", name, function, anywhere ? ", anywhere in the stack" : "");
	return 0;
}

/* A schedule by its name, in a text. */
static int about(const char *name, int (*tell)(const struct race_schedule *s))
{
	struct race_schedule s;
	char why[2048];

	if (!race_parse(name, &s, why, sizeof(why)))
		return tell(&s);
	fprintf(stderr, "%s\n", why);
	return 2;
}

static int no_sabotage(const char *given)
{
	fprintf(stderr, "there is no way '%s' to break the device; there are:", given);
	for (int i = 0; race_sabotage_name(i); i++)
		fprintf(stderr, " %s", race_sabotage_name(i));
	fputc('\n', stderr);
	return 2;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"hotmirror_race [-g GLOB]... [--tier N] [--shard I/N] [--repeat N]   run schedules\n"
		"hotmirror_race -l                 list them: name, tier\n"
		"hotmirror_race --operations | --memories | --gates | --blocked | --impossible |\n"
		"               --sabotages        list what names are made of\n"
		"hotmirror_race --explain NAME     a schedule in words and as a picture\n"
		"hotmirror_race --reproducer NAME  a C file that replays it, without this program\n"
		"  -g, --glob GLOB     of names (race.read+munmap@anon:*), or one name\n"
		"  -t, --tier N        1: the default subset, 0: all; without any argument a quarter of\n"
		"                      that subset, which kselftest has the time for\n"
		"  -s, --shard I/N     every N-th of them, from the I-th on\n"
		"  -n, --repeat N      each so many times, until it fails\n"
		"  -S, --sabotage NAME break the device, as HOTMIRROR_RACE_SABOTAGE=NAME: SKIP_RETRY ...\n"
		"      --no-order, --no-verify, --no-entries, --no-log   oracles that are off\n");
	return status;
}

enum {
	OPERATIONS = 256, MEMORIES, GATES, BLOCKED, IMPOSSIBLE, SABOTAGES, EXPLAIN, REPRODUCER,
	NO_ORDER, NO_VERIFY, NO_ENTRIES, NO_LOG
};

static const struct option longs[] = {
	{ "glob", required_argument, NULL, 'g' },
	{ "tier", required_argument, NULL, 't' },
	{ "shard", required_argument, NULL, 's' },
	{ "repeat", required_argument, NULL, 'n' },
	{ "sabotage", required_argument, NULL, 'S' },
	{ "list", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ "operations", no_argument, NULL, OPERATIONS },
	{ "memories", no_argument, NULL, MEMORIES },
	{ "gates", no_argument, NULL, GATES },
	{ "sabotages", no_argument, NULL, SABOTAGES },
	{ "blocked", no_argument, NULL, BLOCKED },
	{ "impossible", no_argument, NULL, IMPOSSIBLE },
	{ "explain", required_argument, NULL, EXPLAIN },
	{ "reproducer", required_argument, NULL, REPRODUCER },
	{ "no-order", no_argument, NULL, NO_ORDER },
	{ "no-verify", no_argument, NULL, NO_VERIFY },
	{ "no-entries", no_argument, NULL, NO_ENTRIES },
	{ "no-log", no_argument, NULL, NO_LOG },
	{},
};

/* -1: go on. */
static int option(int c)
{
	switch (c) {
	case 'g':
		return race_globs_add(&options.globs, optarg) ? -1 : usage(2);
	case 't':
		options.tier = atoi(optarg);
		return -1;
	case 's':
		if (sscanf(optarg, "%u/%u", &options.shard, &options.shards) != 2 ||
		    !options.shard || options.shard > options.shards)
			return usage(2);
		return -1;
	case 'n':
		options.repeat = atoi(optarg);
		return options.repeat > 0 ? -1 : usage(2);
	case 'S':
		options.engine.sabotage = race_sabotage(optarg);
		return options.engine.sabotage ? -1 : no_sabotage(optarg);
	case NO_ORDER:
		options.engine.no_order = true;
		return -1;
	case NO_VERIFY:
		options.engine.no_verify = true;
		return -1;
	case NO_ENTRIES:
		options.engine.no_entries = true;
		return -1;
	case NO_LOG:
		options.engine.no_log = true;
		return -1;
	case 'l':
		return list();
	case 'h':
		return usage(0);
	case OPERATIONS:
		return list_operations();
	case MEMORIES:
		return list_memories();
	case GATES:
		return list_gates();
	case SABOTAGES:
		return list_sabotages();
	case BLOCKED:
		return list_blocked();
	case IMPOSSIBLE:
		return race_list_impossible();
	case EXPLAIN:
		return about(optarg, race_explain);
	case REPRODUCER:
		return about(optarg, race_reproducer);
	}
	return usage(2);
}

int main(int argc, char **argv)
{
	int c, ret;

	/* run_tests and run_kselftest.sh give no arguments, and 120 s (settings). */
	if (argc == 1)
		options.brief = true;
	if (getenv("HOTMIRROR_RACE_SABOTAGE")) {
		optarg = getenv("HOTMIRROR_RACE_SABOTAGE");
		ret = option('S');
		if (ret >= 0)
			return ret;
	}
	while ((c = getopt_long(argc, argv, "g:t:s:n:S:lh", longs, NULL)) >= 0) {
		ret = option(c);
		if (ret >= 0)
			return ret;
	}
	if (optind < argc)
		return usage(2);
	ksft_print_header();
	race_enumerate(choose, NULL);
	choose_by_name();
	run_all(nr_chosen);
	ksft_finished();
}
