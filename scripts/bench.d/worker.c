// SPDX-License-Identifier: GPL-2.0-only
/* Inside a worker: steps, memory, errors. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define HUGE_PAGE	(2 * MIB)

void must(struct worker *w, const char *what, int ret)
{
	if (!ret)
		return;
	fprintf(stderr, "hotmirror_bench: %s, %zu MiB, worker %u of %u, %s: %s: %s\n",
		w->device->name, w->length / MIB, w->number + 1, w->workers,
		w->doing, what, strerror(ret < 0 ? -ret : errno));
	_exit(1);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static struct step *step_name(struct worker *w, const char *name)
{
	struct step *step = &w->shared->steps[w->step];

	must(w, "too many steps", w->step < MAX_STEPS ? 0 : -E2BIG);
	w->doing = name;
	if (!w->number)
		snprintf(step->name, sizeof(step->name), "%s", name);
	return step;
}

void step_begin(struct worker *w, const char *name)
{
	struct step *step = step_name(w, name);

	pthread_barrier_wait(&w->shared->barrier);
	step->begin[w->number] = now_ns();
}

void step_end(struct worker *w)
{
	w->shared->steps[w->step++].end[w->number] = now_ns();
	w->doing = "between two steps";
}

void step_value(struct worker *w, const char *name, __s64 value)
{
	struct step *step = step_name(w, name);

	w->step++;
	if (w->number)
		return;
	step->value = value;
	step->has_value = true;
}

char *memory(struct worker *w, size_t length, bool huge)
{
	char *mem = mmap(NULL, length + HUGE_PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(w, "mmap", mem == MAP_FAILED);
	mem = (char *)(((uintptr_t)mem + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
	must(w, "madvise", madvise(mem, length, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
	for (size_t i = 0; i < length; i += sysconf(_SC_PAGESIZE))
		*(__u64 *)(mem + i) = i + 1;
	return mem;
}

static __s64 from_meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long long kib = -1;
	char line[128];
	size_t n = strlen(name);

	while (file && kib < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, n) && sscanf(line + n, ": %lld", &kib) != 1)
			kib = -1;
	if (file)
		fclose(file);
	return kib * 1024;
}

/* The counters are per CPU until somebody asks for a refresh. */
__s64 slab_bytes(struct worker *w)
{
	int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);
	__s64 bytes;

	must(w, "/proc/sys/vm/stat_refresh", fd < 0 || write(fd, "1", 1) != 1);
	close(fd);
	bytes = from_meminfo("Slab");
	must(w, "/proc/meminfo", bytes < 0 ? -ENODATA : 0);
	return bytes;
}
