// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measure test_hmm.ko and test_hotmirror.ko side by side, both loaded.
 *
 *	hotmirror_bench ROUNDS EXTRA_ROUNDS [SESSION]	as root, on an idle machine
 *
 * Round by round each session (or those of one name) is run with each device, and who
 * begins changes from round to round. A round more, the first, warms up and is thrown
 * away. stdout has a line for each number:
 *
 *	step <tab> device <tab> workers <tab> MiB <tab> round <tab> ns (or bytes)
 *
 * Exit status: 0; 1 something failed (stderr says what); 2 usage or set-up.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* Seconds that a session may take; under TCG the longest one takes 15. */
#define LIMIT	240

static void worker_main(const struct session *session, struct worker *w)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(LIMIT);
	session->run(w);
	_exit(0);
}

static struct shared *shared_new(unsigned int workers)
{
	struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	if (shared == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attr, workers);
	return shared;
}

/* One that failed leaves the others at the barrier: end them. */
static int wait_all(pid_t *pids, unsigned int workers)
{
	int status, failed = 0;

	for (unsigned int left = workers; left; left--) {
		if (wait(&status) < 0)
			return 1;
		if (status && !failed++)
			for (unsigned int i = 0; i < workers; i++)
				kill(pids[i], SIGKILL);
		if (status && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
			fprintf(stderr, "hotmirror_bench: a session took more than %d s\n",
				LIMIT);
	}
	return failed;
}

static long long step_ns(const struct step *step, unsigned int workers)
{
	__u64 begin = step->begin[0], end = step->end[0];

	for (unsigned int i = 1; i < workers; i++) {
		begin = step->begin[i] < begin ? step->begin[i] : begin;
		end = step->end[i] > end ? step->end[i] : end;
	}
	return end - begin;
}

static void report(const struct shared *shared, const struct session *session,
		   const struct device *device, unsigned int workers,
		   unsigned int round)
{
	for (const struct step *s = shared->steps; s->name[0]; s++)
		printf("%s\t%s\t%u\t%u\t%u\t%lld\n", s->name, device->name, workers,
		       session->mib, round,
		       s->has_value ? (long long)s->value : step_ns(s, workers));
	fflush(stdout);
}

static int run_session(const struct session *session, const struct device *device,
		       unsigned int workers, unsigned int round)
{
	struct shared *shared = shared_new(workers);
	pid_t pids[MAX_WORKERS];
	int failed;

	if (!shared)
		return 1;
	for (unsigned int i = 0; i < workers; i++) {
		struct worker w = {
			.device = device,
			.shared = shared,
			.number = i,
			.workers = workers,
			.length = session->mib * MIB,
			.huge = session->huge,
		};

		pids[i] = fork();
		if (!pids[i])
			worker_main(session, &w);
		if (pids[i] < 0)
			return 1;
	}
	failed = wait_all(pids, workers);
	if (!failed && round)
		report(shared, session, device, workers, round);
	munmap(shared, sizeof(*shared));
	return failed;
}

static unsigned int nr_devices(const struct session *session)
{
	unsigned int n = 0;

	while (n < 3 && session->devices[n])
		n++;
	return n;
}

static int run_devices(const struct session *session, unsigned int workers,
		       unsigned int round)
{
	unsigned int n = nr_devices(session);

	for (unsigned int i = 0; i < n; i++)
		if (run_session(session, session->devices[(round + i) % n], workers, round))
			return 1;
	return 0;
}

static bool wanted(const struct session *s, bool extra, const char *only)
{
	if (only && strcmp(only, s->name))
		return false;
	if (s->when == NAMED)
		return extra && only;
	return extra == (s->when == EXTRA_ROUND);
}

static int run_round(unsigned int round, bool extra, const char *only)
{
	for (unsigned int i = 0; i < nr_sessions; i++)
		for (unsigned int n = 1; n <= sessions[i].max_workers; n++)
			if (wanted(&sessions[i], extra, only) &&
			    run_devices(&sessions[i], n, round))
				return 1;
	return 0;
}

/* Huge pages only where a session asks for them. */
static int settle(void)
{
	FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "we");

	if (!file)
		return 1;
	fputs("madvise", file);
	return fclose(file);
}

int main(int argc, char **argv)
{
	const char *only = argc == 4 ? argv[3] : NULL;
	unsigned int rounds, extra_rounds;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: hotmirror_bench ROUNDS EXTRA_ROUNDS [SESSION]\n");
		return 2;
	}
	rounds = strtoul(argv[1], NULL, 10);
	extra_rounds = strtoul(argv[2], NULL, 10);
	if (settle()) {
		perror("hotmirror_bench: transparent_hugepage/enabled");
		return 2;
	}
	for (unsigned int round = 0; round <= rounds; round++) {
		fprintf(stderr, "round %u of %u\n", round, rounds);
		if (run_round(round, false, only))
			return 1;
	}
	for (unsigned int round = 1; round <= extra_rounds; round++) {
		fprintf(stderr, "growth and memory, round %u of %u\n", round, extra_rounds);
		if (run_round(round, true, only))
			return 1;
	}
	return 0;
}
