// SPDX-License-Identifier: GPL-2.0-only
/*
 * An instance: one device, /dev/hotmirrorN, with its memory. It is created here;
 * unplug.c takes it apart; its struct stays until the last file is closed.
 */
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/slab.h>
#include "compat.h"
#include "hotmirror.h"

static DEFINE_IDA(hotmirror_ids);
/* Every instance whose struct exists; innermost. */
static DEFINE_MUTEX(hotmirror_all_lock);
static LIST_HEAD(hotmirror_all);
/* Instances that are not gone. */
static atomic_t hotmirror_plugged = ATOMIC_INIT(0);

u32 hotmirror_nr_instances(void)
{
	return atomic_read(&hotmirror_plugged);
}

/* Device pages that back somebody's memory, of all instances. */
u64 hotmirror_pages_used(void)
{
	struct hotmirror_instance *inst;
	u64 used = 0;

	guard(mutex)(&hotmirror_all_lock);
	list_for_each_entry(inst, &hotmirror_all, all)
		used += READ_ONCE(inst->nr_used);
	return used;
}

/*
 * All references to a pgmap. They are counted per CPU until memunmap_pages() kills the
 * counter, and only then does the core add them up; this is the same sum, without
 * the grace period. Exact unless somebody takes or drops one at this moment.
 */
static unsigned long hotmirror_pgmap_count(struct hotmirror_instance *inst)
{
	struct percpu_ref *ref = &inst->pgmap.ref;
	unsigned long __percpu *part;
	unsigned long sum;
	int cpu;

	if (WARN_ON_ONCE(!__ref_is_percpu(ref, &part)))
		return inst->pgmap_own;
	sum = atomic_long_read(&ref->data->count);
	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(part, cpu));
	return sum;
}

/*
 * References to the pgmap beside those that memremap_pages() took: each live private
 * or coherent page has one. memunmap_pages() would wait for them in D state. Under
 * inst->lock, or by the drain.
 */
long hotmirror_pgmap_refs(struct hotmirror_instance *inst)
{
	return inst->mapped ? hotmirror_pgmap_count(inst) - inst->pgmap_own : 0;
}

/* unplug.c, as the last thing: drop what hotmirror_plug() took for the instance. */
void hotmirror_unplugged(struct hotmirror_instance *inst)
{
	bool permanent = inst->permanent;

	hotmirror_put(inst);
	if (!permanent)
		module_put(THIS_MODULE);	/* module exit flushes the work item we are in */
}

/* The memory is unmapped and the node removed: the instance counts no more. */
void hotmirror_unplug_node(struct hotmirror_instance *inst)
{
	cdev_device_del(&inst->cdev, &inst->dev);
	atomic_dec(&hotmirror_plugged);
}

static void hotmirror_release(struct device *dev)
{
	struct hotmirror_instance *inst =
		container_of(dev, struct hotmirror_instance, dev);

	hotmirror_dax_free(inst);
	hotmirror_doorbell_free(inst);
	hotmirror_devmem_free(inst);
	ida_free(&hotmirror_ids, inst->id);
	mutex_lock(&hotmirror_all_lock);
	list_del(&inst->all);
	mutex_unlock(&hotmirror_all_lock);
	hotmirror_count(inst->leaving ? HOTMIRROR_LEAVING : HOTMIRROR_DEVICES, -1);
	kfree(inst);
}

static int hotmirror_plug_check(struct hotmirror_plug *plug)
{
	switch (plug->kind) {
	case HOTMIRROR_PRIVATE:
	case HOTMIRROR_COHERENT:
	case HOTMIRROR_DAX:
		break;
	default:
		return -EINVAL;
	}
	if (!plug->bytes || plug->bytes > HOTMIRROR_MAX_BYTES ||
	    !IS_ALIGNED(plug->bytes, SUBSECTION_SIZE))
		return -EINVAL;
	if (plug->align && (plug->kind != HOTMIRROR_DAX ||
			    (plug->align != PAGE_SIZE && plug->align != PMD_SIZE)))
		return -EINVAL;
	if (plug->kind == HOTMIRROR_PRIVATE)
		return IS_ENABLED(CONFIG_DEVICE_PRIVATE) ? 0 : -EOPNOTSUPP;
	if (!hotmirror_arena_bytes())
		return -EOPNOTSUPP;
	if (plug->kind == HOTMIRROR_DAX && !IS_ENABLED(CONFIG_FS_DAX))
		return -EOPNOTSUPP;
	if (plug->align == PMD_SIZE && !HOTMIRROR_CAN_PMD)
		return -EOPNOTSUPP;
	return 0;
}

static struct hotmirror_instance *
hotmirror_instance_alloc(const struct hotmirror_plug *plug)
{
	struct hotmirror_instance *inst;
	int id;

	inst = kzalloc_obj(*inst, GFP_KERNEL);
	if (!inst)
		return ERR_PTR(-ENOMEM);
	id = ida_alloc_max(&hotmirror_ids, HOTMIRROR_MAX_INSTANCES - 1,
			   GFP_KERNEL);
	if (id < 0) {
		kfree(inst);
		return ERR_PTR(id);
	}
	inst->id = id;
	inst->kind = plug->kind;
	inst->bytes = plug->bytes;
	inst->align = plug->kind == HOTMIRROR_DAX ? plug->align ?: PAGE_SIZE : 0;
	spin_lock_init(&inst->state_lock);
	spin_lock_init(&inst->mem_lock);
	mutex_init(&inst->lock);
	INIT_LIST_HEAD(&inst->files);
	INIT_LIST_HEAD(&inst->sleepers);
	spin_lock_init(&inst->gate_lock);
	INIT_LIST_HEAD(&inst->gates);
	init_waitqueue_head(&inst->wait);
	INIT_WORK(&inst->unplug_work, hotmirror_unplug_work);

	device_initialize(&inst->dev);
	inst->dev.class = &hotmirror_class;
	inst->dev.devt = MKDEV(MAJOR(hotmirror_devt), MINOR(hotmirror_devt) + id);
	inst->dev.release = hotmirror_release;
	mutex_lock(&hotmirror_all_lock);
	list_add(&inst->all, &hotmirror_all);
	mutex_unlock(&hotmirror_all_lock);
	hotmirror_count(HOTMIRROR_DEVICES, 1);
	return inst;
}

/**
 * hotmirror_plug - create an instance with its memory and its device node
 * @plug: as checked against the header; @plug->id is filled in
 * @node: name and operations of a permanent instance, which does not keep the
 *	module: module exit unplugs it; NULL: /dev/hotmirrorN of a control file
 *
 * Return: the instance with two references, one for the caller and one that
 * unplug drops when the instance is gone; or an ERR_PTR().
 */
struct hotmirror_instance *hotmirror_plug(struct hotmirror_plug *plug,
					  const struct hotmirror_node *node)
{
	struct hotmirror_instance *inst;
	int ret;

	ret = hotmirror_plug_check(plug);
	if (ret)
		return ERR_PTR(ret);
	inst = hotmirror_instance_alloc(plug);
	if (IS_ERR(inst))
		return inst;
	inst->permanent = node;
	ret = node ? dev_set_name(&inst->dev, "%s", node->name) :
		     dev_set_name(&inst->dev, "hotmirror%u", inst->id);
	if (ret)
		goto put;
	ret = inst->kind == HOTMIRROR_DAX ? hotmirror_dax_plug(inst) :
					    hotmirror_doorbell_plug(inst);
	if (!ret)
		ret = hotmirror_devmem_plug(inst);
	if (ret)
		goto put;

	inst->pgmap_own = hotmirror_pgmap_count(inst);
	inst->when_ns[HOTMIRROR_LIVE] = ktime_get_ns();
	cdev_init(&inst->cdev, node ? node->fops : &hotmirror_fops);
	inst->cdev.owner = THIS_MODULE;
	ret = cdev_device_add(&inst->cdev, &inst->dev);
	if (ret)
		goto unmap;

	if (!node)
		__module_get(THIS_MODULE);	/* until the instance is gone */
	hotmirror_get(inst);
	atomic_inc(&hotmirror_plugged);
	plug->id = inst->id;
	return inst;

unmap:
	hotmirror_devmem_unmap(inst);
put:
	hotmirror_put(inst);
	return ERR_PTR(ret);
}

/* HOTMIRROR_STATUS. inst->lock keeps the struct pages while they are counted. */
void hotmirror_status(struct hotmirror_instance *inst,
		      struct hotmirror_status *status)
{
	mutex_lock(&inst->lock);
	spin_lock(&inst->state_lock);
	status->state = inst->state;
	status->target = inst->target;
	status->sleepers = list_count_nodes(&inst->sleepers);
	memcpy(status->when_ns, inst->when_ns, sizeof(status->when_ns));
	status->disabling_ns = inst->disabling_ns;
	spin_unlock(&inst->state_lock);
	status->id = inst->id;
	status->kind = inst->kind;
	status->readers = atomic_read(&inst->readers);
	status->mirrors = inst->nr_files;
	status->bytes = inst->bytes;
	status->align = inst->align;
	status->arena_offset = inst->arena_offset;
	status->pages = inst->nr_pages;
	status->pages_used = READ_ONCE(inst->nr_used);
	status->pgmap_refs = hotmirror_pgmap_refs(inst);
	status->pages_evicted = atomic64_read(&inst->pages_evicted);
	status->pages_lost = atomic64_read(&inst->pages_lost);
	status->evict_rounds = READ_ONCE(inst->evict_rounds);
	status->evict_busy = READ_ONCE(inst->evict_busy);
	status->evict_no_memory = READ_ONCE(inst->evict_no_memory);
	status->evict_held = READ_ONCE(inst->evict_held);
	status->pages_robbed = atomic64_read(&inst->pages_robbed);
	hotmirror_holders(inst, status);
	mutex_unlock(&inst->lock);
}
