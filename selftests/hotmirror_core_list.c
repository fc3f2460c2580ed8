// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every function that can have a core gate: somebody who calls it is held there, and the
 * result of the system call or access is the right one all the same.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "core_test.h"
#include "lib/pagemap.h"

struct op;

/* What an operation works on, prepared for it. */
struct place {
	struct gated g;
	const struct op *op;
	char *mem;
	size_t length;
	char *other;		/* where it goes */
	int fd;			/* a file, a userfaultfd */
	__u64 moved;
	struct hm_setting setting;
};

struct op {
	int (*prepare)(struct place *p);	/* 0, -errno, or why it cannot be: 1, @lacks */
	long (*run)(void *place);		/* 0 or -errno */
	int (*wrong)(struct place *p);		/* 0: the result is right */
	const char *lacks;
};

static int nothing(struct place *p)
{
	return 0;
}

/* Memory of SEED, in small pages, that the device has entries for. */
static int populated(struct place *p)
{
	return hm_prefetch(p->g.fd, p->mem, p->length, true);
}

static int missing(struct place *p)
{
	return madvise(p->mem, p->length, MADV_DONTNEED) ? -errno : 0;
}

static int is_filled(struct place *p)
{
	return hm_differs(p->mem, p->length, SEED) != -1;
}

static int is_zero(struct place *p)
{
	return hm_not_zero(p->mem, p->length) != -1;
}

/* Accesses by the device. */
static long run_read(void *arg)
{
	struct place *p = arg;

	return hm_read(p->g.fd, p->mem, p->g.buf, p->length);
}

static int is_read(struct place *p)
{
	return hm_differs(p->g.buf, p->length, SEED) != -1;
}

static long run_prefetch(void *arg)
{
	return populated(arg);
}

static long run_atomic(void *arg)
{
	struct place *p = arg;
	struct hotmirror_atomic atomic = { .operand = 0 };

	return hm_atomic(p->g.fd, p->mem, &atomic);
}

static int need_exclusive(struct place *p)
{
	return !(p->g.rig.q.features & HOTMIRROR_HAS_EXCLUSIVE);
}

static long run_to_dev(void *arg)
{
	struct place *p = arg;

	return hm_to_dev(p->g.fd, p->mem, p->length, &p->moved);
}

static int need_device_memory(struct place *p)
{
	return p->g.rig.kind == HOTMIRROR_DAX;
}

static int is_moved(struct place *p)
{
	return p->moved != PAGES || is_filled(p);
}

static int is_in_device(struct place *p)
{
	return need_device_memory(p) ?: run_to_dev(p);
}

/* So that the CPU has to fetch it. */
static int is_private(struct place *p)
{
	return p->g.rig.kind == HOTMIRROR_PRIVATE ? run_to_dev(p) : 1;
}

static long run_to_sys(void *arg)
{
	struct place *p = arg;

	return hm_to_sys(p->g.fd, p->mem, p->length, &p->moved);
}

/* System calls on the memory. */
static long run_touch(void *arg)
{
	struct place *p = arg;

	return hm_cpu_touch(p->mem) ? -EFAULT : 0;
}

static long run_dirty(void *arg)
{
	struct place *p = arg;

	return hm_cpu_dirty(p->mem) ? -EFAULT : 0;
}

static int is_dirty(struct place *p)
{
	return p->mem[0] != 0x5a;
}

static long run_protect(void *arg)
{
	struct place *p = arg;

	return mprotect(p->mem, p->length, PROT_READ) ? -errno : 0;
}

static int is_protected(struct place *p)
{
	return is_filled(p) || hm_cpu_dirty(p->mem) != SIGSEGV;
}

static long run_dontneed(void *arg)
{
	return missing(arg);
}

static long run_unmap(void *arg)
{
	struct place *p = arg;

	return munmap(p->mem, p->length) ? -errno : 0;
}

static long run_guard(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem, p->length, 102 /* MADV_GUARD_INSTALL */) ? -errno : 0;
}

static int is_unmapped(struct place *p)
{
	return hm_cpu_touch(p->mem) != SIGSEGV;
}

static long run_move(void *arg)
{
	struct place *p = arg;

	p->other = mremap(p->mem, p->length, p->length, MREMAP_MAYMOVE | MREMAP_FIXED,
			  p->g.buf);
	return p->other == MAP_FAILED ? -errno : 0;
}

static int is_there(struct place *p)
{
	return hm_differs(p->other, p->length, SEED) != -1 || is_unmapped(p);
}

static long run_fork(void *arg)
{
	struct place *p = arg;
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(is_filled(p));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -EIO : 0;
}

static int swapped_on(struct place *p)
{
	return hm_swap_on() ? 1 : hm_ready_for_reclaim();
}

static long run_pageout(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem, p->length, 21 /* MADV_PAGEOUT */) ? -errno : 0;
}

static int swapped_out(struct place *p)
{
	int ret = swapped_on(p) ?: run_pageout(p);

	return ret ?: hm_pagemap(p->mem) & HM_PM_SWAP ? 0 : -EBUSY;
}

/* Huge pages. */
static int huge(struct place *p)
{
	p->length = p->g.rig.q.pmd_size;
	p->mem = hm_map_huge(p->length);
	return !p->mem;
}

static int huge_filled(struct place *p)
{
	if (huge(p))
		return 1;
	hm_fill(p->mem, p->length, SEED);
	return 0;
}

static int huge_zero(struct place *p)
{
	return huge(p) ?: hm_cpu_touch(p->mem);
}

static long run_dontneed_tail(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem + p->length / 2, p->length / 2, MADV_DONTNEED) ? -errno : 0;
}

static int is_half_filled(struct place *p)
{
	return hm_differs(p->mem, p->length / 2, SEED) != -1 ||
	       hm_not_zero(p->mem + p->length / 2, p->length / 2) != -1;
}

static int small_filled(struct place *p)
{
	if (huge(p))
		return 1;
	if (madvise(p->mem, p->length, MADV_NOHUGEPAGE))
		return -errno;
	hm_fill(p->mem, p->length, SEED);
	return madvise(p->mem, p->length, MADV_HUGEPAGE) ? -errno : 0;
}

static long run_collapse(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem, p->length, MADV_COLLAPSE) ? -errno : 0;
}

static long run_split(void *arg)
{
	struct place *p = arg;
	char text[128];

	snprintf(text, sizeof(text), "%d,0x%lx,0x%lx", getpid(), (unsigned long)p->mem,
		 (unsigned long)p->mem + p->length);
	return hm_put_text("/sys/kernel/debug/split_huge_pages", text);
}

static int split_is_there(struct place *p)
{
	const char *path = "/sys/kernel/debug/split_huge_pages";

	if (access(path, W_OK))
		mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	return huge_filled(p) ?: access(path, W_OK) != 0;
}

static int pool(struct place *p)
{
	hm_huge_pool(&p->setting, 1);
	p->length = p->g.rig.q.pmd_size;
	p->mem = mmap(NULL, p->length, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	return p->mem == MAP_FAILED;
}

/* Files. */
static int shared(struct place *p)
{
	p->fd = memfd_create("hotmirror", MFD_CLOEXEC);
	if (p->fd < 0 || ftruncate(p->fd, p->length))
		return -errno;
	p->mem = mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	return p->mem == MAP_FAILED ? -errno : 0;
}

static int shared_filled(struct place *p)
{
	int ret = shared(p);

	if (!ret)
		hm_fill(p->mem, p->length, SEED);
	return ret;
}

static int shared_huge(struct place *p)
{
	char *aligned = hm_map_huge(p->g.rig.q.pmd_size);
	int ret;

	p->length = p->g.rig.q.pmd_size;
	ret = shared(p);
	if (ret || !aligned)
		return ret ?: 1;
	munmap(p->mem, p->length);
	p->mem = mmap(aligned, p->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		      p->fd, 0);
	if (p->mem == MAP_FAILED)
		return -errno;
	hm_fill(p->mem, p->length, SEED);
	return 0;
}

static long run_truncate(void *arg)
{
	struct place *p = arg;

	return ftruncate(p->fd, 0) ? -errno : 0;
}

static int is_sigbus(struct place *p)
{
	return hm_cpu_touch(p->mem) != SIGBUS;
}

/* A file of the root file system, which is none in memory. */
static int program(struct place *p)
{
	p->fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	p->length = p->g.page;
	p->mem = mmap(NULL, p->length, PROT_READ | PROT_WRITE, MAP_PRIVATE, p->fd, 0);
	return p->fd < 0 || p->mem == MAP_FAILED ? -errno : 0;
}

/* userfaultfd. */
static int registered(struct place *p)
{
	p->fd = hm_uffd_open();
	if (p->fd < 0)
		return 1;
	return missing(p) ?: hm_uffd_register(p->fd, p->mem, p->length, false);
}

#ifndef UFFDIO_MOVE
struct uffdio_move {
	__u64 dst, src, len, mode;
	__s64 move;
};

#define UFFDIO_MOVE	_IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

static int movable(struct place *p)
{
	p->other = p->mem;
	p->mem = p->g.buf;
	return registered(p);
}

static long run_uffd_move(void *arg)
{
	struct place *p = arg;
	struct uffdio_move move = {
		.dst = (unsigned long)p->mem,
		.src = (unsigned long)p->other,
		.len = p->length,
	};

	return ioctl(p->fd, UFFDIO_MOVE, &move) ? -errno : 0;
}

/* KSM. */
static long run_merge(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem, p->length, MADV_MERGEABLE) ? -errno : 0;
}

static int mergeable(struct place *p)
{
	return run_merge(p) != 0;
}

static long run_unmerge(void *arg)
{
	struct place *p = arg;

	return madvise(p->mem, p->length, MADV_UNMERGEABLE) ? -errno : 0;
}

static long run_compact(void *arg)
{
	return hm_put_text("/proc/sys/vm/compact_memory", "1");
}

static const struct op read_it = { nothing, run_read, is_read, NULL };
static const struct op prefetch_it = { missing, run_prefetch, is_zero, NULL };
static const struct op atomic = { need_exclusive, run_atomic, is_filled,
				  "kernel or device without device-exclusive access" };
static const struct op to_dev = { need_device_memory, run_to_dev, is_moved,
				  "no private or coherent memory" };
static const struct op to_sys = { is_in_device, run_to_sys, is_moved,
				  "no private or coherent memory" };
static const struct op touch = { missing, run_touch, is_zero, NULL };
static const struct op touch_home = { is_private, run_touch, is_filled,
				      "kernel without CONFIG_DEVICE_PRIVATE" };
static const struct op protect = { populated, run_protect, is_protected, NULL };
static const struct op dontneed = { populated, run_dontneed, is_zero, NULL };
static const struct op guard = { populated, run_guard, is_unmapped, NULL };
static const struct op unmap = { populated, run_unmap, is_unmapped, NULL };
static const struct op move = { populated, run_move, is_there, NULL };
static const struct op fork_it = { populated, run_fork, is_filled, NULL };
static const struct op pageout = { swapped_on, run_pageout, is_filled, "no swap space" };
static const struct op swap_in = { swapped_out, run_touch, is_filled, "no swap space" };
static const struct op touch_huge = { huge, run_touch, is_zero, "no huge pages" };
static const struct op write_huge_zero = { huge_zero, run_dirty, is_dirty, "no huge pages" };
static const struct op split_pmd = { huge_filled, run_dontneed_tail, is_half_filled,
				     "no huge pages" };
static const struct op split_folio = { split_is_there, run_split, is_filled,
				       "no huge pages, or no debugfs" };
static const struct op collapse = { small_filled, run_collapse, is_filled, "no huge pages" };
static const struct op collapse_shared = { shared_huge, run_collapse, is_filled,
					   "no huge pages" };
static const struct op touch_pool = { pool, run_dirty, is_dirty,
				      "no huge page (vm.nr_hugepages)" };
static const struct op touch_shared = { shared, run_touch, is_zero, NULL };
static const struct op truncate_it = { shared_filled, run_truncate, is_sigbus, NULL };
static const struct op write_program = { program, run_dirty, is_dirty, NULL };
static const struct op uffd_move = { movable, run_uffd_move, is_filled, "no userfaultfd" };
static const struct op merge = { nothing, run_merge, is_filled, NULL };
static const struct op unmerge = { mergeable, run_unmerge, is_filled, "no KSM" };
static const struct op compact = { nothing, run_compact, is_filled, NULL };

FIXTURE(list) {
	struct place p;
};

FIXTURE_VARIANT(list) {
	const char *function;
	const struct op *op;
};

#define HOLDS(name, operation)						\
	FIXTURE_VARIANT_ADD(list, name) { .function = #name, .op = &(operation) }

/* The same, by a name of its own; the harness has room for 20 letters in its list. */
#define HOLDS_TOO(name, function_name, operation)			\
	FIXTURE_VARIANT_ADD(list, name) { .function = #function_name, .op = &(operation) }

HOLDS(migrate_vma_setup, to_dev);
HOLDS(migrate_vma_pages, to_dev);
HOLDS(migrate_vma_finalize, to_dev);
HOLDS_TOO(to_system, migrate_vma_pages, to_sys);
HOLDS_TOO(by_fault, migrate_vma_setup, touch_home);
HOLDS(migrate_pages, compact);
HOLDS(try_to_migrate, split_folio);
HOLDS(try_to_unmap, pageout);
HOLDS(make_device_exclusive, atomic);
HOLDS_TOO(notifier_start, __mmu_notifier_invalidate_range_start, protect);
HOLDS_TOO(notifier_end, __mmu_notifier_invalidate_range_end, protect);
HOLDS(mmu_interval_read_begin, read_it);
HOLDS(hmm_range_fault, read_it);
HOLDS(handle_mm_fault, prefetch_it);
HOLDS(do_anonymous_page, touch);
HOLDS(do_fault, touch_shared);
HOLDS_TOO(huge_anonymous_page, do_huge_pmd_anonymous_page, touch_huge);
HOLDS(do_huge_pmd_wp_page, write_huge_zero);
HOLDS(hugetlb_fault, touch_pool);
HOLDS(filemap_fault, write_program);
HOLDS(shmem_fault, touch_shared);
HOLDS(swap_read_folio, swap_in);
HOLDS(__split_huge_pmd, split_pmd);
HOLDS(__folio_split, split_folio);
HOLDS_TOO(split_to_order, split_huge_page_to_list_to_order, split_folio);
HOLDS(collapse_file, collapse_shared);
HOLDS(collapse_huge_page, collapse);
HOLDS(madvise_collapse, collapse);
HOLDS(unmap_vmas, unmap);
HOLDS(unmap_mapping_range, truncate_it);
HOLDS(zap_page_range_single, dontneed);
HOLDS(zap_vma_range, guard);
HOLDS(change_protection, protect);
HOLDS(mprotect_fixup, protect);
HOLDS(copy_page_range, fork_it);
HOLDS(move_page_tables, move);
HOLDS(move_pages, uffd_move);
HOLDS(move_pages_ptes, uffd_move);
HOLDS(reclaim_pages, pageout);
HOLDS(ksm_madvise, merge);
HOLDS(break_ksm, unmerge);

FIXTURE_SETUP(list)
{
	struct place *p = &self->p;

	RIG_SETUP(&p->g.rig, HM_ANY);
	gated_setup(_metadata, &p->g, 0);
	p->op = variant->op;
	p->mem = p->g.mem;
	p->length = p->g.length;
	p->fd = -1;
}

FIXTURE_TEARDOWN(list)
{
	hm_setting_restore(&self->p.setting);
	hm_swap_off();
	gated_teardown(_metadata, &self->p.g);
}

TEST_F(list, result_is_right)
{
	struct place *p = &self->p;
	struct worker w;

	need_core_gates(&p->g.rig);
	p->g.gate = hm_gate_core(p->g.rig.control, variant->function);
	skip_unless(p->g.gate != -ENXIO, "not a function of this kernel, or inlined");
	must(p->g.gate);
	skip_unless(!must(p->op->prepare(p)), p->op->lacks);
	worker_start(_metadata, &w, p->op->run, p);
	worker_hold(_metadata, &w, p->g.gate);
	EXPECT_FALSE(hm_async_done(&w.async));
	must(hm_gate_release(p->g.gate));
	worker_join(_metadata, &w, 0);
	EXPECT_EQ(0, p->op->wrong(p));
}

HM_TEST_MAIN
