// SPDX-License-Identifier: GPL-2.0-only
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "known.h"
#include "tally.h"

struct tally *tally_new(void)
{
	return shared(sizeof(struct tally));
}

/* The row of map and key, made if there is none. */
static struct tally_row *row(struct tally *t, const char *map, const char *key, va_list ap)
{
	struct tally_row *r;
	char name[sizeof(r->key)];

	vsnprintf(name, sizeof(name), key, ap);
	for (r = t->rows; r < t->rows + t->used; r++)
		if (r->map == map && !strcmp(r->key, name))
			return r;
	if (t->used == TALLY_MAX)
		abort();
	t->used++;
	r->map = map;
	memcpy(r->key, name, sizeof(name));
	return r;
}

void tally_add(struct tally *t, const char *map, unsigned long n, const char *key, ...)
{
	va_list ap;

	va_start(ap, key);
	row(t, map, key, ap)->n += n;
	va_end(ap);
}

void tally_time(struct tally *t, const char *map, __u64 min, __u64 max, const char *key, ...)
{
	struct tally_row *r;
	va_list ap;

	va_start(ap, key);
	r = row(t, map, key, ap);
	va_end(ap);
	r->min += min;
	r->max += max;
}

static void print_map(const struct tally *t, unsigned int first)
{
	const char *comma = "";

	printf("\"%s\":{", t->rows[first].map);
	for (unsigned int i = first; i < t->used; i++) {
		const struct tally_row *r = &t->rows[i];

		if (r->map != t->rows[first].map)
			continue;
		printf("%s\"%s\":", comma, r->key);
		if (r->max)
			printf("{\"min\":%llu,\"max\":%llu}", r->min, r->max);
		else
			printf("%lu", r->n);
		comma = ",";
	}
	printf("}");
}

static bool seen_before(const struct tally *t, unsigned int i)
{
	for (unsigned int j = 0; j < i; j++)
		if (t->rows[j].map == t->rows[i].map)
			return true;
	return false;
}

void tally_print(const struct tally *t)
{
	printf("{");
	for (unsigned int i = 0; i < t->used; i++) {
		if (seen_before(t, i))
			continue;
		printf("%s", i ? "," : "");
		print_map(t, i);
	}
	printf("}");
}
