/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * test_hotmirror: what the source files share.
 *
 *   control file ── owns ──> instance <── open files, each a mirror of an mm
 *                            │                 │
 *                            device memory     ranges (interval notifiers)
 *                            (pgmap)           device page table (leaves)
 *
 * Locks, outermost first:
 *   inst->lock        its files; whether struct pages may be looked at
 *   mmap_lock         of the mirrored mm, or of who maps or faults device memory
 *   control->lock     the instances of a control file
 *   file->lock        the driver lock of claim S1: the device page table and the
 *                     list of ranges. The invalidate callback takes it, so no
 *                     allocation, fault or copy from user space happens under it.
 *   inst->state_lock, inst->mem_lock, inst->gate_lock, gate->lock   spinlocks, innermost
 */
#ifndef _HOTMIRROR_H
#define _HOTMIRROR_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/kref.h>
#include <linux/memremap.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "test_hotmirror_uapi.h"

struct hmm_range;
struct hotmirror_grave;
struct hotmirror_sleeper;
struct io_uring_cmd;

/* Pages in one leaf of the device page table: what one PMD spans. */
#define HOTMIRROR_LEAF_PAGES	(1UL << (PMD_SHIFT - PAGE_SHIFT))

/* An entry of the device page table: pfn << PAGE_SHIFT | flags. */
#define HOTMIRROR_ENTRY_VALID	1UL
#define HOTMIRROR_ENTRY_WRITE	2UL
#define HOTMIRROR_ENTRY_EXCLUSIVE	4UL	/* the CPU has no PTE */

struct hotmirror_control {
	struct mutex lock;		/* instances */
	struct list_head instances;
	struct inode *inode;		/* the shared one of dax.c; NULL: no mmap() */
	struct xarray pages;		/* ordinary memory of mixed.c, by page offset */
	bool core_gates;		/* had some; under the lock of core_gate.c */
};

struct hotmirror_instance {
	struct device dev;
	struct cdev cdev;
	struct list_head node;		/* in hotmirror_control.instances */
	struct list_head all;		/* see instance.c */
	u32 id;
	u32 kind;
	u64 bytes;
	u64 align;

	/* life: see unplug.c */
	spinlock_t state_lock;		/* state, target, sleepers, when_ns */
	u32 state;
	u32 target;
	atomic_t readers;
	struct list_head sleepers;
	wait_queue_head_t wait;		/* state changes, last reader, freed pages */
	struct work_struct unplug_work;
	u64 when_ns[HOTMIRROR_NR_STATES];
	u64 disabling_ns;
	bool skip_disable;		/* sabotage */
	bool skip_unmap;		/* sabotage */
	bool drain_early;		/* sabotage */
	bool unfinished;		/* so the drain has to make up for a step */
	bool fail_large;		/* sabotage */
	bool fail_large_once;		/* the same, for the next one only */
	bool fail_alloc;		/* sabotage: no memory for an eviction */
	bool evict_no_copy;		/* sabotage */
	bool evict_hold;		/* sabotage: an eviction stops half way */
	bool permanent;			/* lives as long as the module */

	struct mutex lock;		/* files, pgmap */
	struct list_head files;
	u32 nr_files;

	/* device memory: see devmem.c, dax.c */
	struct dev_pagemap pgmap;
	unsigned long pgmap_own;	/* its references that are not somebody's */
	bool mapped;			/* the struct pages may be looked at; under lock */
	bool leaving;			/* the drain is done */
	struct resource *res;		/* private */
	u64 arena_offset;		/* coherent, dax */
	struct inode *inode;		/* dax: the shared one */
	struct page *doorbell;		/* private, coherent: see doorbell.c */
	unsigned long first_pfn;
	unsigned long nr_pages;
	spinlock_t mem_lock;		/* what follows; taken in interrupts */
	unsigned long *used;
	unsigned long nr_used;
	unsigned long hint;		/* where to look for a free page */
	struct page **backing;		/* private: where the data is */
	unsigned long *large;		/* private: backing of a whole leaf, by its first page */
	atomic64_t pages_to_ram;
	atomic64_t pages_robbed;	/* see hotmirror_guard() */

	/* see evict.c */
	struct hotmirror_grave *grave;	/* where lost pages go; set under lock */
	atomic64_t pages_evicted;
	atomic64_t pages_lost;
	unsigned long evict_rounds;
	unsigned long evict_idle;	/* of these: in a row, and moved nothing */
	unsigned long evict_busy;	/* pages that the last one could not take */
	unsigned long evict_no_memory;	/* and that it found no memory for */
	unsigned long evict_held;	/* pages collected, and not to go on with yet */
	bool starved;			/* not one page was to be had */

	/* see gate.c */
	spinlock_t gate_lock;		/* what follows; never sleeps, takes no other */
	struct list_head gates;
	u64 gate_serial;
	u32 gates_open;			/* enum hotmirror_gates_open */
};

struct hotmirror_file {
	struct hotmirror_instance *inst;
	struct mm_struct *mm;		/* mmgrab()bed, never mmget() */
	struct list_head node;		/* in hotmirror_instance.files */
	struct address_space *mapping;	/* of the mappings made by this file */

	struct mutex lock;		/* the driver lock */
	struct xarray leaves;
	struct list_head ranges;
	u32 nr_ranges;
	u32 next_range;
	struct list_head pins;
	u32 next_pin;
	unsigned long exclusive_seq;	/* our own device-exclusive conversions */
	u64 sabotage;
	unsigned long late_start;	/* sabotage: noted by callbacks, not cleared */
	unsigned long late_end;
	bool unsafe;			/* was ever sabotaged: no access any more */
	bool keeps_pgmap;		/* sabotage; under inst->lock */
	bool rss_off;			/* sabotage; under inst->lock */
	struct hotmirror_stats stats;
	atomic_t refused;		/* non-blockable invalidations */
	atomic_t gates_off;		/* no gate holds who works on this file */
};

/* One mirrored range, that is one interval notifier. */
struct hotmirror_range {
	struct mmu_interval_notifier notifier;
	struct hotmirror_file *file;
	struct list_head node;
	struct kref ref;
	u32 id;
	unsigned long start;
	unsigned long end;		/* exclusive */
	bool dead;			/* removed; under file->lock */
};

/* The entries are an allocation of their own: exactly a page where a PMD spans 512. */
struct hotmirror_leaf {
	unsigned int present;
	unsigned long *entry;
};

/* One running ioctl on a range of the opener's memory. */
struct hotmirror_op {
	struct hotmirror_file *file;
	struct hotmirror_instance *inst;
	struct mm_struct *mm;		/* mmget()ed */
	unsigned long start;		/* page aligned */
	unsigned long end;
	unsigned long nr;		/* elements of each array */
	unsigned long *pfns;		/* what a walk found, migration sources */
	unsigned long *dst;		/* migration targets, new entries, snapshots */
	unsigned long *before;		/* device entries before a walk */
	bool large;			/* migration: PMD-sized folios as one */
	bool warm;			/* access: -EAGAIN instead of a populate */
	bool by_hmm;			/* populate: HMM takes the faults, not we */
	bool ungated;			/* an oracle: stops at no gate */
	u64 large_moved;
	u64 begin_ns;
	u64 fault_ns;
	u32 entries;
	u32 retries;
	u32 faults;
	u32 unreadable;
};

/* main.c */
extern bool hotmirror_may_sabotage;
extern struct workqueue_struct *hotmirror_wq;
extern HOTMIRROR_CLASS hotmirror_class;
extern dev_t hotmirror_devt;
extern const struct file_operations hotmirror_control_fops;

/* objects.c */
enum hotmirror_object {
	HOTMIRROR_CONTROLS,
	HOTMIRROR_DEVICES,		/* instances, until their drain is done */
	HOTMIRROR_LEAVING,		/* the same, from then on */
	HOTMIRROR_FILES,
	HOTMIRROR_RANGES,
	HOTMIRROR_PINS,
	HOTMIRROR_GATES,
	HOTMIRROR_LAYOUTS,		/* each held by a VMA, and that holds a control file */
	HOTMIRROR_NR_OBJECTS
};

void hotmirror_count(enum hotmirror_object object, int n);
void hotmirror_report_objects(struct hotmirror_query *query);
int hotmirror_settle(struct file *filp, void *arg);
void hotmirror_objects_exit(void);

/* ioctl.c */
struct hotmirror_ioctl {
	unsigned int cmd;
	u32 min_size;			/* of the first published struct */
	u32 size;
	u32 flags;			/* allowed in the struct's flags */
	int (*fn)(struct file *filp, void *arg);
};

long hotmirror_ioctl(const struct hotmirror_ioctl *table, size_t n,
		     struct file *filp, unsigned int cmd, unsigned long arg);
int hotmirror_query(struct file *filp, void *arg);

/* How an instance appears in /dev. */
struct hotmirror_node {
	const char *name;
	const struct file_operations *fops;
};

/* instance.c */
struct hotmirror_instance *hotmirror_plug(struct hotmirror_plug *plug,
					  const struct hotmirror_node *node);
void hotmirror_status(struct hotmirror_instance *inst,
		      struct hotmirror_status *status);
u32 hotmirror_nr_instances(void);
u64 hotmirror_pages_used(void);
long hotmirror_pgmap_refs(struct hotmirror_instance *inst);
void hotmirror_unplug_node(struct hotmirror_instance *inst);
void hotmirror_unplugged(struct hotmirror_instance *inst);
static inline void hotmirror_get(struct hotmirror_instance *inst)
{
	get_device(&inst->dev);
}

static inline void hotmirror_put(struct hotmirror_instance *inst)
{
	put_device(&inst->dev);
}

/* holders.c */
void hotmirror_holders(struct hotmirror_instance *inst,
		       struct hotmirror_status *status);

/* unplug.c */
bool hotmirror_enter(struct hotmirror_instance *inst);
void hotmirror_leave(struct hotmirror_instance *inst);
void hotmirror_unplug_work(struct work_struct *work);
void hotmirror_unplug_start(struct hotmirror_instance *inst, u32 target);
int hotmirror_unplug_wait(struct hotmirror_instance *inst, u32 target, u64 ns);
struct hotmirror_sleeper *hotmirror_sleep_begin(struct hotmirror_instance *inst);
void hotmirror_sleep_end(struct hotmirror_instance *inst,
			 struct hotmirror_sleeper *sleeper);
void hotmirror_sleepers_exit(void);

/* file.c */
extern const struct file_operations hotmirror_fops;
long hotmirror_file_ioctl(struct file *filp, unsigned int cmd, unsigned long arg);
int hotmirror_file_open(struct inode *inode, struct file *filp);
int hotmirror_file_release(struct inode *inode, struct file *filp);

/* uring.c */
int hotmirror_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* mirror.c */
int hotmirror_op_begin(struct hotmirror_op *op, struct file *filp, u64 addr,
		       u64 length);
void hotmirror_op_end(struct hotmirror_op *op);
int hotmirror_mirror(struct file *filp, void *arg);
int hotmirror_unmirror(struct file *filp, void *arg);
void hotmirror_ranges_remove(struct hotmirror_file *file);
struct hotmirror_range *hotmirror_range_find(struct hotmirror_file *file,
					     unsigned long addr);
void hotmirror_range_put(struct hotmirror_range *range);
bool hotmirror_raced(struct hotmirror_file *file, struct hmm_range *hmm,
		     unsigned long exclusive_seq);
int hotmirror_walk(struct hotmirror_op *op, struct hmm_range *hmm);
long hotmirror_populate(struct hotmirror_op *op, struct hotmirror_range *range,
			unsigned long start, unsigned long end, bool write);

unsigned long hotmirror_store(struct hotmirror_op *op, struct hotmirror_leaf *leaf,
			      struct hmm_range *hmm, bool write);

/* sabotage.c */
int hotmirror_sabotage(struct file *filp, void *arg);
int hotmirror_keep_pgmap(struct hotmirror_file *file, bool keep);
long hotmirror_store_sabotaged(struct hotmirror_op *op, struct hotmirror_range *range,
			       struct hotmirror_leaf *leaf, struct hmm_range *hmm,
			       unsigned long exclusive_seq, bool write);
void hotmirror_forget_sabotaged(struct hotmirror_file *file, unsigned long *start,
				unsigned long *end, unsigned long range_end);
void hotmirror_clear_late(struct hotmirror_file *file);
void *hotmirror_copy_early(struct hotmirror_op *op, unsigned long start, unsigned long end);
void hotmirror_copy_late(struct hotmirror_op *op, void *copies, const unsigned long *dst,
			 unsigned long n);

/* invalidate.c */
const struct mmu_interval_notifier_ops *hotmirror_notifier_ops(bool two_pass);

/* dpt.c: all but _reserve under file->lock */
struct hotmirror_leaf *hotmirror_dpt_reserve(struct hotmirror_file *file,
					     unsigned long addr);
unsigned long hotmirror_dpt_get(struct hotmirror_file *file, unsigned long addr);
void hotmirror_dpt_copy(struct hotmirror_file *file, unsigned long start,
			unsigned long end, unsigned long *entries);
void hotmirror_dpt_store(struct hotmirror_leaf *leaf, unsigned long addr,
			 const unsigned long *entries, unsigned long n);
unsigned long hotmirror_dpt_clear(struct hotmirror_file *file,
				  unsigned long start, unsigned long end);
void hotmirror_dpt_destroy(struct hotmirror_file *file);

/* access.c */
#define HOTMIRROR_ACCESS_WARM	BIT(31)	/* not from user space: see hotmirror_op.warm */
int hotmirror_read(struct file *filp, void *arg);
int hotmirror_write(struct file *filp, void *arg);
int hotmirror_prefetch(struct file *filp, void *arg);
int hotmirror_atomic(struct file *filp, void *arg);
int hotmirror_fault_in(struct hotmirror_op *op, unsigned long addr, bool write);

/* exclusive.c */
int hotmirror_exclude(struct hotmirror_op *op, struct hotmirror_range *range,
		      unsigned long addr);

/* pin.c */
int hotmirror_pin(struct file *filp, void *arg);
int hotmirror_unpin(struct file *filp, void *arg);
void hotmirror_pins_release(struct hotmirror_file *file);

/* snapshot.c */
int hotmirror_snapshot(struct file *filp, void *arg);
int hotmirror_verify(struct file *filp, void *arg);
int hotmirror_entries(struct file *filp, void *arg);
int hotmirror_snapshot_piece(struct hotmirror_op *op, unsigned long addr,
			     unsigned long *end);

/* arena.c */
int hotmirror_arena_init(const char *spec);
void hotmirror_arena_exit(void);
int hotmirror_arena_alloc(u64 bytes, u64 *offset);
void hotmirror_arena_free(u64 offset, u64 bytes);
bool hotmirror_arena_used(u64 offset);
phys_addr_t hotmirror_arena_phys(u64 offset);
u64 hotmirror_arena_bytes(void);
u64 hotmirror_arena_unused(void);

/* devmem.c */
int hotmirror_devmem_plug(struct hotmirror_instance *inst);
void hotmirror_devmem_unmap(struct hotmirror_instance *inst);
void hotmirror_devmem_free(struct hotmirror_instance *inst);
struct page *hotmirror_devmem_alloc(struct hotmirror_instance *inst,
				    unsigned int order);
struct page *hotmirror_devmem_data(struct hotmirror_instance *inst,
				   unsigned long pfn);
bool hotmirror_devmem_owns(struct hotmirror_instance *inst, unsigned long pfn);
bool hotmirror_fail_large(struct hotmirror_instance *inst);

/* migrate.c */
/* Makes the target of one folio, locked; NULL if it has to stay. */
typedef struct page *(*hotmirror_copy_fn)(struct hotmirror_instance *inst,
					  struct page *src, unsigned int order);
void hotmirror_guard(struct hotmirror_instance *inst, unsigned long *src,
		     unsigned long n);
void hotmirror_unguard(struct hotmirror_instance *inst, const unsigned long *src,
		       unsigned long n);
void hotmirror_copy(struct hotmirror_instance *inst, unsigned long *src,
		    unsigned long *dst, unsigned long n, hotmirror_copy_fn copy);
unsigned long hotmirror_nr(unsigned long mpfn);
unsigned long hotmirror_moved(const unsigned long *src, const unsigned long *dst,
			      unsigned long n, u64 *large);
int hotmirror_migrate_to_dev(struct file *filp, void *arg);
int hotmirror_migrate_to_sys(struct file *filp, void *arg);
vm_fault_t hotmirror_migrate_to_ram(struct vm_fault *vmf);

/* evict.c */
void hotmirror_evict(struct hotmirror_instance *inst);
unsigned long hotmirror_evict_pause(struct hotmirror_instance *inst);

/* tombstone.c */
int hotmirror_lose(struct hotmirror_instance *inst);
void hotmirror_lose_end(struct hotmirror_instance *inst);
struct page *hotmirror_bury(struct hotmirror_instance *inst, struct page *src,
			    unsigned int order);
u64 hotmirror_nr_tombstones(void);

/* dax.c */
struct inode *hotmirror_inode_get(void);
void hotmirror_inode_put(struct inode *inode);
int hotmirror_dax_plug(struct hotmirror_instance *inst);
void hotmirror_dax_free(struct hotmirror_instance *inst);
void hotmirror_dax_open(struct inode *inode, struct file *filp);
vm_fault_t hotmirror_dax_fault(struct hotmirror_instance *inst,
			       struct vm_fault *vmf, unsigned int order);
int hotmirror_dax_mmap(struct file *filp, struct vm_area_struct *vma);
void hotmirror_dax_unmap(struct hotmirror_instance *inst);
bool hotmirror_dax_freeze(struct hotmirror_instance *inst);

/* doorbell.c */
int hotmirror_doorbell_plug(struct hotmirror_instance *inst);
void hotmirror_doorbell_free(struct hotmirror_instance *inst);
int hotmirror_doorbell_mmap(struct file *filp, struct vm_area_struct *vma);
void hotmirror_doorbell_unmap(struct hotmirror_file *file);

/* mixed.c */
int hotmirror_mixed_open(struct hotmirror_control *control, struct file *filp);
void hotmirror_mixed_release(struct hotmirror_control *control);
int hotmirror_mixed_mmap(struct file *filp, struct vm_area_struct *vma);

/* dmirror.c */
int hotmirror_dmirror_init(void);
void hotmirror_dmirror_exit(void);

#endif /* _HOTMIRROR_H */
