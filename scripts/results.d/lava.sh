#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# The test of the LAVA job that scripts/results lava prints: it runs the collection of an
# installed kselftest tarball, program by program, and tells LAVA of each test with
# lava-test-case. Signals come between the programs, when the console is quiet.
#
# KSELFTEST   where the tarball was unpacked
# PARAMETERS  of the module
# PROGRAMS    a shell pattern: which programs
# LIMIT       seconds for a program, where run_kselftest.sh takes such a limit (not in 6.1)
#
# Cases: PROGRAM, and PROGRAM.FIXTURE.VARIANT.TEST for what it reported, spelt as
# scripts/hotmirror/results.py does. A program that does not report all that it planned, or
# nothing, or that the framework has no result of, has failed. The last case counts all others: a
# signal that was lost on the console shows in it.
set +e +x

: "${KSELFTEST:=/opt/kselftest}" "${PARAMETERS=}" "${PROGRAMS:=*}" "${LIMIT:=600}" "${DEVICE:=/dev/hotmirror}"
COLLECTION=hotmirror

give_up()
{
	lava-test-case "$1" --result fail
	lava-test-raise "$2"
	exit 1
}

load_module()
{
	[ -c "$DEVICE" ] && return 0
	# shellcheck disable=SC2086 # several parameters
	modprobe test_hotmirror $PARAMETERS && [ -c "$DEVICE" ]
}

# What the framework printed of one program, as lines "CASE RESULT".
cases()
{
	LC_ALL=C awk -v program="$1" '
	BEGIN {
		word["-"] = ""; word["+"] = "and"; word["@"] = "on"; word[":"] = "at"
		word["|"] = "or"; word["="] = "is"; word[","] = "then"
		for (i = 1; i < 256; i++)
			code[sprintf("%c", i)] = sprintf("%02x", i)
		result = "fail"
	}
	function spelt(c) {
		return c ~ /[A-Za-z0-9_]/ ? c : "-" (c in word ? word[c] : code[c]) "-"
	}
	function separates(text, i) {
		return i > 1 && i < length(text) && substr(text, i - 1, 1) != "." &&
			substr(text, i + 1, 1) != "."
	}
	function dotted(text,    i, c, made) {
		made = ""
		for (i = 1; i <= length(text); i++) {
			c = substr(text, i, 1)
			made = made (c == "." && separates(text, i) ? c : spelt(c))
		}
		return made
	}
	function judged(line) {
		if (line ~ /# *XPASS/ || line ~ /# *(TIMEOUT|ERROR)/)
			return "fail"
		if (line ~ /# *(SKIP|XFAIL|TODO)/)
			return "skip"
		return line ~ /^not/ ? "fail" : "pass"
	}
	/^(not )?ok [0-9]+ selftests: / {
		result = judged($0)
		next
	}
	/^# 1\.\.[0-9]+/ {
		planned = substr($2, 4) + 0
	}
	/^# (not )?ok [0-9]+/ {
		sub(/^# /, "")
		name = $0
		sub(/^(not )?ok [0-9]+( -)? ?/, "", name)
		sub(/(^| )#.*/, "", name)
		sub(/^ +/, "", name)
		sub(/ +$/, "", name)
		if (name == "") {
			name = $0
			sub(/^(not )?ok /, "", name)
			sub(/[^0-9].*/, "", name)
			name = "test " name
		}
		print program "." dotted(name), judged($0)
		reported++
	}
	END {
		print program, reported < planned || (result == "pass" && !reported) ? "fail" : result
	}'
}

[ -x "$KSELFTEST/run_kselftest.sh" ] || give_up tarball "no kselftest tarball in $KSELFTEST"
[ -e /dev/stdout ] || ln -s /proc/self/fd/1 /dev/stdout    # udev does it
load_module || give_up module "module test_hotmirror does not load; dmesg tells why"
grep -q -e --override-timeout "$KSELFTEST/run_kselftest.sh" || LIMIT=

count=0
found=$(mktemp)
# shellcheck disable=SC2013 # an entry is a word
for entry in $(grep "^$COLLECTION:" "$KSELFTEST/kselftest-list.txt"); do
	program=${entry#"$COLLECTION:"}
	# shellcheck disable=SC2254 # a pattern
	case $program in
	$PROGRAMS) ;;
	*) continue ;;
	esac
	echo "hotmirror: $program"
	# The framework opens /dev/stdout anew: a file would be overwritten.
	(cd "$KSELFTEST" && ./run_kselftest.sh ${LIMIT:+-o "$LIMIT"} -t "$entry") </dev/null 2>&1 | tee "$found.log"
	cases "${program%.sh}" <"$found.log" >"$found"
	while read -r name result; do
		lava-test-case "$name" --result "$result"
		count=$((count + 1))
	done <"$found"
done
rm -f "$found" "$found.log"
[ "$count" -gt 0 ] || give_up programs "no program of $COLLECTION is $PROGRAMS"
lava-test-case reported --result pass --measurement "$count" --units cases
