// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pins: references on the opener's pages, as an RDMA driver or a GPU without page
 * faults takes them. They belong to the file and outlive every state of the
 * instance: that is what unplug has to live with.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "compat.h"
#include "gate.h"

struct hotmirror_pins {
	struct list_head node;
	u32 id;
	bool get;			/* FOLL_GET, not FOLL_PIN */
	unsigned long nr;
	struct page *pages[];
};

/* What a device would find there; 0 where the memory has no direct map. */
static u64 hotmirror_pins_word(struct hotmirror_pins *pins)
{
	u64 word;

	if (copy_from_kernel_nofault(&word, page_address(pins->pages[0]), sizeof(word)))
		return 0;
	return word;
}

static void hotmirror_pages_put(struct page **pages, unsigned long nr, bool get)
{
	unsigned long i;

	if (!get)
		unpin_user_pages(pages, nr);
	for (i = 0; get && i < nr; i++)
		put_page(pages[i]);
}

static void hotmirror_pins_put(struct hotmirror_pins *pins)
{
	hotmirror_pages_put(pins->pages, pins->nr, pins->get);
	kvfree(pins);
	hotmirror_count(HOTMIRROR_PINS, -1);
}

/* What is present, or -EAGAIN: a fault of this call could not be interrupted. */
static long hotmirror_pin_fast(struct hotmirror_op *op, unsigned int gup,
			       bool get, struct page **pages, unsigned long nr)
{
	long got;

	if (current->mm != op->mm)
		return -EINVAL;
	gup |= FOLL_NOFAULT;
	got = get ? get_user_pages_fast(op->start, nr, gup, pages) :
		    pin_user_pages_fast(op->start, nr, gup, pages);
	if (got == nr)
		return got;
	if (got > 0)
		hotmirror_pages_put(pages, got, get);
	return got == -EINTR ? got : -EAGAIN;
}

/* Sleeps outside of the section that disable waits for; unplug can wake it. */
static long hotmirror_pin_slow(struct hotmirror_op *op, unsigned int gup,
			       bool get, struct page **pages, unsigned long nr)
{
	struct hotmirror_sleeper *sleeper = hotmirror_sleep_begin(op->inst);
	int locked = 1;
	long got = -EINTR;

	if (IS_ERR(sleeper))
		return PTR_ERR(sleeper);
	if (mmap_read_lock_killable(op->mm))
		goto end;
	/* Flags that only the slow path takes. */
	gup |= FOLL_INTERRUPTIBLE | FOLL_HWPOISON;
	got = get ? get_user_pages_remote(op->mm, op->start, nr, gup, pages, &locked) :
		    pin_user_pages_remote(op->mm, op->start, nr, gup, pages, &locked);
	if (locked)
		mmap_read_unlock(op->mm);
end:
	hotmirror_sleep_end(op->inst, sleeper);
	return got;
}

static long hotmirror_pin_pages(struct hotmirror_op *op, u32 flags,
				struct page **pages, unsigned long nr)
{
	unsigned int gup = 0;
	bool get = flags & HOTMIRROR_PIN_GET;
	long got = -EAGAIN;

	if (flags & HOTMIRROR_PIN_WRITE)
		gup |= FOLL_WRITE;
	if (flags & HOTMIRROR_PIN_LONGTERM)
		gup |= FOLL_LONGTERM;
	if (flags & HOTMIRROR_PIN_FAST)
		got = hotmirror_pin_fast(op, gup, get, pages, nr);
	if (got == -EAGAIN)
		got = hotmirror_pin_slow(op, gup, get, pages, nr);
	return got;
}

static int hotmirror_pin_op(struct hotmirror_op *op, struct hotmirror_pin *pin)
{
	unsigned long nr = (op->end - op->start) >> PAGE_SHIFT;
	struct hotmirror_pins *pins;
	long got;

	pins = kvzalloc(struct_size(pins, pages, nr), GFP_KERNEL_ACCOUNT);
	if (!pins)
		return -ENOMEM;
	pins->get = pin->flags & HOTMIRROR_PIN_GET;
	hotmirror_gate_op(op, HOTMIRROR_GATE_PIN_BEGIN);
	got = hotmirror_pin_pages(op, pin->flags, pins->pages, nr);
	hotmirror_gate_op(op, HOTMIRROR_GATE_PIN_DONE);
	if (READ_ONCE(op->inst->target) != HOTMIRROR_LIVE && got <= 0)
		got = -ENODEV;
	if (got <= 0) {
		kvfree(pins);
		return got == -EINTR ? -ERESTARTSYS : got ?: -EFAULT;
	}
	hotmirror_count(HOTMIRROR_PINS, 1);
	pins->nr = got;
	pin->pages = got;
	pin->word = hotmirror_pins_word(pins);
	mutex_lock(&op->file->lock);
	pins->id = op->file->next_pin++;
	pin->id = pins->id;
	list_add(&pins->node, &op->file->pins);
	mutex_unlock(&op->file->lock);
	return 0;
}

/* HOTMIRROR_PIN */
int hotmirror_pin(struct file *filp, void *arg)
{
	struct hotmirror_pin *pin = arg;
	struct hotmirror_op op;
	int ret;

	pin->pages = 0;
	pin->word = 0;
	if (pin->reserved || !IS_ALIGNED(pin->addr | pin->length, PAGE_SIZE) ||
	    pin->length > HOTMIRROR_MAX_BYTES ||
	    (pin->flags & HOTMIRROR_PIN_GET && pin->flags & HOTMIRROR_PIN_LONGTERM))
		return -EINVAL;
	ret = hotmirror_op_begin(&op, filp, pin->addr, pin->length);
	if (ret)
		return ret;
	ret = hotmirror_pin_op(&op, pin);
	hotmirror_op_end(&op);
	return ret;
}

static struct hotmirror_pins *hotmirror_pins_take(struct hotmirror_file *file,
						  u32 id, bool any)
{
	struct hotmirror_pins *pins;

	guard(mutex)(&file->lock);
	list_for_each_entry(pins, &file->pins, node) {
		if (!any && pins->id != id)
			continue;
		list_del(&pins->node);
		return pins;
	}
	return NULL;
}

/* HOTMIRROR_UNPIN: in every state, or a held page could never be given back. */
int hotmirror_unpin(struct file *filp, void *arg)
{
	struct hotmirror_pin *pin = arg;
	struct hotmirror_pins *pins;

	if (pin->reserved || pin->addr || pin->length)
		return -EINVAL;
	pins = hotmirror_pins_take(filp->private_data, pin->id, false);
	if (!pins)
		return -ENOENT;
	pin->pages = pins->nr;
	pin->word = hotmirror_pins_word(pins);
	hotmirror_pins_put(pins);
	return 0;
}

/* The last close. */
void hotmirror_pins_release(struct hotmirror_file *file)
{
	struct hotmirror_pins *pins;

	while ((pins = hotmirror_pins_take(file, 0, true)))
		hotmirror_pins_put(pins);
}
