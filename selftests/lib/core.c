// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include <linux/elf.h>

#include "core.h"

static int read_at(int fd, void *buf, size_t length, off_t offset)
{
	ssize_t n = pread(fd, buf, length, offset);

	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -ENODATA;
}

int hm_core_read(int fd, const void *addr, void *buf, size_t length)
{
	uintptr_t start = (uintptr_t)addr;
	struct elf64_hdr h;
	struct elf64_phdr s;
	int ret = read_at(fd, &h, sizeof(h), 0);

	if (!ret && h.e_ident[EI_CLASS] != ELFCLASS64)
		return -ENOEXEC;
	for (int i = 0; !ret && i < h.e_phnum; i++) {
		ret = read_at(fd, &s, sizeof(s), h.e_phoff + i * sizeof(s));
		if (ret || s.p_type != PT_LOAD || start < s.p_vaddr ||
		    start - s.p_vaddr >= s.p_memsz)
			continue;
		if (start - s.p_vaddr + length > s.p_filesz)
			return -ENOENT;
		return read_at(fd, buf, length, s.p_offset + (start - s.p_vaddr));
	}
	return ret ?: -ENOENT;
}
