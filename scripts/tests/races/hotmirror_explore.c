// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the scripts see of hotmirror_explore: a short list of names, progress, a failure
 * with the name that replays it. Nothing is explored.
 *
 *	EXPLORE_BROKEN=MEMORY	its test fails
 *	EXPLORE_DIES=MEMORY	the machine does
 */
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "told.h"

static const char * const memories[] = { "anon", "thp", "dax-pte" };

#define COUNT(array)	((int)(sizeof(array) / sizeof((array)[0])))

static const char *globs[8];
static int nr_globs;

static int wanted(const char *memory)
{
	char name[64];

	snprintf(name, sizeof(name), "explore.%s", memory);
	for (int i = 0; i < nr_globs; i++)
		if (!fnmatch(globs[i], name, 0))
			return 1;
	return !nr_globs;
}

static int is(const char *variable, const char *memory)
{
	return getenv(variable) && !strcmp(getenv(variable), memory);
}

static const char *given(const char *variable)
{
	return getenv(variable) ? getenv(variable) : "-";
}

static void die(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY);

	fflush(stdout);
	wait_until_told(getppid());
	if (fd >= 0 && write(fd, "c", 1) == 1)
		pause();
}

/* 0 or 1, if it failed. */
static int run_one(const char *memory, int number)
{
	int broken = is("EXPLORE_BROKEN", memory);

	printf("#  RUN           explore.%s ...\n", memory);
	printf("# next: race.pin+fork@%s:step.7\n", memory);
	if (is("EXPLORE_DIES", memory))
		die();
	if (broken)
		printf("# failed: race.pin+fork+read@%s:step.7,B=step.8: neither order\n"
		       "# the shortest that still fails, found in 3 runs: race.read+fork@%s:step.8: page 0\n",
		       memory, memory);
	printf("# progress: %s: 12 schedules, 6 a second, seed %s, count %s, seconds %s\n", memory,
	       given("HOTMIRROR_EXPLORE_SEED"), given("HOTMIRROR_EXPLORE_COUNT"),
	       given("HOTMIRROR_EXPLORE_SECONDS"));
	printf("%sok %d explore.%s\n", broken ? "not " : "", number, memory);
	return broken;
}

static int list(void)
{
	printf("# NAMES 5\n");
	for (int i = 0; i < COUNT(memories); i++)
		printf("explore.%s\t1\n", memories[i]);
	return 0;
}

int main(int argc, char **argv)
{
	int count = 0, failed = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-l"))
			return list();
		if (!strcmp(argv[i], "-g") && argv[i + 1] && nr_globs < COUNT(globs))
			globs[nr_globs++] = argv[++i];
		else if (!strcmp(argv[i], "--tier"))
			i++;
		else
			return 2;
	}
	for (int i = 0; i < COUNT(memories); i++)
		count += wanted(memories[i]);
	printf("TAP version 13\n1..%d\n", count);
	count = 0;
	for (int i = 0; i < COUNT(memories); i++)
		if (wanted(memories[i]))
			failed += run_one(memories[i], ++count);
	return failed ? 1 : 0;
}
