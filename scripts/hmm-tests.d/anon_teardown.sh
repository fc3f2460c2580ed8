#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run upstream's random loop again and again: hmm-tests with anon_teardown alone, which
# unmaps half of 4 MiB at a random moment of a device read of all of it, ten times. Each
# run is a test of its own. The plan comes last: a kernel that has oopsed is no place for
# another run.
cd "$(dirname "$0")" || exit 1

if [ $# != 2 ]; then
	echo "usage: $0 SECONDS RUNS    (as root, test_hmm.ko loaded; ends at what comes first)"
	exit 2
fi

oopsed()
{
	(($(cat /proc/sys/kernel/tainted) >> 7 & 1))
}

echo "TAP version 13"
end=$((SECONDS + $1))
for ((run = 0; run < $2 && SECONDS < end; )); do
	echo "#  RUN           run.$((++run)) ..."
	if said=$(timeout -k 5 60 ./hmm-tests -r hmm.hmm_device_private.anon_teardown 2>&1); then
		echo "ok $run run.$run"
	else
		sed -n 's/^# *\(.*anon_teardown:.*\)/# \1/p' <<<"$said" | head -n 3
		echo "not ok $run run.$run"
	fi
	if oopsed; then break; fi
done
echo "1..$run"
