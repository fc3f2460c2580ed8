// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything that the module has made and that somebody may still keep, counted by
 * kind: QUERY reports it, SETTLE waits for it, module exit complains about it.
 */
#include <linux/fs.h>
#include <linux/wait.h>
#include "compat.h"
#include "hotmirror.h"

static atomic_t hotmirror_counts[HOTMIRROR_NR_OBJECTS];
static DECLARE_WAIT_QUEUE_HEAD(hotmirror_fewer);

/**
 * hotmirror_count - an object was made, or is no more
 * @object: its kind
 * @n: 1 or -1
 */
void hotmirror_count(enum hotmirror_object object, int n)
{
	atomic_add(n, &hotmirror_counts[object]);
	if (n < 0 && wq_has_sleeper(&hotmirror_fewer))
		wake_up_all(&hotmirror_fewer);
}

static u32 hotmirror_counted(enum hotmirror_object object)
{
	return atomic_read(&hotmirror_counts[object]);
}

/* What somebody keeps; an instance on its way out is not that. */
static u32 hotmirror_left(bool gone)
{
	u32 left = 0;
	int object;

	for (object = 0; object < HOTMIRROR_LAYOUTS; object++)
		if (gone || object != HOTMIRROR_LEAVING)
			left += hotmirror_counted(object);
	return left;
}

/* QUERY's part. */
void hotmirror_report_objects(struct hotmirror_query *query)
{
	query->controls = hotmirror_counted(HOTMIRROR_CONTROLS);
	query->devices = hotmirror_counted(HOTMIRROR_DEVICES);
	query->leaving = hotmirror_counted(HOTMIRROR_LEAVING);
	query->files = hotmirror_counted(HOTMIRROR_FILES);
	query->ranges = hotmirror_counted(HOTMIRROR_RANGES);
	query->pins = hotmirror_counted(HOTMIRROR_PINS);
	query->gates = hotmirror_counted(HOTMIRROR_GATES);
	query->pages_used = hotmirror_pages_used();
}

/* HOTMIRROR_SETTLE */
int hotmirror_settle(struct file *filp, void *arg)
{
	struct hotmirror_settle *settle = arg;
	bool gone = settle->flags & HOTMIRROR_SETTLE_GONE;
	long ret;

	settle->left = hotmirror_left(gone);
	if (settle->timeout_ns > HOTMIRROR_MAX_WAIT_NS)
		return -EINVAL;
	ret = wait_event_interruptible_timeout(hotmirror_fewer,
					       hotmirror_left(gone) <= settle->objects,
					       nsecs_to_jiffies(settle->timeout_ns) + 1);
	settle->left = hotmirror_left(gone);
	if (ret < 0)
		return -EINTR;
	return ret ? 0 : -ETIMEDOUT;
}

void hotmirror_objects_exit(void)
{
	u32 left = hotmirror_left(true) + hotmirror_counted(HOTMIRROR_LAYOUTS);

	WARN(left, "%u objects left behind\n", left);
}
