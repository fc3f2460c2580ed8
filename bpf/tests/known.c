// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "known.h"

#define GO_LIMIT_MS	300000

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

long must(const char *what, long ret)
{
	if (ret >= 0)
		return ret;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(-ret));
	exit(1);
}

void *shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must("mmap", p == MAP_FAILED ? -errno : 0);
	return p;
}

static void await_go(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	char line[64];

	if (poll(&p, 1, GO_LIMIT_MS) != 1 || !fgets(line, sizeof(line), stdin))
		must("nobody said go", -ETIMEDOUT);
}

int target_start(struct hm_child *child,
		 int (*target_main)(struct hm_parent *parent, void *arg), void *arg,
		 size_t bytes, __u32 id)
{
	long fd, mem;

	must("target", hm_child_start(child, target_main, arg));
	must("target", hm_child_hear(child, &fd));
	must("target", hm_child_hear(child, &mem));
	fd = must("pidfd_getfd", hm_child_getfd(child, fd));
	printf("TARGET %d %#lx %#lx %u\n", child->pid, mem, mem + bytes, id);
	fflush(stdout);
	await_go();
	return fd;
}

void target_wait(struct hm_child *child)
{
	int status;

	must("target", hm_child_wait(child, &status));
	must("the target failed", status ? -ECHILD : 0);
}

void number(const char *name, unsigned long long value, const char *after)
{
	printf("\"%s\":%llu%s", name, value, after);
}
