// SPDX-License-Identifier: GPL-2.0-only
/* ---- the orchestrator: never touches the memory, so nothing that is held holds it ---- */

enum { THERE, DONE, DEAD, LATE };

static int gate_fd[GATES];
static bool finished[SIDES + 1];
static __u64 sabotage;

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Until somebody stands at @gate, @side is done, the child is dead, or so many ms. */
static int until(int gate, int side, int ms, bool serve)
{
	struct pollfd p[] = {
		{ .fd = sh->done[side], .events = POLLIN },
		{ .fd = gate, .events = POLLIN },
		{ .fd = sides[side].remote ? -1 : pidfd, .events = POLLIN },
		{ .fd = serve ? uffd : -1, .events = POLLIN },
	};

	for (long end = now() + ms, left = ms; left >= 0 && !finished[side]; left = end - now()) {
		if (poll(p, 4, left) <= 0)
			continue;
		if (p[0].revents) {
			hear(p[0].fd);
			finished[side] = true;
		} else if (p[1].revents & POLLIN) {
			return THERE;
		} else if (p[2].revents) {
			return DEAD;
		}
		if (p[1].revents)
			p[1].fd = -1;	/* opened for good: the device is being unplugged */
		/* @for uffd */
		if (p[3].revents)
			resolve();
		/* @end */
	}
	return finished[side] ? DONE : LATE;
}

static char *slurp(pid_t tid, const char *what, char *text, size_t size)
{
	ssize_t n;
	int from;

	snprintf(text, size, "/proc/%d/%s", tid, what);
	from = open(text, O_RDONLY);
	n = from < 0 ? -1 : read(from, text, size - 1);
	close(from);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* Where it sleeps, if it has not run between two looks and somebody else has to act. */
static const char *blocked(pid_t tid)
{
	size_t all = sizeof(wait_points) / sizeof(wait_points[0]);
	static char stack[4096];
	char before[128], after[128], stat[512], *state, *name;

	slurp(tid, "schedstat", before, sizeof(before));
	state = strrchr(slurp(tid, "stat", stat, sizeof(stat)), ')');
	slurp(tid, "stack", stack, sizeof(stack));
	slurp(tid, "schedstat", after, sizeof(after));
	if (!state || !strchr("SD", state[2]) || strcmp(before, after))
		return NULL;
	/* Lines look like "[<0>] __vm_munmap+0x81/0x170". */
	for (name = strchr(stack, ']'); name; name = strchr(name + 1, ']'), all = ANYWHERE)
		for (size_t i = 0; i < all; i++)
			if (!strncmp(name + 2, wait_points[i], strlen(wait_points[i])))
				return strtok(name + 2, "+");
	return NULL;
}

static bool late(int side)
{
	char stack[4096];

	printf("  %c does not come to an end:\n%s", 'A' + side,
	       slurp(sh->tid[side], "stack", stack, sizeof(stack)));
	return false;
}

static void arm(int i)
{
	struct hotmirror_gate_arm a = {
		.size = sizeof(a),
		.flags = HOTMIRROR_GATE_ALLOW_EXIT,
		.tid = gates[i].any ? 0 : sh->tid[gates[i].side],
		.nth = 1,
		.timeout_ns = 3 * LIMIT * 1000000ULL,
	};
	/* @for core */
	struct hotmirror_core_gate c = { .size = sizeof(c) };
	/* @end */
	struct hotmirror_gate g = {
		.size = sizeof(g),
		.flags = gates[i].flags,
		.gate = gates[i].nr,
	};

	/* @for uffd_gate */
	gate_fd[i] = uffd;
	if (!strncmp(gates[i].name, "uffd.", 5))
		return;
	/* @end */
	/* @for core */
	if (!gates[i].nr) {
		snprintf(c.name, sizeof(c.name), "%s", gates[i].name + strlen("core."));
		if (ioctl(control, HOTMIRROR_GATE_CORE, &c))
			err(2, "%s", gates[i].name);
		g.fd = c.fd;
	}
	/* @end */
	if (gates[i].nr && ioctl(fd[gates[i].file], HOTMIRROR_GATE_OPEN, &g))
		err(2, "%s", gates[i].name);
	gate_fd[i] = g.fd;
	if (ioctl(g.fd, HOTMIRROR_GATE_ARM, &a))
		err(2, "ARM");
}

/* It runs to its gate, if it has one, or until it is done or blocked. */
static bool run_side(int side)
{
	const char *where = NULL;
	int gate = -1, what = LATE;
	bool serve = !side;

	for (int i = 0; i < GATES; i++)
		gate = gates[i].side == side ? i : gate;
	/* @for uffd_gate */
	serve = false;
	/* @end */
	tell(sh->go[side]);
	for (long end = now() + LIMIT; what == LATE && !where && now() < end;) {
		what = until(gate < 0 ? -1 : gate_fd[gate], side, 1, serve);
		if (what == LATE && (side || gate < 0))
			where = blocked(sh->tid[side]);
		/* @for fork_child fork_parent */
		if (what == LATE && !where && sh->proxy[side])
			where = blocked(sh->proxy[side]);
		/* @end */
	}
	if (gate >= 0 && what == DONE && !side)
		errx(2, "A never comes to %s on this kernel", gates[gate].name);
	printf("  %c, %s, %s%s\n", 'A' + side, sides[side].name, what == THERE ? "stands at " :
	       what == DONE ? "is done" : what == DEAD ? "is dead" : "is blocked: ",
	       what == THERE ? gates[gate].name : where ?: "");
	return what != LATE || where || late(side);
}

static bool race(void)
{
	struct hotmirror_sabotage s = { .size = sizeof(s), .mask = sabotage };
	struct hotmirror_gate_release r = { .size = sizeof(r) };
	bool good = true;

	for (int i = 0; i < GATES; i++)
		arm(i);
	if (sabotage && ioctl(fd[0], HOTMIRROR_SABOTAGE, &s))
		err(2, "SABOTAGE");
	for (int i = 0; i < SIDES && good; i++)
		good = run_side(i);
	for (int i = 0; i < GATES; i++) {
		ioctl(gate_fd[i], HOTMIRROR_GATE_RELEASE, &r);
		/* @for uffd */
		resolve();
		/* @end */
	}
	return good;
}

/* @for exits */
/* The process is gone: what its device file still says. */
static void look_from_outside(void)
{
	for (int i = 0; i < sh->pages; i++) {
		struct hotmirror_access a = access_to(i, sizeof(__u64), sh->buffer[LOOK]);

		sh->page[i].map = 'G';
		sh->page[i].dev = ended(ioctl(fd[0], HOTMIRROR_READ, &a));
	}
}

/* @end */
/* No device entry that the CPU page table does not justify. */
static bool verified(void)
{
	struct hotmirror_verify v = { .size = sizeof(v) };

	for (int i = 0; i < 2; i++) {
		if (fd[i] < 0 || ioctl(fd[i], HOTMIRROR_VERIFY, &v) || !v.stale)
			continue;
		printf("  %llu device entries are stale\n", (unsigned long long)v.stale);
		return false;
	}
	return true;
}

static int plug(__u32 kind, __u64 align)
{
	struct hotmirror_plug p = { .size = sizeof(p), .bytes = 8 << 20, .align = align };
	int ret;

	p.kind = kind ?: HOTMIRROR_PRIVATE;
	ret = ioctl(control, HOTMIRROR_PLUG, &p);
	if (ret && !kind) {
		p.kind = HOTMIRROR_COHERENT;
		ret = ioctl(control, HOTMIRROR_PLUG, &p);
	}
	if (ret)
		err(2, "PLUG of kind %u", p.kind);
	return p.id;
}

/* Fresh instances, and a fresh child with fresh memory. */
static pid_t begin(void)
{
	pid_t pid;

	memset(sh->page, '-', sizeof(sh->page));
	memset(sh->proxy, 0, sizeof(sh->proxy));
	memset(gate_fd, -1, sizeof(gate_fd));
	sh->uffd = -1;
	control = open("/dev/hotmirror", O_RDWR | O_CLOEXEC);
	if (control < 0)
		err(2, "/dev/hotmirror");
	sh->id[0] = plug(KIND, 0);
	sh->id[1] = -1;
	sh->id[2] = -1;
	/* @for second */
	sh->id[1] = plug(KIND, 0);
	/* @end */
	/* @for dax */
	sh->id[2] = plug(HOTMIRROR_DAX, page_size);
	/* @end */
	/* @for dax_pmd */
	sh->id[2] = plug(HOTMIRROR_DAX, pmd_size);
	/* @end */
	fflush(NULL);
	pid = fork();
	if (!pid)
		child();
	pidfd = syscall(SYS_pidfd_open, pid, 0);
	for (int i = 0; i <= SIDES; i++) {
		finished[i] = sides[i].remote;
		if (until(-1, i, LIMIT, true) != DONE)
			errx(2, "the child cannot set up");
	}
	memset(finished, 0, sizeof(finished));
	for (int i = 0; i < 3; i++)
		fd[i] = sh->fd[i] < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, sh->fd[i], 0);
	uffd = sh->uffd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, sh->uffd, 0);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	for (int i = 0; i < 3; i++)
		close(fd[i]);
	for (int i = 0; i < GATES; i++)
		close(gate_fd[i]);
	close(uffd);
	uffd = -1;
	waitpid(pid, NULL, 0);
	close(pidfd);
	close(control);
}

/* One side by itself, or the end of one that was begun. */
static bool finish(int side, bool begin, bool *dead)
{
	int what;

	if (*dead && !sides[side].remote)
		return true;
	if (begin)
		tell(sh->go[side]);
	what = until(-1, side, LIMIT, true);
	*dead |= what == DEAD;
	return what != LATE || late(side);
}

static void faults_first(int side)
{
	bool dead = false;

	sh->only_faults = true;
	finish(side, true, &dead);
	sh->only_faults = false;
	finished[side] = false;
	memset(sh->page, '-', sizeof(sh->page));
}

/* The race, or its operations in an order ("AB"). True: they end and nothing is stale. */
static bool run(const char *order, struct page *page)
{
	pid_t pid = begin();
	bool good = order || race(), dead = false;

	if (order && *order >= 'a')
		faults_first(*order++ - 'a');
	for (int i = 0; i < SIDES && good; i++)
		good = finish(order ? order[i] - 'A' : i, order, &dead);
	/* @for exits */
	if (good && dead)
		look_from_outside();
	/* @end */
	if (good && !dead) {
		good = verified();
		tell(sh->go[LOOK]);
		if (until(-1, LOOK, LIMIT, true) != DONE)
			good = late(LOOK);
	}
	memcpy(page, sh->page, sizeof(sh->page));
	end(pid);
	return good;
}

/* ---- judge ---- */

/* Of page @i: has this order made the same of it as the race? */
static bool same(const struct page *race, const struct page *order, int i)
{
	struct page x = race[i], y = order[i];

	for (int side = 0; side < SIDES; side++) {
		/* What ends at the first bad page would have found this one bad, too. */
		for (int k = 0; k < i && y.end[side] == '-'; k++)
			if (order[k].end[side] != '+' && order[k].end[side] == x.end[side])
				y.end[side] = x.end[side];
		if (sides[side].recorded || (sabotage && x.end[side] == 'P'))
			y.end[side] = x.end[side];
		if (sides[side].recorded)
			y.seen[side] = x.seen[side];
		/* @for absent */
		/* A snapshot does not wait for what is being moved: it calls that absent. */
		if (!strncmp(sides[side].name, "snapshot", 8) && x.seen[side] == '-')
			y.seen[side] = '-';
		/* @end */
	}
	/* A device that was sabotaged may refuse accesses. */
	if (sabotage && x.dev == 'P')
		y.dev = 'P';
	/* @for frees */
	/* After MADV_FREE a page is as it was, or zero. */
	for (char *p = (char *)&x, *q = (char *)&y; p < (char *)(&x + 1); p++, q++)
		if (*p == '0' && strchr("iabcu", *q))
			*q = '0';
	/* @end */
	return !memcmp(&x, &y, sizeof(x));
}

static void show(const char *what, const struct page *p)
{
	printf("    %-12s", what);
	for (int i = 0; i < SIDES; i++)
		printf("%c %c   ", p->end[i], p->seen[i]);
	printf("%c     %c %c   %c     %c\n", p->map, p->cpu, p->tail, p->dev, p->moved);
}

static const char legend[] =
"A, B: how it ended (+ well, F EFAULT or a signal, N ENODEV, H EHWPOISON, S ESRCH, other letters\n"
"other errors, - not concerned) and what it read. map: is there a mapping (G: no process).\n"
"CPU: first and last word. dev: what the device reads. moved: what is where B may have put it.\n"
"Values: 0 zero, i as filled, a b c of that side, u of userfaultfd; 1 j A B C U: and one added.";

static void set_up(void)
{
	/* @for hugetlb hugetlb_memfd */
	int pool = open("/proc/sys/vm/nr_hugepages", O_WRONLY);

	if (write(pool, "8", 1) != 1)
		err(2, "nr_hugepages");
	close(pool);
	/* @end */
	page_size = sysconf(_SC_PAGESIZE);
	pmd_size = page_size * page_size / sizeof(__u64);
	sh = shared_pages(sizeof(*sh));
	window = mmap(NULL, 3 * SPAN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		      -1, 0);
	window = (char *)(((uintptr_t)window + SPAN - 1) & -SPAN);
	for (int i = 0; i <= SIDES; i++) {
		sh->go[i] = eventfd(0, EFD_CLOEXEC);
		sh->done[i] = eventfd(0, EFD_CLOEXEC);
		sh->buffer[i] = shared_pages(PAGES * page_size);
		if (sides[i].remote) {
			start(i);
			hear(sh->done[i]);
		}
	}
}

static struct page page[ORDERS + 1][PAGES];	/* of each order; of the race */
static bool ends[ORDERS];

static bool fits(int i, size_t nr)
{
	for (size_t k = 0; k < nr; k++)
		if (ends[k] && same(page[ORDERS], page[k], i))
			return true;
	return false;
}

static bool all_fit(size_t nr)
{
	for (int i = 0; i < sh->pages; i++)
		if (!fits(i, nr))
			return false;
	return true;
}

static void show_all(size_t nr)
{
	printf("                ");
	for (int i = 0; i < SIDES; i++)
		printf("%c     ", 'A' + i);
	puts("map   CPU   dev   moved");
	for (int i = 0; i < sh->pages; i++) {
		printf("  page %d%s\n", i, fits(i, nr) ? "" : ": no order makes that of it");
		show("the race", &page[ORDERS][i]);
		for (size_t k = 0; k < nr; k++)
			show(orders[k], &page[k][i]);
	}
	puts(legend);
}

int main(int argc, char **argv)
{
	size_t nr = PLAIN;
	struct utsname uts;
	bool good;

	/* @for fork_child fork_parent */
	without_rseq(argv);
	/* @end */
	setlinebuf(stdout);
	uname(&uts);
	printf("%s on %s\n", NAME, uts.release);
	set_up();
	for (size_t k = 0; k < PLAIN; k++)
		ends[k] = run(orders[k], page[k]);
	/* HOTMIRROR_SABOTAGE_*: shows that a broken device is told from a good one. */
	sabotage = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	good = run(NULL, page[ORDERS]);
	for (; nr < ORDERS && !all_fit(nr); nr++)
		ends[nr] = run(orders[nr], page[nr]);
	show_all(nr);
	good = good && all_fit(nr);
	puts(good ? "explained by an order" : "NOT explained by an order");
	return !good;
}
