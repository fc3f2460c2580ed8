/* SPDX-License-Identifier: GPL-2.0-only */
/* kselftest.h, with what that of 6.1 lacks. */
#ifndef HOTMIRROR_HM_KSELFTEST_H
#define HOTMIRROR_HM_KSELFTEST_H

#include <stdio.h>
#include <string.h>

#include "kselftest.h"

/*
 * 6.9: ksft_print_header() does so. Else a fork() takes a copy of what is not yet
 * written along, and a crash takes it away.
 */
static void __attribute__((constructor)) hm_write_lines(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
}

#endif /* HOTMIRROR_HM_KSELFTEST_H */
