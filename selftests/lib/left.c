// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "left.h"

__u32 hm_objects(const struct hotmirror_query *q)
{
	return q->controls + q->devices + q->files + q->ranges + q->pins +
	       q->gates;
}

int hm_books_open(struct hm_books *b)
{
	int control = hm_control_open();
	int ret;

	if (control < 0)
		return control;
	*b = (struct hm_books){};
	ret = hm_query(control, &b->q);
	close(control);
	return ret;
}

/* Lines of a file that have @word in them; the number behind the last one in @number. */
static __u64 lines_with(const char *path, const char *word, unsigned long long *number)
{
	FILE *file = fopen(path, "re");
	char line[256];
	__u64 n = 0;

	while (file && fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, word);

		if (!at)
			continue;
		n++;
		if (number)
			sscanf(at + strlen(word), "%llu", number);
	}
	if (file)
		fclose(file);
	return n;
}

int hm_books_all(struct hm_books *b)
{
	unsigned long long memmap = 0;
	int ret = hm_books_open(b);

	lines_with("/proc/vmstat", "nr_memmap_pages", &memmap);
	b->memmap = memmap;
	b->arena = b->q.arena_bytes - b->q.arena_free;
	b->iomem = lines_with("/proc/iomem", "test_hotmirror", NULL);
	return ret;
}

int hm_books_settle(const struct hm_books *before, bool gone, int limit_ms,
		    struct hm_books *now)
{
	__u32 flags = gone ? HOTMIRROR_SETTLE_GONE : 0;
	int control = hm_control_open();
	int ret, seen;

	if (control < 0)
		return control;
	ret = hm_settle(control, hm_objects(&before->q), flags, limit_ms);
	*now = (struct hm_books){};
	seen = hm_query(control, &now->q);
	close(control);
	return ret ?: seen;
}

#define U32(what, member)	{ what, offsetof(struct hm_books, member), sizeof(__u32) }
#define U64(what, member)	{ what, offsetof(struct hm_books, member), sizeof(__u64) }

static const struct row {
	const char *what;
	size_t offset, size;
} rows[] = {
	U32("control files", q.controls),
	U32("gate files", q.gates),
	U32("instances", q.devices),
	U32("instance files", q.files),
	U32("mirrored ranges (notifier subscriptions)", q.ranges),
	U32("pins", q.pins),
	U64("device pages in use", q.pages_used),
	U64("pages of lost contents", q.tombstones),
	U64("bytes of the arena", arena),
	U64("entries of /proc/iomem", iomem),
	U64("pages of memmap", memmap),
};

static __u64 value(const struct hm_books *b, const struct row *row)
{
	const char *at = (const char *)b + row->offset;

	return row->size == sizeof(__u32) ? *(const __u32 *)at : *(const __u64 *)at;
}

int hm_books_compare(const struct hm_books *start, const struct hm_books *before,
		     const struct hm_books *now,
		     void (*say)(const char *line, void *arg), void *arg)
{
	char line[128];
	int n = 0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		__u64 was = value(before, &rows[i]), is = value(now, &rows[i]);

		if (is == was || (is < was && is >= value(start, &rows[i])))
			continue;
		snprintf(line, sizeof(line), "%s: %llu, before %llu", rows[i].what, is, was);
		say(line, arg);
		n++;
	}
	return n;
}
