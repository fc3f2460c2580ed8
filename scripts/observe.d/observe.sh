#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Observe one command with bpftrace scripts, on the machine that runs this.
#
#	observe.sh [-s SECONDS] [-j] OUT SCRIPT... -- command [argument]...
#
# Every script is READY before the command starts, and all are stopped when it ends,
# however it ends, or after SECONDS. OUT (empty) gets NAME.json and NAME.err of each
# script, workload.log with what the command printed, and the facts of the session, a
# line each, fields separated by tabs. With -j the command's stdout goes to workload.json.
# scripts/observe makes raw/session.json of the facts.
#
# Ctrl-C (or SIGTERM) ends the command; what the scripts saw until then is kept.
# Exit status: 0 observed, whatever became of the command (see the facts); 1 not one of
# the scripts could be attached; 2 usage.

HERE=$(cd "$(dirname "$0")" && pwd)
SECONDS_LEFT=0
TO_JSON=
WORKLOAD_PID=
INTERRUPTED=
READY=
TICK=5			# seconds between two signs of life

usage() {
	sed -n '4,6s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

while getopts s:j option; do
	case $option in
	s) SECONDS_LEFT=$OPTARG ;;
	j) TO_JSON=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 4 ] || usage
TMP=$1
shift
SCRIPTS=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
	SCRIPTS+=("$1")
	shift
done
shift
[ $# -gt 0 ] || usage

for session in "$HERE/session.sh" "$HERE/../../bpf/tests/session.sh"; do
	# shellcheck source=../../bpf/tests/session.sh disable=SC1091
	[ -e "$session" ] && . "$session" && break
done

say() {
	echo "$*" >&2
}

fact() {
	local IFS=$'\t'

	printf '%s\n' "$*" >>"$TMP/facts"
}

# ns of CLOCK_BOOTTIME, that is bpftrace's nsecs, no later than now. To the hundredth of
# a second, but no process is started for it.
boot_ns() {
	local seconds

	read -r seconds _ </proc/uptime
	echo "$((10#${seconds/./} * 10000000))"
}

# Functions that the header of a script names, and that this kernel does not let anyone
# trace: "NEEDS name: what is lost" and "OPTIONAL name: what is lost", a line each. A
# name with a colon is a tracepoint; for kfunc: see unattached_functions().
missing_functions() {
	local path

	for path in /sys/kernel/tracing/available_filter_functions /proc/kallsyms; do
		[ -r "$path" ] && break
	done
	# shellcheck disable=SC2016	# for awk
	awk -v functions="$path" '
		/OPTIONAL kfunc:/ { next }
		match($0, /^[ \t]*(\/\/|\*)[ \t]*(NEEDS|OPTIONAL) [^ ]+: /) {
			text = substr($0, RSTART + RLENGTH)
			split(substr($0, RSTART, RLENGTH), word, /(NEEDS|OPTIONAL) |: $/)
			kind[word[2]] = /NEEDS/ ? "NEEDS" : "OPTIONAL"
			lost[word[2]] = text
			order[++n] = word[2]
		}
		END {
			for (i = 1; i <= n; i++) {
				if (order[i] !~ /:/) {
					wanted[order[i]] = 1
					left++
				}
			}
			while (left && (getline line <functions) > 0) {
				split(line, word, " ")
				name = functions ~ /kallsyms/ ? word[3] : word[1]
				if (name in wanted) {
					delete wanted[name]
					left--
				}
			}
			for (i = 1; i <= n; i++) {
				point = order[i]
				if (point ~ /:/) {
					sub(/:/, "/", point)
					file = "/sys/kernel/tracing/events/" point "/id"
					absent = (getline line <file) <= 0
				} else {
					absent = point in wanted
				}
				if (absent)
					print kind[order[i]] "\t" order[i] ": " lost[order[i]]
			}
		}' "$1"
}

# Functions that a script, now that it is READY, has no probe on the entry or the return of:
# "OPTIONAL kfunc:name: what is lost". Such a probe needs more than the name: the kernel's
# BTF must know the function, and it must not have too many arguments.
unattached_functions() {
	local enabled=/sys/kernel/tracing/enabled_functions

	[ -r "$enabled" ] || return 0
	# shellcheck disable=SC2016	# for awk
	awk -v enabled="$enabled" '
		BEGIN {
			while ((getline line <enabled) > 0) {
				if (line ~ /^[^ ]+ (\[[^]]*\] )?\([0-9]+\)[ A-Z]* D/) {
					split(line, word, " ")
					attached[word[1]] = 1
				}
			}
		}
		match($0, /OPTIONAL kfunc:[^ ]+: /) {
			name = substr($0, RSTART, RLENGTH - 2)
			sub(/.*:/, "", name)
			if (!(name in attached))
				print name ": " substr($0, RSTART + RLENGTH)
		}' "$1"
}

# Tell and keep what a script cannot see.
missing() {
	fact missing "$1" "$2"
	say "MISSING $2 ($1)"
}

# Start what can be started; what cannot is a fact, and no reason to see nothing.
start_scripts() {
	local script path kind text lacking started=()

	for script in "${SCRIPTS[@]}"; do
		path=$(session_path "$script")
		lacking=
		while IFS=$'\t' read -r kind text; do
			missing "$script" "$text"
			[ "$kind" = NEEDS ] && lacking=$text
		done < <(missing_functions "$path")
		if [ -n "$lacking" ]; then
			fact failed "$script" "needs $lacking"
			continue
		fi
		if session_start "$script"; then
			started+=("$script")
		else
			fact failed "$script" "$SESSION_ERROR"
		fi
	done
	SCRIPTS=()
	for script in "${started[@]}"; do
		if session_ready "$script"; then
			say "$script is ready (${READY_MS[$script]} ms)"
			while read -r text; do
				missing "$script" "$text"
			done < <(unattached_functions "$(session_path "$script")")
			SCRIPTS+=("$script")
		else
			fact failed "$script" "$SESSION_ERROR"
			say "$script cannot be attached: $SESSION_ERROR"
		fi
	done
}

# Every few seconds, until it is killed; nothing is written to what it reads.
show_progress() {
	local fd n=0

	mkfifo "$TMP/tick"
	exec {fd}<>"$TMP/tick"
	rm "$TMP/tick"
	until read -r -t "$TICK" -u "$fd"; do
		n=$((n + TICK))
		say "observed for $n s"
	done
}

# The command is not in the background for a terminal: Ctrl-C ends it, it may read.
run_workload() {
	local limit=() status out=$TMP/workload.log

	[ "$SECONDS_LEFT" = 0 ] || limit=(timeout --foreground -k 10 "$SECONDS_LEFT")
	[ -z "$TO_JSON" ] || out=$TMP/workload.json
	(
		trap - INT TERM
		exec "${limit[@]}" "$@" <&3 3<&- >"$out" 2>>"$TMP/workload.log"
	) &
	WORKLOAD_PID=$!
	[ -z "$INTERRUPTED" ] || kill -TERM "$WORKLOAD_PID"
	wait "$WORKLOAD_PID"
	status=$?
	while [ -n "$INTERRUPTED" ] && kill -0 "$WORKLOAD_PID" 2>/dev/null; do
		wait "$WORKLOAD_PID"
		status=$?
	done
	WORKLOAD_PID=
	if [ -n "$INTERRUPTED" ]; then
		fact note "interrupted"
	elif [ "$status" = 124 ] && [ "$SECONDS_LEFT" != 0 ]; then
		fact note "ended after $SECONDS_LEFT s, as asked for"
		status=0
	fi
	fact status "$status"
}

# Before all scripts are ready there is nothing to keep.
on_signal() {
	INTERRUPTED=1
	if [ -n "$WORKLOAD_PID" ]; then
		kill -TERM "$WORKLOAD_PID" 2>/dev/null
	elif [ -z "$READY" ]; then
		say "interrupted before the command was started"
		exit 130
	fi
}

write_facts() {
	local script ended

	for script in "${SCRIPTS[@]}"; do
		ended=0
		grep -q "\"DONE $script" "$TMP/$script.json" && ended=1
		fact script "$script" "${MISSED[$script]:-0}" "${READY_MS[$script]}" "$ended"
	done
}

clean_up() {
	session_kill
	[ -z "$PROGRESS_PID" ] || kill "$PROGRESS_PID" 2>/dev/null
}

trap clean_up EXIT
trap on_signal INT TERM
exec 3<&0
: >"$TMP/workload.log"
fact kernel "$(uname -r)"
fact machine "$(uname -m)"
fact bpftrace "$("$(session_bpftrace)" --version 2>&1 | head -n 1)"
fact started "$(date -Iseconds)"
session_begin
say "starting ${#SCRIPTS[@]} scripts: ${SCRIPTS[*]}"
start_scripts
if [ ${#SCRIPTS[@]} = 0 ]; then
	say "none of the scripts could be attached"
	exit 1
fi
session_missed -1 "${SCRIPTS[@]}" || fact note "$SESSION_ERROR"
READY=1
say "all are ready: observing"
show_progress &
PROGRESS_PID=$!
fact begin_ns "$(boot_ns)"
run_workload "$@"
fact end_ns "$(($(boot_ns) + 10000000))"
session_missed +1 "${SCRIPTS[@]}" || fact note "$SESSION_ERROR"
kill "$PROGRESS_PID"
PROGRESS_PID=
say "stopping the scripts"
session_stop "${SCRIPTS[@]}" || fact note "$SESSION_ERROR"
write_facts
fact complete
