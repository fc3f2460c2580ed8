#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the bpftrace scripts tell the truth? All four observe one workload of known
# numbers; each must agree with it, with the driver's counters and with the
# kernel's own ring buffer. A loss anywhere is a failure called inconclusive, and
# the last tests show that it is.

# shellcheck source=truth.sh disable=SC1091
. "$(dirname "$0")/truth.sh"

SCRIPTS=(notifier_latency fault_latency fault_trace device_events)
# shellcheck disable=SC2034	# for truth.sh
JUDGE=judge.jq
TRACING=/sys/kernel/tracing
INSTANCE=$TRACING/instances/hotmirror_bpf.$$

ring_buffer_start() {
	if ! mkdir $INSTANCE || ! echo 4096 >$INSTANCE/buffer_size_kb ||
	   ! echo 1 >$INSTANCE/events/hotmirror/enable; then
		bail "cannot set up $INSTANCE"
	fi
}

# Count the events, once nothing was overwritten.
ring_buffer_end() {
	echo 0 >$INSTANCE/events/hotmirror/enable
	if awk '/^(overrun|dropped events):/ && $NF { bad = 1 } END { exit !bad }' \
		$INSTANCE/per_cpu/cpu*/stats; then
		bail "inconclusive: the ring buffer of $INSTANCE lost events"
	fi
	awk 'match($0, /hotmirror_[a-z]+: /) { n[substr($0, RSTART, RLENGTH - 2)]++ }
		END {
			printf "{\"events\":{"
			for (e in n) {
				printf "%s\"%s\":%d", comma, e, n[e]
				comma = ","
			}
			print "}}"
		}' $INSTANCE/trace >"$TMP/trace.json"
}

# A real loss: more output than the smallest buffer holds. The kernel tells of it with
# the next event on the same CPU only, so that END has to run where BEGIN did.
test_lost_events() {
	taskset -pc 0 $$ >/dev/null || bail "cannot stay on one CPU"
	BPFTRACE_PERF_RB_PAGES=1 start storm
	ready storm
	stop storm
	expect inconclusive negative.lost_events_are_inconclusive storm "$TMP/storm.json"
}

# What is made wrong, one after the other.
wrong_maps() {
	cat <<-END
	notifier_latency @invalidations
	notifier_latency @callback_ns
	fault_latency @faults
	fault_latency @restarts
	fault_latency @uffd_ns
	fault_latency @uffd_total_ns
	fault_trace @calls
	fault_trace @own_total_ns
	fault_trace @uffd_total_ns
	fault_trace @walk_total_ns
	device_events @invalidations
	device_events @cleared
	device_events @faults
	device_events @fault_ns
	device_events @fault_total_ns
	END
	# Of no path of the driver's before 6.5: see judge.jq.
	[ "$KERNEL" -lt 605 ] || echo "fault_trace @fault_ns"
}

truth_begin
[ -d $TRACING/events/hotmirror ] ||
	skip_all "no $TRACING/events/hotmirror: mount -t tracefs tracefs $TRACING"
trap '[ -d $INSTANCE ] && rmdir $INSTANCE; cleanup' EXIT
workload_start hotmirror_workload
ring_buffer_start
start notifier_latency "$PID_OF" "$START" "$END"
start fault_latency "$PID_OF"
start fault_trace "$PID_OF"
start device_events "$ID"
workload_run
ring_buffer_end
ktap_set_plan $((${#SCRIPTS[@]} + 4))
test_truth
test_lost_events
test_missed_events notifier_latency
test_cut_stream device_events
test_wrong_numbers < <(wrong_maps)
ktap_finished
