#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do timeline.bt and timeline_device.bt tell the truth, one line an event, more than
# 100,000 of them without a loss? Each must agree with a workload of known numbers and
# with the driver's counters. The last tests show that the judge notices.

DIR=$(cd "$(dirname "$0")" && pwd)
# Where an installed collection, and a source tree, have the framework and scripts.
KSFT=${KSFT:-$DIR/..}
# shellcheck disable=SC1091	# not in this tree
. "$KSFT/kselftest/ktap_helpers.sh"

# shellcheck source=session.sh disable=SC1091
. "$DIR/session.sh"

# Each is two events for timeline.bt, one for timeline_device.bt.
STORM=50000
SCRIPTS=(timeline timeline_device)
TMP=

# A number added to a sum, and the verdict that must come of it.
declare -A ALTERED
ALTERED[timeline]='[["pass", ["count", "walk"], 0], ["fail", ["count", "walk"], 1],
	["fail", ["count", "fault.remote"], -1], ["fail", ["count", "uffd_wait"], 1],
	["fail", ["total_ns", "uffd_wait"], 1e9], ["fail", ["total_ns", "fault"], 1e9],
	["fail", ["count", "read_begin"], 1], ["fail", ["count", "invalidate.UNMAP"], 1],
	["fail", ["count", "span.CLEAR"], -1], ["fail", ["count", "migrate.pages"], 1],
	["fail", ["count", "memunmap"], 1], ["inconclusive", ["printed"], -1],
	["inconclusive", ["strange"], 1], ["inconclusive", ["lost"], 3],
	["inconclusive", ["mark", "READY"], -1], ["inconclusive", ["mark", "DONE"], -1]]'
ALTERED[timeline_device]='[["fail", ["count", "gate"], 1], ["fail", ["total_ns", "gate"], 1e9],
	["fail", ["count", "device_fault"], 1], ["fail", ["total_ns", "device_fault"], 1],
	["fail", ["count", "populate"], -1], ["fail", ["sum", "retries"], 1],
	["fail", ["count", "device_invalidate.CLEAR"], 1], ["fail", ["count", "device_invalidate"], -1],
	["fail", ["sum", "cleared"], 1], ["fail", ["sum", "moved.to_dev"], 1],
	["fail", ["count", "unplug.gone"], 1], ["inconclusive", ["mark", "DONE"], -1]]'

skip_all() {
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

bail() {
	ktap_exit_fail_msg "$*"
}

requirements() {
	local tool

	[ "$(id -u)" = 0 ] || skip_all "run as root"
	for tool in "$(session_bpftrace)" jq awk; do
		command -v "$tool" >/dev/null || skip_all "no $tool: install package ${tool##*/}"
	done
	[ -e /dev/hotmirror ] || skip_all "no /dev/hotmirror: load test_hotmirror.ko"
	[ -e /sys/kernel/btf/vmlinux ] || skip_all "kernel without CONFIG_DEBUG_INFO_BTF"
}

cleanup() {
	session_kill
	[ -n "$WORKLOAD_PID" ] && kill -KILL "$WORKLOAD_PID" 2>/dev/null
	[ -n "$TMP" ] && rm -rf "$TMP"
}

# The command is true. That of ktap_helpers.sh takes its words apart.
result() {
	local name=$1

	shift
	if "$@" >/dev/null; then
		ktap_test_pass "$name"
	else
		ktap_test_fail "$name"
	fi
}

must() {
	"$@" || bail "$SESSION_ERROR"
}

# Both scripts on, the workload, both off.
observe_workload() {
	local word pid id fd script

	mkfifo "$TMP/go" "$TMP/workload"
	"$DIR/hotmirror_workload" --storm $STORM <"$TMP/go" >"$TMP/workload" 2>"$TMP/workload.err" &
	WORKLOAD_PID=$!
	exec {GO}>"$TMP/go" {fd}<"$TMP/workload"
	read -r -t "$LIMIT" -u "$fd" word pid START END id
	if [ "$word" != TARGET ]; then
		sed 's/^/# /' "$TMP/workload.err"
		wait "$WORKLOAD_PID"
		[ $? = 4 ] && skip_all "$(cat "$TMP/workload.err")"
		bail "the workload did not start"
	fi
	must session_begin
	must session_start timeline "$pid"
	must session_start timeline_device 0 "$id"
	for script in "${SCRIPTS[@]}"; do
		must session_ready "$script"
	done
	must session_missed -1 "${SCRIPTS[@]}"
	echo go >&"$GO"
	read -r -t "$LIMIT" -u "$fd" word REPORT
	must session_missed +1 "${SCRIPTS[@]}"
	must session_stop "${SCRIPTS[@]}"
	if [ "$word" != REPORT ]; then
		sed 's/^/# /' "$TMP/workload.err"
		bail "the workload failed"
	fi
	printf '%s\n' "$REPORT" >"$TMP/report.json"
}

sums() {
	awk -v start="$START" -v end="$END" -f "$DIR/timeline.awk" "$1"
}

# Verdict and reasons on sums: judge <script> <sums> [missed events [alterations]]
judge() {
	jq -rn --arg script "$1" --argjson missed "${3:-0}" --slurpfile sums "$2" \
		--slurpfile report "$TMP/report.json" --argjson alter "${4:-[]}" \
		-f "$DIR/timeline.jq" 2>"$TMP/jq.err" || printf 'inconclusive\n%s\n' "$(cat "$TMP/jq.err")"
}

# The verdict on sums is the expected one: expect WORD NAME SCRIPT SUMS [MISSED]
expect() {
	local want=$1 name=$2 verdict

	shift 2
	verdict=$(judge "$@")
	if [ "${verdict%%$'\n'*}" = "$want" ]; then
		ktap_test_pass "$name"
		return
	fi
	printf '%s\n' "$verdict" | sed 's/^/# /'
	sed 's/^/# /' "$TMP/$1.err"
	ktap_test_fail "$name"
}

test_truth() {
	local script

	for script in "${SCRIPTS[@]}"; do
		sums "$TMP/$script.json" >"$TMP/$script.sums"
		expect pass "$script.agrees_with_workload_and_driver" \
			"$script" "$TMP/$script.sums" "${MISSED[$script]}"
	done
}

test_storm() {
	local lines

	lines=$(grep -c '"printf"' "$TMP/timeline.json")
	ktap_print_msg "$lines lines, $(wc -c <"$TMP/timeline.json") bytes"
	result timeline.has_100000_events [ "$lines" -gt 100000 ]
}

# Each number that the judge looks at can fail, each loss makes it inconclusive.
test_altered() {
	local script survived=

	for script in "${SCRIPTS[@]}"; do
		survived+=$(judge "$script" "$TMP/$script.sums" 0 "${ALTERED[$script]}")
	done
	ktap_print_msg "${survived:-each was noticed}"
	result negative.altered_sums_are_noticed [ -z "$survived" ]
}

# What is summed up, by lines that are good, of another region, broken, and a loss.
test_sums() {
	local sums

	sums=$(awk -v start=0x2000 -v end=0x4000 -f "$DIR/timeline.awk" <<-'END'
		{"type": "attached_probes", "data": {"probes": 3}}
		{"type": "printf", "data": "READY timeline: one\n"}
		{"type": "printf", "data": "900 100 7 0 span event=UNMAP start=0x1000 end=0x3000\n"}
		{"type": "printf", "data": "900 100 7 0 span event=UNMAP start=0x4000 end=0x5000\n"}
		{"type": "printf", "data": "900 901 7 0 walk start=0x2000\n"}
		{"type": "printf", "data": "900 100 7 0 storm start=0x2000\n"}
		{"type": "printf", "data": "900 100 7 0 walk star
		{"type": "lost_events", "data": {"events": 5}}
		{"type": "map", "data": {"@events": {"0,7": 4, "1,7": 3}}}
	END
	)
	ktap_print_msg "$sums"
	# shellcheck disable=SC2016	# for jq
	result negative.broken_lines_are_strange jq -en --argjson s "$sums" \
		'$s | .count["span.UNMAP"] == 1 and .strange == 3 and .lost == 5 and .counted == 7 and .mark == {READY: 1}'
}

test_missed() {
	expect inconclusive negative.missed_events_are_inconclusive \
		timeline_device "$TMP/timeline_device.sums" 1
}

ktap_print_header
requirements
trap cleanup EXIT
TMP=$(mktemp -d)
observe_workload
ktap_set_plan 6
test_truth
test_storm
test_altered
test_sums
test_missed
ktap_finished
