#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A scenario of schedules or tests: run their program again and again for a while.
#
#	schedule.sh NAME SECONDS PROGRAM [ARGUMENT]...
#
# What it prints goes to stderr; at the end stdout gets what was done, as JSON. Exit
# status: 0 no run failed; 1 one did; 4 not one could run (they say why).

NAME=$1
END=$((SECONDS + $2))
shift 2
RUNS=0 FAILED=0 SKIPPED=0
INTERRUPTED=false
trap 'INTERRUPTED=true; kill -TERM "$CHILD" 2>/dev/null' INT TERM

while [ $SECONDS -lt $END ] && ! $INTERRUPTED; do
	"$@" >&2 &
	CHILD=$!
	wait $CHILD
	case $? in
	0) ;;
	4) SKIPPED=$((SKIPPED + 1)) ;;
	*) $INTERRUPTED || FAILED=$((FAILED + 1)) ;;
	esac
	RUNS=$((RUNS + 1))
	[ $SKIPPED = 0 ] || break
done
printf '{"scenario":"%s","did":{"runs":%d,"failed":%d},"interrupted":%s}\n' \
	"$NAME" $RUNS $FAILED $INTERRUPTED
[ $SKIPPED = 0 ] || exit 4
[ $FAILED = 0 ]
