// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kernel bugs that schedules show, each with how it looks. A schedule that fails in this
 * way is an expected failure; one that passes, on a kernel that has no such bug, passes.
 */
#include <fnmatch.h>
#include <string.h>

#include "race.h"

struct known {
	const char *schedule;		/* a glob */
	const char *looks;		/* is in the text of the failure */
	const char *bug;
};

static const struct known known[] = {
	/*
	 * copy_nonpresent_pte() makes an exclusive entry present again only if it gets the
	 * folio lock at once; who has it for a moment makes fork() fail. 7.3.4. Held at
	 * exclusive.converted it always does; from any gate before that it may.
	 */
	{ "*atomic*+fork_*@*:*", "M-",
	  "fork() is ENOMEM while somebody has a device-exclusive page locked" },
	/* Before 6.2: see hotmirror_movers, hugetlb_is_not_protected_from_a_child. */
	{ "*fork_child@hugetlb-wp:*", "unknown wait",
	  "a child's write to a huge page that its parent has write-protected faults for ever" },
	/*
	 * munlock_vma_folio() does not ask what kind of page it is, and puts a reference into
	 * a list of the CPU, for as long as nothing else fills that: mlock() has left these
	 * pages out.
	 */
	{ "*mlock*@coherent*:*", "left behind: 2 device pages",
	  "munmap() of locked coherent pages leaves references behind" },
};

const char *race_known(const struct race_schedule *s, const struct race_result *result)
{
	char name[RACE_NAME];

	race_name(s, name, sizeof(name));
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!fnmatch(known[i].schedule, name, 0) && strstr(result->why, known[i].looks))
			return known[i].bug;
	return NULL;
}
