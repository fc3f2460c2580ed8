#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the bpftrace scripts about waits tell the truth? All four observe one workload, in
# which threads wait for each other in known numbers and for known times.

# shellcheck source=truth.sh disable=SC1091
. "$(dirname "$0")/truth.sh"

SCRIPTS=(notifier_subscribers retry_storms slow_invalidations uffd_stalls)
# shellcheck disable=SC2034	# for truth.sh
JUDGE=judge_waits.jq
THRESHOLD_NS=100000000	# hotmirror_waits holds callbacks for longer

truth_begin
# A subscriber of the other kind, where there is one: it takes part if /dev/kvm is there.
[ -e /dev/kvm ] || modprobe -q kvm_amd 2>/dev/null || modprobe -q kvm_intel 2>/dev/null ||
	ktap_print_msg "no KVM: only callbacks of the interval tree are seen"
workload_start hotmirror_waits
start notifier_subscribers "$PID_OF" "$START" "$END"
start retry_storms "$PID_OF"
start slow_invalidations "$THRESHOLD_NS" "$PID_OF"
start uffd_stalls "$PID_OF"
workload_run
ktap_set_plan $((${#SCRIPTS[@]} + 3))
test_truth
test_missed_events retry_storms
test_cut_stream uffd_stalls
test_wrong_numbers <<-END
	notifier_subscribers @callbacks
	notifier_subscribers @callback_ns
	retry_storms @attempts
	retry_storms @retries
	retry_storms @lost_total_ns
	retry_storms @stacks
	slow_invalidations @slow
	slow_invalidations @delayed_total_ns
	slow_invalidations @waits
	slow_invalidations @wait_total_ns
	uffd_stalls @stalls
	uffd_stalls @handled
	uffd_stalls @stall_total_ns
END
ktap_finished
