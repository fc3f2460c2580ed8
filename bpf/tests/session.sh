# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# A session of bpftrace scripts, to be sourced: start them, wait until all are READY,
# count what they miss, end them. For tests (bpf/tests/*.sh) and for scripts/observe.
#
# The caller sets TMP, a directory, and calls in this order
#
#	session_begin
#	session_start NAME [ARGUMENT]...	one NAME.bt; all start side by side
#	session_ready NAME			status 1: it did not get there
#	session_missed -1 NAME...
#	the workload
#	session_missed +1 NAME...
#	session_stop NAME...			status 1: one did not end
#	session_kill				from a trap on EXIT, too
#
# and finds $TMP/NAME.json (stdout), $TMP/NAME.err (stderr), ${MISSED[NAME]} (events
# that the kernel could not give to the script), ${STATUS[NAME]} (how bpftrace ended),
# ${READY_MS[NAME]}, and the reason for a status 1 in SESSION_ERROR.
#
# HOTMIRROR_BPFTRACE	another bpftrace than the one in PATH
# BPF_PATH		directories to look for NAME.bt in, with : between
# LIMIT			seconds that any wait may take

LIMIT=${LIMIT:-120}
REMIND=5		# seconds until a script is told to end once more
SESSION_SH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# An installed collection has the scripts beside this file, a source tree above it.
BPF_PATH=${BPF_PATH:-$SESSION_SH:$SESSION_SH/..}
SESSION_ERROR=

# shellcheck disable=SC2034	# STATUS and READY_MS are for the caller
declare -A PID FD MISSED STATUS READY_MS

session_bpftrace() {
	echo "${HOTMIRROR_BPFTRACE:-bpftrace}"
}

session_path() {
	local dir IFS=:

	for dir in $BPF_PATH; do
		[ -e "$dir/$1.bt" ] && echo "$dir/$1.bt" && return
	done
	return 1
}

# Each stream's reader tells here when the stream is over.
session_begin() {
	mkfifo "$TMP/ended"
	exec {ENDED}<>"$TMP/ended"
}

# No process is started to read the clock.
session_ms() {
	local us=${EPOCHREALTIME/[.,]/}

	echo $((us / 1000))
}

# Start a script; its stream is a fifo until READY was seen, then $TMP/$1.json.
session_start() {
	local script=$1 path fd

	shift
	if ! path=$(session_path "$script"); then
		SESSION_ERROR="$script.bt is not in $BPF_PATH"
		return 1
	fi
	mkfifo "$TMP/$script.fifo"
	READY_MS[$script]=-$(session_ms)
	"$(session_bpftrace)" -f json "$path" "$@" \
		>"$TMP/$script.fifo" 2>"$TMP/$script.err" {ENDED}>&- &
	PID[$script]=$!
	exec {fd}<"$TMP/$script.fifo"
	rm "$TMP/$script.fifo"
	FD[$script]=$fd
}

# Read the stream up to READY, leave the rest to a reader in the background.
session_ready() {
	local script=$1 line fd=${FD[$1]} status

	while IFS= read -r -t "$LIMIT" -u "$fd" line || { status=$?; false; }; do
		printf '%s\n' "$line" >>"$TMP/$script.json"
		case $line in
		*'"READY '*)
			{ cat <&"$fd" >>"$TMP/$script.json"; echo "$script" >&"$ENDED"; } &
			exec {fd}<&-
			READY_MS[$script]=$((READY_MS[$script] + $(session_ms)))
			return
			;;
		esac
	done
	SESSION_ERROR="$script.bt ended before it was READY"
	[ "$status" -gt 128 ] && SESSION_ERROR="$script.bt did not get READY within $LIMIT s"
	[ -s "$TMP/$script.err" ] && SESSION_ERROR+=": $(tail -n 1 "$TMP/$script.err")"
	kill -KILL "${PID[$script]}" 2>/dev/null
	exec {fd}<&-
	unset "PID[$script]"
	return 1
}

# Add what the programs of each script were too busy to see so far, by the kernel's
# count, to its MISSED with the sign given. No process is started for it: an exec is
# an event of fault_latency.
session_missed() {
	local sign=$1 script file key value counters

	shift
	for script in "$@"; do
		counters=0
		for file in "/proc/${PID[$script]}/fdinfo/"*; do
			while read -r key value; do
				if [ "$key" = recursion_misses: ]; then
					MISSED[$script]=$((${MISSED[$script]:-0} + sign * value))
					counters=$((counters + 1))
				fi
			done 2>/dev/null <"$file"
		done
		if [ $counters = 0 ]; then
			SESSION_ERROR="no recursion_misses in /proc/${PID[$script]}/fdinfo of $script"
			return 1
		fi
	done
}

# Which did not end, and where they stand.
session_left() {
	local script task

	SESSION_ERROR="not ended within $LIMIT s:"
	for script in "${!PID[@]}"; do
		SESSION_ERROR+=" $script.bt"
		for task in "/proc/${PID[$script]}/task/"*; do
			echo "$script, thread ${task##*/}: $(grep State: "$task/status")"
			cat "$task/stack"
		done
	done >&2
}

# bpftrace 0.17 forgets a Ctrl-C that does not interrupt its epoll_wait(). Told again, it
# must not be at its end already: then it would leave out what it has to say.
session_remind() {
	local script state

	for script in "$@"; do
		[ -n "${PID[$script]}" ] || continue
		read -r _ _ state _ <"/proc/${PID[$script]}/stat" 2>/dev/null
		[ "$state" = S ] || continue
		grep -q "\"DONE $script" "$TMP/$script.json" || kill -INT "${PID[$script]}"
	done
}

# Ctrl-C for all of them, and wait until their streams have ended.
session_stop() {
	local script left=$# status=0 tries=$((LIMIT / REMIND))

	for script in "$@"; do
		kill -INT "${PID[$script]}" 2>/dev/null
	done
	while [ "$left" -gt 0 ]; do
		if ! read -r -t "$REMIND" -u "$ENDED" script; then
			session_remind "$@"
			tries=$((tries - 1))
			[ $tries -gt 0 ] && continue
			session_left
			return 1
		fi
		left=$((left - 1))
		wait "${PID[$script]}"
		STATUS[$script]=$?
		[ "${STATUS[$script]}" = 0 ] || status=1
		[ $status = 0 ] || SESSION_ERROR="$script.bt ended with status ${STATUS[$script]}"
		unset "PID[$script]"
	done
	return $status
}

session_kill() {
	local script

	for script in "${!PID[@]}"; do
		kill -KILL "${PID[$script]}" 2>/dev/null
		unset "PID[$script]"
	done
}
