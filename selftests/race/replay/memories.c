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
	/* Two PMDs: the last page of one, and the first page of the other, which is B's. */
	layout(0, 2 * pmd_size);
	sh->grain = pmd_size;
	sh->sample = sh->mem + pmd_size - page_size;
	sh->pages = 2;
	sh->middle = sh->mem + pmd_size;
	sh->middle_length = pmd_size;
	sh->nr = 1;
	map(MAP_SHARED, fd[2]);
	fill_all();
	/* @end */
}

/* @for uffd_wp */
static int protect_page(char *page, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = { .start = (uintptr_t)page, .len = sh->grain },
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

/* @end */
/* @for uffd */
/* Whoever wants page 1 sleeps until resolve(). */
static void give_to_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
	struct uffdio_register r = {
		.range = { .start = (uintptr_t)sh->mem, .len = sh->length },
		/* @for uffd_wp */
		.mode = UFFDIO_REGISTER_MODE_WP,
		/* @end */
		/* @for uffd_missing */
		.mode = UFFDIO_REGISTER_MODE_MISSING,
		/* @end */
	};

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		err(2, "userfaultfd");
	sh->uffd = uffd;
	/* @for uffd_missing */
	if (madvise(sh->sample + page_size, sh->grain, MADV_DONTNEED))
		err(2, "MADV_DONTNEED");
	/* @end */
	if (ioctl(uffd, UFFDIO_REGISTER, &r))
		err(2, "UFFDIO_REGISTER");
	/* @for uffd_wp */
	if (protect_page(sh->sample + page_size, true))
		err(2, "UFFDIO_WRITEPROTECT");
	/* @end */
}

/* @end */
/* @for uffd_missing */
static void copy_page(char *page)
{
	static char *contents;
	struct uffdio_copy copy = { .dst = (uintptr_t)page, .len = sh->grain };

	contents = contents ?: shared_pages(sh->grain);
	fill(contents, 'u', (page - sh->sample) / (int)page_size);
	copy.src = (uintptr_t)contents;
	while (ioctl(uffd, UFFDIO_COPY, &copy) && errno == EAGAIN)
		copy.copy = 0;
}

/* @end */
/* @for uffd */
/* It may be there already, or nowhere any more: whoever waits looks again. */
static void resolve(void)
{
	struct uffdio_range range = { .len = sh->grain };
	struct uffd_msg msg;

	while (uffd >= 0 && read(uffd, &msg, sizeof(msg)) == sizeof(msg)) {
		char *page = (char *)(msg.arg.pagefault.address & -sh->grain);

		/* @for uffd_wp */
		protect_page(page, false);
		/* @end */
		/* @for uffd_missing */
		copy_page(page);
		/* @end */
		range.start = (uintptr_t)page;
		ioctl(uffd, UFFDIO_WAKE, &range);
	}
}

/* @end */
