// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmsg.h"

/* As blktests, liburing and livepatch have it, plus what memory unplug can break. */
static const char accusations[] =
	"kernel BUG at"
	"|WARNING:"
	"|BUG:"
	"|Oops"
	"|Internal error"
	"|general protection fault"
	"|possible recursive locking detected"
	"|possible circular locking dependency detected"
	"|suspicious RCU usage"
	"|INFO: task .* blocked"
	"|rcu:.*stall"
	"|soft lockup"
	"|KASAN:"
	"|KCSAN:"
	"|UBSAN:"
	"|ODEBUG:"
	"|Bad page state"
	"|Bad rss-counter"
	"|refcount_t:"
	"|DEBUG_LOCKS_WARN"
	"|unreferenced object"
	"|FAULT_FLAG_ALLOW_RETRY missing"
	/* Nothing is called so, but for the negative control of this oracle. */
	"|" HM_LOG_CULPRIT;

/*
 * 7.3.4 with DEBUG_VM: remove_migration_pmd() has VM_WARN_ON_ONCE(pmd_write(pmde) && ...)
 * where pmde is the entry of a device-private page, in which x86 has _PAGE_SWP_SOFT_DIRTY at
 * the place of _PAGE_RW. It says so of any such page that is soft-dirty and shared by
 * fork(), once a boot; hotmirror_starved:*.private_large.ends_when_the_owner_is_killed
 * provokes it, and does not after a write to /proc/PID/clear_refs.
 */
static const char innocent[] = "WARNING: at remove_migration_pmd+";

bool hm_log_accuses(const char *line)
{
	static regex_t re;
	static bool compiled;

	if (strstr(line, innocent))
		return false;
	if (!compiled && regcomp(&re, accusations, REG_EXTENDED | REG_NOSUB))
		abort();
	compiled = true;
	return !regexec(&re, line, 0, NULL, 0);
}

static int mark(struct hm_log *log, const char *what)
{
	char line[300];
	int len = snprintf(line, sizeof(line), "hotmirror-selftest: %s %s\n", what,
			   log->name);

	return write(log->fd, line, len) == len ? 0 : -errno;
}

int hm_log_begin(struct hm_log *log, const char *name)
{
	snprintf(log->name, sizeof(log->name), "%s", name);
	log->fd = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (log->fd < 0)
		return -errno;
	lseek(log->fd, 0, SEEK_END);
	return mark(log, "begin");
}

/*
 * One record is "priority,sequence,time,flags;text\n key=value\n...". The text of
 * a kernel record (facility 0), NULL for those that user space wrote.
 */
static char *kernel_text(char *record)
{
	char *text = strchr(record, ';');

	if (!text || atoi(record) >> 3)
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	return text + 1;
}

int hm_log_read(struct hm_log *log, void (*accuse)(const char *line, void *arg),
		void *arg)
{
	char record[8192];
	int bad = 0;
	ssize_t n;

	while ((n = read(log->fd, record, sizeof(record) - 1)) > 0) {
		char *text;

		record[n] = '\0';
		text = kernel_text(record);
		if (text && hm_log_accuses(text)) {
			accuse(text, arg);
			bad++;
		}
	}
	if (n < 0 && errno == EPIPE)
		bad = -EPIPE;
	return bad;
}

int hm_log_end(struct hm_log *log, void (*accuse)(const char *line, void *arg),
	       void *arg)
{
	int bad;

	if (log->fd < 0)
		return 0;
	mark(log, "end");
	bad = hm_log_read(log, accuse, arg);
	close(log->fd);
	log->fd = -1;
	return bad;
}
