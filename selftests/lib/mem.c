// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/if_packet.h>
#include <linux/types.h>

#include "mem.h"

size_t hm_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* What a PMD spans, hence a leaf of the device page table: a page of 8-byte entries. */
static size_t pmd_span(void)
{
	return hm_page_size() * (hm_page_size() / sizeof(__u64));
}

void *hm_map(size_t pages)
{
	size_t page = hm_page_size(), span = pmd_span();
	size_t length = pages * page;
	char *p;

	p = mmap(NULL, length + 2 * page + span, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	p += (span - (uintptr_t)p % span) % span;
	p += page;
	if (mprotect(p, length, PROT_READ | PROT_WRITE))
		return NULL;
	/* EINVAL from a kernel without huge pages is as good. */
	if (madvise(p, length, MADV_NOHUGEPAGE) && errno != EINVAL)
		return NULL;
	return p;
}

void *hm_map_huge(size_t length)
{
	char *area = mmap(NULL, 3 * length, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p = (char *)(((uintptr_t)area + length) & -length);

	if (area == MAP_FAILED || mprotect(p, length, PROT_READ | PROT_WRITE))
		return NULL;
	/* EINVAL from a kernel without huge pages: small ones, then. */
	if (madvise(p, length, MADV_HUGEPAGE) && errno != EINVAL)
		return NULL;
	return p;
}

/* The receive ring of a packet socket that is bound to no protocol: nothing arrives. */
int hm_driver_ram(size_t pages)
{
	struct tpacket_req ring = {
		.tp_block_size = hm_page_size(),
		.tp_block_nr = pages,
		.tp_frame_size = hm_page_size(),
		.tp_frame_nr = pages,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	int ret;

	if (fd < 0)
		return -errno;
	if (!setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &ring, sizeof(ring)))
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* Every page differs from every other, and never holds a run of zeroes. */
static unsigned char pattern(size_t offset, unsigned int seed)
{
	size_t x = (offset + 1) * 2654435761U + seed * 40503U;

	return (x >> 13 ^ x >> 5) | 1;
}

void hm_fill(void *mem, size_t length, unsigned int seed)
{
	unsigned char *p = mem;

	for (size_t i = 0; i < length; i++)
		p[i] = pattern(i, seed);
}

ssize_t hm_differs(const void *mem, size_t length, unsigned int seed)
{
	const unsigned char *p = mem;

	for (size_t i = 0; i < length; i++)
		if (p[i] != pattern(i, seed))
			return i;
	return -1;
}

ssize_t hm_not_zero(const void *mem, size_t length)
{
	const unsigned char *p = mem;

	for (size_t i = 0; i < length; i++)
		if (p[i])
			return i;
	return -1;
}

/* Where a faulting CPU access of this thread goes on; volatile: a handler reads it. */
static __thread sigjmp_buf *volatile resume;

/* What the kernel said with the last one. */
static __thread struct hm_signal last;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	last.code = info->si_code;
	last.addr = info->si_addr;
	last.lsb = info->si_addr_lsb;
	if (resume)
		siglongjmp(*resume, sig);
	/* Not ours: die of it. */
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_faults(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_NODEFER | SA_SIGINFO,
	};

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	last = (struct hm_signal){};
}

struct hm_signal hm_last_signal(void)
{
	return last;
}

/* Byte by byte and volatile: every byte is really accessed, in this order. */
static void copy_bytes(volatile char *to, const volatile char *from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		to[i] = from[i];
}

static int guarded_copy(void *to, const void *from, size_t length)
{
	sigjmp_buf env;
	int sig;

	catch_faults();
	sig = sigsetjmp(env, 1);
	if (!sig) {
		resume = &env;
		copy_bytes(to, from, length);
	}
	resume = NULL;
	return sig;
}

int hm_cpu_read(const void *from, void *to, size_t length)
{
	return guarded_copy(to, from, length);
}

int hm_cpu_write(void *to, const void *from, size_t length)
{
	return guarded_copy(to, from, length);
}

/* One access of eight bytes: nothing in between can be seen. */
static int guarded_word(volatile __u64 *to, const volatile __u64 *from)
{
	sigjmp_buf env;
	int sig;

	catch_faults();
	sig = sigsetjmp(env, 1);
	if (!sig) {
		resume = &env;
		*to = *from;
	}
	resume = NULL;
	return sig;
}

int hm_cpu_load(const void *from, __u64 *word)
{
	return guarded_word(word, from);
}

int hm_cpu_store(void *to, __u64 word)
{
	return guarded_word(to, &word);
}

int hm_cpu_touch(const void *p)
{
	char byte;

	return guarded_copy(&byte, p, 1);
}

int hm_cpu_dirty(void *p)
{
	char byte = 0x5a;

	return guarded_copy(p, &byte, 1);
}

int hm_poison(void *addr, size_t length)
{
	sigjmp_buf env;
	int ret = 0;

	catch_faults();
	if (!sigsetjmp(env, 1)) {
		resume = &env;
		ret = madvise(addr, length, MADV_HWPOISON) ? -errno : 0;
	}
	resume = NULL;
	return ret;
}

int hm_gup_read(const void *from, void *to, size_t length)
{
	struct iovec local = { to, length };
	struct iovec remote = { (void *)from, length };
	ssize_t n = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -EFAULT;
}

int hm_hold(struct hm_hold *h, void *addr, size_t length)
{
	struct iovec iov = { addr, length };
	ssize_t n;
	int err;

	if (pipe2(h->pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	n = vmsplice(h->pipe[1], &iov, 1, 0);
	if (n == (ssize_t)length)
		return 0;
	err = n < 0 ? -errno : -ENOBUFS;
	hm_unhold(h);
	return err;
}

void hm_unhold(struct hm_hold *h)
{
	close(h->pipe[0]);
	close(h->pipe[1]);
	h->pipe[0] = -1;
	h->pipe[1] = -1;
}
