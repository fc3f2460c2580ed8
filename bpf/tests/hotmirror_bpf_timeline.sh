#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Do timeline.bt and timeline_device.bt tell the truth, one line an event, more than
# 100,000 of them without a loss? Each must agree with a workload of known numbers and
# with the driver's counters. The last tests show that the judge notices.

# shellcheck source=truth.sh disable=SC1091
. "$(dirname "$0")/truth.sh"

# Each is two events for timeline.bt, one for timeline_device.bt.
STORM=50000
SCRIPTS=(timeline timeline_device)

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

sums() {
	awk -v start="$START" -v end="$END" -f "$DIR/timeline.awk" "$1"
}

# In place of that of truth.sh, on sums: judge <script> <sums> [missed events [alterations]]
judge() {
	jq -rn -L "$DIR" --arg script "$1" --argjson missed "${3:-0}" --argjson kernel "$KERNEL" \
		--slurpfile sums "$2" --slurpfile report "$TMP/report.json" --argjson alter "${4:-[]}" \
		-f "$DIR/timeline.jq" 2>"$TMP/jq.err" || printf 'inconclusive\n%s\n' "$(cat "$TMP/jq.err")"
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

truth_begin
need awk
workload_start hotmirror_workload --storm $STORM
start timeline "$PID_OF"
start timeline_device 0 "$ID"
workload_run
ktap_set_plan 6
test_truth
test_storm
test_altered
test_sums
test_missed
ktap_finished
