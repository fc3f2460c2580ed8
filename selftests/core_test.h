/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs about core gates share: threads that begin when their gate is armed
 * for them, and where ftrace says what it is attached to.
 */
#ifndef HOTMIRROR_CORE_TEST_H
#define HOTMIRROR_CORE_TEST_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>

#include "gate_test.h"
#include "lib/setting.h"

#define TRACEFS	"/sys/kernel/tracing"

/* An operation in a thread that is known before it begins. */
struct worker {
	struct hm_async async;
	gated_op op;
	void *arg;
	int begin;
};

static inline long worker_main(void *arg)
{
	struct worker *w = arg;
	__u64 n;

	if (read(w->begin, &n, sizeof(n)) != sizeof(n))
		return -EIO;
	return w->op(w->arg);
}

static inline void worker_start(struct __test_metadata *_metadata, struct worker *w,
				gated_op op, void *arg)
{
	*w = (struct worker){ .op = op, .arg = arg, .begin = eventfd(0, EFD_CLOEXEC) };
	ASSERT_LE(0, w->begin);
	must(hm_async_start(&w->async, worker_main, w));
}

static inline void worker_begin(struct __test_metadata *_metadata, struct worker *w)
{
	__u64 one = 1;

	ASSERT_EQ(sizeof(one), write(w->begin, &one, sizeof(one)));
}

static inline void worker_join(struct __test_metadata *_metadata, struct worker *w,
			       long expected)
{
	gated_join(_metadata, &w->async, expected);
	close(w->begin);
}

/* It stands at @gate, and nobody else will. */
static inline void worker_hold(struct __test_metadata *_metadata, struct worker *w, int gate)
{
	must(hm_gate_arm_tid(gate, w->async.tid));
	worker_begin(_metadata, w);
	must(hm_gate_wait(gate, HM_LIMIT_MS));
	EXPECT_EQ(w->async.tid, gated_status(_metadata, gate).tid);
}

#define need_core_gates(rig)						\
	skip_unless((rig)->q.features & HOTMIRROR_HAS_CORE_GATES,	\
		    "not x86-64, or a kernel without ftrace and kprobes on it")

/* A thread that reads through the device stands at @function. */
static inline void hold(struct __test_metadata *_metadata, struct gated *g,
			struct worker *w, const char *function)
{
	g->gate = must(hm_gate_core(g->rig.control, function));
	worker_start(_metadata, w, op_read, g);
	worker_hold(_metadata, w, g->gate);
}

#define hold_reader(worker, function) do {				\
	need_core_gates(&self->g.rig);					\
	hold(_metadata, &self->g, worker, function);			\
} while (0)

/* A child mirrors the memory, reads it when told to, and does not get to the end. */
static inline int read_and_be_killed(struct hm_parent *p, void *arg)
{
	struct gated *g = arg;
	int fd;

	fd = hm_open(g->rig.id);
	if (fd < 0 || hm_mirror(fd, g->mem, g->length, 0, NULL))
		return 1;
	hm_hear(p);
	return hm_read(fd, g->mem, g->buf, g->length) ? 2 : 0;
}

/* Whether some line of the file has @word in it; -errno. */
static inline int file_says(const char *path, const char *word)
{
	FILE *f = fopen(path, "re");
	char line[512];
	int ret = 0;

	if (!f)
		return -errno;
	while (!ret && fgets(line, sizeof(line), f))
		ret = !!strstr(line, word);
	fclose(f);
	return ret;
}

static inline void need_tracefs(struct __test_metadata *_metadata)
{
	if (access(TRACEFS "/enabled_functions", R_OK))
		mount("tracefs", TRACEFS, "tracefs", 0, NULL);
	ASSERT_EQ(0, access(TRACEFS "/enabled_functions", R_OK));
}

/* Whether ftrace is attached to the function, by anybody. */
static inline int is_traced(const char *function)
{
	char word[80];

	snprintf(word, sizeof(word), "%s (", function);
	return file_says(TRACEFS "/enabled_functions", word);
}

#endif /* HOTMIRROR_CORE_TEST_H */
