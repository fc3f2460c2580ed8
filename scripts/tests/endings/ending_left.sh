#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Leaves processes behind that hold its output open: the run must go on.
# shellcheck source=/dev/null
. "$(dirname "$0")/../kselftest/ktap_helpers.sh"
ktap_print_header
ktap_set_plan 1
setsid sh -c 'trap "" HUP; exec tail -f /dev/null' &
ktap_test_pass one
exit "$KSFT_PASS"
