#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Plans three tests, reports two, and says that all is well.
# shellcheck source=/dev/null
. "$(dirname "$0")/../kselftest/ktap_helpers.sh"
ktap_print_header
ktap_set_plan 3
ktap_test_pass one
ktap_test_pass two
exit "$KSFT_PASS"
