// SPDX-License-Identifier: GPL-2.0-only
/*
 * Words and the tokens that stand for them. A word says who wrote it and to which page, so
 * that another page's contents are noticed; its lowest digit counts atomic additions.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "../lib/mem.h"
#include "race.h"

/* Each base and what it is called after 0, 1, 2 additions. */
static const struct {
	const char *names;
	__u64 base;
} bases[] = {
	{ "012", 0 },
	{ "ijk", 0x69696969 },
	{ "opq", 0x6f6f6f6f },
	{ "aAx", 0x61616161 },
	{ "bBy", 0x62626262 },
	{ "cCz", 0x63636363 },
	{ "uUv", 0x75757575 },
};

#define NR_BASES	(sizeof(bases) / sizeof(bases[0]))

/* Of a page: the same wherever it is moved to, because windows are PMDs apart. */
static __u64 tag(const void *at)
{
	return ((uintptr_t)at / hm_page_size() % 32 + 1) << 8;
}

__u64 race_word(char token, const void *at)
{
	for (size_t i = 0; i < NR_BASES; i++)
		if (bases[i].names[0] == token)
			return bases[i].base ? bases[i].base << 32 | tag(at) : 0;
	return 0;
}

char race_token(__u64 word, const void *at)
{
	for (size_t i = 0; i < NR_BASES; i++) {
		__u64 more = word - race_word(bases[i].names[0], at);

		if (more < strlen(bases[i].names))
			return bases[i].names[more];
	}
	return '?';
}

char race_written(int side)
{
	return "abc"[side];
}

char race_error(int err)
{
	static const struct {
		int err;
		char token;
	} tokens[] = {
		{ 0, '+' }, { EFAULT, 'F' }, { EHWPOISON, 'H' }, { ENODEV, 'N' },
		{ ENXIO, 'N' }, { ESRCH, 'S' }, { EINVAL, 'I' }, { EOPNOTSUPP, 'O' },
		{ ENOMEM, 'M' }, { EAGAIN, 'A' }, { EBUSY, 'A' }, { EPERM, 'P' },
		{ EINTR, 'K' }, { EEXIST, 'X' },
	};

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		if (tokens[i].err == -err)
			return tokens[i].token;
	return 'E';
}

static __u64 *tail_of(char *page)
{
	return (__u64 *)(page + hm_page_size()) - 1;
}

void race_fill_page(char *page, char token)
{
	*(__u64 *)page = race_word(token, page);
	*tail_of(page) = race_word(token, page);
}

void race_fill(char *mem, size_t length)
{
	for (size_t i = 0; i < length; i += hm_page_size())
		race_fill_page(mem + i, 'i');
}

static char caught(int sig)
{
	const int memory_error = 4;	/* BUS_MCEERR_AR */

	if (!sig)
		return '+';
	return sig == SIGBUS && hm_last_signal().code == memory_error ? 'H' : 'F';
}

char race_load(const char *from, char *seen)
{
	__u64 word = 0;
	char end = caught(hm_cpu_load(from, &word));

	*seen = end == '+' ? race_token(word, from) : end;
	return end;
}

char race_store(char *to, char token)
{
	return caught(hm_cpu_store(to, race_word(token, to)));
}

void race_all(struct race_run *r, int first, int pages, int ret)
{
	for (int i = first; i < first + pages; i++)
		r->page[i].side[r->side] = race_error(ret);
}
