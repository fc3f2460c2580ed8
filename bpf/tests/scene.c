// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "mem.h"
#include "scene.h"

int interrupted, failed;

__u64 now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

void spend(__u64 ns)
{
	struct timespec t = { .tv_nsec = ns };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

bool over(const struct scene *s)
{
	return __atomic_load_n(&interrupted, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&failed, __ATOMIC_RELAXED) || now_ns() >= s->end_ns;
}

/* @ret: 0 or more, -errno, or -1 with errno. */
int check(const char *what, int ret)
{
	if (ret < 0) {
		fprintf(stderr, "hotmirror_scenario: %s: %s\n", what,
			strerror(ret == -1 ? errno : -ret));
		failed = 1;
	}
	return ret;
}

void add(struct scene *s, const char *name, unsigned long n)
{
	struct count *c = s->counts;

	while (c->name && strcmp(c->name, name))
		c++;
	c->name = name;
	__atomic_add_fetch(&c->n, n, __ATOMIC_RELAXED);
}

void declare(struct scene *s, const char *const *names)
{
	for (; *names; names++)
		add(s, *names, 0);
}

/* ---- workers ---- */

static long worker_main(void *arg)
{
	struct worker *w = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(w->cpu % sysconf(_SC_NPROCESSORS_ONLN), &set);
	sched_setaffinity(0, sizeof(set), &set);
	prctl(PR_SET_NAME, w->name);
	w->tid = gettid();
	return w->run(w->s, w);
}

int start(struct scene *s, const char *name, int cpu,
	  int (*run)(struct scene *s, struct worker *w))
{
	struct worker *w = &s->workers[s->nr_workers];

	w->name = name;
	w->cpu = cpu;
	w->run = run;
	w->s = s;
	if (check("starting a thread", hm_async_start(&w->async, worker_main, w)))
		return -1;
	w->tid = w->async.tid;
	s->nr_workers++;
	return 0;
}

int join(struct scene *s, int from)
{
	long ret = 0;
	int limit = HM_LIMIT_MS;

	if (!over(s))
		limit += (s->end_ns - now_ns()) / MSEC;
	for (int i = from; i < s->nr_workers; i++)
		if (check(s->workers[i].name,
			  hm_async_join(&s->workers[i].async, limit, &ret)) || ret)
			failed = 1;
	return failed ? -1 : 0;
}

/* ---- set-up ---- */

int lacking(const char *what)
{
	fprintf(stderr, "hotmirror_scenario: %s\n", what);
	return 4;
}

static int open_files(struct scene *s, int files)
{
	for (int i = 0; i < files; i++) {
		s->fd[i] = hm_open(s->id);
		if (check("opening the instance", s->fd[i]) < 0 ||
		    check("MIRROR", hm_mirror(s->fd[i], s->mem, s->pages * s->page, 0, NULL)))
			return -1;
	}
	return 0;
}

int plug(struct scene *s, __u32 kind, size_t pages, int files)
{
	s->pages = pages;
	s->mem = hm_map(pages);
	s->buf = hm_map(pages);
	if (check("mmap", s->mem && s->buf ? 0 : -ENOMEM) ||
	    check("PLUG", hm_plug(s->control, kind, s->q.plug_align, &s->id)))
		return -1;
	return open_files(s, files);
}

char *page_of(struct scene *s, unsigned int i)
{
	return s->mem + i % s->pages * s->page;
}
