// SPDX-License-Identifier: GPL-2.0-only
/* @for anon hole private coherent */
static void small_pages(void)
{
	layout(page_size, PAGES * page_size);
	map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(sh->mem, sh->length, MADV_NOHUGEPAGE);
}

/* @end */
/* @for thp private_large */
static void large_page(void)
{
	layout(0, pmd_size);
	map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (madvise(sh->mem, sh->length, MADV_HUGEPAGE))
		err(2, "MADV_HUGEPAGE");
}

/* @end */
/* @for private coherent private_large */
static void to_device(__u32 flags)
{
	struct hotmirror_migrate m = {
		.size = sizeof(m),
		.flags = flags,
		.addr = (uintptr_t)sh->mem,
		.length = sh->length,
	};

	if (ioctl(fd[0], HOTMIRROR_MIGRATE_TO_DEV, &m) || m.moved * page_size < sh->length)
		err(2, "the memory did not move to the device");
}

/* @end */
/* @for dax_pmd hugetlb hugetlb_memfd */
/* Two PMDs: the last page of one, and the first page of the other, which is B's. */
static void two_pmds(void)
{
	layout(0, 2 * pmd_size);
	sh->grain = pmd_size;
	sh->sample = sh->mem + pmd_size - page_size;
	sh->pages = 2;
	sh->middle = sh->mem + pmd_size;
	sh->middle_length = pmd_size;
	sh->nr = 1;
}

/* @end */
/* @for ramfs */
/* On a ramfs that is mounted nowhere; with other contents than those of the memory. */
static void make_file(void)
{
	int fs = syscall(SYS_fsopen, "ramfs", FSOPEN_CLOEXEC), mount;

	syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	mount = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	file = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, sh->length))
		err(2, "a file on a ramfs");
	for (int i = 0; i < PAGES; i++) {
		char *contents = sh->buffer[LOOK];

		fill(contents, 'o', i);
		if (pwrite(file, contents, page_size, i * page_size) < 0)
			err(2, "pwrite");
	}
}

/* @end */
static void build(void)
{
	/* @for anon */
	small_pages();
	fill_all();
	/* @end */
	/* @for hole */
	small_pages();
	/* @end */
	/* @for thp */
	large_page();
	fill_all();
	/* @end */
	/* @for private coherent */
	small_pages();
	fill_all();
	to_device(0);
	/* @end */
	/* @for private_large */
	large_page();
	fill_all();
	to_device(HOTMIRROR_MIGRATE_LARGE);
	/* @end */
	/* @for dax */
	layout(page_size, PAGES * page_size);
	map(MAP_SHARED, fd[2]);
	fill_all();
	/* @end */
	/* @for dax_pmd */
	two_pmds();
	map(MAP_SHARED, fd[2]);
	fill_all();
	/* @end */
	/* @for hugetlb */
	two_pmds();
	map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
	fill_all();
	/* @end */
	/* @for hugetlb_memfd */
	two_pmds();
	file = memfd_create("hotmirror", MFD_CLOEXEC | MFD_HUGETLB);
	if (file < 0 || ftruncate(file, sh->length))
		err(2, "memfd_create");
	map(MAP_SHARED, file);
	fill_all();
	/* @end */
	/* @for pmd_of_pages */
	layout(0, pmd_size);
	map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	madvise(sh->mem, sh->length, MADV_NOHUGEPAGE);
	fill_all();
	if (madvise(sh->mem, sh->length, MADV_HUGEPAGE))
		err(2, "MADV_HUGEPAGE");
	/* @end */
	/* @for shmem */
	layout(page_size, PAGES * page_size);
	map(MAP_SHARED | MAP_ANONYMOUS, -1);
	fill_all();
	/* @end */
	/* @for memfd */
	layout(page_size, PAGES * page_size);
	file = memfd_create("hotmirror", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, sh->length))
		err(2, "memfd_create");
	map(MAP_SHARED, file);
	fill_all();
	/* @end */
	/* @for file_shared file_private file_cow */
	layout(page_size, PAGES * page_size);
	make_file();
	/* @end */
	/* @for file_shared */
	map(MAP_SHARED, file);
	fill_all();
	/* @end */
	/* @for file_private */
	map(MAP_PRIVATE, file);
	for (int i = 0; i < PAGES; i++)
		load(sh->sample + i * page_size, i, &(char){ 0 });
	/* @end */
	/* @for file_cow */
	map(MAP_PRIVATE, file);
	fill_all();
	/* @end */
}

/* @for uffd */
static void open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		err(2, "userfaultfd");
	sh->uffd = uffd;
}

static int protect_page(char *page, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)page, .len = sh->grain },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static void copy_page(char *page)
{
	static char *contents;
	struct uffdio_copy copy = { .dst = (uintptr_t)page, .len = sh->grain };

	contents = contents ?: shared_pages(sh->grain);
	fill(contents, 'u', (page - sh->sample) % SPAN / page_size);
	copy.src = (uintptr_t)contents;
	while (ioctl(uffd, UFFDIO_COPY, &copy) && errno == EAGAIN)
		copy.copy = 0;
}

/* It may be there already, or nowhere any more: whoever waits looks again. */
static void resolve(void)
{
	struct uffd_msg msg;

	while (uffd >= 0 && read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		char *page = (char *)(msg.arg.pagefault.address & -sh->grain);
		struct uffdio_range range = { .start = (uintptr_t)page, .len = sh->grain };
		struct uffdio_continue go_on = { .range = range };

		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			protect_page(page, false);
		else if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR)
			ioctl(uffd, UFFDIO_CONTINUE, &go_on);
		else
			copy_page(page);
		ioctl(uffd, UFFDIO_WAKE, &range);
	}
}

/* @end */
/* @for uffd_part */
/* Whoever wants page 1 sleeps until resolve(), or gets an error if it is poisoned. */
static void give_to_uffd(void)
{
	struct uffdio_register r = {
		.range = { .start = (uintptr_t)sh->mem, .len = sh->length },
		/* @for uffd_wp */
		.mode = UFFDIO_REGISTER_MODE_WP,
		/* @end */
		/* @for uffd_missing uffd_poisoned */
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		/* @end */
		/* @for uffd_minor */
		.mode = UFFDIO_REGISTER_MODE_MINOR,
		/* @end */
	};

	/* @for drop_mapping */
	if (madvise(sh->sample + page_size, sh->grain, MADV_DONTNEED))
		err(2, "MADV_DONTNEED");
	/* @end */
	/* @for drop_file */
	if (madvise(sh->sample + page_size, sh->grain, MADV_REMOVE))
		err(2, "MADV_REMOVE");
	/* @end */
	if (ioctl(uffd, UFFDIO_REGISTER, &r))
		err(2, "UFFDIO_REGISTER");
	/* @for uffd_wp */
	if (protect_page(sh->sample + page_size, true))
		err(2, "UFFDIO_WRITEPROTECT");
	/* @end */
	/* @for uffd_poisoned */
	if (poison())
		err(2, "UFFDIO_POISON");
	/* @end */
}

/* @end */
