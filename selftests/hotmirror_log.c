// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel log as an oracle, and its negative control: a complaint of the kernel
 * between the marks of a test is seen, anything else is not taken for one.
 */
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "hm_test.h"

FIXTURE(log) {
	struct hm_rig rig;
};

FIXTURE_SETUP(log)
{
	rig_begin(_metadata, variant, &self->rig);
	if (test_log.fd < 0)
		SKIP(return, "no access to /dev/kmsg");
}

FIXTURE_TEARDOWN(log)
{
	rig_end(_metadata, &self->rig);
}

TEST_F(log, knows_a_complaint_from_a_message)
{
	static const char * const complaints[] = {
		"WARNING: CPU: 1 PID: 77 at mm/memremap.c:137 memunmap_pages+0x1c5/0x270",
		"BUG: Bad rss-counter state mm:00000000f5b4e3a1 type:MM_ANONPAGES val:1",
		"BUG: KASAN: slab-use-after-free in hmm_range_fault+0x71/0x90",
		"BUG: Bad page state in process hotmirror_dax  pfn:11c000",
		"INFO: task kworker/u8:1:31 blocked for more than 120 seconds.",
		"rcu: INFO: rcu_preempt self-detected stall on CPU",
		"refcount_t: underflow; use-after-free.",
		"Oops: Oops: 0000 [#1] SMP NOPTI",
	};
	static const char * const messages[] = {
		"test_hotmirror: loaded, for testing only",
		"Memory failure: 0x1016b9: recovery action for dirty LRU page: Recovered",
		"test_hotmirror: module verification failed: signature missing - tainting kernel",
		"clocksource: Long readout interval, skipping watchdog check",
	};

	for (size_t i = 0; i < ARRAY_SIZE(complaints); i++)
		EXPECT_TRUE(hm_log_accuses(complaints[i]));
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
		EXPECT_FALSE(hm_log_accuses(messages[i]));
}

static int die_by_name(struct hm_parent *p, void *arg)
{
	const char *name = arg;

	prctl(PR_SET_NAME, name);
	return *(volatile char *)NULL;
}

static void count_line(const char *line, void *arg)
{
	++*(int *)arg;
}

static bool kernel_reports_signals(void)
{
	int fd = open("/proc/sys/debug/exception-trace", O_RDONLY);
	char on = '0';

	if (fd >= 0 && read(fd, &on, 1) != 1)
		on = '0';
	close(fd);
	return on != '0';
}

/* A real line of the kernel's, between the marks; what user space writes is no line. */
static void expect_lines(struct __test_metadata *_metadata, struct hm_rig *rig,
			 const char *name, int expected)
{
	const char *const ours = HM_LOG_CULPRIT ", says user space\n";
	struct hm_child c;
	int status, seen = 0;

	must(hm_child_start(&c, die_by_name, (void *)name));
	must(hm_child_wait(&c, &status));
	EXPECT_TRUE(WIFSIGNALED(status));
	/* Not dprintf(): before glibc 2.37 it asks for a position, which this file has not. */
	EXPECT_LT(0, write(test_log.fd, ours, strlen(ours)));
	EXPECT_EQ(expected, hm_log_read(&test_log, count_line, &seen));
	EXPECT_EQ(expected, seen);
}

TEST_F(log, complaint_during_a_test_is_seen)
{
	skip_unless(kernel_reports_signals(), "debug.exception-trace is off or missing");
	expect_lines(_metadata, &self->rig, HM_LOG_CULPRIT, 1);
}

TEST_F(log, message_during_a_test_is_no_complaint)
{
	skip_unless(kernel_reports_signals(), "debug.exception-trace is off or missing");
	expect_lines(_metadata, &self->rig, "hotmirror-good", 0);
}

HM_TEST_MAIN
