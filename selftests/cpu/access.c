// SPDX-License-Identifier: GPL-2.0-only
/*
 * One aligned 64-bit access, by the CPU or by the device, and how it ends.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>

#include "../lib/mem.h"
#include "cell.h"

const char *cell_end_name(enum cell_end end)
{
	static const char * const names[CELL_NR_ENDS] = {
		[CELL_OK] = "ok",
		[CELL_SEGV] = "SEGV",
		[CELL_BUS] = "BUS",
		[CELL_HWPOISON] = "EHWPOISON",
		[CELL_FAULT] = "EFAULT",
		[CELL_REFUSED] = "EOPNOTSUPP",
		[CELL_GONE] = "ENODEV",
		[CELL_DENIED] = "EPERM",
		[CELL_OTHER] = "another error",
	};

	return names[end];
}

static sigjmp_buf resume;
static volatile sig_atomic_t guarded;

static enum cell_end ends_with(const siginfo_t *info)
{
	if (info->si_signo == SIGSEGV)
		return CELL_SEGV;
	/* An error that was found before is "action optional", not ours. */
	return info->si_code == BUS_MCEERR_AR ? CELL_HWPOISON : CELL_BUS;
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (guarded)
		siglongjmp(resume, ends_with(info));
	/* Not ours: die of it. */
	signal(sig, SIG_DFL);
	raise(sig);
}

void cell_catch_faults(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/*
 * An atomic faults for writing. An emulator may make a load and a store of it and
 * fault for reading first: a store to the word beside it, which nobody compares,
 * makes sure that the first fault is the right one.
 */
static void cpu_access(enum cell_access access, volatile __u64 *p, __u64 *value)
{
	if (access == CELL_READ) {
		*value = *p;
	} else if (access == CELL_WRITE) {
		*p = *value;
	} else {
		p[1] = 0;
		*value = __atomic_fetch_add(p, *value, __ATOMIC_SEQ_CST);
	}
}

enum cell_end cell_cpu(enum cell_access access, void *p, __u64 *value)
{
	enum cell_end end = sigsetjmp(resume, 0);

	if (end == CELL_OK) {
		guarded = 1;
		cpu_access(access, p, value);
	}
	guarded = 0;
	return end;
}

static int device_access(enum cell_access access, int fd, void *p, __u64 *value)
{
	struct hotmirror_atomic atomic = { .operand = *value };
	int ret;

	if (access == CELL_READ)
		return hm_read(fd, p, value, sizeof(*value));
	if (access == CELL_WRITE)
		return hm_write(fd, p, value, sizeof(*value));
	ret = hm_atomic(fd, p, &atomic);
	*value = atomic.old;
	return ret;
}

enum cell_end cell_device(const struct cell *cell, int fd, void *p, __u64 *value,
			  int *error)
{
	*error = cell->by_hmm ? hm_prefetch_by_hmm(fd, p, sizeof(*value),
						   cell->access != CELL_READ) : 0;
	if (!*error)
		*error = device_access(cell->access, fd, p, value);
	switch (*error) {
	case 0:
		return CELL_OK;
	case -EFAULT:
		return CELL_FAULT;
	case -EHWPOISON:
		return CELL_HWPOISON;
	case -EOPNOTSUPP:
		return CELL_REFUSED;
	case -ENODEV:
		return CELL_GONE;
	case -EPERM:
		return CELL_DENIED;
	default:
		return CELL_OTHER;
	}
}

/* The sum over a page, less the word of the access and the one beside it. */
static __u64 sum_page(const char *mem, const char *word)
{
	const __u64 *p = (const __u64 *)mem, *skip = (const __u64 *)word;
	size_t n = hm_page_size() / sizeof(*p);
	__u64 sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (sum << 1 | sum >> 63) ^ (&p[i] == skip || &p[i] == skip + 1 ? 0 : p[i]);
	return sum;
}

/* Every page that lets itself be read. */
struct cell_look cell_look_at(const char *mem, size_t page)
{
	const char *word = mem + CELL_TARGET * page + CELL_OFFSET;
	static struct cell_look look;	/* outlives siglongjmp() */
	static int i;

	look = (struct cell_look){ .looked = 1 };
	for (i = 0; i < CELL_PAGES; i++) {
		enum cell_end end = sigsetjmp(resume, 0);

		if (end == CELL_OK) {
			guarded = 1;
			look.sum += sum_page(mem + i * page, word);
			if (i == CELL_TARGET)
				look.word = *(const __u64 *)word;
		}
		guarded = 0;
		look.ends |= end << 4 * i;
	}
	return look;
}

/* Every word of every page is another, and none is zero. */
__u64 cell_filled(size_t offset, unsigned int seed)
{
	return (offset / sizeof(__u64) + 1) * 0x9e3779b97f4a7c15ULL + seed;
}

void cell_fill(char *mem, size_t length, unsigned int seed)
{
	for (size_t i = 0; i < length; i += sizeof(__u64))
		*(__u64 *)(mem + i) = cell_filled(i, seed);
}
