#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest of scripts/bench-bpf: what a script costs. Per round and script the
# benchmarks run without it and then with it attached.
#
# usage: bpf.sh PROGRAM ROUNDS SAMPLES SCRIPT...
#
# Prints hotmirror_bench's lines with script and "off" or "on" in front, and at the end
#
#	missed <tab> script <tab> events that the kernel could not give to it

HERE=$(cd "$(dirname "$0")" && pwd)
PROGRAM=$1 ROUNDS=$2 SAMPLES=$3
shift 3
TMP=$(mktemp -d)
# shellcheck source=../../bpf/tests/session.sh disable=SC1091
. "$HERE/session.sh"

fail() {
	echo "bpf.sh: $*" >&2
	exit 1
}

# Output goes through a file: no process but the benchmark runs beside it. It stays on one
# CPU, for a page that waits in a batch of another CPU cannot be migrated.
measure() {
	local session

	for session in fault migrate_ours; do
		taskset -c 0 "$PROGRAM" 0 "$SAMPLES" $session >"$TMP/samples" 2>"$TMP/errors" ||
			fail "$(tail -n 1 "$TMP/errors")"
		sed "s/^/$1\t$2\t/" "$TMP/samples"
	done
}

must() {
	"$@" || fail "$SESSION_ERROR"
}

trap session_kill EXIT
session_begin
for script in "$@"; do
	echo "$script" >&2
	for ((round = 0; round < ROUNDS; round++)); do
		measure "$script" off
		must session_start "$script"
		must session_ready "$script"
		must session_missed -1 "$script"
		measure "$script" on
		must session_missed +1 "$script"
		must session_stop "$script"
	done
	printf 'missed\t%s\t%d\n' "$script" "${MISSED[$script]}"
	rm -f "$TMP/$script.json"
done
