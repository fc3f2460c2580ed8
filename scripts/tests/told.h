/* SPDX-License-Identifier: GPL-2.0-only */
/* Before the machine goes: whoever reads the results has what was printed. */
#ifndef HOTMIRROR_TESTS_TOLD_H
#define HOTMIRROR_TESTS_TOLD_H

#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

/* The agent has read it all, and sleeps. */
static inline void wait_until_told(pid_t agent)
{
	char path[64], state = 0;
	int left = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", agent);
	for (int i = 0; i < 10000; i++) {
		FILE *f = fopen(path, "r");

		if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
			state = 0;
		if (f)
			fclose(f);
		if (ioctl(STDOUT_FILENO, FIONREAD, &left) || (!left && state == 'S'))
			return;
		poll(NULL, 0, 1);
	}
}

#endif /* HOTMIRROR_TESTS_TOLD_H */
