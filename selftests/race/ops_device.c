// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations of the device, made through its file: of the first device, and the same of
 * a second one that mirrors the same memory.
 */
#include <errno.h>
#include <string.h>

#include "../lib/mem.h"
#include "race.h"

static size_t sample_length(const struct race_run *r)
{
	return r->area->pages * hm_page_size();
}

/* Pages before @done bytes went well, the next one did not, the rest was not tried. */
static void by_page(struct race_run *r, int ret, __u64 done)
{
	int good = done / hm_page_size();

	for (int i = 0; i < r->area->pages; i++)
		r->page[i].side[r->side] = i < good ? '+' : i == good ? race_error(ret) : '.';
}

static void device_read(struct race_run *r)
{
	struct hotmirror_access out = {};
	char *buffer = r->worker->buffer;
	size_t page = hm_page_size();
	int ret = hm_access(r->fd, HOTMIRROR_READ, r->area->sample, buffer, sample_length(r), &out);

	by_page(r, ret, out.done);
	for (size_t i = 0; i < out.done / page; i++)
		r->page[i].seen[r->side] = race_token(*(__u64 *)(buffer + i * page),
						      r->area->sample + i * page);
}

static void device_write(struct race_run *r)
{
	struct hotmirror_access out = {};
	char *buffer = r->worker->buffer;
	size_t page = hm_page_size();
	int ret;

	for (int i = 0; i < r->area->pages; i++) {
		__u64 word = race_word(race_written(r->side), r->area->sample + i * page);

		memcpy(buffer + i * page, &word, sizeof(word));
		memcpy(buffer + (i + 1) * page - sizeof(word), &word, sizeof(word));
	}
	ret = hm_access(r->fd, HOTMIRROR_WRITE, r->area->sample, buffer, sample_length(r), &out);
	by_page(r, ret, out.done);
}

static void device_prefetch(struct race_run *r)
{
	struct hotmirror_access out = {};
	int ret = hm_access(r->fd, HOTMIRROR_PREFETCH, r->area->sample, NULL, sample_length(r),
			    &out);

	by_page(r, ret, out.done);
}

/* hm_access() has no flags; a page each, so that the first bad one is known. */
static void device_prefetch_w(struct race_run *r)
{
	size_t page = hm_page_size();
	int ret = 0, i;

	for (i = 0; i < r->area->pages && !ret; i++) {
		ret = hm_prefetch(r->fd, r->area->sample + i * page, page, true);
		race_all(r, i, 1, ret);
	}
}

static void device_fault_hmm(struct race_run *r)
{
	struct hotmirror_access out = {
		.flags = HOTMIRROR_PREFETCH_BY_HMM | HOTMIRROR_ACCESS_WRITE,
	};
	int ret = hm_access(r->fd, HOTMIRROR_PREFETCH, r->area->sample, NULL, sample_length(r),
			    &out);

	by_page(r, ret, out.done);
}

/* On page 1, which B concerns, too. */
static void device_atomic(struct race_run *r)
{
	struct hotmirror_atomic add = { .operand = 1 };
	char *at = r->area->sample + hm_page_size();
	int ret = hm_atomic(r->fd, at, &add);

	race_all(r, 1, 1, ret);
	if (!ret)
		r->page[1].seen[r->side] = race_token(add.old, at);
}

static char snap_token(__u32 snap)
{
	if (!(snap & HOTMIRROR_SNAP_VALID))
		return '-';
	return snap & HOTMIRROR_SNAP_WRITE ? 'W' : 'V';
}

static void device_snapshot(struct race_run *r)
{
	__u32 *snap = (__u32 *)r->worker->buffer;
	int ret = hm_snapshot(r->fd, r->area->sample, sample_length(r), snap);

	race_all(r, 0, r->area->pages, ret < 0 ? ret : 0);
	for (int i = 0; ret >= 0 && i < r->area->pages; i++)
		r->page[i].seen[r->side] = snap_token(snap[i]);
}

static void migrate(struct race_run *r, unsigned int cmd)
{
	__u64 moved;

	race_all(r, 0, r->area->pages,
		 hm_migrate(r->fd, cmd, r->area->mem, r->area->length, HOTMIRROR_MIGRATE_LARGE,
			    &moved));
}

static void device_to_dev(struct race_run *r)
{
	migrate(r, HOTMIRROR_MIGRATE_TO_DEV);
}

static void device_to_sys(struct race_run *r)
{
	migrate(r, HOTMIRROR_MIGRATE_TO_SYS);
}

/* Held until the memory is cleared. */
static void device_pin(struct race_run *r)
{
	__u64 pages = 0;
	int ret = hm_pin(r->fd, r->area->sample, sample_length(r), HOTMIRROR_PIN_WRITE,
			 &r->worker->pin, &pages);

	/* Fewer pages than asked for: nobody says why. */
	r->worker->pinned = ret >= 0;
	race_all(r, 0, ret < 0 ? 1 : pages, ret < 0 ? ret : 0);
}

/* As an exclusive access or a pin would have them: also of our own private pages. */
static void device_fault(struct race_run *r)
{
	__u32 id;
	int ret = hm_pin(r->fd, r->area->sample, sample_length(r), HOTMIRROR_PIN_WRITE, &id, NULL);

	if (ret >= 0)
		hm_unpin(r->fd, id);
}

const struct race_op race_op_fault = {
	.name = "fault",
	.words = "the page faults of an operation, and nothing else of it",
	.flags = OP_DEVICE,
	.run = device_fault,
};

/* ---- what makes no sense where ---- */

static const char *must_migrate(unsigned int memory)
{
	if (memory & (MEM_DAX | MEM_HUGETLB | MEM_SHARED | MEM_SHMEM))
		return "memory of this kind does not migrate to a device";
	return NULL;
}

static const char *must_be_anon(unsigned int memory)
{
	if (memory & MEM_ANON && !(memory & MEM_HUGETLB))
		return NULL;
	return "only anonymous memory, not of the pool, can be made device-exclusive";
}

static const char *as_a_write(unsigned int memory)
{
	return memory & MEM_THIN ? "a write of the device meets the same" : NULL;
}

/* userfaultfd: before 7.3 it cannot be waited for; hotmirror_hmm_asleep does. */
static const char *nothing_to_fault(unsigned int memory)
{
	if (memory & (MEM_HOLE | MEM_CLEAN) && !(memory & MEM_USERFAULT))
		return NULL;
	return "HMM finds nothing to be faulted: see prefetch_w";
}

#define ATOMIC	HOTMIRROR_HAS_EXCLUSIVE

#define DEVICE_OPS(suffix, more, whose)							\
	{ "read" suffix, whose " reads all pages",						\
	  OP_DEVICE | OP_COPIES | OP_READS | OP_POPULATES | (more), 0, NULL, NULL,		\
	  device_read, 0 },									\
	{ "write" suffix, whose " writes all pages",						\
	  OP_DEVICE | OP_COPIES | OP_WRITES | OP_POPULATES | (more), 0, NULL, NULL,		\
	  device_write, 0 },									\
	{ "prefetch" suffix, whose " populates its page table",					\
	  OP_DEVICE | OP_POPULATES | (more), 0, NULL, NULL, device_prefetch, 0 },		\
	{ "prefetch_w" suffix, whose " populates its page table, to write",			\
	  OP_DEVICE | OP_WRITES | OP_POPULATES | (more), 0, as_a_write, NULL,			\
	  device_prefetch_w, 0 },								\
	{ "atomic" suffix, whose " adds one to a word of page 1, which it makes exclusive",	\
	  OP_DEVICE | OP_READS | OP_WRITES | OP_EXCLUDES | OP_NOTIFIES | (more), ATOMIC,	\
	  must_be_anon, NULL, device_atomic, 0 },						\
	{ "snapshot" suffix, whose " looks at the CPU page table",				\
	  OP_DEVICE | OP_SNAPSHOTS | (more), 0, NULL, NULL, device_snapshot, 0 },		\
	{ "to_dev" suffix, whose " has the pages migrated to it",				\
	  OP_DEVICE | OP_MIGRATES | OP_NOTIFIES | OP_BEST_EFFORT | (more), 0, must_migrate,	\
	  NULL, device_to_dev, 0 },								\
	{ "to_sys" suffix, whose " has its pages migrated to system memory",			\
	  OP_DEVICE | OP_MIGRATES | OP_NOTIFIES | OP_BEST_EFFORT | (more), 0, must_migrate,	\
	  NULL, device_to_sys, 0 },								\
	{ "pin" suffix, whose " pins all pages", OP_DEVICE | OP_PINS | (more), 0, NULL, NULL,	\
	  device_pin, 0 }

const struct race_op race_ops_device[] = {
	DEVICE_OPS("", 0, "the device"),
	DEVICE_OPS("2", OP_SECOND, "the second device"),
	{ "fault_hmm", "the device has HMM fault all pages, to write, and populates its page table",
	  OP_DEVICE | OP_WRITES | OP_POPULATES | OP_BY_HMM, 0, nothing_to_fault, NULL,
	  device_fault_hmm, 0 },
};

const int race_nr_ops_device = sizeof(race_ops_device) / sizeof(race_ops_device[0]);
