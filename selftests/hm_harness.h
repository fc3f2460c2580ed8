/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kselftest_harness.h, as the tests need it: a test ends with a KSFT_* code, has a name
 * also when it is skipped, and can be chosen by it. Since 6.9 the harness does that. To
 * that of 6.1 it is added here; what a test is written with (TEST_F, EXPECT_EQ, ...), its
 * process and its time limit remain the harness's.
 */
#ifndef HOTMIRROR_HM_HARNESS_H
#define HOTMIRROR_HM_HARNESS_H

#include "kselftest_harness.h"
#include "hm_kselftest.h"

typedef void test_fn(struct __test_metadata *_metadata,
		     struct __fixture_variant_metadata *variant);

#ifdef XFAIL_ADD

/* How the test would end now. */
static inline int test_code(const struct __test_metadata *_metadata)
{
	return _metadata->exit_code;
}

static inline void test_set_code(struct __test_metadata *_metadata, int code)
{
	_metadata->exit_code = code;
}

/* The test with its fixture, in a process of its own, which is over. */
static inline void test_run(struct __test_metadata *_metadata,
			    struct __fixture_variant_metadata *variant, test_fn *fn)
{
	fn(_metadata, variant);
}

#else /* !XFAIL_ADD */

/* After a set-up that does not pass there is no test, after one that skips there is. */
#undef SKIP
#define SKIP(statement, fmt, ...) do {						\
	snprintf(_metadata->results->reason, sizeof(_metadata->results->reason),	\
		 fmt, ##__VA_ARGS__);						\
	if (TH_LOG_ENABLED)							\
		fprintf(TH_LOG_STREAM, "#      SKIP      %s\n",			\
			_metadata->results->reason);				\
	_metadata->passed = _metadata->setup_completed;				\
	_metadata->skip = KSFT_SKIP;						\
	_metadata->trigger = 0;							\
	statement;								\
} while (0)

/* The harness knows passed and skip. A skip of KSFT_XFAIL is ours. */
static inline int test_code(const struct __test_metadata *_metadata)
{
	if (!_metadata->passed && (_metadata->setup_completed || !_metadata->skip))
		return KSFT_FAIL;
	if (!_metadata->skip)
		return KSFT_PASS;
	return _metadata->skip == KSFT_XFAIL ? KSFT_XFAIL : KSFT_SKIP;
}

static inline void test_set_code(struct __test_metadata *_metadata, int code)
{
	_metadata->passed = code != KSFT_FAIL;
	_metadata->skip = code == KSFT_SKIP || code == KSFT_XFAIL ? code : 0;
}

/* Shared with the process of the test. */
struct hm_results {
	struct __test_results results;
	int code;
};

/* The harness's own process of a test is that which judges it. */
static inline void test_run(struct __test_metadata *_metadata,
			    struct __fixture_variant_metadata *variant, test_fn *fn)
{
	struct hm_results *shared = (struct hm_results *)_metadata->results;
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (!child) {
		fn(_metadata, variant);
		shared->code = test_code(_metadata);
		_exit(0);
	}
	if (child > 0 && waitpid(child, &status, 0) == child && !status) {
		test_set_code(_metadata, shared->code);
		return;
	}
	test_set_code(_metadata, KSFT_FAIL);
	TH_LOG("%s", child < 0 ? "no process for the test" :
	       WIFSIGNALED(status) && WTERMSIG(status) != SIGABRT ?
	       strsignal(WTERMSIG(status)) : "ended by an assertion");
}

/* As with -l of later harnesses: columns on stderr, and the status of a skip. */
static inline int hm_list_tests(void)
{
	const char *const row = "%-20s %-25s %s\n";

	fprintf(stderr, row, "# FIXTURE", "VARIANT", "TEST");
	for (struct __fixture_metadata *f = __fixture_list; f; f = f->next) {
		struct __fixture_variant_metadata *v = f->variant;
		struct __test_metadata *t = f->tests;

		if (f != __fixture_list)
			fprintf(stderr, "%.80s\n",
				"----------------------------------------"
				"----------------------------------------");
		do {
			fprintf(stderr, row, t == f->tests ? f->name : "",
				v ? v->name : "", t ? t->name : "");
			v = v ? v->next : NULL;
			t = t ? t->next : NULL;
		} while (v || t);
	}
	return KSFT_SKIP;
}

static inline void hm_test_name(char *name, size_t size, const struct __fixture_metadata *f,
				const struct __fixture_variant_metadata *v,
				const struct __test_metadata *t)
{
	snprintf(name, size, "%s%s%s.%s", f->name, v->name[0] ? "." : "", v->name, t->name);
}

/* Named by a -r, or there is none. */
static inline bool hm_test_wanted(int argc, char **argv, const char *name)
{
	for (int i = 2; i < argc; i += 2)
		if (!strcmp(argv[i], name))
			return true;
	return argc == 1;
}

static inline void hm_test_result(int code, const char *name, const char *reason)
{
	static const char *const directives[] = {
		[KSFT_XFAIL] = " # XFAIL ", [KSFT_SKIP] = " # SKIP ",
	};
	const char *directive = code < KSFT_XFAIL ? "" : directives[code];

	ksft_cnt.ksft_pass += code == KSFT_PASS;
	ksft_cnt.ksft_fail += code == KSFT_FAIL;
	ksft_cnt.ksft_xfail += code == KSFT_XFAIL;
	ksft_cnt.ksft_xskip += code == KSFT_SKIP;
	printf("%s %u %s%s%s\n", code == KSFT_FAIL ? "not ok" : "ok", ksft_test_num(), name,
	       directive, directive[0] ? reason : "");
}

/* 0 for the harness means that the code is in *shared; all else it judges. */
static inline int hm_run_test(struct __fixture_variant_metadata *v, struct __test_metadata *t,
			      struct hm_results *shared, const char *name)
{
	memset(shared, 0, sizeof(*shared));
	t->results = &shared->results;
	t->passed = 1;
	t->skip = 0;
	t->trigger = 0;
	t->step = 1;
	t->no_print = 0;
	ksft_print_msg(" RUN           %s ...\n", name);
	fflush(NULL);
	t->pid = fork();
	if (t->pid < 0)
		return KSFT_FAIL;
	if (!t->pid) {
		setpgrp();
		t->fn(t, v);
		shared->code = test_code(t);
		_exit(shared->code == KSFT_FAIL ? t->step : 0);
	}
	__wait_for_test(t);
	return t->passed ? shared->code : KSFT_FAIL;
}

/* Runs the tests that are wanted, or counts them; how many there are. */
static inline unsigned int hm_run_tests(int argc, char **argv, struct hm_results *shared)
{
	static struct __fixture_variant_metadata no_variant = { .name = "" };
	unsigned int n = 0;

	for (struct __fixture_metadata *f = __fixture_list; f; f = f->next) {
		for (struct __fixture_variant_metadata *v = f->variant ?: &no_variant; v;
		     v = v->next) {
			for (struct __test_metadata *t = f->tests; t; t = t->next) {
				char name[1024];

				hm_test_name(name, sizeof(name), f, v, t);
				if (!hm_test_wanted(argc, argv, name))
					continue;
				n++;
				if (shared)
					hm_test_result(hm_run_test(v, t, shared, name), name,
						       shared->results.reason);
			}
		}
	}
	return n;
}

static inline int hm_harness_run(int argc, char **argv)
{
	struct hm_results *shared;

	(void)test_harness_run;		/* the harness's own has no more use */
	if (argc == 2 && !strcmp(argv[1], "-l"))
		return hm_list_tests();
	for (int i = 1; i < argc; i += 2) {
		if (!strcmp(argv[i], "-r") && i + 1 < argc)
			continue;
		fprintf(stderr, "Usage: %s [-l | -r name...]\n", argv[0]);
		return strcmp(argv[i], "-h") ? KSFT_FAIL : KSFT_SKIP;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		return KSFT_FAIL;
	ksft_print_header();
	ksft_set_plan(hm_run_tests(argc, argv, NULL));
	hm_run_tests(argc, argv, shared);
	ksft_exit(!ksft_get_fail_cnt());
	return KSFT_FAIL;
}

#define test_harness_run	hm_harness_run

#endif /* XFAIL_ADD */

#endif /* HOTMIRROR_HM_HARNESS_H */
