/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What core_gate.c and its assembler part agree on.
 */
#ifndef _HOTMIRROR_CORE_STUB_H
#define _HOTMIRROR_CORE_STUB_H

/* The handler is told by ftrace where it is; kprobes find the place for it. */
#define HOTMIRROR_CAN_CORE_GATES	(IS_ENABLED(CONFIG_X86_64) &&	\
	IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS) &&			\
	IS_ENABLED(CONFIG_KPROBES_ON_FTRACE))

/* How many core functions can have gates at a time. */
#define HOTMIRROR_CORE_SLOTS	8

#ifndef __ASSEMBLER__

/* The arguments of a function at its entry, as a stub saves them. */
struct hotmirror_core_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ax;
};

extern const unsigned long hotmirror_core_stubs[HOTMIRROR_CORE_SLOTS];
extern unsigned long hotmirror_core_targets[HOTMIRROR_CORE_SLOTS];

asmlinkage void hotmirror_core_stand(const struct hotmirror_core_regs *regs,
				     unsigned int nr);

#endif /* __ASSEMBLER__ */

#endif /* _HOTMIRROR_CORE_STUB_H */
