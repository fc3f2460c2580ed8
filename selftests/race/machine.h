/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the machine has to have for some memories and operations: set once, by the
 * orchestrator, when the first schedule asks for it, and put back at the end.
 */
#ifndef HOTMIRROR_RACE_MACHINE_H
#define HOTMIRROR_RACE_MACHINE_H

#define RACE_SWAP	(1U << 0)
#define RACE_HUGE_POOL	(1U << 1)
#define RACE_KSM	(1U << 2)	/* ksmd in a hurry, when it is set running */
#define RACE_SPLIT	(1U << 3)	/* debugfs: split_huge_pages */

/* 0, or -EOPNOTSUPP and the reason. */
int race_machine_need(unsigned int what, const char **why);
void race_machine_restore(void);
/* Before a device goes that merged pages may have lived in. */
void race_machine_forget_merged(void);

#endif /* HOTMIRROR_RACE_MACHINE_H */
