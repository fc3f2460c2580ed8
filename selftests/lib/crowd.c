// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "crowd.h"
#include "mem.h"
#include "uffd.h"

static char *page_of(const struct hm_crowd *c, char *base, int i)
{
	return base + i * c->page;
}

static void fill_access(const struct hm_crowd *c, int i, union arg *arg)
{
	arg->access = (struct hotmirror_access){
		.size = sizeof(arg->access),
		.addr = at(page_of(c, c->mem, i)),
		.length = c->page,
		.buf = at(page_of(c, c->buf, i)),
	};
}

static void fill_prefetch(const struct hm_crowd *c, int i, union arg *arg)
{
	fill_access(c, i, arg);
	arg->access.buf = 0;
}

static void fill_pin(const struct hm_crowd *c, int i, union arg *arg)
{
	arg->pin = (struct hotmirror_pin){
		.size = sizeof(arg->pin),
		.addr = at(page_of(c, c->mem, i)),
		.length = c->page,
	};
}

static void fill_pin_fast(const struct hm_crowd *c, int i, union arg *arg)
{
	fill_pin(c, i, arg);
	arg->pin.flags = HOTMIRROR_PIN_FAST | HOTMIRROR_PIN_WRITE;
}

static void fill_atomic(const struct hm_crowd *c, int i, union arg *arg)
{
	arg->atomic = (struct hotmirror_atomic){
		.size = sizeof(arg->atomic),
		.addr = at(page_of(c, c->mem, i)),
		.operand = 1,
	};
}

/* How far it got, in bytes, and whether what it did is right. */
static __u64 access_done(const union arg *arg)
{
	return arg->access.done;
}

static __u64 pin_done(const union arg *arg)
{
	return arg->pin.pages * hm_page_size();
}

static __u64 atomic_done(const union arg *arg)
{
	return arg->atomic.old ? hm_page_size() : 0;
}

static bool buffer_is_new(const struct hm_crowd *c, int i)
{
	return !memcmp(page_of(c, c->buf, i), page_of(c, c->fresh, i), c->page);
}

static bool memory_is_new(const struct hm_crowd *c, int i)
{
	return !memcmp(page_of(c, c->mem, i), page_of(c, c->fresh, i), c->page);
}

static bool memory_is_written(const struct hm_crowd *c, int i)
{
	return !memcmp(page_of(c, c->mem, i), page_of(c, c->buf, i), c->page);
}

static bool memory_is_one_more(const struct hm_crowd *c, int i)
{
	__u64 *mem = (__u64 *)page_of(c, c->mem, i);
	__u64 *fresh = (__u64 *)page_of(c, c->fresh, i);

	return *mem == *fresh + 1 && !memcmp(mem + 1, fresh + 1, c->page - sizeof(*mem));
}

static const struct kind {
	unsigned int cmd;
	void (*fill)(const struct hm_crowd *c, int i, union arg *arg);
	__u64 (*done)(const union arg *arg);
	bool (*right)(const struct hm_crowd *c, int i);
} kinds[] = {
	{ HOTMIRROR_READ, fill_access, access_done, buffer_is_new },
	{ HOTMIRROR_WRITE, fill_access, access_done, memory_is_written },
	{ HOTMIRROR_PREFETCH, fill_prefetch, access_done, memory_is_new },
	{ HOTMIRROR_PIN, fill_pin, pin_done, memory_is_new },
	{ HOTMIRROR_PIN, fill_pin_fast, pin_done, memory_is_new },
	{ HOTMIRROR_ATOMIC, fill_atomic, atomic_done, memory_is_one_more },
};

/* All in turn; the last of them is not in every kernel. */
static const struct kind *kind_of(const struct hm_crowd *c, int i)
{
	size_t n = sizeof(kinds) / sizeof(kinds[0]);

	return &kinds[i % (c->features & HOTMIRROR_HAS_EXCLUSIVE ? n : n - 1)];
}

int hm_crowd_begin(struct hm_crowd *c, __u32 id, __u64 features)
{
	c->page = hm_page_size();
	c->features = features;
	c->fd = hm_open(id);
	if (c->fd < 0)
		return c->fd;
	c->uffd = hm_uffd_open();
	if (c->uffd < 0)
		return c->uffd;
	c->mem = hm_map(COMMANDS);
	c->buf = hm_map(COMMANDS);
	c->fresh = hm_map(COMMANDS);
	if (!c->mem || !c->buf || !c->fresh)
		return -ENOMEM;
	hm_fill(c->buf, COMMANDS * c->page, HM_CROWD_WRITTEN);
	hm_fill(c->fresh, COMMANDS * c->page, HM_CROWD_NEW);
	return hm_mirror(c->fd, c->mem, COMMANDS * c->page, 0, NULL) ?:
	       hm_uffd_register(c->uffd, c->mem, COMMANDS * c->page, false);
}

struct io_uring_sqe *hm_crowd_queue(struct hm_crowd *c, struct io_uring *ring, int i)
{
	const struct kind *kind = kind_of(c, i);

	kind->fill(c, i, &c->args[i]);
	return hm_ring_command(ring, c->fd, kind->cmd, &c->args[i], i);
}

/* One may tell of its fault again: io-wq wakes workers that it believes to be idle. */
int hm_crowd_asleep(struct hm_crowd *c, int n)
{
	struct hm_fault f;

	while (n) {
		int ret = hm_uffd_wait(c->uffd, &f);
		bool *seen = &c->asleep[(f.addr - at(c->mem)) / c->page];

		if (ret)
			return ret;
		n -= !*seen;
		*seen = true;
	}
	return 0;
}

int hm_crowd_sleep(struct hm_crowd *c, struct io_uring *ring, int first, int n)
{
	for (int i = first; i < first + n; i++) {
		if (!hm_crowd_queue(c, ring, i))
			return -EBUSY;
		c->asleep[i] = false;
	}
	return hm_ring_submit(ring) ?: hm_crowd_asleep(c, n);
}

int hm_crowd_resolve(struct hm_crowd *c, int first, int n)
{
	return hm_uffd_copy(c->uffd, page_of(c, c->mem, first),
			    page_of(c, c->fresh, first), n * c->page);
}

__u64 hm_crowd_done(const struct hm_crowd *c, int i)
{
	return kind_of(c, i)->done(&c->args[i]);
}

bool hm_crowd_right(const struct hm_crowd *c, int i)
{
	return kind_of(c, i)->right(c, i);
}
