# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What truth.sh takes of kselftest/ktap_helpers.sh, for frameworks that have none (before
# 6.8). To be sourced.

KSFT_PASS=0
KSFT_FAIL=1
# shellcheck disable=SC2034	# for who sources this
KSFT_SKIP=4

KTAP_PLAN=0
KTAP_PASSED=0
KTAP_FAILED=0

ktap_print_header() {
	echo "TAP version 13"
}

ktap_print_msg() {
	echo "# $*"
}

ktap_set_plan() {
	KTAP_PLAN=$1
	echo "1..$1"
}

ktap_skip_all() {
	echo "1..0 # SKIP $*"
}

ktap_test_pass() {
	KTAP_PASSED=$((KTAP_PASSED + 1))
	echo "ok $((KTAP_PASSED + KTAP_FAILED)) $1"
}

ktap_test_fail() {
	KTAP_FAILED=$((KTAP_FAILED + 1))
	echo "not ok $((KTAP_PASSED + KTAP_FAILED)) $1"
}

ktap_exit_fail_msg() {
	echo "Bail out! $*"
	exit "$KSFT_FAIL"
}

ktap_finished() {
	echo "# Totals: pass:$KTAP_PASSED fail:$KTAP_FAILED xfail:0 xpass:0 skip:0 error:0"
	[ "$KTAP_PASSED" = "$KTAP_PLAN" ] && exit "$KSFT_PASS"
	exit "$KSFT_FAIL"
}
