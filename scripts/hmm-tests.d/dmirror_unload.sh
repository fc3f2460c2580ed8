#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Module exit with dmirror=1: refused while a device is open, and otherwise it brings
# home what processes left in the devices, and leaves nothing. The module is there
# again at the end, as it was.
cd "$(dirname "$0")" || exit 1

if [ "${1-}" = -h ] || [ "${1-}" = --help ]; then
	echo "usage: $0    (as root, test_hotmirror.ko loaded with dmirror=1; prints TAP)"
	exit 0
fi

module=test_hotmirror
file=../../$module.ko			# where scripts/kselftest puts it
parameters=/sys/module/$module/parameters
names=(open_device_refuses_unload unload_brings_private_memory_home
       unload_brings_coherent_memory_home unload_leaves_nothing)
number=0
failed=0

skip_all()
{
	printf 'TAP version 13\n1..0 # SKIP %s\n' "$1"
	exit 4
}

# result STATUS [why]: of the next test
result()
{
	local name=${names[number++]}

	case $1 in
	0) echo "ok $number $name" ;;
	4) echo "ok $number $name # SKIP $2" ;;
	*) echo "# $2"; echo "not ok $number $name"; failed=1 ;;
	esac
}

# hold DEVICE close|keep: a process with memory in it
hold()
{
	local line

	coproc HOLD { ./dmirror_hold "$@"; }
	holder=$HOLD_PID
	read -r -t 10 line <&"${HOLD[0]}" && [ "$line" = held ]
}

# let_go: the holder looks at its memory and ends; its exit status
let_go()
{
	local input=${HOLD[1]}

	exec {input}>&-
	wait "$holder"
}

load()
{
	[ -d /sys/module/$module ] || insmod $file "${given[@]}"
}

open_device()
{
	hold "$1" keep || { result 1 "no memory moved to device $1"; return; }
	if rmmod $module 2>/dev/null; then
		result 1 "rmmod did it all the same"
	else
		result 0
	fi
	let_go
}

memory_left()
{
	if ! load || ! hold "$1" close; then
		result 1 "no memory moved to device $1"
		return
	fi
	if ! rmmod $module; then
		let_go
		result 1 "rmmod failed although no file is open"
	elif let_go; then
		result 0
	else
		result 1 "the memory is not what it was"
	fi
}

nothing_left()
{
	local left

	rmmod $module 2>/dev/null
	left=$(grep $module /proc/iomem; ls /dev/hmm_dmirror* /dev/hotmirror* 2>/dev/null)
	if [ -d /sys/module/$module ] || [ -n "$left" ]; then
		result 1 "there still is: module ${left//$'\n'/, }"
	else
		result 0
	fi
}

[ "$(cat $parameters/dmirror 2>/dev/null)" = Y ] ||
	skip_all "load test_hotmirror.ko with dmirror=1"
[ -r $file ] || skip_all "no $file to load again: run it by scripts/kselftest"
given=(dmirror=1 "sabotage=$(cat $parameters/sabotage)")
arena=$(cat $parameters/arena)
[ "$arena" = "(null)" ] || given+=("arena=$arena")
coherent=/dev/hmm_dmirror2
private=					# CONFIG_DEVICE_PRIVATE, as in hmm_tests.sh
grep -qE ' make_device_exclusive(_range)?$' /proc/kallsyms && private=yes
[ -c $coherent ] || coherent=

printf 'TAP version 13\n1..%d\n' ${#names[@]}
open_device ${coherent:+2} ${private:+0}
if [ "$private" ]; then memory_left 0
else result 4 "this kernel has no CONFIG_DEVICE_PRIVATE"; fi
if [ "$coherent" ]; then memory_left 2
else result 4 "the module was loaded without arena="; fi
nothing_left
load || failed=1
exit $failed
