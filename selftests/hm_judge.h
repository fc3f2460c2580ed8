/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is judged after every test of a program, whatever the test did, when its process
 * is no more: nothing of it is left, and the kernel did not complain. HM_TEST_MAIN puts
 * the judge between the harness and each test, so that no test has to ask for it.
 *
 * An instance counts as left until nothing keeps it: no page, no pgmap reference, no
 * file. What follows is the kernel's own work, memunmap_pages() with its grace periods,
 * which are most of the time of a test. So that is waited for once, by the end of the
 * program: HOTMIRROR_GONE means that memunmap_pages() has returned, that is, every pgmap
 * reference is back; and then /proc/iomem, the arena and the memmap must be as before.
 */
#ifndef HOTMIRROR_HM_JUDGE_H
#define HOTMIRROR_HM_JUDGE_H

/* The kernel log since the test began. One open file, so one position, for all forks. */
static struct hm_log test_log = { .fd = -1 };

/* Before the first test. */
static struct hm_books books_before;

/* How the harness would run a test. */
struct judged {
	const struct __test_metadata *test;
	test_fn *fn;
};

static struct judged *judged;
static size_t nr_judged;

static inline void judge_says(const char *line, void *arg)
{
	struct __test_metadata *_metadata = arg;

	TH_LOG("%s", line);
}

/* A test that failed may well have left what it could not free: no wait, no verdict. */
static inline void judge_left(struct __test_metadata *_metadata,
			      const struct hm_books *before, int limit_ms)
{
	struct hm_books now;

	if (test_code(_metadata) == KSFT_FAIL)
		return;
	EXPECT_EQ(0, hm_books_settle(before, false, limit_ms, &now));
	EXPECT_EQ(0, hm_books_compare(&books_before, before, &now, judge_says, _metadata))
		TH_LOG("the test left something behind");
}

/*
 * With the end of the process the kernel has checked its rss counters, once no CPU keeps
 * its mm as the lazy one.
 */
static inline void judge_log(struct __test_metadata *_metadata)
{
	int bad;

	EXPECT_EQ(0, hm_visit_cpus(NULL));
	bad = hm_log_end(&test_log, judge_says, _metadata);
	EXPECT_EQ(0, bad)
		TH_LOG("%s", bad < 0 ? "the kernel log overran: cannot judge it" :
		       "the kernel complained during this test");
}

static inline void judge_begin(struct __test_metadata *_metadata,
			       const struct __fixture_variant_metadata *variant)
{
	char name[256];

	snprintf(name, sizeof(name), "%s:%s%s%s.%s", program_invocation_short_name,
		 _metadata->fixture->name, variant->name[0] ? "." : "", variant->name,
		 _metadata->name);
	if (hm_log_begin(&test_log, name) < 0)
		TH_LOG("no access to /dev/kmsg: the kernel log is not judged");
}

static void judge_test(struct __test_metadata *_metadata,
		       struct __fixture_variant_metadata *variant)
{
	struct hm_books before;
	struct judged *j = judged;

	while (j->test != _metadata)
		j++;
	judge_begin(_metadata, variant);
	EXPECT_EQ(0, hm_books_open(&before));
	test_run(_metadata, variant, j->fn);
	judge_left(_metadata, &before, HM_LIMIT_MS);
	judge_log(_metadata);
}

/* Each fixture has a list of its tests. */
static inline void judge_every_test(void)
{
	for (struct __fixture_metadata *f = __fixture_list; f; f = f->next) {
		for (struct __test_metadata *t = f->tests; t; t = t->next) {
			judged = reallocarray(judged, nr_judged + 1, sizeof(*judged));
			if (!judged)
				abort();
			judged[nr_judged++] = (struct judged){ t, t->fn };
			t->fn = judge_test;
			/* The harness has limits for a usual kernel. */
			t->timeout *= hm_slowness();
		}
	}
}

static inline void say_left(const char *line, void *arg)
{
	fprintf(stderr, "# left by the tests of this program: %s\n", line);
}

/* After the last test: every instance is gone, all is as it was, or the program fails. */
static inline void see_all_gone(void)
{
	struct hm_books now;
	int ret = hm_books_settle(&books_before, true, HM_LIMIT_MS, &now);

	if (ret)
		fprintf(stderr, "# instances are left that no test owns: %s\n",
			strerror(-ret));
	ret = ret ?: hm_books_all(&now);
	ret = ret ?: hm_books_compare(&books_before, &books_before, &now, say_left, NULL);
	if (!ret)
		return;
	fflush(NULL);
	_exit(KSFT_FAIL);
}

/* Nothing is on its way out, whatever ran before; then the books are opened. */
static inline int judge_start(void)
{
	struct hm_books first;
	int ret = hm_books_open(&first);

	ret = ret ?: hm_books_settle(&first, true, HM_LIMIT_MS, &books_before);
	ret = ret ?: hm_books_all(&books_before);
	if (ret)
		return ret;
	judge_every_test();
	return atexit(see_all_gone);
}

/*
 * Skip the whole program, with the remedy, if there is no module to test. False
 * if none is needed, to list the tests.
 */
static inline bool need_module(int argc, char **argv)
{
	struct hotmirror_query q = {};
	int fd;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "-l") || !strcmp(argv[i], "-h"))
			return false;
	fd = hm_control_open();
	if (fd < 0) {
		ksft_print_header();
		ksft_exit_skip(HM_CONTROL ": %s; %s\n", strerror(-fd),
			       fd == -ENOENT ? "load test_hotmirror.ko" : "run as root");
	}
	if (hm_query(fd, &q) || q.abi != HOTMIRROR_ABI_VERSION) {
		ksft_print_header();
		ksft_exit_skip("the module has ABI %u, these tests %u: build both from one tree\n",
			       q.abi, HOTMIRROR_ABI_VERSION);
	}
	close(fd);
	if (judge_start()) {
		ksft_print_header();
		ksft_exit_fail_msg("cannot tell what there is before the first test\n");
	}
	return true;
}

#endif /* HOTMIRROR_HM_JUDGE_H */
