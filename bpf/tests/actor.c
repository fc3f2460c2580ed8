// SPDX-License-Identifier: GPL-2.0-only
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "actor.h"
#include "dev.h"
#include "known.h"

static long actor_main(void *arg)
{
	struct actor *a = arg;
	eventfd_t go;
	long ret;

	prctl(PR_SET_NAME, a->name);
	if (eventfd_read(a->go, &go))
		return -1;
	a->begin = now_ns();
	ret = a->run(a);
	a->end = now_ns();
	return ret;
}

int actor_start(struct actor *a, struct target *t)
{
	a->t = t;
	a->go = eventfd(0, EFD_CLOEXEC);
	return check(a->go >= 0 && !hm_async_start(&a->thread, actor_main, a), a->name);
}

int actor_go(struct actor *a)
{
	return check(!eventfd_write(a->go, 1), a->name);
}

int actor_join(struct actor *a)
{
	long ret = -1;

	if (check(!hm_async_join(&a->thread, HM_LIMIT_MS, &ret), a->name))
		return -1;
	close(a->go);
	return check(!ret, a->name);
}

int actor_do(struct actor *a, struct target *t)
{
	return actor_start(a, t) ?: actor_go(a) ?: actor_join(a);
}
