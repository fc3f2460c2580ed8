// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random schedules, up to three operations and three gates: a test for each memory. A
 * failure is told as the name of the shortest schedule that still fails, and that name
 * replays it.
 *
 *	HOTMIRROR_EXPLORE_SEED=N	another seed than 1
 *	HOTMIRROR_EXPLORE_COUNT=N	how many schedules a memory and seed, 4 if not given
 *	HOTMIRROR_EXPLORE_SECONDS=N	for so long instead, all memories together
 *
 * --repeat N takes N seeds, from the first on.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hm_kselftest.h"
#include "lib/task.h"
#include "race/explore.h"
#include "race/program.h"

#define PROGRESS_MS	5000

static struct {
	struct race_globs globs;
	__u64 seed;
	long count, seconds, seeds;
	long long end;			/* of the seconds */
	int to_come;			/* memories that share what is left of them */
} options = { .seeds = 1 };

static long number(const char *name, long otherwise)
{
	const char *text = getenv(name);

	return text ? strtol(text, NULL, 0) : otherwise;
}

static void name_of(const struct race_memory *memory, char *name, size_t size)
{
	snprintf(name, size, "explore.%s", memory->name);
}

static bool wanted(const struct race_memory *memory)
{
	char name[64];

	name_of(memory, name, sizeof(name));
	return race_globs_match(&options.globs, name);
}

/* What was seen on one memory. */
struct tour {
	const struct race_memory *memory;
	long runs, unreachable, skipped, failed;
	long long begin, shown, end;
};

static void show(struct tour *t, bool end)
{
	long long ms = hm_deadline(0) - t->begin;

	if (!end && hm_deadline(0) - t->shown < PROGRESS_MS)
		return;
	t->shown = hm_deadline(0);
	ksft_print_msg("progress: %s: %ld schedules, %.0f a second, %ld unreachable, %ld skipped, "
		       "%ld failed\n", t->memory->name, t->runs,
		       ms ? t->runs * 1000.0 / ms : 0, t->unreachable, t->skipped, t->failed);
	fflush(stdout);
}

static void tell_failure(struct race_engine *e, struct race_schedule *s, struct race_result *result)
{
	char name[RACE_NAME];
	int runs;

	race_name(s, name, sizeof(name));
	ksft_print_msg("failed: race.%s: %s\n", name, result->why);
	if (result->verdict == RACE_LOST)
		return;
	runs = race_shrink(e, s, result);
	race_name(s, name, sizeof(name));
	ksft_print_msg("the shortest that still fails, found in %d runs: race.%s: %s\n", runs, name,
		       result->why);
	ksft_print_msg("replay it with: make kselftest TESTS='race.%s'\n", name);
}

/* The machine may not live to tell more. */
static void tell_next(const struct race_schedule *s)
{
	char name[RACE_NAME];

	race_name(s, name, sizeof(name));
	ksft_print_msg("next: race.%s\n", name);
	fflush(stdout);
}

static bool goes_on(const struct tour *t)
{
	if (t->failed)
		return false;
	if (options.seconds)
		return !t->runs || hm_left(t->end) > 0;
	return t->runs < options.count * options.seeds;
}

/* A seed's schedules depend on nothing that was drawn before. */
static void next_seed(const struct tour *t, struct race_random *random)
{
	if (t->runs % options.count == 0)
		random->state = (options.seed + t->runs / options.count) * 0x9e3779b97f4a7c15ULL;
}

static enum race_verdict explore(struct race_engine *e, __u64 features,
				 const struct race_memory *memory, char *why, size_t size)
{
	struct race_random random = {};
	struct tour t = { .memory = memory, .begin = hm_deadline(0), .shown = hm_deadline(0) };
	struct race_result result = {};
	struct race_schedule s;

	t.end = hm_deadline(hm_left(options.end) / options.to_come--);
	while (goes_on(&t)) {
		next_seed(&t, &random);
		if (!race_random_schedule(&random, memory, features, &s))
			break;
		tell_next(&s);
		race_engine_run(e, &s, &result);
		t.runs++;
		t.unreachable += result.verdict == RACE_UNREACHABLE;
		t.skipped += result.verdict == RACE_SKIP;
		if (result.verdict == RACE_FAIL || result.verdict == RACE_LOST) {
			t.failed++;
			tell_failure(e, &s, &result);
		}
		show(&t, false);
	}
	show(&t, true);
	snprintf(why, size, "%s", result.why);
	if (t.failed)
		return result.verdict == RACE_LOST ? RACE_LOST : RACE_FAIL;
	return t.skipped == t.runs ? RACE_SKIP : RACE_PASS;
}

static void run_one(struct race_engine *e, __u64 features, const struct race_memory *memory)
{
	char name[64], why[512];

	name_of(memory, name, sizeof(name));
	printf("#  RUN           %s ...\n", name);
	switch (explore(e, features, memory, why, sizeof(why))) {
	case RACE_PASS:
		ksft_test_result_pass("%s\n", name);
		break;
	case RACE_SKIP:
		race_skip(name, why);
		break;
	case RACE_LOST:
		ksft_test_result_fail("%s\n", name);
		ksft_exit_fail_msg("this machine is lost: a task cannot be killed\n");
		break;
	default:
		ksft_test_result_fail("%s\n", name);
	}
}

static int list(void)
{
	puts("# NAMES 5");		/* seconds each */
	for (int i = 0; i < race_nr_memories; i++)
		printf("explore.%s\t1\n", race_memories[i].name);
	return 0;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"hotmirror_explore [-g GLOB]... [--repeat N]   random schedules, a test for each memory\n"
		"hotmirror_explore -l                          list the tests\n"
		"HOTMIRROR_EXPLORE_SEED, _COUNT, _SECONDS in the environment say which and how many.\n");
	return status;
}

static __u64 features_of_module(void)
{
	struct hotmirror_query q = {};
	int control = hm_control_open();

	if (control >= 0) {
		hm_query(control, &q);
		close(control);
	}
	return q.features;
}

static void run_all(void)
{
	const struct race_options plain = {};
	struct race_engine *e;
	char why[256];

	e = race_engine_start(&plain, why, sizeof(why));
	if (!e)
		ksft_exit_skip("%s\n", why);
	options.end = hm_deadline(options.seconds * 1000);
	ksft_set_plan(options.to_come);
	ksft_print_msg("HOTMIRROR_EXPLORE_SEED=%llu\n", (unsigned long long)options.seed);
	for (int i = 0; i < race_nr_memories; i++)
		if (wanted(&race_memories[i]))
			run_one(e, features_of_module(), &race_memories[i]);
	if (race_engine_end(e, why, sizeof(why)))
		ksft_exit_fail_msg("%s\n", why);
}

/* As of hotmirror_race; all tests are of tier 1. */
static const struct option longs[] = {
	{ "glob", required_argument, NULL, 'g' },
	{ "repeat", required_argument, NULL, 'n' },
	{ "tier", required_argument, NULL, 't' },
	{ "list", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{},
};

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "g:n:t:lh", longs, NULL)) >= 0) {
		if (c == 'l')
			return list();
		if (c == 'n')
			options.seeds = strtol(optarg, NULL, 0);
		else if (c != 't' && !(c == 'g' && race_globs_add(&options.globs, optarg)))
			return usage(c == 'h' ? 0 : 2);
	}
	options.seed = number("HOTMIRROR_EXPLORE_SEED", 1);
	options.count = number("HOTMIRROR_EXPLORE_COUNT", 4);
	options.seconds = number("HOTMIRROR_EXPLORE_SECONDS", 0);
	for (int i = 0; i < race_nr_memories; i++)
		options.to_come += wanted(&race_memories[i]);
	ksft_print_header();
	run_all();
	ksft_finished();
}
