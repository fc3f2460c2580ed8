// SPDX-License-Identifier: GPL-2.0-only
static void result(int side, int first, int nr, int ret)
{
	char end = ended(ret);

	for (int i = first; i < first + nr; i++)
		sh->page[i].end[side] = end;
}

/* @for read write prefetch prefetch_w op_prefetch op_prefetch_w fault_hmm */
/* Pages before @done bytes went well, the next one did not, the rest was not tried. */
static void access_all(int side, unsigned long cmd, struct hotmirror_access *a)
{
	int ret = ioctl(fd[sides[side].file], cmd, a);
	int good = a->done / page_size;

	result(side, 0, good, 0);
	if (good < sh->pages)
		result(side, good, 1, ret);
}

/* @end */
/* @for read */
static void op_read(int side)
{
	struct hotmirror_access a = access_to(0, sh->pages * page_size, sh->buffer[side]);

	access_all(side, HOTMIRROR_READ, &a);
	for (__u64 i = 0; i < a.done / page_size; i++)
		sh->page[i].seen[side] = token(*(__u64 *)(sh->buffer[side] + i * page_size), i);
}

/* @end */
/* @for write */
static void op_write(int side)
{
	struct hotmirror_access a = access_to(0, sh->pages * page_size, sh->buffer[side]);

	for (int i = 0; i < sh->pages; i++)
		fill(sh->buffer[side] + i * page_size, "abc"[side], i);
	access_all(side, HOTMIRROR_WRITE, &a);
}

/* @end */
/* @for prefetch op_prefetch */
static void op_prefetch(int side)
{
	struct hotmirror_access a = access_to(0, sh->pages * page_size, NULL);

	access_all(side, HOTMIRROR_PREFETCH, &a);
}

/* @end */
/* @for prefetch_w op_prefetch_w */
static void op_prefetch_w(int side)
{
	struct hotmirror_access a = access_to(0, sh->pages * page_size, NULL);

	a.flags = HOTMIRROR_ACCESS_WRITE;
	access_all(side, HOTMIRROR_PREFETCH, &a);
}

/* @end */
/* @for fault_hmm */
static void op_fault_hmm(int side)
{
	struct hotmirror_access a = access_to(0, sh->pages * page_size, NULL);

	a.flags = HOTMIRROR_PREFETCH_BY_HMM | HOTMIRROR_ACCESS_WRITE;
	access_all(side, HOTMIRROR_PREFETCH, &a);
}

/* @end */
/* @for atomic */
static void op_atomic(int side)
{
	struct hotmirror_atomic a = {
		.size = sizeof(a),
		.addr = (uintptr_t)sh->sample + page_size,
		.operand = 1,
	};
	int ret = ioctl(fd[sides[side].file], HOTMIRROR_ATOMIC, &a);

	result(side, 1, 1, ret);
	if (!ret)
		sh->page[1].seen[side] = token(a.old, 1);
}

/* @end */
/* @for snapshot */
static void op_snapshot(int side)
{
	__u32 *snap = (__u32 *)sh->buffer[side];
	struct hotmirror_snapshot s = {
		.size = sizeof(s),
		.addr = (uintptr_t)sh->sample,
		.length = sh->pages * page_size,
		.buf = (uintptr_t)snap,
	};
	int ret = ioctl(fd[sides[side].file], HOTMIRROR_SNAPSHOT, &s);

	result(side, 0, sh->pages, ret);
	for (int i = 0; !ret && i < sh->pages; i++)
		sh->page[i].seen[side] = !(snap[i] & HOTMIRROR_SNAP_VALID) ? '-' :
					 snap[i] & HOTMIRROR_SNAP_WRITE ? 'W' : 'V';
}

/* @end */
/* @for to_dev to_sys */
static void migrate(int side, unsigned long cmd)
{
	struct hotmirror_migrate m = {
		.size = sizeof(m),
		.flags = HOTMIRROR_MIGRATE_LARGE,
		.addr = (uintptr_t)sh->mem,
		.length = sh->length,
	};

	result(side, 0, sh->pages, ioctl(fd[sides[side].file], cmd, &m));
}

/* @end */
/* @for to_dev */
static void op_to_dev(int side)
{
	migrate(side, HOTMIRROR_MIGRATE_TO_DEV);
}

/* @end */
/* @for to_sys */
static void op_to_sys(int side)
{
	migrate(side, HOTMIRROR_MIGRATE_TO_SYS);
}

/* @end */
/* @for pin faults_pin */
static int pin_all(int side, struct hotmirror_pin *p)
{
	*p = (struct hotmirror_pin){
		.size = sizeof(*p),
		.flags = HOTMIRROR_PIN_WRITE,
		.addr = (uintptr_t)sh->sample,
		.length = sh->pages * page_size,
	};
	return ioctl(fd[sides[side].file], HOTMIRROR_PIN, p);
}

/* @end */
/* @for pin */
static void op_pin(int side)
{
	struct hotmirror_pin p;
	int ret = pin_all(side, &p);

	/* Fewer pages than asked for: nobody says why. */
	result(side, 0, ret ? 1 : p.pages, ret);
}

/* @end */
/* @for cpu_read */
static void op_cpu_read(int side)
{
	for (int i = sh->first; i < sh->first + sh->nr; i++)
		sh->page[i].end[side] = load(sh->sample + i * page_size, i,
					     &sh->page[i].seen[side]);
}

/* @end */
/* @for cpu_write fork_child fork_parent */
static char store(char *at, char who, int page)
{
	char end = sigsetjmp(back, 1);

	if (end)
		return end;
	__atomic_store_n((__u64 *)at, word_of(who, page), __ATOMIC_RELAXED);
	return '+';
}

/* @end */
/* @for cpu_write */
static void op_cpu_write(int side)
{
	for (int i = sh->first; i < sh->first + sh->nr; i++)
		sh->page[i].end[side] = store(sh->sample + i * page_size, "abc"[side], i);
}

/* @end */
/* @for munmap */
static void op_munmap(int side)
{
	result(side, sh->first, sh->nr, munmap(sh->middle, sh->middle_length));
}

/* @end */
/* @for mremap */
static void op_mremap(int side)
{
	void *to = mremap(sh->middle, sh->middle_length, sh->middle_length,
			  MREMAP_MAYMOVE | MREMAP_FIXED, sh->middle + SPAN);

	result(side, sh->first, sh->nr, to == MAP_FAILED);
}

/* @end */
/* @for mprotect_ro */
static void op_mprotect_ro(int side)
{
	result(side, sh->first, sh->nr, mprotect(sh->middle, sh->middle_length, PROT_READ));
}

/* @end */
/* @for mprotect_none */
static void op_mprotect_none(int side)
{
	result(side, sh->first, sh->nr, mprotect(sh->middle, sh->middle_length, PROT_NONE));
}

/* @end */
/* @for dontneed */
static void op_dontneed(int side)
{
	result(side, sh->first, sh->nr, madvise(sh->middle, sh->middle_length, MADV_DONTNEED));
}

/* @end */
/* @for disable invalidate unplug */
/* The dax memory if that is what is raced over, else the device. */
static void unplug_to(int side, __u32 target)
{
	struct hotmirror_unplug u = {
		.size = sizeof(u),
		.id = sh->id[sh->id[2] < 0 ? 0 : 2],
		.target = target,
		.timeout_ns = 2 * LIMIT * 1000000ULL,
	};

	result(side, sh->first, sh->nr, ioctl(control, HOTMIRROR_UNPLUG, &u));
}

/* @end */
/* @for disable */
static void op_disable(int side)
{
	unplug_to(side, HOTMIRROR_DISABLED);
}

/* @end */
/* @for invalidate */
static void op_invalidate(int side)
{
	unplug_to(side, HOTMIRROR_INVALIDATED);
}

/* @end */
/* @for unplug */
static void op_unplug(int side)
{
	unplug_to(side, HOTMIRROR_GONE);
}

/* @end */
/* @for faults_pin */
/* The page faults of a pin or an exclusive access, and nothing else of it. */
static void faults_pin(int side)
{
	struct hotmirror_pin p, unpin;

	if (pin_all(side, &p))
		return;
	unpin = (struct hotmirror_pin){ .size = sizeof(unpin), .id = p.id };
	ioctl(fd[sides[side].file], HOTMIRROR_UNPIN, &unpin);
}

/* @end */
