// SPDX-License-Identifier: GPL-2.0-only
/*
 * A test for each way in which a test can end a run. scripts/tests/run picks them
 * one at a time, between the first and the last test.
 */
#include "kselftest_harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "told.h"

#define PROVOKE		"/sys/module/hotmirror_provoke/parameters/now"
#define PORT_DRIVER	"/sys/bus/virtio/drivers/virtio_console/"
#define CGROUP		"/sys/fs/cgroup/"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;

	if (fd >= 0)
		close(fd);
	return ret;
}

static void wait_for_ever(void)
{
	for (;;)
		pause();
}

/* Whose child the harness is, of which a test is one. */
static pid_t agent(void)
{
	pid_t pid = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", getppid());
	f = fopen(path, "r");
	if (!f || fscanf(f, "%*d %*s %*c %d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	return pid;
}

TEST(first_passes)
{
	EXPECT_EQ(0, 0);
}

TEST(fails)
{
	EXPECT_EQ(1, 2) {
		TH_LOG("one is not two");
	}
}

TEST(skips)
{
	SKIP(return, "there is nothing to do");
}

TEST(segfaults)
{
	raise(SIGSEGV);
}

FIXTURE(limited) {};
FIXTURE_SETUP(limited) {}
FIXTURE_TEARDOWN(limited) {}

TEST_F_TIMEOUT(limited, hangs, 3)
{
	wait_for_ever();
}

/* Longer than the program may take: the harness's own limit is 30 s. */
TEST(hangs_past_the_limit_of_the_program)
{
	wait_for_ever();
}

/* The harness itself dies. */
TEST(kills_its_program)
{
	kill(getppid(), SIGKILL);
	wait_for_ever();
}

/*
 * What the kernel says now belongs to this test: the result of the one before has been
 * reported.
 */
static int provoke(const char *what)
{
	wait_until_told(agent());
	return write_file(PROVOKE, what);
}

TEST(warns)
{
	ASSERT_EQ(0, provoke("warning"));
}

TEST(warns_and_hangs)
{
	ASSERT_EQ(0, provoke("warning"));
	wait_for_ever();
}

TEST(warns_as_expected)
{
	ASSERT_EQ(0, provoke("expected-warning"));
}

TEST(oopses)
{
	provoke("oops");
}

TEST(panics)
{
	provoke("panic");
}

TEST(freezes)
{
	provoke("freeze");
}

TEST(runs_out_of_memory)
{
	size_t size = 64 << 20;
	char pid[16], *mem;

	snprintf(pid, sizeof(pid), "%d", getpid());
	write_file(CGROUP "cgroup.subtree_control", "+memory");
	ASSERT_EQ(0, mkdir(CGROUP "ending", 0755));
	ASSERT_EQ(0, write_file(CGROUP "ending/memory.max", "8M"));
	write_file(CGROUP "ending/memory.swap.max", "0");
	ASSERT_EQ(0, write_file(CGROUP "ending/cgroup.procs", pid));
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	memset(mem, 1, size);
}

/* Takes the results port away from the agent, as a broken virtio device would. */
TEST(cuts_the_stream)
{
	char name[32];

	wait_until_told(agent());
	for (int i = 0; i < 16; i++) {
		snprintf(name, sizeof(name), "virtio%d", i);
		write_file(PORT_DRIVER "unbind", name);
	}
}

/* Somebody outside ends this. */
TEST(waits)
{
	wait_for_ever();
}

TEST(last_passes)
{
	EXPECT_EQ(0, 0);
}

TEST_HARNESS_MAIN
