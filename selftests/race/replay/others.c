// SPDX-License-Identifier: GPL-2.0-only
/* @for populate_write mlock mprotect_rw free cold pageout wp_on wp_off remove */
/* One call for the middle pages. */
static void of_middle(int side, int ret)
{
	result(side, sh->first, sh->nr, ret);
}

/* @end */
/* @for free cold pageout populate_write remove */
static void advise(int side, int advice)
{
	of_middle(side, madvise(sh->middle, sh->middle_length, advice));
}

/* @end */
/* @for gup_read */
static void op_gup_read(int side)
{
	for (int i = sh->first; i < sh->first + sh->nr; i++) {
		struct iovec to = { sh->buffer[side], sizeof(__u64) };
		struct iovec from = { sh->sample + i * page_size, sizeof(__u64) };
		int ret = process_vm_readv(getpid(), &to, 1, &from, 1, 0) != sizeof(__u64);

		result(side, i, 1, ret);
		sh->page[i].seen[side] = ret ? sh->page[i].end[side] :
					 token(*(__u64 *)sh->buffer[side], i);
	}
}

/* @end */
/* @for vmsplice */
static int pipes[2];

/* The pages stay in the pipe. */
static void op_vmsplice(int side)
{
	for (int i = sh->first; i < sh->first + sh->nr; i++) {
		struct iovec iov = { sh->sample + i * page_size, page_size };

		result(side, i, 1, vmsplice(pipes[1], &iov, 1, 0) < 0);
	}
}

/* @end */
/* @for populate_write */
static void op_populate_write(int side)
{
	advise(side, MADV_POPULATE_WRITE);
}

/* @end */
/* @for mlock */
static void op_mlock(int side)
{
	of_middle(side, mlock(sh->middle, sh->middle_length));
}

/* @end */
/* @for mprotect_rw */
static void op_mprotect_rw(int side)
{
	of_middle(side, mprotect(sh->middle, sh->middle_length, PROT_READ | PROT_WRITE));
}

/* @end */
/* @for free */
static void op_free(int side)
{
	advise(side, MADV_FREE);
}

/* @end */
/* @for cold */
static void op_cold(int side)
{
	advise(side, MADV_COLD);
}

/* @end */
/* @for pageout */
static void op_pageout(int side)
{
	advise(side, MADV_PAGEOUT);
}

/* @end */
/* @for collapse */
static void op_collapse(int side)
{
	const int collapse = 25;	/* MADV_COLLAPSE */

	result(side, 0, sh->pages, madvise(sh->mem, sh->length, collapse));
}

/* @end */
/* @for thp_split */
static void op_thp_split(int side)
{
	char *text = sh->buffer[side];
	int file = open("/sys/kernel/debug/split_huge_pages", O_WRONLY), ret;

	ret = snprintf(text, page_size, "%d,0x%lx,0x%lx", getpid(), (long)sh->mem,
		       (long)sh->mem + sh->length);
	result(side, 0, sh->pages, write(file, text, ret) != ret);
	close(file);
}

/* @end */
/* @for soft_offline */
static void op_soft_offline(int side)
{
	const int soft_offline = 101;	/* MADV_SOFT_OFFLINE */

	for (int i = sh->first; i < sh->first + sh->nr; i++)
		result(side, i, 1, madvise(sh->sample + i * page_size, page_size, soft_offline));
}

/* @end */
/* @for move_pages */
/* Away from the node of the first that is there. */
static void op_move_pages(int side)
{
	int is_at = -1, node;

	for (int i = sh->first; i < sh->first + sh->nr && is_at < 0; i++) {
		void *page = sh->sample + i * page_size;

		syscall(SYS_move_pages, 0, 1UL, &page, NULL, &is_at, 0);
	}
	node = is_at == 0;
	for (int i = sh->first; i < sh->first + sh->nr; i++) {
		void *page = sh->sample + i * page_size;

		result(side, i, 1, syscall(SYS_move_pages, 0, 1UL, &page, &node, &is_at, 2) < 0 ||
		       is_at != node);
	}
}

/* @end */
/* @for truncate */
static void op_truncate(int side)
{
	result(side, sh->first, sh->pages - sh->first, ftruncate(file, sh->middle - sh->mem));
}

/* @end */
/* @for punch */
static void op_punch(int side)
{
	result(side, sh->first, sh->nr, fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
						  sh->middle - sh->mem, sh->middle_length));
}

/* @end */
/* @for remove */
static void op_remove(int side)
{
	advise(side, MADV_REMOVE);
}

/* @end */
/* @for uffd_copy */
static void op_uffd_copy(int side)
{
	char *to = sh->sample + page_size;
	struct uffdio_copy copy = {
		.dst = (uintptr_t)to,
		.src = (uintptr_t)to + 2 * SPAN,
		.len = sh->grain,
	};

	result(side, 1, 1, ioctl(uffd, UFFDIO_COPY, &copy));
}

/* @end */
/* @for uffd_zero */
static void op_uffd_zero(int side)
{
	struct uffdio_zeropage zero = {
		.range = { .start = (uintptr_t)sh->sample + page_size, .len = sh->grain },
	};

	result(side, 1, 1, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
}

/* @end */
/* @for uffd_continue */
static void op_uffd_continue(int side)
{
	struct uffdio_continue go_on = {
		.range = { .start = (uintptr_t)sh->sample + page_size, .len = sh->grain },
	};

	result(side, 1, 1, ioctl(uffd, UFFDIO_CONTINUE, &go_on));
}

/* @end */
/* @for uffd_poison uffd_poisoned */
#ifndef UFFDIO_POISON
#define UFFDIO_POISON	_IOWR(UFFDIO, 0x08, struct uffdio_poison)
struct uffdio_poison {
	struct uffdio_range range;
	__u64 mode;
	__s64 updated;
};
#endif

static int poison(void)
{
	struct uffdio_poison p = {
		.range = { .start = (uintptr_t)sh->sample + page_size, .len = sh->grain },
	};

	return ioctl(uffd, UFFDIO_POISON, &p);
}

/* @end */
/* @for uffd_poison */
static void op_uffd_poison(int side)
{
	result(side, 1, 1, poison());
}

/* @end */
/* @for uffd_move uffd_move_away */
#ifndef UFFDIO_MOVE
#define UFFDIO_MOVE	_IOWR(UFFDIO, 0x05, struct uffdio_move)
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};
#endif

static void move_page(int side, size_t to, size_t from)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)sh->sample + page_size + to,
		.src = (uintptr_t)sh->sample + page_size + from,
		.len = sh->grain,
	};

	result(side, 1, 1, ioctl(uffd, UFFDIO_MOVE, &move));
}

/* @end */
/* @for uffd_move */
static void op_uffd_move(int side)
{
	move_page(side, 0, 2 * SPAN);
}

/* @end */
/* @for uffd_move_away */
static void op_uffd_move_away(int side)
{
	move_page(side, SPAN, 0);
}

/* @end */
/* @for wp_on wp_off */
static void protect_middle(int side, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)sh->middle, .len = sh->middle_length },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	of_middle(side, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
}

/* @end */
/* @for wp_on */
static void op_wp_on(int side)
{
	protect_middle(side, true);
}

/* @end */
/* @for wp_off */
static void op_wp_off(int side)
{
	protect_middle(side, false);
}

/* @end */
/* @for fork_child fork_parent */
/* With a stack of its own: that of the thread is shared memory. */
static pid_t fork_to(int side, int (*run)(void *arg))
{
	char *stack = sh->buffer[side] + PAGES * page_size;

	sh->proxy[side] = clone(run, stack, SIGCHLD, (void *)(intptr_t)side);
	return sh->proxy[side];
}

static void reap(int side)
{
	int status;

	if (waitpid(sh->proxy[side], &status, 0) < 0 || status)
		result(side, sh->first, sh->nr, -1);
}

/* @end */
/* @for fork_child */
static int read_and_write(void *arg)
{
	int side = (intptr_t)arg;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = sh->first; i < sh->first + sh->nr; i++) {
		load(sh->sample + i * page_size, i, &sh->page[i].seen[side]);
		sh->page[i].end[side] = store(sh->sample + i * page_size, "abc"[side], i);
	}
	return 0;
}

static void op_fork_child(int side)
{
	if (fork_to(side, read_and_write) < 0)
		result(side, sh->first, sh->nr, -1);
	else
		reap(side);
}

/* @end */
/* @for fork_parent */
/* Twice the same, before and after the parent wrote. */
static int compare(void *arg)
{
	char before[PAGES], after;
	bool same = true;

	(void)arg;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (int i = sh->first; i < sh->first + sh->nr; i++)
		load(sh->sample + i * page_size, i, &before[i]);
	kill(getpid(), SIGSTOP);
	for (int i = sh->first; i < sh->first + sh->nr; i++) {
		load(sh->sample + i * page_size, i, &after);
		same &= before[i] == after;
	}
	return !same;
}

static void op_fork_parent(int side)
{
	int status = 0;

	if (fork_to(side, compare) < 0) {
		result(side, sh->first, sh->nr, -1);
		return;
	}
	waitpid(sh->proxy[side], &status, WUNTRACED);
	for (int i = sh->first; i < sh->first + sh->nr && WIFSTOPPED(status); i++)
		sh->page[i].end[side] = store(sh->sample + i * page_size, "abc"[side], i);
	kill(sh->proxy[side], SIGCONT);
	reap(side);
}

/* @end */
/* @for exit */
static void op_exit(int side)
{
	(void)side;
	syscall(SYS_exit_group, 0);
}

/* @end */
/* @for prepares */
/* Before anything is held. */
static void prepare(void)
{
	/* @for uffd_copy uffd_move uffd_move_away */
	char *page = sh->sample + page_size;
	const int rw = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
	/* @end */
	/* @for uffd_move_away */
	struct uffdio_register room = {
		.range = { .start = (uintptr_t)page + SPAN, .len = sh->grain },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	/* @end */

	/* @for vmsplice */
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK))
		err(2, "pipe2");
	/* @end */
	/* @for mprotect_rw */
	if (mprotect(sh->middle, sh->middle_length, PROT_READ))
		err(2, "mprotect");
	/* @end */
	/* @for uffd_copy uffd_move */
	/* What comes, two windows further. */
	if (mmap(page + 2 * SPAN, sh->grain, rw, flags, -1, 0) == MAP_FAILED)
		err(2, "mmap");
	madvise(page + 2 * SPAN, sh->grain, MADV_NOHUGEPAGE);
	for (int i = 0; i < SIDES; i++)
		if (!strncmp(sides[i].name, "uffd_", 5))
			fill(page + 2 * SPAN, "abc"[i], 1);
	/* @end */
	/* @for uffd_move_away */
	/* Where page 1 goes: missing, and userfaultfd's. */
	if (mmap(page + SPAN, sh->grain, rw, flags, -1, 0) == MAP_FAILED ||
	    madvise(page + SPAN, sh->grain, MADV_NOHUGEPAGE) ||
	    ioctl(uffd, UFFDIO_REGISTER, &room))
		err(2, "no room to move to");
	/* @end */
	/* @for soft_offline */
	if (madvise(sh->mem, 0, 101))
		err(2, "MADV_SOFT_OFFLINE");
	/* @end */
	/* @for move_pages */
	if (access("/sys/devices/system/node/node1/meminfo", F_OK))
		err(2, "one NUMA node");
	/* @end */
}

/* @end */
