// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the scripts see of hotmirror_race: a list of names with tiers, a selection by
 * glob, tier and shard, results with facts. Nothing races; what a schedule gets is
 * read from its name.
 */
#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array)	((int)(sizeof(array) / sizeof((array)[0])))
#define STEPS		40
#define NAME_SIZE	128

static const char * const device_side[] = { "read", "write", "pin" };
static const char * const other_side[] = { "munmap", "fork", "cpu-write" };
static const char * const memories[] = { "anon", "thp", "dax-pte" };

#define TOTAL	(COUNT(device_side) * COUNT(other_side) * COUNT(memories) * STEPS)

static struct {
	const char *globs[64];
	int nr_globs, tier, shard, shards, repeat;
} chosen = { .shard = 1, .shards = 1, .repeat = 1 };

static void name_of(int number, char *name)
{
	int step = number % STEPS, memory = number / STEPS % COUNT(memories);
	int pair = number / STEPS / COUNT(memories);

	snprintf(name, NAME_SIZE, "race.%s+%s@%s:step.%d", device_side[pair / COUNT(other_side)],
		 other_side[pair % COUNT(other_side)], memories[memory], step);
}

static int tier_of(int number)
{
	return number % STEPS < 2 ? 1 : 2;
}

static bool is_chosen(int number)
{
	char name[NAME_SIZE];
	bool hit = !chosen.nr_globs;

	name_of(number, name);
	for (int i = 0; i < chosen.nr_globs; i++)
		hit |= !fnmatch(chosen.globs[i], name, 0);
	return hit && (!chosen.tier || chosen.tier == tier_of(number));
}

/* Known, but not listed: any name of the list with another gate behind it. */
static bool is_deeper(const char *name)
{
	size_t length = strcspn(name, ",");
	char listed[NAME_SIZE];

	for (int number = 0; name[length] && number < TOTAL; number++) {
		name_of(number, listed);
		if (strlen(listed) == length && !strncmp(listed, name, length))
			return true;
	}
	return false;
}

static int select_tests(char (*tests)[NAME_SIZE])
{
	int hits = 0, count = 0;

	for (int number = 0; number < TOTAL; number++)
		if (is_chosen(number) && hits++ % chosen.shards == chosen.shard - 1)
			name_of(number, tests[count++]);
	for (int i = 0; i < chosen.nr_globs; i++)
		if (is_deeper(chosen.globs[i]))
			snprintf(tests[count++], NAME_SIZE, "%s", chosen.globs[i]);
	return count;
}

static bool is_like(const char *name, const char *glob)
{
	return glob && !fnmatch(glob, name, 0);
}

/* 0 passed, 1 failed, 2 an expected failure, 4 skipped */
static int run_one(const char *name, int result)
{
	const char *memory = strchr(name, '@') + 1;
	const char *sabotage = getenv("HOTMIRROR_RACE_SABOTAGE");

	printf("# RUN           %s ...\n", name);
	if (is_like(name, "race.pin+*@dax-pte:*")) {
		printf("ok %d %s # SKIP unreachable: a pin finds dax-pte\n", result, name);
		return 4;
	}
	printf("# race: class=%.*s blocked=%s us=%d took=0\n", (int)strcspn(memory, ":"), memory,
	       is_like(name, "*+fork@*") ? "mmap_lock" : "no", 1000 * chosen.repeat);
	if (sabotage && !strcmp(sabotage, "SKIP_RETRY") &&
	    is_like(name, "race.[rw]*+munmap@anon:*")) {
		printf("# 2 stale entries, the first of page 1\nnot ok %d %s\n", result, name);
		return 1;
	}
	if (is_like(name, getenv("RACE_BROKEN"))) {
		printf("# page 0: neither AB nor BA\nnot ok %d %s\n", result, name);
		return 1;
	}
	if (is_like(name, "race.write+munmap@thp:step.1")) {
		printf("ok %d %s # XFAIL a kernel bug of the stand-in\n", result, name);
		return 2;
	}
	printf("ok %d %s\n", result, name);
	return 0;
}

static int run_all(void)
{
	static char tests[TOTAL + COUNT(chosen.globs)][NAME_SIZE];
	int seen[5] = {}, count = select_tests(tests);

	printf("TAP version 13\n1..%d\n", count);
	for (int i = 0; i < count; i++)
		seen[run_one(tests[i], i + 1)]++;
	printf("# Totals: pass:%d fail:%d xfail:%d xpass:0 skip:%d error:0\n", seen[0], seen[1],
	       seen[2], seen[4]);
	return seen[1] ? 1 : 0;
}

static int list(void)
{
	char name[NAME_SIZE];

	printf("# NAMES\n");
	for (int number = 0; number < TOTAL; number++) {
		name_of(number, name);
		printf("%s\t%d\n", name, tier_of(number));
	}
	return 0;
}

static bool is_listed(const char *wanted)
{
	char name[NAME_SIZE] = "";

	for (int number = 0; number < TOTAL && strcmp(name, wanted); number++)
		name_of(number, name);
	return !strcmp(name, wanted);
}

static int about(const char *option, const char *name)
{
	if (!is_listed(name) && !is_deeper(name)) {
		fprintf(stderr, "%s is no schedule; operations are: read write pin\n", name);
		return 2;
	}
	if (!strcmp(option, "--reproducer"))
		printf("int main(void) { return 0; } /* %s */\n", name);
	else
		printf("%s\nA: runs to the gate\nB: runs\n", name);
	return 0;
}

static int usage(const char *word)
{
	fprintf(stderr, "%s: what is that\n", word);
	return 2;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *value = argv[i + 1];

		if (!strcmp(argv[i], "-l"))
			return list();
		if (!strcmp(argv[i], "--sabotages"))
			return puts("SKIP_RETRY\nDROP_DIRTY") < 0;
		if (!value)
			return usage(argv[i]);
		if (!strcmp(argv[i], "--explain") || !strcmp(argv[i], "--reproducer"))
			return about(argv[i], value);
		if (!strcmp(argv[i], "-g") && chosen.nr_globs < COUNT(chosen.globs))
			chosen.globs[chosen.nr_globs++] = value;
		else if (!strcmp(argv[i], "--tier"))
			chosen.tier = atoi(value);
		else if (!strcmp(argv[i], "--repeat"))
			chosen.repeat = atoi(value);
		else if (strcmp(argv[i], "--shard") ||
			 sscanf(value, "%d/%d", &chosen.shard, &chosen.shards) != 2)
			return usage(argv[i]);
		i++;
	}
	return run_all();
}
