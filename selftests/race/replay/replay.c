// SPDX-License-Identifier: GPL-2.0-only
/* @head */
/*
 * The C file that --reproducer prints, here with a sample schedule. reproducer.c takes what
 * a schedule needs: lines from "@for words" to "@end" if one of the words is wanted, the
 * file of that name at "@part", its own text at "@head" and "@schedule".
 */
/* @end */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
/* @for ramfs */
#include <linux/mount.h>
/* @end */
/* @for uffd */
#include <linux/userfaultfd.h>
/* @end */
#include <poll.h>
#include <pthread.h>
/* @for fork_child fork_parent */
#include <sched.h>
/* @end */
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
/* @for gup_read vmsplice */
#include <sys/uio.h>
/* @end */
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test_hotmirror_uapi.h"

/* @schedule */
#define NAME	"read+munmap@anon:populate.begin"
#define SIDES	2
#define KIND	0

static void op_read(int side);
static void op_munmap(int side);
static void op_prefetch(int side);
static void look(int side);

static const struct {
	const char *name;
	void (*run)(int side), (*faults)(int side);
	int file;		/* of the device, of the second one */
	bool recorded;		/* best effort: how it ends is not judged */
	bool remote;		/* made by the orchestrator, which outlives the child */
} sides[SIDES + 1] = {
	{ "read", op_read, op_prefetch, 0, false, false },
	{ "munmap", op_munmap, NULL, 0, false, false },
	{ "look", look, NULL, 0, false, false },
};

/* A small letter: the page faults of that side, and nothing else of it. */
static const char *const orders[] = { "AB", "BA", "aAB", "aBA" };

#define PLAIN	2		/* of them, without such */
#define ORDERS	(sizeof(orders) / sizeof(orders[0]))
#define GATES	1

static const struct {
	const char *name;
	__u32 nr, flags;
	int side, file;
	bool any;		/* not the side's own thread stands there */
} gates[GATES] = {
	{ "populate.begin", HOTMIRROR_GATE_POPULATE_BEGIN, 0, 0, 0, false },
};

/* Asleep there is blocked: somebody else has to act. */
static const char *const wait_points[] = { "hotmirror_gate_", "__vm_munmap" };

#define ANYWHERE 1
/* @end */

/* ---- what is shared ---- */

#define PAGES	4		/* of the memory: B concerns the middle ones */
#define SPAN	(16UL << 20)	/* as far away is the place where B may move them */
#define LIMIT	10000		/* ms, for whatever stands at no gate */
#define LOOK	SIDES		/* the child's main thread */

/* What becomes of a page, one character each: see legend. */
struct page {
	char end[SIDES + 1], seen[SIDES + 1], map, cpu, tail, dev, moved;
};

static struct {
	struct page page[PAGES];
	char *mem, *sample, *middle;
	size_t length, grain, middle_length;
	int pages, first, nr;			/* of the sample; the middle ones */
	int id[3], fd[3], uffd;			/* instances, and the child's files of them */
	int go[SIDES + 1], done[SIDES + 1];	/* eventfds */
	pid_t tid[SIDES + 1], proxy[SIDES + 1];	/* a child that it waits for */
	bool only_faults;
	char *buffer[SIDES + 1];
} *sh;

static size_t page_size, pmd_size;
static char *window;
static int control, pidfd, fd[3], uffd = -1;
/* @for is_file */
static int file = -1;			/* behind the memory */
/* @end */

static void *shared_pages(size_t length)
{
	void *p = mmap(NULL, length, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		err(2, "mmap");
	return p;
}

/* How a call ended that returned this. */
static char ended(int ret)
{
	static const struct {
		int err;
		char letter;
	} letters[] = {
		{ EFAULT, 'F' }, { EHWPOISON, 'H' }, { ENODEV, 'N' }, { ENXIO, 'N' },
		{ ESRCH, 'S' }, { EINVAL, 'I' }, { ENOMEM, 'M' }, { EPERM, 'P' },
		{ EAGAIN, 'A' }, { EBUSY, 'A' }, { EOPNOTSUPP, 'O' },
	};

	for (size_t i = 0; ret && i < sizeof(letters) / sizeof(letters[0]); i++)
		if (errno == letters[i].err)
			return letters[i].letter;
	return ret ? 'E' : '+';
}

/* A word says who wrote it, to which page, and how much was added to it. */
static __u64 word_of(char who, int page)
{
	return who == '0' ? 0 : (__u64)who << 32 | (page + 1) << 8;
}

static char token(__u64 word, int page)
{
	static const char names[][4] = { "012", "ijk", "aAx", "bBy", "cCz", "uUv", "opq" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (word - word_of(names[i][0], page) < 3)
			return names[i][word - word_of(names[i][0], page)];
	return '?';
}

/* @for fills write uffd ramfs */
static void fill(char *at, char who, int page)
{
	__u64 word = word_of(who, page);

	memcpy(at, &word, sizeof(word));
	memcpy(at + page_size - sizeof(word), &word, sizeof(word));
}

/* @end */
static struct hotmirror_access access_to(int page, size_t length, void *buffer)
{
	return (struct hotmirror_access){
		.size = sizeof(struct hotmirror_access),
		.addr = (uintptr_t)sh->sample + page * page_size,
		.length = length,
		.buf = (uintptr_t)buffer,
	};
}

static __thread sigjmp_buf back;

static void caught(int sig, siginfo_t *info, void *context)
{
	(void)context;
	siglongjmp(back, sig == SIGBUS && info->si_code == BUS_MCEERR_AR ? 'H' : 'F');
}

static char load(char *at, int page, char *seen)
{
	*seen = sigsetjmp(back, 1);
	if (*seen)
		return *seen;
	*seen = token(__atomic_load_n((__u64 *)at, __ATOMIC_RELAXED), page);
	return '+';
}

/* ---- the operations ---- */

/* @part operations */
/* @part others */
/* ---- the memory ---- */

/* At a fixed place of the window, which is aligned to a PMD. */
static void layout(size_t offset, size_t length)
{
	sh->mem = window + offset;
	sh->length = length;
	sh->grain = page_size;
	sh->sample = sh->mem;
	sh->pages = PAGES;
	sh->middle = sh->sample + page_size;
	sh->middle_length = 2 * page_size;
	sh->first = 1;
	sh->nr = 2;
}

static void map(int flags, int of)
{
	const int rw = PROT_READ | PROT_WRITE;

	if (mmap(sh->mem, sh->length, rw, flags | MAP_FIXED, of, 0) != sh->mem)
		err(2, "mmap of the memory");
}

/* @for fills */
static void fill_all(void)
{
	for (int i = 0; i < sh->pages; i++)
		fill(sh->sample + i * page_size, 'i', i);
}

/* @end */
/* @part memories */
/* ---- the child: owns the memory, makes the operations ---- */

static void tell(int event)
{
	if (write(event, &(__u64){ 1 }, sizeof(__u64)) != sizeof(__u64))
		err(2, "eventfd");
}

static void hear(int event)
{
	while (read(event, &(__u64){ 0 }, sizeof(__u64)) != sizeof(__u64))
		;
}

static void *work(void *arg)
{
	int side = (intptr_t)arg;

	sh->tid[side] = syscall(SYS_gettid);
	for (;;) {
		tell(sh->done[side]);
		hear(sh->go[side]);
		if (sh->only_faults)
			sides[side].faults(side);
		else
			sides[side].run(side);
	}
	return NULL;
}

/* @for fork_child fork_parent */
/*
 * The C library has the kernel keep a thread's CPU number on its stack (rseq). A fork()ed
 * child that shares it makes the numbers wrong, and 7.3 kills for that.
 */
static void without_rseq(char **argv)
{
	const char *off = "glibc.pthread.rseq=0", *set = getenv("GLIBC_TUNABLES");

	if (set && !strcmp(set, off))
		return;
	setenv("GLIBC_TUNABLES", off, 1);
	execv("/proc/self/exe", argv);
	err(2, "/proc/self/exe");
}

/* @end */
/* Its stack is shared and present: it faults on the memory under test and nowhere else. */
static void start(int side)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, shared_pages(256 << 10), 256 << 10);
	errno = pthread_create(&thread, &attr, work, (void *)(intptr_t)side);
	if (errno)
		err(2, "pthread_create");
}

static void mirror(int device)
{
	struct hotmirror_mirror m = {
		.size = sizeof(m),
		/* @for two_pass */
		.flags = HOTMIRROR_MIRROR_TWO_PASS,
		/* @end */
		.addr = (uintptr_t)sh->mem,
		.length = sh->length,
	};

	if (ioctl(device, HOTMIRROR_MIRROR, &m))
		err(2, "MIRROR");
}

/* @for warm */
/* Populate the device page table with what is present. */
static void prefetch(int page, int pages)
{
	struct hotmirror_access a = access_to(page, pages * page_size, NULL);

	/* @for warm_write */
	a.flags = HOTMIRROR_ACCESS_WRITE;
	/* @end */
	if (ioctl(fd[0], HOTMIRROR_PREFETCH, &a))
		err(2, "PREFETCH");
}

/* @end */
/* When all is over: what the CPU and the device see. */
static void look(int side)
{
	__u64 *word = (__u64 *)sh->buffer[LOOK];

	(void)side;
	for (int i = 0; i < sh->pages; i++) {
		struct hotmirror_access a = access_to(i, sizeof(*word), word);
		char *at = sh->sample + i * page_size;
		struct page *p = &sh->page[i];

		p->map = mincore(at, 1, (unsigned char *)word) ? '-' : '+';
		load(at, i, &p->cpu);
		load(at + page_size - sizeof(*word), i, &p->tail);
		p->dev = ended(ioctl(fd[0], HOTMIRROR_READ, &a));
		if (p->dev == '+')
			p->dev = token(*word, i);
		/* @for moves */
		if (i >= sh->first && i < sh->first + sh->nr)
			load(at + SPAN, i, &p->moved);
		/* @end */
	}
}

static void child(void)
{
	struct sigaction sa = { .sa_sigaction = caught, .sa_flags = SA_SIGINFO };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	for (int i = 0; i < SIDES; i++)
		if (!sides[i].remote)
			start(i);
	if (mlockall(MCL_CURRENT))
		err(2, "mlockall");
	for (int i = 0; i < 3; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/dev/hotmirror%d", sh->id[i]);
		fd[i] = sh->id[i] < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
		sh->fd[i] = fd[i];
		if (sh->id[i] >= 0 && fd[i] < 0)
			err(2, "%s", path);
	}
	/* @for uffd */
	open_uffd();
	/* @end */
	build();
	mirror(fd[0]);
	/* @for second */
	mirror(fd[1]);
	/* @end */
	/* @for prepares */
	prepare();
	/* @end */
	/* @for uffd_part */
	give_to_uffd();
	/* @end */
	/* @for dropped */
	if (madvise(sh->mem, sh->length, MADV_DONTNEED))
		err(2, "MADV_DONTNEED");
	/* @end */
	/* @for warm_around */
	prefetch(0, 1);
	if (sh->pages > 2)
		prefetch(2, sh->pages - 2);
	/* @end */
	/* @for warm_whole */
	prefetch(0, sh->pages);
	/* @end */
	work((void *)(intptr_t)LOOK);
}

/* @part run */
