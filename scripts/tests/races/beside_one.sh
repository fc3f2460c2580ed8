#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# A program beside the schedules, with one test.
# shellcheck source=/dev/null
. "$(dirname "$0")/../kselftest/ktap_helpers.sh"
ktap_print_header
ktap_set_plan 1
ktap_test_pass one
ktap_finished
