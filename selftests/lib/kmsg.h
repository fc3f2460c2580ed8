/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel log as an oracle: what the kernel says between the two marks of a
 * test belongs to that test, and some of it makes the test fail. The marks are
 *
 *	hotmirror-selftest: begin <program>:<fixture.variant.test>
 *	hotmirror-selftest: end <program>:<fixture.variant.test>
 *
 * and are read by scripts/ as well.
 */
#ifndef HOTMIRROR_LIB_KMSG_H
#define HOTMIRROR_LIB_KMSG_H

#include <stdbool.h>

/* A process of this name that dies of a signal counts as a complaint. */
#define HM_LOG_CULPRIT	"hotmirror-bad"

struct hm_log {
	int fd;			/* /dev/kmsg, positioned at the begin mark; -1: none */
	char name[256];
};

/* Remember where the log is and mark it; -errno (no permission: nothing is judged). */
int hm_log_begin(struct hm_log *log, const char *name);
/*
 * Read on from where the last read ended. Every line that accuses the kernel is
 * given to @accuse. Number of such lines, or -EPIPE if the log overran.
 */
int hm_log_read(struct hm_log *log, void (*accuse)(const char *line, void *arg),
		void *arg);
/* Mark the end, and the same for the rest. */
int hm_log_end(struct hm_log *log, void (*accuse)(const char *line, void *arg),
	       void *arg);
/* Whether a line of the kernel accuses it. */
bool hm_log_accuses(const char *line);

#endif /* HOTMIRROR_LIB_KMSG_H */
