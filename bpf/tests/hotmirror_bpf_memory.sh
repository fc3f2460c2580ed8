#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the bpftrace scripts about device memory tell the truth? All of them observe one
# workload that moves pages in known numbers, faults on them and unplugs their devices.

# shellcheck source=truth.sh disable=SC1091
. "$(dirname "$0")/truth.sh"

SCRIPTS=(migration cpu_faults unplug_phases)
# shellcheck disable=SC2034	# for truth.sh
JUDGE=judge_memory.jq

truth_begin
workload_start hotmirror_workload_memory
start migration
start cpu_faults "$PID_OF"
start unplug_phases
workload_run
ktap_set_plan $((${#SCRIPTS[@]} + 3))
test_truth
test_missed_events migration
test_cut_stream unplug_phases
test_wrong_numbers <<-END
	migration @calls
	migration @asked
	migration @moved
	migration @left
	migration @copy_ns
	migration @setup_total_ns
	cpu_faults @wait_ns
	cpu_faults @wait_total_ns
	unplug_phases @phase_ns
	unplug_phases @phase_total_ns
	unplug_phases @unpinned
END
ktap_finished
