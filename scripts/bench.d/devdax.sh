#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# In the guest of scripts/bench-dax: make a real device-dax of each legacy pmem range
# (memmap=nn!ss) of MIB, with the alignments given, then run the program with both drivers
# probed. The probes write a line for each span:
#
#	span <tab> device <tab> ns
#
# usage: devdax.sh PROGRAM ROUNDS MIB ALIGN...	(one ALIGN for each range)
set -eu

program=$1 rounds=$2 mib=$3
shift 3

for module in nd_e820 nd_pmem dax_pmem device_dax; do
	modprobe "$module"
done
nd=/sys/bus/nd

# What ndctl does for "create-namespace --mode=devdax", for namespace number $1.
make_devdax() {
	seed=$(cat "$nd/devices/region$1/dax_seed")
	echo "namespace$1.0" > $nd/drivers/nd_pmem/unbind
	echo "$2" > "$nd/devices/$seed/align"
	echo ram > "$nd/devices/$seed/mode"
	cat /proc/sys/kernel/random/uuid > "$nd/devices/$seed/uuid"
	echo "namespace$1.0" > "$nd/devices/$seed/namespace"
	echo "$seed" > $nd/drivers/dax_pmem/bind
}

devices=
for region in "$nd"/devices/region*; do
	if [ $# = 0 ] || [ "$(cat "$region/size")" != $((mib << 20)) ]; then
		continue
	fi
	number=${region##*/region}
	make_devdax "$number" "$1"
	devices="$devices dax$number.0:$1"
	shift
done

# The span of ours covers what kill_dev_dax() does and the removal of the notifiers.
exec bpftrace -q -e '
kprobe:kill_dev_dax { @dax = nsecs; }
kretprobe:kill_dev_dax /@dax/ { printf("span\tdevice-dax\t%lld\n", nsecs - @dax); @dax = 0; }
kprobe:hotmirror_disable { @ours[tid] = nsecs; }
kretprobe:hotmirror_invalidate_all /@ours[tid]/ {
	printf("span\thotmirror\t%lld\n", nsecs - @ours[tid]);
	delete(@ours[tid]);
}
END { clear(@dax); clear(@ours); }' -c "$program $rounds$devices"
