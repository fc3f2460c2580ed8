// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>

#include "model.h"

const struct model_range model_ranges[MODEL_RANGES] = {
	/* single pages, one of them beside another */
	{ 0, { 0, 0 }, { 0, 1 } },
	{ 0, { 0, 1 }, { 0, 2 } },
	{ 0, { 0, 60 }, { 0, 61 } },
	/* two that overlap */
	{ 0, { 0, 7 }, { 0, 19 } },
	{ 0, { 0, 13 }, { 0, 40 } },
	/* up to an edge, on from it, across one */
	{ 0, { 1, -3 }, { 1, 0 } },
	{ 0, { 1, 0 }, { 1, 1 } },
	{ 0, { 2, -1 }, { 2, 1 } },
	/* from the middle of a leaf to the middle of it, and to the end */
	{ 0, { 1, 9 }, { 2, -50 } },
	{ 0, { 2, 20 }, { 3, 0 } },
	/* another instance: all but the first and the last page */
	{ 1, { 0, 1 }, { 3, -1 } },
	/* another file of the first instance */
	{ 2, { 0, 13 }, { 0, 14 } },
	{ 2, { 1, -40 }, { 1, 40 } },
};

static int at(const struct model *m, struct model_place p)
{
	return p.leaf * m->leaf + p.page;
}

int model_start(const struct model *m, int r)
{
	return at(m, model_ranges[r].start);
}

int model_end(const struct model *m, int r)
{
	return at(m, model_ranges[r].end);
}

char *model_addr(const struct model *m, int i)
{
	return m->mem + i * m->page;
}

__u64 model_setting(const char *name, __u64 otherwise)
{
	const char *value = getenv(name);

	return value ? strtoull(value, NULL, 0) : otherwise;
}

/* xorshift64*: the same on every machine. */
int model_random(struct model *m, int n)
{
	__u64 x = m->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	m->random = x;
	return (x * 0x2545f4914f6cdd1dULL >> 33) % n;
}

/* Half of them where a range begins or ends, or one beside it. */
static int random_page(struct model *m)
{
	int r = model_random(m, MODEL_RANGES);
	int page;

	if (model_random(m, 2))
		return model_random(m, m->pages);
	page = model_random(m, 2) ? model_start(m, r) : model_end(m, r);
	page += model_random(m, 3) - 1;
	return page < 0 ? 0 : page >= m->pages ? m->pages - 1 : page;
}

void model_interval(struct model *m, int *first, int *end)
{
	int a = random_page(m), b = random_page(m);

	switch (model_random(m, 4)) {
	case 0:
		b = a;
		break;
	case 1:
	case 2:
		b = a + model_random(m, 40);
		break;
	}
	*first = a < b ? a : b;
	*end = (a < b ? b : a) + 1;
	if (*end > m->pages)
		*end = m->pages;
}

void model_invalidate(struct model *m, int first, int end)
{
	for (int i = first; i < end; i++)
		for (int f = 0; f < MODEL_FILES; f++) {
			m->cleared[f] += m->state[i].entry[f] != EMPTY;
			m->state[i].entry[f] = EMPTY;
		}
}

void model_fault(struct model *m, int i, bool write)
{
	struct model_page *p = &m->state[i];

	if (!write) {
		p->pte = p->pte == ABSENT ? ZERO : p->pte;
		return;
	}
	if (p->pte == ZERO || p->pte == LENT)
		model_invalidate(m, i, i + 1);
	p->pte = OWN;
}

static bool cpu_may_write(const struct model_page *p)
{
	return p->prot == RW && p->pte == OWN;
}

static bool is_mirrored(const struct model *m, int file, int i)
{
	for (int r = 0; r < MODEL_RANGES; r++)
		if (model_ranges[r].file == file && i >= model_start(m, r) &&
		    i < model_end(m, r))
			return true;
	return false;
}

/*
 * A device access to one page; 0 or how it fails. What is there is not looked up
 * again, unless in one go with what was not: then it may learn that it can write.
 */
static int device_page(struct model *m, int file, int i, bool write)
{
	struct model_page *p = &m->state[i];
	unsigned char *entry = &p->entry[file];

	if (!is_mirrored(m, file, i))
		return -ENOENT;
	if (*entry == WRITABLE || (*entry == READABLE && !write)) {
		if (*entry == READABLE && cpu_may_write(p))
			*entry = SOME;
		return 0;
	}
	if (p->prot < (write ? RW : RO))
		return -EFAULT;
	model_fault(m, i, write);
	*entry = cpu_may_write(p) ? WRITABLE : READABLE;
	return 0;
}

__u32 model_expected(const struct model_page *p, int file)
{
	__u32 snap = 0;

	if (p->prot < RO)
		snap |= HOTMIRROR_SNAP_ERROR;
	else if (p->pte != ABSENT)
		snap |= HOTMIRROR_SNAP_VALID;
	if (cpu_may_write(p))
		snap |= HOTMIRROR_SNAP_WRITE;
	if (p->entry[file])
		snap |= HOTMIRROR_SNAP_DEVICE;
	if (p->entry[file] == WRITABLE)
		snap |= HOTMIRROR_SNAP_DEVICE_WRITE;
	return snap;
}

bool model_is_right(struct model *m, int file, int i, __u32 snap)
{
	unsigned char *entry = &m->state[i].entry[file];

	if (*entry == SOME)
		*entry = snap & HOTMIRROR_SNAP_DEVICE_WRITE ? WRITABLE : READABLE;
	return (snap & MODEL_KNOWN) == model_expected(&m->state[i], file);
}

bool model_is_post(const struct model *m, int i)
{
	return i % m->leaf == m->leaf / 2;
}

int model_run_end(const struct model *m, int i, int end)
{
	enum prot prot = m->state[i].prot;

	while (i < end && m->state[i].prot == prot)
		i++;
	return i;
}

void model_set(struct model *m, int first, int end, enum prot prot)
{
	model_invalidate(m, first, end);
	for (int i = first; i < end; i++) {
		m->state[i].prot = prot;
		m->state[i].pte = ABSENT;
	}
}

size_t model_device(struct model *m, int file, const char *from, const char *to,
		    bool write, int *ret)
{
	int first = (from - m->mem) / m->page, i = first;

	*ret = 0;
	for (; model_addr(m, i) < to; i++) {
		*ret = device_page(m, file, i, write);
		if (*ret)
			return i == first ? 0 : model_addr(m, i) - from;
	}
	return to - from;
}

void model_lend(struct model *m, int first, int end)
{
	model_invalidate(m, 0, m->pages);
	for (int i = 0; i < m->pages; i++) {
		struct model_page *p = &m->state[i];
		bool copied = p->prot == RW && i >= first && i < (first + end) / 2;

		if (p->pte >= LENT)
			p->pte = copied ? LEFT : LENT;
	}
}

void model_give_back(struct model *m)
{
	for (int i = 0; i < m->pages; i++)
		if (m->state[i].pte == LENT)
			m->state[i].pte = LEFT;
}

__u64 model_entries(const struct model *m, int file)
{
	__u64 n = 0;

	for (int i = 0; i < m->pages; i++)
		n += m->state[i].entry[file] != EMPTY;
	return n;
}
