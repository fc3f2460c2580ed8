// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mem.h"
#include "setting.h"

bool hm_kernel_before(unsigned int major, unsigned int minor)
{
	unsigned int is_major, is_minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &is_major, &is_minor) != 2)
		return false;
	return is_major < major || (is_major == major && is_minor < minor);
}

long hm_setting_get(const char *path)
{
	FILE *f = fopen(path, "re");
	long value;

	if (!f)
		return -errno;
	if (fscanf(f, "%ld", &value) != 1)
		value = -EIO;
	fclose(f);
	return value;
}

int hm_put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

static int put(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	return hm_put_text(path, text);
}

int hm_setting_set(struct hm_setting *s, const char *path, long value)
{
	long before = hm_setting_get(path);
	int ret;

	*s = (struct hm_setting){ .path = path, .before = -1 };
	if (before < 0)
		return before;
	ret = put(path, value);
	if (!ret)
		s->before = before;
	return ret;
}

void hm_setting_restore(struct hm_setting *s)
{
	if (s->path && s->before >= 0)
		put(s->path, s->before);
	s->before = -1;
}

int hm_text_set(struct hm_text *t, const char *path, const char *text)
{
	FILE *f = fopen(path, "re");
	int ret;

	*t = (struct hm_text){ .path = path };
	if (!f)
		return -errno;
	if (!fgets(t->before, sizeof(t->before), f))
		t->before[0] = '\0';
	fclose(f);
	ret = t->before[0] ? hm_put_text(path, text) : -EIO;
	if (ret)
		t->before[0] = '\0';
	return ret;
}

void hm_text_restore(struct hm_text *t)
{
	if (t->before[0])
		hm_put_text(t->path, t->before);
	t->before[0] = '\0';
}

static long huge_pages_in_use(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	long total = 0, unused = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "HugePages_Total: %ld", &total) == 1)
			continue;
		if (sscanf(line, "HugePages_Free: %ld", &unused) == 1)
			break;
	}
	if (f)
		fclose(f);
	return total - unused;
}

int hm_huge_pool(struct hm_setting *s, long pages)
{
	const char *pool = "/proc/sys/vm/nr_hugepages";
	long wanted = huge_pages_in_use() + pages;

	return hm_setting_get(pool) >= wanted ? 0 : hm_setting_set(s, pool, wanted);
}

#define ZRAM_BYTES	(64L << 20)

static char zram[32];		/* our device, empty: none */

int hm_modprobe(const char *module, const char *parameter)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (!pid) {
		freopen("/dev/null", "w", stderr);
		execlp("modprobe", "modprobe", module, parameter, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return status ? -ENODEV : 0;
}

/* The header that mkswap(8) writes: version 1, the last page, the magic at the end. */
static int make_swap(const char *path, size_t bytes)
{
	size_t page = hm_page_size();
	unsigned int info[3] = { 1, bytes / page - 1, 0 };
	char *header = calloc(1, page);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	int ret = 0;

	memcpy(header + 1024, info, sizeof(info));
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	if (fd < 0 || pwrite(fd, header, page, 0) != (ssize_t)page)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	free(header);
	return ret;
}

/* A new zram device: reading hot_add makes one and says its number. */
static int add_zram(void)
{
	char path[64];
	long nr;
	int ret;

	if (access("/sys/class/zram-control/hot_add", F_OK) &&
	    hm_modprobe("zram", "num_devices=0"))
		return -ENODEV;
	nr = hm_setting_get("/sys/class/zram-control/hot_add");
	if (nr < 0)
		return nr;
	snprintf(zram, sizeof(zram), "/dev/zram%ld", nr);
	snprintf(path, sizeof(path), "/sys/block/zram%ld/disksize", nr);
	ret = put(path, ZRAM_BYTES);
	return ret ?: make_swap(zram, ZRAM_BYTES);
}

int hm_swap_on(void)
{
	struct sysinfo info;
	int ret;

	if (sysinfo(&info))
		return -errno;
	if (info.freeswap)
		return 0;
	ret = add_zram();
	if (!ret && swapon(zram, 0))
		ret = -errno;
	if (ret)
		hm_swap_off();
	return ret;
}

void hm_swap_off(void)
{
	if (!*zram)
		return;
	swapoff(zram);
	put("/sys/class/zram-control/hot_remove", atol(zram + strlen("/dev/zram")));
	*zram = '\0';
}
