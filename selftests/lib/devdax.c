// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devdax.h"
#include "setting.h"

#define ND		"/sys/bus/nd"
#define DAX		"/sys/bus/dax"
#define DRIVER		DAX "/drivers/device_dax"

static const char *const modules[] = { "nd_e820", "nd_pmem", "dax_pmem", "device_dax" };

/* sysfs: one value in one file. */
static int put(const char *value, const char *format, ...)
{
	char path[128];
	va_list args;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	return hm_put_text(path, value);
}

static int get(char *value, size_t size, const char *format, ...)
{
	char path[128];
	va_list args;
	ssize_t n;
	int fd;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, value, size - 1);
	close(fd);
	if (n <= 0)
		return -EIO;
	value[n] = 0;
	value[strcspn(value, "\n")] = 0;
	return 0;
}

static size_t number(const char *name, const char *file)
{
	char text[32];

	return get(text, sizeof(text), DAX "/devices/%s/%s", name, file) ? 0 :
	       strtoull(text, NULL, 0);
}

static bool is_scratch(void)
{
	char line[4096];

	return !get(line, sizeof(line), "/proc/cmdline") &&
	       strstr(line, "hotmirror.scratch_pmem");
}

/* What ndctl does for "create-namespace --mode=devdax" on namespace@region.0. */
static int make(int region, const char *align)
{
	char seed[16], uuid[64], namespace[24];
	int ret;

	ret = get(seed, sizeof(seed), ND "/devices/region%d/dax_seed", region) ?:
	      get(uuid, sizeof(uuid), "/proc/sys/kernel/random/uuid");
	if (ret)
		return ret;
	snprintf(namespace, sizeof(namespace), "namespace%d.0", region);
	return put(namespace, ND "/drivers/nd_pmem/unbind") ?:
	       put(align, ND "/devices/%s/align", seed) ?:
	       put("ram", ND "/devices/%s/mode", seed) ?:
	       put(uuid, ND "/devices/%s/uuid", seed) ?:
	       put(namespace, ND "/devices/%s/namespace", seed) ?:
	       put(seed, ND "/drivers/dax_pmem/bind");
}

const char *hm_devdax_get(struct hm_devdax *d, bool huge)
{
	char path[64];

	if (!is_scratch())
		return "no scratch pmem to make a device-dax of: run it by make kselftest";
	snprintf(d->name, sizeof(d->name), "dax%d.0", huge);
	snprintf(d->path, sizeof(d->path), "/dev/%s", d->name);
	if (access(DRIVER, F_OK))
		for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++)
			hm_modprobe(modules[i], NULL);
	if (access(DRIVER, F_OK) || access(ND "/drivers/dax_pmem", F_OK))
		return "no device-dax: CONFIG_DEV_DAX_PMEM, CONFIG_X86_PMEM_LEGACY are needed";
	snprintf(path, sizeof(path), DAX "/devices/%s", d->name);
	if (access(path, F_OK) && make(huge, huge ? "2097152" : "4096"))
		return "a device-dax could not be made of the scratch pmem";
	snprintf(path, sizeof(path), DRIVER "/%s", d->name);
	if (access(path, F_OK) && put(d->name, DRIVER "/bind"))
		return "the device-dax could not be bound to its driver";
	d->align = number(d->name, "align");
	d->size = number(d->name, "size");
	return d->align && d->size ? NULL : "the device-dax has no size";
}

int hm_devdax_unbind(const struct hm_devdax *d)
{
	return put(d->name, DRIVER "/unbind");
}
