#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Each reproducer of `cases` ends as it says there. Lines of it: file, name, exit status,
# what is sabotaged.
cd "$(dirname "$0")" || exit 1
bad=0
number=0
echo TAP version 13
echo "1..$(wc -l <cases)"
while read -r file name wanted sabotage; do
	number=$((number + 1))
	said=$(timeout 60 "./$file" "$sabotage" 2>&1)
	status=$?
	echo "$said" | sed 's/^/# /'
	case $status in
	"$wanted") echo "ok $number $name" ;;
	2) echo "ok $number $name # SKIP $(echo "$said" | tail -n 1)" ;;
	*) echo "# exit status $status, not $wanted" && echo "not ok $number $name" && bad=1 ;;
	esac
done <cases
exit $bad
