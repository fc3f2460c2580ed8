// SPDX-License-Identifier: GPL-2.0-only
/*
 * Negative controls of hotmirror_race: for each way to break the device a schedule that is
 * aimed at it. It passes on the honest module, and fails on the broken one, every time,
 * with one oracle alone.
 *
 * What does not end is told with the stacks, and the machine can be used afterwards: the
 * next one runs.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hm_kselftest.h"
#include "race/program.h"
#include "race/race.h"

/* The only one that is on. END: none, but the limit of a wait. */
enum oracle { ORDER, VERIFY, ENTRIES, LOG, END };

struct control {
	const char *sabotage;
	const char *schedule;
	enum oracle oracle;
};

static const struct control controls[] = {
	{ "SKIP_RETRY", "prefetch+munmap@anon:populate.faulted", VERIFY },
	{ "SKIP_RETRY", "prefetch+dontneed@thp:populate.faulted", VERIFY },
	{ "CHECK_UNLOCKED", "prefetch+munmap@anon:populate.checked", VERIFY },
	{ "STALE_SEQ", "prefetch+munmap@anon:populate.checked", VERIFY },
	{ "SKIP_INVALIDATE", "munmap+snapshot@anon:invalidate.enter", VERIFY },
	{ "SKIP_INVALIDATE", "dontneed+snapshot@anon:invalidate.done", ENTRIES },
	{ "CLEAR_LATE", "munmap+snapshot@anon:invalidate.done", ENTRIES },
	{ "CLEAR_SHORT", "munmap+snapshot@anon:invalidate.enter", VERIFY },
	{ "CLEAR_SHORT", "mprotect_ro+snapshot@anon:invalidate.done", ENTRIES },
	{ "IGNORE_END", "munmap+snapshot@anon:invalidate.done", ENTRIES },
	{ "COPY_EARLY", "to_dev+cpu_write@anon:migrate.begin", ORDER },
	{ "EVICT_NO_COPY", "unplug+read@private:evict.collected", ORDER },
	{ "SKIP_UNMAP", "invalidate+read@dax:unplug.invalidated", ORDER },
	{ "SKIP_DISABLE", "snapshot+invalidate@anon:core.mmu_interval_read_begin", ORDER },
	/* The kernel complains when the process ends. */
	{ "RSS", "read+exit@anon:populate.begin", LOG },
	/* Ruled out by a table, because it never ends. Nothing is broken but that. */
	{ "NOTHING", "pin+unplug@dax:pin.done", END },
};

#define NR_CONTROLS	(sizeof(controls) / sizeof(controls[0]))

static struct race_globs globs;
static int times = 3;
static int max_tier;			/* 0: all */

static void name_of(const struct control *c, char *name, size_t size)
{
	static const char *const oracles[] = { "order", "verify", "entries", "log", "end" };

	snprintf(name, size, "control.%s.%s.%s", oracles[c->oracle], c->sabotage, c->schedule);
}

static int tier(const struct control *c)
{
	return c->oracle == END ? 2 : 1;
}

static bool wanted(const struct control *c)
{
	char name[RACE_NAME];

	if (max_tier && tier(c) > max_tier)
		return false;
	name_of(c, name, sizeof(name));
	return race_globs_match(&globs, name);
}

/* How often it failed of times, or -1 if it could not be run; us: each, on average. */
static int failures(struct race_engine *e, const struct race_schedule *s,
		    const struct race_options *options, struct race_result *result, long *us)
{
	long long sum = 0;
	int failed = 0;

	race_engine_set(e, options);
	for (int i = 0; i < times; i++) {
		race_engine_run(e, s, result);
		if (result->verdict == RACE_LOST)
			ksft_exit_fail_msg("this machine is lost: %s\n", result->why);
		if (result->verdict == RACE_SKIP)
			return -1;
		failed += result->verdict == RACE_FAIL;
		sum += result->us;
	}
	*us = sum / times;
	return failed;
}

static void run_one(struct race_engine *e, const struct control *c)
{
	const struct race_options honest = {};
	const struct race_options broken = {
		.sabotage = race_sabotage(c->sabotage),
		.no_order = c->oracle != ORDER,
		.no_verify = c->oracle != VERIFY,
		.no_entries = c->oracle != ENTRIES,
		.no_log = c->oracle != LOG,
	};
	struct race_result result;
	struct race_schedule s;
	char name[RACE_NAME], why[2048];
	int n, alarms;
	long us = 0;

	name_of(c, name, sizeof(name));
	printf("#  RUN           %s ...\n", name);
	if (race_read(c->schedule, &s, why, sizeof(why)))
		ksft_exit_fail_msg("%s\n", why);
	alarms = c->oracle == END ? 0 : failures(e, &s, &honest, &result, &us);
	if (alarms < 0) {
		race_skip(name, result.why);
		return;
	}
	if (alarms)
		ksft_print_msg("Expected it to pass on the honest module: %s\n", result.why);
	n = failures(e, &s, &broken, &result, &us);
	ksft_print_msg("control: runs=%d caught=%d alarms=%d us=%ld\n", times, n, alarms, us);
	if (n < times)
		ksft_print_msg("Expected it to fail %d times of %d on the broken one, not %d\n",
			       times, times, n);
	else
		ksft_print_msg("caught: %s\n", result.why);
	ksft_test_result(!alarms && n == times, "%s\n", name);
}

static void run_all(int plan)
{
	const struct race_options plain = {};
	struct race_engine *e;
	char why[256];

	e = race_engine_start(&plain, why, sizeof(why));
	if (!e)
		ksft_exit_skip("%s\n", why);
	if (!race_engine_may_sabotage(e)) {
		race_engine_end(e, why, sizeof(why));
		ksft_exit_skip("the module was not loaded with sabotage=1\n");
	}
	ksft_set_plan(plan);
	for (size_t i = 0; i < NR_CONTROLS; i++)
		if (wanted(&controls[i]))
			run_one(e, &controls[i]);
	if (race_engine_end(e, why, sizeof(why)))
		ksft_exit_fail_msg("%s\n", why);
}

static int list(void)
{
	char name[RACE_NAME];

	puts("# NAMES 20");		/* seconds each */
	for (size_t i = 0; i < NR_CONTROLS; i++) {
		name_of(&controls[i], name, sizeof(name));
		/* The limits of its waits take their time. */
		printf("%s\t%d\n", name, tier(&controls[i]));
	}
	return 0;
}

/* As of hotmirror_race. */
static const struct option longs[] = {
	{ "glob", required_argument, NULL, 'g' },
	{ "repeat", required_argument, NULL, 'n' },
	{ "tier", required_argument, NULL, 't' },
	{ "list", no_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{},
};

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"hotmirror_race_control [-g GLOB]... [--repeat N]   break the device, and see that it is noticed\n"
		"hotmirror_race_control -l                          list the tests\n");
	return status;
}

int main(int argc, char **argv)
{
	int c, plan = 0;

	while ((c = getopt_long(argc, argv, "g:n:t:lh", longs, NULL)) >= 0) {
		if (c == 'l')
			return list();
		if (c == 'g' && race_globs_add(&globs, optarg))
			continue;
		if (c == 'n' && atoi(optarg) > 0)
			times = atoi(optarg);
		else if (c == 't')
			max_tier = atoi(optarg);
		else
			return usage(c == 'h' ? 0 : 2);
	}
	for (size_t i = 0; i < NR_CONTROLS; i++)
		plan += wanted(&controls[i]);
	ksft_print_header();
	run_all(plan);
	ksft_finished();
}
