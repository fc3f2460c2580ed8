// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel log as an oracle, and its negative control: a complaint of the kernel
 * between the marks of a test is seen, anything else is not taken for one.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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
		"WARNING: at remove_migration_pmd+0x691/0xd90, CPU#1: kworker/u10:2/44",
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

static long spin(void *stop)
{
	while (!atomic_load((atomic_bool *)stop))
		;
	return 0;
}

static int hear(struct hm_parent *p, void *arg)
{
	return hm_hear(p);
}

/* Wait until it sleeps where it will stay, in read(2). */
static int wait_in_read(pid_t pid)
{
	long long deadline = hm_deadline(HM_LIMIT_MS);
	char path[64], text[256], call[16];
	int length = snprintf(call, sizeof(call), "%d ", SYS_read);

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	while (hm_slurp(path, text, sizeof(text)) <= 0 || strncmp(text, call, length)) {
		if (hm_left(deadline) <= 0)
			return -ETIMEDOUT;
		hm_pause();
	}
	return 0;
}

/* How often the kernel says so while the tasks of @pid are shown. */
static int said(const char *what, pid_t pid)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), times = 0;
	char record[8192];
	ssize_t n;

	lseek(fd, 0, SEEK_END);
	hm_show_tasks(pid);
	while ((n = read(fd, record, sizeof(record) - 1)) > 0) {
		record[n] = '\0';
		times += !!strstr(record, what);
	}
	close(fd);
	return times;
}

/* The header of its report on all CPUs, which the judge must not take for a complaint. */
#define ALL_CPUS	"Show backtrace of all active CPUs"

TEST_F(log, report_on_a_runnable_task_shows_the_cpus)
{
	atomic_bool stop = false;
	struct hm_async a;
	long result;

	skip_unless(!access("/proc/sysrq-trigger", W_OK), "no /proc/sysrq-trigger");
	must(hm_async_start(&a, spin, &stop));
	EXPECT_EQ(1, said(ALL_CPUS, getpid()));
	atomic_store(&stop, true);
	must(hm_async_join(&a, HM_LIMIT_MS, &result));
}

TEST_F(log, report_on_a_sleeping_task_does_not)
{
	struct hm_child c;
	int status;

	must(hm_child_start(&c, hear, NULL));
	must(wait_in_read(c.pid));
	EXPECT_EQ(0, said(ALL_CPUS, c.pid));
	must(hm_child_tell(&c, 0));
	must(hm_child_wait(&c, &status));
	EXPECT_EQ(0, status);
}

HM_TEST_MAIN
