// SPDX-License-Identifier: GPL-2.0-only
/*
 * Take device memory away that is mapped and mirrored: a dax instance of ours and a
 * real device-dax of the same size, mapped the same way, one after the other.
 *
 *	hotmirror_bench_dax ROUNDS NAME:ALIGN...	as root, both modules loaded
 *
 * NAME is a device-dax, bound; it is unbound and bound in each round. A round more,
 * the first, warms up. stdout has a line for each number, in the order of the events:
 *
 *	step <tab> device <tab> align <tab> round <tab> ns
 *
 * and "end" behind the last one.
 *
 * plug: until the device can be opened; unplug: until its memory is gone. Exit status:
 * 0; 1 something failed (stderr says what); 2 usage.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "test_hotmirror_uapi.h"

#define MIB		(1024 * 1024ULL)
#define BYTES		(256 * MIB)
#define SMALL		(2 * MIB)
#define LIMIT_NS	(20 * 1000000000ULL)
#define BIND		"/sys/bus/dax/drivers/device_dax/"

static const char *doing;

static long must(long ret)
{
	if (ret >= 0)
		return ret;
	fprintf(stderr, "hotmirror_bench_dax: %s: %s\n", doing, strerror(errno));
	exit(1);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void write_file(const char *path, const char *text)
{
	int fd;

	doing = path;
	fd = must(open(path, O_WRONLY | O_CLOEXEC));
	must(write(fd, text, strlen(text)));
	close(fd);
}

/* What is taken away. */
struct target {
	const char *device;
	const char *name;	/* of the device-dax; NULL: ours */
	size_t align;
	__u32 id;		/* of our instance */
};

static int control;

static __u32 plug(__u32 kind, __u64 bytes, size_t align)
{
	struct hotmirror_plug arg = {
		.size = sizeof(arg), .kind = kind, .bytes = bytes, .align = align,
	};

	doing = "plugging an instance";
	must(ioctl(control, HOTMIRROR_PLUG, &arg));
	return arg.id;
}

static void unplug(__u32 id)
{
	struct hotmirror_unplug arg = {
		.size = sizeof(arg), .id = id, .target = HOTMIRROR_GONE,
		.timeout_ns = LIMIT_NS,
	};

	doing = "unplugging an instance";
	must(ioctl(control, HOTMIRROR_UNPLUG, &arg));
}

static void target_plug(struct target *t)
{
	if (t->name)
		write_file(BIND "bind", t->name);
	else
		t->id = plug(HOTMIRROR_DAX, BYTES, t->align);
}

static void target_unplug(struct target *t)
{
	if (t->name)
		write_file(BIND "unbind", t->name);
	else
		unplug(t->id);
}

static int target_open(struct target *t)
{
	char path[64];

	if (t->name)
		snprintf(path, sizeof(path), "/dev/%s", t->name);
	else
		snprintf(path, sizeof(path), "/dev/hotmirror%u", t->id);
	doing = path;
	return must(open(path, O_RDWR | O_CLOEXEC));
}

/* All of it mapped and touched. */
static char *target_map(struct target *t, int fd)
{
	char *hint, *mem;

	doing = "reserving an aligned address";
	hint = mmap(NULL, BYTES + t->align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(hint == MAP_FAILED ? -1 : 0);
	hint = (char *)(((uintptr_t)hint + t->align - 1) & ~(t->align - 1));
	doing = "mapping the device";
	mem = mmap(hint, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	must(mem == MAP_FAILED ? -1 : 0);
	for (size_t i = 0; i < BYTES; i += t->align)
		mem[i] = 1;
	return mem;
}

/* By an instance that stays. */
static __u32 mirror_begin(int fd, char *mem)
{
	struct hotmirror_mirror range = {
		.size = sizeof(range), .addr = (uintptr_t)mem, .length = BYTES,
	};
	struct hotmirror_access all = {
		.size = sizeof(all), .addr = (uintptr_t)mem, .length = BYTES,
	};

	doing = "mirroring the mapping";
	must(ioctl(fd, HOTMIRROR_MIRROR, &range));
	doing = "populating the mirror";
	must(ioctl(fd, HOTMIRROR_PREFETCH, &all));
	return range.id;
}

static void mirror_end(int fd, __u32 id)
{
	struct hotmirror_mirror range = { .size = sizeof(range), .id = id };

	doing = "ending the mirror";
	must(ioctl(fd, HOTMIRROR_UNMIRROR, &range));
}

static void report(const char *step, const struct target *t, int round, __u64 begin)
{
	__u64 ns = now_ns() - begin;

	printf("%s\t%s\t%zu\t%d\t%llu\n", step, t->device, t->align, round,
	       (unsigned long long)ns);
	fflush(stdout);
}

static void measure(struct target *t, int watcher, int round)
{
	__u64 begin = now_ns();
	__u32 range;
	char *mem;
	int fd;

	target_plug(t);
	report("plug", t, round, begin);
	fd = target_open(t);
	mem = target_map(t, fd);
	range = mirror_begin(watcher, mem);
	begin = now_ns();
	target_unplug(t);
	report("unplug", t, round, begin);
	mirror_end(watcher, range);
	munmap(mem, BYTES);
	close(fd);
}

int main(int argc, char **argv)
{
	struct target small = { .device = "hotmirror" };
	int watcher, rounds = argc > 2 ? atoi(argv[1]) : 0;

	if (rounds < 1) {
		fprintf(stderr, "usage: hotmirror_bench_dax ROUNDS NAME:ALIGN...\n");
		return 2;
	}
	doing = "/dev/hotmirror";
	control = must(open("/dev/hotmirror", O_RDWR | O_CLOEXEC));
	small.id = plug(HOTMIRROR_DAX, SMALL, 0);
	watcher = target_open(&small);
	for (int i = 2; i < argc; i++) {
		char *colon = strchr(argv[i], ':');

		if (!colon)
			return 2;
		*colon = 0;
		write_file(BIND "unbind", argv[i]);	/* it was bound as it was made */
		for (int round = 0; round <= rounds; round++) {
			struct target real = {
				.device = "device-dax",
				.name = argv[i],
				.align = strtoul(colon + 1, NULL, 0),
			};
			struct target ours = { .device = "hotmirror", .align = real.align };

			measure(round % 2 ? &real : &ours, watcher, round);
			measure(round % 2 ? &ours : &real, watcher, round);
		}
	}
	printf("end\n");
	return 0;
}
