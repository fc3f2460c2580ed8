// SPDX-License-Identifier: GPL-2.0-only
/*
 * Move memory of this process to /dev/hmm_dmirrorN, say "held" and keep it there,
 * until stdin ends. Then see whether the bytes are still what they were.
 *
 *	dmirror_hold N close|keep	what becomes of the device file meanwhile
 *
 * Exit status: 0; 1 data lost; 2 no such device or usage; 3 it could not be moved.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lib/test_hmm_uapi.h>

#define PAGES	512

int main(int argc, char **argv)
{
	size_t page = sysconf(_SC_PAGESIZE), size = PAGES * page;
	struct hmm_dmirror_cmd cmd = { .npages = PAGES };
	char path[64], end;
	char *mem, *copy;
	int fd;

	if (argc != 3)
		return 2;
	snprintf(path, sizeof(path), "/dev/hmm_dmirror%s", argv[1]);
	fd = open(path, O_RDWR);
	if (fd < 0)
		return 2;
	mem = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return 3;
	copy = mem + size;
	for (size_t i = 0; i < size; i++)
		mem[i] = i / page + i % 251;
	cmd.addr = (uintptr_t)mem;
	cmd.ptr = (uintptr_t)copy;
	if (ioctl(fd, HMM_DMIRROR_MIGRATE_TO_DEV, &cmd) || cmd.cpages != PAGES)
		return 3;
	if (!strcmp(argv[2], "close"))
		close(fd);
	puts("held");
	fflush(stdout);
	while (read(0, &end, 1) > 0)
		;
	return !!memcmp(mem, copy, size);
}
