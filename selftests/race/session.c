// SPDX-License-Identifier: GPL-2.0-only
/*
 * Processes, instances and gate files of the orchestrator. They are kept from schedule to
 * schedule; what one has used up is made anew for the next.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/gate.h"
#include "../lib/mem.h"
#include "../lib/task.h"
#include "machine.h"
#include "memory.h"
#include "session.h"

/* Enough for the largest memory, twice; small, so that plugging is quick. */
#define DEVICE_BYTES	(8ULL << 20)

/* ---- shared memory ---- */

/* Of the memory: none is open. */
static void no_files(struct race_shared *sh)
{
	sh->file = -1;
	sh->pipe[0] = -1;
	sh->pipe[1] = -1;
}

static int make_shared(struct race_engine *e)
{
	struct race_shared *sh = race_shared_pages(sizeof(*sh));
	int ret = 0;

	if (!sh)
		return -ENOMEM;
	e->sh = sh;
	sh->control = e->control;
	sh->window = race_window();
	no_files(sh);
	for (int i = 0; i < 3; i++) {
		sh->id[i] = RACE_NONE;
		sh->fd[i] = -1;
		e->fd[i] = -1;
	}
	for (int i = 0; i < RACE_WORKERS && !ret; i++)
		ret = race_worker_make(&sh->worker[i]);
	return sh->window ? ret : -ENOMEM;
}

int race_session_start(struct race_engine *e, char *why, size_t size)
{
	e->control = hm_control_open();
	if (e->control < 0)
		return snprintf(why, size, HM_CONTROL ": %s", strerror(-e->control)), -ENODEV;
	if (hm_query(e->control, &e->q) || !(e->q.features & HOTMIRROR_HAS_GATES))
		return snprintf(why, size, "the module has no gates"), -EOPNOTSUPP;
	e->resolution = mmap(NULL, e->q.pmd_size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	e->uffd = -1;
	/* One task runs at a time anyway, and so the next one runs at once. */
	hm_stay_on_one_cpu();
	return make_shared(e);
}

static void forget_gate(struct race_engine *e, int i)
{
	close(e->gate[i].fd);
	e->gate[i] = e->gate[--e->gates];
}

/* Those of the device files; a gate in the core is dear to make, and belongs to no file. */
static void forget_gates(struct race_engine *e, bool core)
{
	for (int i = e->gates - 1; i >= 0; i--)
		if (core || !(e->gate[i].gate->flags & GATE_CORE))
			forget_gate(e, i);
}

/* ---- the target ---- */

static void forget_files(struct race_engine *e)
{
	forget_gates(e, false);
	for (int i = 0; i < 3; i++) {
		if (e->fd[i] >= 0)
			close(e->fd[i]);
		e->fd[i] = -1;
	}
}

static int start_target(struct race_engine *e)
{
	struct race_shared *sh = e->sh;
	int ret = 0;

	for (int i = 0; i < RACE_WORKERS; i++)
		race_worker_fresh(&sh->worker[i]);
	for (int i = 0; i < 3; i++)
		sh->fd[i] = -1;
	no_files(sh);
	fflush(NULL);
	e->target = fork();
	if (e->target < 0)
		return -errno;
	if (!e->target) {
		/* Or closing them would open no gate. */
		forget_gates(e, true);
		_exit(race_target_main(sh));
	}
	e->pidfd = syscall(SYS_pidfd_open, e->target, 0);
	for (int i = 0; i <= RACE_SETUP && !ret; i++)
		ret = race_wait(e, i, RACE_LIMIT_MS, false);
	if (!ret && sh->uffd >= 0)
		e->uffd = syscall(SYS_pidfd_getfd, e->pidfd, sh->uffd, 0);
	e->reopen = true;
	return ret;
}

static void end_remote(struct race_engine *e)
{
	if (e->remote > 0) {
		kill(e->remote, SIGKILL);
		waitpid(e->remote, NULL, 0);
	}
	e->remote = 0;
}

int race_session_kill(struct race_engine *e)
{
	struct pollfd p = { .fd = e->pidfd, .events = POLLIN };
	int ret = 0;

	end_remote(e);
	if (!e->target)
		return 0;
	kill(e->target, SIGKILL);
	/* What holds its tasks is opened with the files. */
	forget_files(e);
	if (poll(&p, 1, RACE_LIMIT_MS) != 1)
		ret = -ETIMEDOUT;
	else
		waitpid(e->target, NULL, 0);
	close(e->pidfd);
	e->pidfd = -1;
	if (e->uffd >= 0)
		close(e->uffd);
	e->uffd = -1;
	e->target = 0;
	return ret;
}

int race_session_remote(struct race_engine *e)
{
	if (e->remote)
		return 0;
	race_worker_fresh(&e->sh->worker[RACE_REMOTE]);
	fflush(NULL);
	e->remote = fork();
	if (e->remote < 0)
		return -errno;
	if (!e->remote) {
		forget_gates(e, true);
		_exit(race_remote_main(e->sh, e->fd));
	}
	return race_wait(e, RACE_REMOTE, RACE_LIMIT_MS, false);
}

/* ---- instances ---- */

static int plug(struct race_engine *e, int which, __u32 kind, __u64 align)
{
	if (kind == HOTMIRROR_DAX)
		return hm_plug_dax(e->control, DEVICE_BYTES, align, &e->sh->id[which]);
	return hm_plug(e->control, kind, DEVICE_BYTES, &e->sh->id[which]);
}

static int unplug(struct race_engine *e, int which)
{
	__u32 id = e->sh->id[which];

	if (id == RACE_NONE)
		return 0;
	e->sh->id[which] = RACE_NONE;
	return hm_unplug(e->control, id, HOTMIRROR_GONE, RACE_LIMIT_MS);
}

/* Files before instances: what they map would keep these. */
static int close_files(struct race_engine *e)
{
	__u32 id[3];
	int ret;

	forget_files(e);
	end_remote(e);
	if (!e->target)
		return 0;
	memcpy(id, e->sh->id, sizeof(id));
	for (int i = 0; i < 3; i++)
		e->sh->id[i] = RACE_NONE;
	race_call(e, RACE_SETUP, RACE_OPEN);
	ret = race_wait(e, RACE_SETUP, RACE_LIMIT_MS, false);
	memcpy(e->sh->id, id, sizeof(id));
	e->reopen = true;
	return ret;
}

int race_session_replace(struct race_engine *e)
{
	int ret = close_files(e);

	race_machine_forget_merged();
	/* munlock() leaves references to coherent pages there: see known.c. */
	if (e->kind == HOTMIRROR_COHERENT)
		hm_drain_batches();
	for (int i = 0; i < 3; i++)
		ret = unplug(e, i) ?: ret;
	e->kind = 0;
	e->align = 0;
	e->used_up = false;
	return ret;
}

static int open_files(struct race_engine *e)
{
	int ret;

	forget_files(e);
	end_remote(e);
	race_call(e, RACE_SETUP, RACE_OPEN);
	ret = race_wait(e, RACE_SETUP, RACE_LIMIT_MS, false) ?: e->sh->worker[RACE_SETUP].ret;
	for (int i = 0; i < 3 && !ret; i++) {
		if (e->sh->fd[i] < 0)
			continue;
		e->fd[i] = syscall(SYS_pidfd_getfd, e->pidfd, e->sh->fd[i], 0);
		ret = e->fd[i] < 0 ? -errno : 0;
	}
	e->reopen = ret;
	return ret;
}

static int have_instances(struct race_engine *e, __u32 kind, __u64 align)
{
	int ret = 0;

	if (e->used_up || (e->kind && e->kind != kind) || (e->align && e->align != align && align))
		ret = race_session_replace(e);
	if (!ret && !e->kind) {
		ret = plug(e, RACE_DEVICE, kind, 0) ?: plug(e, RACE_SECOND, kind, 0);
		e->kind = kind;
		e->reopen = true;
	}
	if (!ret && align && !e->align) {
		ret = plug(e, RACE_DAX, HOTMIRROR_DAX, align);
		e->align = align;
		e->reopen = true;
	}
	return ret;
}

static const char *missing_feature(const struct race_engine *e, const struct race_schedule *s)
{
	__u64 needs = s->memory->needs, lacks;

	for (int i = 0; i < s->sides; i++)
		needs |= s->op[i]->needs;
	for (int i = 0; i < s->gates; i++)
		if (s->hold[i].gate->flags & GATE_TWO_PASS)
			needs |= HOTMIRROR_HAS_TWO_PASS;
	lacks = needs & ~e->q.features;
	if (lacks & HOTMIRROR_HAS_PRIVATE)
		return "kernel without CONFIG_DEVICE_PRIVATE";
	if (lacks & (HOTMIRROR_HAS_COHERENT | HOTMIRROR_HAS_DAX))
		return "the module has no arena";
	if (lacks & HOTMIRROR_HAS_EXCLUSIVE)
		return "no device-exclusive entries in this kernel (CONFIG_DEVICE_PRIVATE)";
	if (lacks & HOTMIRROR_HAS_TWO_PASS)
		return "no two-pass notifiers in this kernel";
	if (lacks & HOTMIRROR_HAS_LARGE)
		return "no large private folios in this kernel";
	return lacks ? "the module has not what this needs on this kernel" : NULL;
}

static const char *missing_setting(const struct race_schedule *s)
{
	unsigned int needs = s->memory->machine;
	const char *why;

	for (int i = 0; i < s->sides; i++)
		needs |= s->op[i]->machine;
	return race_machine_need(needs, &why) ? why : NULL;
}

static int set_up(struct race_engine *e, __u32 kind, __u64 align, const char **what)
{
	int ret;

	*what = "start the target";
	ret = e->target ? 0 : start_target(e);
	if (ret)
		return ret;
	*what = "have fresh devices";
	ret = have_instances(e, kind, align);
	if (ret || !e->reopen)
		return ret;
	*what = "open the devices";
	return open_files(e);
}

int race_session_ready(struct race_engine *e, const struct race_schedule *s, char *why, size_t size)
{
	const char *lacks = missing_feature(e, s) ?: missing_setting(s);
	unsigned int memory = s->memory->flags;
	__u32 kind = s->memory->kind ?: hm_any_kind(&e->q);
	__u64 align = !(memory & MEM_DAX) ? 0 : memory & MEM_PMD ? e->q.pmd_size : e->q.page_size;
	const char *what;
	int ret;

	if (lacks)
		return snprintf(why, size, "%s", lacks), -EOPNOTSUPP;
	ret = set_up(e, kind, align, &what);
	if (ret)
		snprintf(why, size, "cannot %s: %s", what, strerror(-ret));
	return ret == -EOPNOTSUPP ? -EINVAL : ret;
}

/* ---- gates ---- */

int race_gate_device(const struct race_schedule *s, const struct race_hold *hold)
{
	const struct race_op *op = s->op[hold->side];
	__u32 nr = hold->gate->nr;
	bool dax = s->memory->flags & MEM_DAX;

	if (nr == HOTMIRROR_GATE_DAX_FAULT || nr == HOTMIRROR_GATE_DAX_INSERTED)
		return RACE_DAX;
	if (op->flags & OP_UNPLUGS)
		return dax && nr >= HOTMIRROR_GATE_UNPLUG_DISABLED ? RACE_DAX : RACE_DEVICE;
	/* A callback is that of the first device, whoever it is that invalidates. */
	if (hold->gate->flags & GATE_WARM)
		return RACE_DEVICE;
	if (nr >= HOTMIRROR_GATE_TO_RAM_ENTER && nr <= HOTMIRROR_GATE_TO_RAM_MOVED)
		return RACE_DEVICE;
	return op->flags & OP_SECOND ? RACE_SECOND : RACE_DEVICE;
}

static int open_core(struct race_engine *e, const struct race_gate *gate)
{
	const char *function = gate->name + strlen("core.");
	int fd = hm_gate_core(e->control, function);

	/* There are few of them at a time. */
	if (fd == -ENOSPC || fd == -EBUSY) {
		forget_gates(e, true);
		fd = hm_gate_core(e->control, function);
	}
	return fd;
}

int race_session_gate(struct race_engine *e, const struct race_schedule *s,
		      const struct race_hold *hold)
{
	const struct race_gate *gate = hold->gate;
	int device = race_gate_device(s, hold), fd;

	for (int i = 0; i < e->gates; i++)
		if (e->gate[i].gate == gate && e->gate[i].device == device)
			return e->gate[i].fd;
	if (e->gates == RACE_GATE_FILES)
		return -ENOSPC;
	fd = gate->flags & GATE_CORE ? open_core(e, gate) :
	     hm_gate_open(e->fd[device], gate->nr,
			  gate->flags & GATE_ANY_TASK ? HOTMIRROR_GATE_INSTANCE : 0);
	if (fd >= 0)
		e->gate[e->gates++] = (struct race_gate_file){ gate, device, fd };
	return fd;
}

void race_session_end(struct race_engine *e)
{
	race_session_replace(e);
	race_session_kill(e);
	forget_gates(e, true);
	race_machine_restore();
	close(e->control);
}
