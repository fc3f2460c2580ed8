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

# CONFIG_DEVICE_PRIVATE is what both private memory and exclusive access need; the
# function is compiled with it, and nothing else of the running kernel tells.
without='' out=()
if ! grep -qE ' make_device_exclusive(_range)?$' /proc/kallsyms; then
	without='[.]hmm2?_device_private[.]|[.]exclusive'
	out=(-V hmm_device_private -V hmm2_device_private
	     -T exclusive -T exclusive_mprotect -T exclusive_cow)
fi

skipped=()
[ -z "$without" ] || mapfile -t skipped < <(grep -E "$without" hmm-tests.list)
total=$(wc -l <hmm-tests.list)
printf 'TAP version 13\n1..%d\n' "$total"
./hmm-tests "${out[@]}" | grep --line-buffered -vE '^(TAP version|1\.\.|# Totals|# (PASSED|FAILED):)'
status=$?
number=$((total - ${#skipped[@]}))
for name in "${skipped[@]}"; do
	echo "ok $((number += 1)) $name # SKIP this kernel has no CONFIG_DEVICE_PRIVATE"
done
exit $status
