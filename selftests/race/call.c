// SPDX-License-Identifier: GPL-2.0-only
/*
 * The orchestrator's side of a call: a worker of the target is given one and waited for,
 * with what it faults on meanwhile. The other side is race_target_main().
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lib/mem.h"
#include "../lib/task.h"
#include "../lib/uffd.h"
#include "memory.h"
#include "session.h"

void *race_shared_pages(size_t length)
{
	void *mem = mmap(NULL, length, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}

int race_worker_make(struct race_worker *w)
{
	w->go = eventfd(0, EFD_CLOEXEC);
	w->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->buffer = race_shared_pages(RACE_PAGES * hm_page_size());
	return w->go < 0 || w->done < 0 || !w->buffer ? -ENOMEM : 0;
}

static void drain(int fd)
{
	__u64 count;

	while (read(fd, &count, sizeof(count)) == sizeof(count))
		;
}

void race_worker_fresh(struct race_worker *w)
{
	drain(w->done);
	close(w->go);
	w->go = eventfd(0, EFD_CLOEXEC);
	w->pinned = false;
}

void race_call(struct race_engine *e, int worker, enum race_call call)
{
	struct race_worker *w = &e->sh->worker[worker];
	__u64 one = 1;

	w->call = call;
	w->ret = 0;
	w->proxy = 0;
	if (write(w->go, &one, sizeof(one)) != sizeof(one))
		w->ret = -errno;
}

bool race_done(struct race_engine *e, int worker)
{
	__u64 count;

	return read(e->sh->worker[worker].done, &count, sizeof(count)) == sizeof(count);
}

/* The page that comes belongs where it is missing: its words say so. */
static void resolve(struct race_engine *e, const struct hm_fault *f)
{
	size_t page = hm_page_size(), grain = e->sh->area.grain;
	char *at = (char *)(f->addr & -grain);
	__u64 word = race_word('u', at);

	if (f->wp) {
		hm_uffd_protect(e->uffd, at, grain, false);
	} else if (f->rwp) {
		hm_uffd_rwprotect(e->uffd, at, grain, false);
	} else if (f->minor) {
		hm_uffd_continue(e->uffd, at, grain);
	} else {
		memcpy(e->resolution, &word, sizeof(word));
		memcpy(e->resolution + page - sizeof(word), &word, sizeof(word));
		while (hm_uffd_copy(e->uffd, at, e->resolution, grain) == -EAGAIN)
			sched_yield();
	}
	/* It may be there already, or nowhere any more. */
	hm_uffd_wake(e->uffd, at, grain);
}

void race_resolve(struct race_engine *e)
{
	struct hm_fault f;

	while (e->uffd >= 0 && hm_uffd_pending(e->uffd))
		if (!hm_uffd_wait(e->uffd, &f))
			resolve(e, &f);
}

int race_wait(struct race_engine *e, int worker, int limit_ms, bool serve)
{
	struct pollfd p[3] = {
		{ .fd = e->sh->worker[worker].done, .events = POLLIN },
		/* The remote process lives on. */
		{ .fd = worker == RACE_REMOTE ? -1 : e->pidfd, .events = POLLIN },
		{ .fd = serve ? e->uffd : -1, .events = POLLIN },
	};
	long long deadline = hm_deadline(limit_ms);

	for (;;) {
		if (race_done(e, worker))
			return 0;
		if (!hm_left(deadline))
			return -ETIMEDOUT;
		poll(p, 3, hm_left(deadline));
		if (p[1].revents)
			return race_done(e, worker) ? 0 : -ESRCH;
		if (serve)
			race_resolve(e);
	}
}
