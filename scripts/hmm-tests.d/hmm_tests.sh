#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run upstream's hmm-tests on test_hotmirror.ko, loaded with dmirror=1. What this
# kernel cannot do is left out (hmm-tests would fail, not skip) and reported as skipped.
set -o pipefail
cd "$(dirname "$0")" || exit 1

if [ "${1-}" = -h ] || [ "${1-}" = --help ]; then
	echo "usage: $0    (as root, test_hotmirror.ko loaded with dmirror=1; prints TAP)"
	exit 0
fi

skip_all()
{
	printf 'TAP version 13\n1..0 # SKIP %s\n' "$1"
	exit 4
}

[ -c /dev/hmm_dmirror0 ] || [ -c /dev/hmm_dmirror2 ] ||
	skip_all "no /dev/hmm_dmirror0: load test_hotmirror.ko with dmirror=1"

# Huge pages for the hugetlb tests; the machine gets back what it had.
huge=/proc/sys/vm/nr_hugepages
had=$(cat $huge)
trap 'echo "$had" >$huge' EXIT
[ "$had" -ge 4 ] || echo 4 >$huge

# Leave out what matches a pattern of hmm-tests.list, and tell hmm-tests so.
declare -A skipped=()
out=()
leave_out()
{
	local reason=$1 pattern=$2 name

	out+=("${@:3}")
	while read -r name; do
		skipped[$name]=$reason
	done < <(grep -E "$pattern" hmm-tests.list)
}

# CONFIG_DEVICE_PRIVATE is what both private memory and exclusive access need; the
# function is compiled with it, and nothing else of the running kernel tells.
grep -qE ' make_device_exclusive(_range)?$' /proc/kallsyms ||
	leave_out "this kernel has no CONFIG_DEVICE_PRIVATE" \
		'[.]hmm2?_device_private[.]|[.]exclusive' \
		-V hmm_device_private -V hmm2_device_private \
		-T exclusive -T exclusive_mprotect -T exclusive_cow
# It prints throughputs, which say nothing here, and takes four fifths of the time.
[ "${HOTMIRROR_SLOWNESS:-1}" = 1 ] ||
	leave_out "a benchmark, and this is a debug kernel" '[.]benchmark_' -T benchmark_thp_migration

total=$(wc -l <hmm-tests.list)
printf 'TAP version 13\n1..%d\n' "$total"
./hmm-tests "${out[@]}" | grep --line-buffered -vE '^(TAP version|1\.\.|# Totals|# (PASSED|FAILED):)'
status=$?
number=$((total - ${#skipped[@]}))
for name in "${!skipped[@]}"; do
	echo "ok $((number += 1)) $name # SKIP ${skipped[$name]}"
done
exit $status
