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
# BPFTRACE_PERF_RB_PAGES	as bpftrace has it; large for timeline*, if not told

LIMIT=${LIMIT:-120}
DRAIN_LIMIT=60
# What a script that prints every event may keep in memory until it is read.
BUFFER_BYTES=$((64 << 20))
REMIND=5		# seconds until a script is told to end once more
SESSION_SH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# An installed collection has the scripts beside this file, a source tree above it.
BPF_PATH=${BPF_PATH:-$SESSION_SH:$SESSION_SH/..}
SESSION_ERROR=

# shellcheck disable=SC2034	# STATUS and READY_MS are for the caller
declare -A PID MISSED STATUS READY_MS

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

# What nobody ever writes to: a pause without a process.
session_begin() {
	mkfifo "$TMP/never"
	exec {NEVER}<>"$TMP/never"
	rm "$TMP/never"
}

session_pause() {
	read -r -t 0.05 -u "$NEVER" || :
}

# No process is started to read the clock.
session_ms() {
	local us=${EPOCHREALTIME/[.,]/}

	echo $((us / 1000))
}

# Pages for each CPU's buffer, a power of two.
session_pages() {
	local share cpus=0 pages=64 line

	while read -r line; do
		case $line in processor*) cpus=$((cpus + 1)) ;; esac
	done </proc/cpuinfo
	share=$((BUFFER_BYTES / 4096 / (cpus > 0 ? cpus : 1)))
	while [ $((pages * 2)) -le $share ]; do
		pages=$((pages * 2))
	done
	echo $pages
}

# Start a script. It writes to a file: a reader at a pipe costs a switch for each line.
session_start() {
	local script=$1 path

	shift
	if ! path=$(session_path "$script"); then
		SESSION_ERROR="$script.bt is not in $BPF_PATH"
		return 1
	fi
	case $script in
	timeline*)
		local -x BPFTRACE_PERF_RB_PAGES=${BPFTRACE_PERF_RB_PAGES:-$(session_pages)}
		# Not by the name that 0.17 knows: with it a session did not end.
		local -x BPFTRACE_MAX_MAP_KEYS=65536
		;;
	esac
	# Of an earlier session of the same script, that was READY.
	: >"$TMP/$script.json"
	READY_MS[$script]=-$(session_ms)
	"$(session_bpftrace)" -f json "$path" "$@" >"$TMP/$script.json" 2>"$TMP/$script.err" &
	PID[$script]=$!
}

# A zombie does not, though it could be sent a signal.
session_runs() {
	local stat=

	IFS= read -r stat 2>/dev/null <"/proc/${PID[$1]}/stat" || return 1
	stat=${stat##*) }
	[ "${stat%% *}" != Z ]
}

# Wait until READY is in the stream.
session_ready() {
	local script=$1 deadline=$((SECONDS + LIMIT)) runs=1 stream

	while [ $runs = 1 ] && [ $SECONDS -lt $deadline ]; do
		session_runs "$script" || runs=0
		stream=
		[ ! -s "$TMP/$script.json" ] || read -r -d '' -N 4096 stream <"$TMP/$script.json"
		case $stream in
		*'"READY '*)
			READY_MS[$script]=$((READY_MS[$script] + $(session_ms)))
			return
			;;
		esac
		session_pause
	done
	SESSION_ERROR="$script.bt did not get READY within $LIMIT s"
	[ $runs = 1 ] || SESSION_ERROR="$script.bt ended before it was READY"
	[ -s "$TMP/$script.err" ] && SESSION_ERROR+=": $(tail -n 1 "$TMP/$script.err")"
	kill -KILL "${PID[$script]}" 2>/dev/null
	unset "PID[$script]"
	return 1
}

# Add what the programs of each script were too busy to see so far, by the kernel's
# count, to its MISSED with the sign given. No process is started for it: an exec is
# an event of fault_trace.
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

# Wait until a script has read all that it was told: it sleeps in epoll, at two looks.
# At Ctrl-C bpftrace drops without a word what is still in its buffers. It never sleeps
# where events never cease; then those of the last second are lost.
session_drained() {
	local seen=0 wchan

	while [ $seen -lt 2 ] && [ $SECONDS -lt "$2" ] && session_runs "$1"; do
		wchan=
		IFS= read -r -d '' wchan 2>/dev/null <"/proc/${PID[$1]}/wchan"
		case $wchan in
		*poll*) seen=$((seen + 1)) ;;
		*) seen=0 ;;
		esac
		session_pause
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
		state=
		read -r _ _ state _ 2>/dev/null <"/proc/${PID[$script]}/stat"
		[ "$state" = S ] || continue
		grep -q "\"DONE $script" "$TMP/$script.json" || kill -INT "${PID[$script]}"
	done
}

# Until it has ended, at most until the time given; the others are reminded, too.
session_ended() {
	local script=$1 deadline=$2 remind=$((SECONDS + REMIND))

	shift 2
	while session_runs "$script"; do
		[ $SECONDS -lt "$deadline" ] || return 1
		if [ $SECONDS -ge $remind ]; then
			session_remind "$script" "$@"
			remind=$((SECONDS + REMIND))
		fi
		session_pause
	done
}

# Ctrl-C for all of them, and wait until they have ended.
session_stop() {
	local script status=0 deadline=$((SECONDS + DRAIN_LIMIT))

	for script in "$@"; do
		session_drained "$script" $deadline
	done
	for script in "$@"; do
		kill -INT "${PID[$script]}" 2>/dev/null
	done
	deadline=$((SECONDS + LIMIT))
	for script in "$@"; do
		if ! session_ended "$script" $deadline "$@"; then
			session_left
			return 1
		fi
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
