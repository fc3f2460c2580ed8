// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "group.h"

long long hm_number_in(const char *path, const char *key)
{
	char buf[8192], *at;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	close(fd);
	if (n < 0)
		return -1;
	buf[n] = '\0';
	at = strstr(buf, key);
	return at ? strtoll(at + strlen(key), NULL, 10) : -1;
}

int hm_write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return ret;
}

int hm_group_begin(void)
{
	int ret = hm_write_to(HM_CGROUP "/cgroup.subtree_control", "+memory");

	if (!ret && mkdir(HM_GROUP, 0755) && errno != EEXIST)
		ret = -errno;
	return ret ?: hm_write_to(HM_GROUP "/cgroup.procs", "0");
}

int hm_group_end(void)
{
	int ret = hm_write_to(HM_CGROUP "/cgroup.procs", "0");

	return ret ?: rmdir(HM_GROUP) ? -errno : 0;
}
