// SPDX-License-Identifier: GPL-2.0-only
/* What is measured. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

/* Both modules copy through the caller's buffer; larger memory goes in pieces. */
#define PIECE	(16 * MIB)

static void mirror_open(struct worker *w)
{
	must(w, "opening the device",
	     w->device->open(&w->mirror, w->number, w->mem, w->length));
}

/*
 * Memory to work on, a buffer as large as @buf_length, and a mirror. The buffer begins
 * a page behind a 2 MiB boundary: QEMU's TLB is indexed by the low bits of the page
 * number, and a large folio copied to a buffer aligned like itself misses it each time.
 */
static void begin(struct worker *w, size_t buf_length)
{
	size_t page = sysconf(_SC_PAGESIZE);

	w->doing = "set-up";
	w->mem = memory(w, w->length, w->huge);
	w->buf_length = buf_length;
	w->buf = memory(w, page + buf_length, false) + page;
	mirror_open(w);
}

static void read_all(struct worker *w)
{
	size_t n = w->buf_length;

	for (size_t at = 0; at < w->length; at += n)
		must(w, "device read",
		     w->device->read(&w->mirror, w->mem + at, w->buf, n));
}

static void write_all(struct worker *w)
{
	size_t n = w->buf_length;

	for (size_t at = 0; at < w->length; at += n)
		must(w, "device write",
		     w->device->write(&w->mirror, w->mem + at, w->buf, n));
}

static void snapshot(struct worker *w)
{
	must(w, "snapshot",
	     w->device->snapshot(&w->mirror, w->mem, w->buf, w->length));
}

/* Did the bytes get there? Every page has a word of its own. */
static void compare(struct worker *w)
{
	for (size_t i = 0; i < w->length; i += sysconf(_SC_PAGESIZE))
		must(w, "wrong data",
		     *(__u64 *)(w->mem + i) == *(__u64 *)(w->buf + i) ? 0 : -EBADMSG);
}

/* What the next access is to bring must not be there already. */
static void spoil(char *mem, size_t length)
{
	for (size_t i = 0; i < length; i += sysconf(_SC_PAGESIZE))
		*(__u64 *)(mem + i) = ~i;
}

static void timed(struct worker *w, const char *name, void (*work)(struct worker *w))
{
	step_begin(w, name);
	work(w);
	step_end(w);
}

static void session_access(struct worker *w)
{
	begin(w, w->length);
	spoil(w->buf, w->length);
	timed(w, "read_cold", read_all);
	compare(w);
	spoil(w->buf, w->length);
	timed(w, "read_warm", read_all);
	compare(w);
	mirror_close(&w->mirror);

	mirror_open(w);
	spoil(w->mem, w->length);
	timed(w, "write_cold", write_all);
	compare(w);
	spoil(w->mem, w->length);
	timed(w, "write_warm", write_all);
	compare(w);
	mirror_close(&w->mirror);
}

static void session_snapshot(struct worker *w)
{
	begin(w, w->length / sysconf(_SC_PAGESIZE) * sizeof(__u32));
	timed(w, "snapshot", snapshot);
	mirror_close(&w->mirror);
}

static void to_dev(struct worker *w)
{
	must(w, "migrating to the device",
	     w->device->to_dev(&w->mirror, w->mem, w->buf, w->length, w->huge));
}

static void to_dev_and_read(struct worker *w)
{
	to_dev(w);
	if (!w->device->loads_on_arrival)
		read_all(w);
}

static void to_sys(struct worker *w)
{
	must(w, "migrating to the system",
	     w->device->to_sys(&w->mirror, w->mem, w->buf, w->length, w->huge));
}

static void arrived(struct worker *w)
{
	snapshot(w);
	must(w, "pages are not in the device, or not as large as they should be",
	     w->device->arrived(w->buf, w->length, w->huge));
}

static void session_migrate(struct worker *w)
{
	begin(w, w->length);
	timed(w, w->huge ? "to_dev_2m" : "to_dev_4k", to_dev);
	arrived(w);
	timed(w, w->huge ? "to_sys_2m" : "to_sys_4k", to_sys);
	spoil(w->mem, w->length);
	timed(w, w->huge ? "to_dev_read_2m" : "to_dev_read_4k", to_dev_and_read);
	to_sys(w);
	compare(w);
	mirror_close(&w->mirror);
}

static void protect(struct worker *w)
{
	must(w, "mprotect", mprotect(w->mem, w->length, PROT_READ));
}

static void unmap(struct worker *w)
{
	must(w, "munmap", munmap(w->mem, w->length));
}

static void populate(struct worker *w)
{
	if (w->device->populate)
		must(w, "populate",
		     w->device->populate(&w->mirror, w->mem, w->length));
	else
		read_all(w);
}

static void session_invalidate(struct worker *w)
{
	begin(w, PIECE);
	populate(w);
	timed(w, "mprotect", protect);
	populate(w);
	timed(w, "munmap", unmap);
	mirror_close(&w->mirror);
}

static void session_growth(struct worker *w)
{
	begin(w, PIECE);
	timed(w, "growth_read_cold", read_all);
	timed(w, "growth_snapshot", snapshot);
	mirror_close(&w->mirror);
}

/* The callbacks alone: the call around them takes a hundred times as long. */
static void session_growth_invalidate(struct worker *w)
{
	__u64 before, after;

	begin(w, PIECE);
	populate(w);
	must(w, "statistics", w->device->invalidate_ns(&w->mirror, &before));
	unmap(w);
	must(w, "statistics", w->device->invalidate_ns(&w->mirror, &after));
	step_value(w, "growth_invalidate", after - before);
	mirror_close(&w->mirror);
}

/*
 * What the slabs grow by for the second half of the memory. The first half takes up
 * the free slabs that former sessions left, which the counter holds already.
 */
static void session_weigh(struct worker *w)
{
	__s64 before;

	begin(w, PIECE);
	w->length /= 2;
	populate(w);
	before = slab_bytes(w);
	w->mem += w->length;
	populate(w);
	step_value(w, "slab", slab_bytes(w) - before);
	mirror_close(&w->mirror);
}

static void drop(struct worker *w)
{
	must(w, "MADV_DONTNEED", madvise(w->mem, w->length, MADV_DONTNEED));
}

static void write_each(struct worker *w)
{
	size_t page = sysconf(_SC_PAGESIZE);

	for (size_t at = 0; at < w->length; at += page)
		must(w, "device write",
		     w->device->write(&w->mirror, w->mem + at, w->buf + at, page));
}

/*
 * The device reads memory that is there, then writes to memory that is not: all at once,
 * and page by page.
 */
static void session_fault(struct worker *w)
{
	begin(w, w->length);
	spoil(w->buf, w->length);
	timed(w, "fault_cold", read_all);
	compare(w);
	drop(w);
	timed(w, "fault_whole", write_all);
	compare(w);
	drop(w);
	timed(w, "fault_each", write_each);
	compare(w);
	mirror_close(&w->mirror);
}

#define BOTH	{ &test_hmm_device, &hotmirror_device }
#define ALL	{ &test_hmm_device, &hotmirror_device, &no_device }
#define OURS	{ &hotmirror_device }

const struct session sessions[] = {
	{ "access", session_access, 64, 2, false, EVERY_ROUND, BOTH },
	{ "snapshot", session_snapshot, 256, 2, false, EVERY_ROUND, BOTH },
	{ "migrate_4k", session_migrate, 64, 2, false, EVERY_ROUND, BOTH },
	{ "migrate_2m", session_migrate, 64, 2, true, EVERY_ROUND, BOTH },
	{ "invalidate", session_invalidate, 256, 2, false, EVERY_ROUND, ALL },
	{ "weigh", session_weigh, 512, 1, false, EXTRA_ROUND, ALL },
	{ "growth", session_growth, 16, 1, false, EXTRA_ROUND, OURS },
	{ "growth", session_growth, 64, 1, false, EXTRA_ROUND, OURS },
	{ "growth", session_growth, 256, 1, false, EXTRA_ROUND, OURS },
	{ "growth", session_growth, 1024, 1, false, EXTRA_ROUND, OURS },
	{ "growth_invalidate", session_growth_invalidate, 16, 1, false, EXTRA_ROUND, OURS },
	{ "growth_invalidate", session_growth_invalidate, 64, 1, false, EXTRA_ROUND, OURS },
	{ "growth_invalidate", session_growth_invalidate, 256, 1, false, EXTRA_ROUND, OURS },
	{ "growth_invalidate", session_growth_invalidate, 1024, 1, false, EXTRA_ROUND, OURS },
	{ "fault", session_fault, 16, 1, false, NAMED, OURS },
	{ "migrate_ours", session_migrate, 16, 1, false, NAMED, OURS },
};

const unsigned int nr_sessions = sizeof(sessions) / sizeof(sessions[0]);
