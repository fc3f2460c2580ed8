/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where ftrace sends a task that may have to stand at the entry of a core function,
 * instead of into that function: one stub a slot of core_gate.c. It looks as if the
 * function's fentry call had called it: its return address is behind that call, so
 * that the function itself is in the stack trace of who stands there, and the return
 * goes on with the function. Registers are as the function's caller left them.
 *
 * An indirect jump to there would need an ENDBR, and a register to spare.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/frame.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

#include "core_stub.h"

#if HOTMIRROR_CAN_CORE_GATES

	.text

.macro CORE_STUB nr
SYM_FUNC_START(hotmirror_core_stub\nr)
	ANNOTATE_NOENDBR	/* reached by a return */
	pushq	hotmirror_core_targets + 8 * \nr(%rip)
	UNWIND_HINT_FUNC
	FRAME_BEGIN
	/* struct hotmirror_core_regs, from its end. What C code keeps is not in it. */
	pushq	%rax
	pushq	%rdi
	pushq	%rsi
	pushq	%rdx
	pushq	%rcx
	pushq	%r8
	pushq	%r9
	pushq	%r10
	movq	%rsp, %rdi
	movl	$\nr, %esi
	call	hotmirror_core_stand
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rcx
	popq	%rdx
	popq	%rsi
	popq	%rdi
	popq	%rax
	FRAME_END
	RET
SYM_FUNC_END(hotmirror_core_stub\nr)
.endm

#if HOTMIRROR_CORE_SLOTS != 8
#error one stub a slot
#endif

.irp nr, 0, 1, 2, 3, 4, 5, 6, 7
	CORE_STUB \nr
.endr

	.section .rodata, "a"
SYM_DATA_START(hotmirror_core_stubs)
.irp nr, 0, 1, 2, 3, 4, 5, 6, 7
	.quad	hotmirror_core_stub\nr
.endr
SYM_DATA_END(hotmirror_core_stubs)

#endif /* HOTMIRROR_CAN_CORE_GATES */
