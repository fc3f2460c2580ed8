# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Truth tests of bpftrace scripts, to be sourced: scripts observe a workload of known
# numbers, and a judge compares. The caller sets JUDGE (a jq program beside this file)
# and SCRIPTS, and calls in this order
#
#	truth_begin
#	workload_start PROGRAM [ARGUMENT]...	sets PID_OF, START, END, ID
#	start NAME [ARGUMENT]...	for each of SCRIPTS
#	workload_run			$TMP/NAME.json, $TMP/report.json
#	test_truth and the negative controls

DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Where an installed collection, and a source tree, have the framework and scripts.
KSFT=${KSFT:-$DIR/..}
KTAP=$KSFT/kselftest/ktap_helpers.sh
[ -r "$KTAP" ] || KTAP=$DIR/ktap.sh
# shellcheck source=ktap.sh disable=SC1091
. "$KTAP"

# shellcheck source=session.sh disable=SC1091
. "$DIR/session.sh"

TMP=
WORKLOAD_PID=

# What a judge expects is not the same on all kernels: 6.5 is 605.
IFS=.-+ read -r MAJOR MINOR _ </proc/sys/kernel/osrelease
KERNEL=$((MAJOR * 100 + MINOR))

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
}

cleanup() {
	session_kill
	[ -n "$WORKLOAD_PID" ] && kill -KILL "$WORKLOAD_PID" 2>/dev/null
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

truth_begin() {
	ktap_print_header
	requirements
	trap cleanup EXIT
	TMP=$(mktemp -d)
	session_begin
	# What else a judge may want to know.
	echo '{}' >"$TMP/trace.json"
}

# It waits until it is told to go.
# shellcheck disable=SC2034	# for the caller
workload_start() {
	local word

	mkfifo "$TMP/go" "$TMP/workload"
	"$DIR/$1" "${@:2}" <"$TMP/go" >"$TMP/workload" 2>"$TMP/workload.err" &
	WORKLOAD_PID=$!
	exec {GO}>"$TMP/go" {FROM}<"$TMP/workload"
	read -r -t "$LIMIT" -u "$FROM" word PID_OF START END ID
	[ "$word" = TARGET ] && return
	sed 's/^/# /' "$TMP/workload.err"
	wait "$WORKLOAD_PID"
	[ $? = 4 ] && skip_all "$(cat "$TMP/workload.err")"
	bail "the workload did not start"
}

# All observers on, the workload, all observers off.
workload_run() {
	local word report

	ready "${SCRIPTS[@]}"
	missed -1 "${SCRIPTS[@]}"
	echo go >&"$GO"
	read -r -t "$LIMIT" -u "$FROM" word report
	missed +1 "${SCRIPTS[@]}"
	stop "${SCRIPTS[@]}"
	if [ "$word" != REPORT ]; then
		sed 's/^/# /' "$TMP/workload.err"
		bail "the workload failed"
	fi
	printf '%s\n' "$report" >"$TMP/report.json"
}

# Verdict and reasons on a stream: judge <script> <stream> [missed events]
judge() {
	jq -rn -L "$DIR" --arg script "$1" --argjson missed "${3:-0}" --argjson kernel "$KERNEL" \
		--slurpfile stream "$2" --slurpfile report "$TMP/report.json" \
		--slurpfile trace "$TMP/trace.json" -f "$DIR/$JUDGE" 2>"$TMP/jq.err" ||
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

test_missed_events() {
	expect inconclusive negative.missed_events_are_inconclusive \
		"$1" "$TMP/$1.json" 1
}

# Cut the stream of a script that passed after each of its lines, and within one.
test_cut_stream() {
	local script=$1 whole=$TMP/whole.json cut=$TMP/cut.json lines n verdict

	# bpftrace prints an empty line for an empty map.
	sed '/^$/d' "$TMP/$script.json" >"$whole"
	lines=$(wc -l <"$whole")
	for ((n = 0; n < lines; n++)); do
		head -n "$n" "$whole" >"$cut"
		verdict=$(judge "$script" "$cut")
		if [ "${verdict%%$'\n'*}" != inconclusive ]; then
			ktap_print_msg "cut after line $n of $lines:" "$verdict"
			ktap_test_fail negative.cut_stream_is_inconclusive
			return
		fi
	done
	head -c "$(($(wc -c <"$whole") / 2))" "$whole" >"$cut"
	expect inconclusive negative.cut_stream_is_inconclusive "$script" "$cut"
}

# Make all numbers of a map that the judge looks at much larger. From stdin: script and
# map.
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
	done
	ktap_test_pass "$name"
}
