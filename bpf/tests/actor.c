// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"
#include "dev.h"

int check(int ok, const char *what)
{
	if (!ok)
		fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
			strerror(errno));
	return ok ? 0 : -1;
}

int check_ret(int ret, const char *what)
{
	errno = -ret;
	return check(ret >= 0, what);
}

__u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void hold_until(__u64 ns)
{
	struct timespec end = {
		.tv_sec = ns / 1000000000,
		.tv_nsec = ns % 1000000000,
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		;
}

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
