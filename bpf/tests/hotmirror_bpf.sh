#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do the bpftrace scripts tell the truth? All three observe one workload of known
# numbers; each must agree with it, with the driver's counters and with the
# kernel's own ring buffer. A loss anywhere is a failure called inconclusive, and
# the last tests show that it is.

DIR=$(cd "$(dirname "$0")" && pwd)
# Where an installed collection, and a source tree, have the framework and scripts.
KSFT=${KSFT:-$DIR/..}
# shellcheck disable=SC1091	# not in this tree
. "$KSFT/kselftest/ktap_helpers.sh"

# shellcheck source=session.sh disable=SC1091
. "$DIR/session.sh"

SCRIPTS=(notifier_latency fault_latency device_events)
TRACING=/sys/kernel/tracing
INSTANCE=$TRACING/instances/hotmirror_bpf.$$
TMP=

skip_all() {
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

bail() {
	ktap_exit_fail_msg "$*"
}

need() {
	command -v "$1" >/dev/null || skip_all "no $1: install package ${1##*/}"
}

requirements() {
	[ "$(id -u)" = 0 ] || skip_all "run as root"
	need "$(session_bpftrace)"
	need jq
	[ -e /dev/hotmirror ] || skip_all "no /dev/hotmirror: load test_hotmirror.ko"
	[ -e /sys/kernel/btf/vmlinux ] || skip_all "kernel without CONFIG_DEBUG_INFO_BTF"
	[ -d $TRACING/events/hotmirror ] ||
		skip_all "no $TRACING/events/hotmirror: mount -t tracefs tracefs $TRACING"
}

cleanup() {
	session_kill
	[ -n "$WORKLOAD_PID" ] && kill -KILL "$WORKLOAD_PID" 2>/dev/null
	[ -d $INSTANCE ] && rmdir $INSTANCE
	[ -n "$TMP" ] && rm -rf "$TMP"
}

start() {
	session_start "$@" || bail "$SESSION_ERROR"
}

ready() {
	local script

	for script in "$@"; do
		session_ready "$script" && continue
		sed 's/^/# /' "$TMP/$script.err"
		bail "$SESSION_ERROR"
	done
}

missed() {
	session_missed "$@" || bail "$SESSION_ERROR"
}

stop() {
	session_stop "$@" || bail "$SESSION_ERROR"
}

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

# All observers on, the workload, all observers off.
observe_workload() {
	local word pid start end id fd

	mkfifo "$TMP/go" "$TMP/workload"
	"$DIR/hotmirror_workload" <"$TMP/go" >"$TMP/workload" 2>"$TMP/workload.err" &
	WORKLOAD_PID=$!
	exec {GO}>"$TMP/go" {fd}<"$TMP/workload"
	read -r -t "$LIMIT" -u "$fd" word pid start end id
	if [ "$word" != TARGET ]; then
		sed 's/^/# /' "$TMP/workload.err"
		wait "$WORKLOAD_PID"
		[ $? = 4 ] && skip_all "$(cat "$TMP/workload.err")"
		bail "the workload did not start"
	fi

	ring_buffer_start
	start notifier_latency "$pid" "$start" "$end"
	start fault_latency "$pid"
	start device_events "$id"
	ready "${SCRIPTS[@]}"
	missed -1 "${SCRIPTS[@]}"
	echo go >&"$GO"
	read -r -t "$LIMIT" -u "$fd" word REPORT
	missed +1 "${SCRIPTS[@]}"
	stop "${SCRIPTS[@]}"
	ring_buffer_end
	if [ "$word" != REPORT ]; then
		sed 's/^/# /' "$TMP/workload.err"
		bail "the workload failed"
	fi
	printf '%s\n' "$REPORT" >"$TMP/report.json"
}

# Verdict and reasons on a stream: judge <script> <stream> [missed events]
judge() {
	jq -rn --arg script "$1" --argjson missed "${3:-0}" \
		--slurpfile stream "$2" --slurpfile report "$TMP/report.json" \
		--slurpfile trace "$TMP/trace.json" -f "$DIR/judge.jq" 2>"$TMP/jq.err" ||
		printf 'inconclusive\nthe stream is not whole: %s\n' "$(cat "$TMP/jq.err")"
}

# A test: the verdict on a stream is the expected one.
expect() {
	local want=$1 name=$2 verdict

	shift 2
	verdict=$(judge "$@")
	if [ "${verdict%%$'\n'*}" = "$want" ]; then
		ktap_test_pass "$name"
		return
	fi
	printf '%s\n' "$verdict" | sed 's/^/# /'
	sed 's/^/# /' "$TMP/$1.err" 2>/dev/null
	ktap_test_fail "$name"
}

test_truth() {
	local script

	for script in "${SCRIPTS[@]}"; do
		expect pass "$script.agrees_with_workload_and_driver" \
			"$script" "$TMP/$script.json" "${MISSED[$script]}"
	done
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

test_missed_events() {
	expect inconclusive negative.missed_events_are_inconclusive \
		notifier_latency "$TMP/notifier_latency.json" 1
}

# Cut the stream of a passed test after each of its lines, and within one.
test_cut_stream() {
	local whole=$TMP/whole.json cut=$TMP/cut.json lines n verdict

	# bpftrace prints an empty line for an empty map.
	sed '/^$/d' "$TMP/device_events.json" >"$whole"
	lines=$(wc -l <"$whole")
	for ((n = 0; n < lines; n++)); do
		head -n "$n" "$whole" >"$cut"
		verdict=$(judge device_events "$cut")
		if [ "${verdict%%$'\n'*}" != inconclusive ]; then
			ktap_print_msg "cut after line $n of $lines:" "$verdict"
			ktap_test_fail negative.cut_stream_is_inconclusive
			return
		fi
	done
	head -c "$(($(wc -c <"$whole") / 2))" "$whole" >"$cut"
	expect inconclusive negative.cut_stream_is_inconclusive device_events "$cut"
}

# Make all numbers of a map that the judge looks at much larger.
test_wrong_numbers() {
	local name=negative.wrong_numbers_fail map script verdict

	while read -r script map; do
		sed "/\"$map\"/s/: \\([0-9]\\)/: 999999\\1/g" \
			"$TMP/$script.json" >"$TMP/wrong.json"
		verdict=$(judge "$script" "$TMP/wrong.json")
		if [ "${verdict%%$'\n'*}" != fail ]; then
			ktap_print_msg "wrong $map of $script:" "$verdict"
			ktap_test_fail "$name"
			return
		fi
	done <<-END
		notifier_latency @invalidations
		notifier_latency @callback_ns
		fault_latency @calls
		fault_latency @own_total_ns
		fault_latency @uffd_total_ns
		fault_latency @fault_ns
		fault_latency @walk_total_ns
		device_events @invalidations
		device_events @cleared
		device_events @fault_total_ns
	END
	ktap_test_pass "$name"
}

ktap_print_header
requirements
trap cleanup EXIT
TMP=$(mktemp -d)
session_begin
observe_workload
ktap_set_plan $((${#SCRIPTS[@]} + 4))
test_truth
test_lost_events
test_missed_events
test_cut_stream
test_wrong_numbers
ktap_finished
