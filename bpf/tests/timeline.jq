# SPDX-License-Identifier: GPL-2.0-only
#
# What a stream of timeline.bt or timeline_device.bt sums up to, against what is known.
#
#	jq -rn -L DIR --arg script NAME --argjson missed N --argjson kernel 605 \
#	   --slurpfile sums S.json --slurpfile report R.json --argjson alter '[]' -f timeline.jq
#
# missed	events that the kernel counted as not seen by the script
# kernel	its version, 605 for 6.5
# sums		what timeline.awk made of the stream
# report	{expected, driver}: REPORT of hotmirror_workload
# alter		[[verdict, path, number], ...]: judge the sums with the number added at
#		the path, and print only what gets another verdict
#
# Prints the verdict (pass, fail, inconclusive) and then one line a reason.

include "stream";

def losses:
	[ if .mark.READY == 1 then empty else "the stream has no READY" end,
	  if .mark.DONE == 1 then empty else "the stream has no DONE: cut off" end,
	  (.lost | select(. > 0) | "\(.) events lost by the output buffer"),
	  (select(.printed < .counted) | "\(.printed) of \(.counted) events in the stream"),
	  (.strange | select(. > 0) | "\(.) lines of no known form"),
	  ($missed | select(. > 0) | "\(.) events missed by a busy program") ];

# Counts of a kind by what follows the point.
def by($kind): with_entries(select(.key | startswith("\($kind).")) | .key |= ltrimstr("\($kind)."));

# A wait lies between what the workload measured inside of it and around it; the
# fault without its wait is a part of what the driver measured around it.
def timeline($c; $ns; $e; $d):
	same("fault"; $c | by("fault"); if gup($kernel) then {remote: $e.faults} else {} end),
	same("walk"; $c.walk; $d.populates + $d.faults + $d.retries),
	same("read_begin"; $c.read_begin; $c.walk),
	same("uffd_wait"; $c.uffd_wait; $e.held),
	between("uffd_wait, ns"; $ns.uffd_wait // 0; $e.held_min_ns; $e.held_max_ns),
	if gup($kernel)
	then between("fault without the wait, ns"; $ns.fault - ($ns.uffd_wait // 0); 1; $d.fault_ns - ($ns.uffd_wait // 0))
	else same("fault, ns"; $ns.fault // 0; 0) end,
	same("invalidate"; $c | by("invalidate"); $e.events),
	same("span"; $c | by("span"); $e.events | del(.RELEASE)),
	same("migrate"; $c | by("migrate") | {setup, pages, finalize};
	     $e.events.MIGRATE | {setup: ., pages: ., finalize: .}),
	same("memunmap"; $c.memunmap; 1);

def timeline_device($c; $ns; $e; $d; $sum):
	same("device_fault"; $c.device_fault; $d.faults),
	same("device_fault, ns"; $ns.device_fault; $d.fault_ns),
	same("populate"; $c.populate; $d.populates),
	same("retries"; $sum.retries; $d.retries),
	same("device_invalidate"; $c | by("device_invalidate"); $e.events),
	same("callbacks of the driver"; $c.device_invalidate; $d.invalidates),
	same("cleared"; $sum.cleared; $d.cleared),
	same("moved"; [$sum["moved.to_dev"], $sum["moved.to_sys"]]; [$d.to_dev, $d.to_sys]),
	same("gate"; $c.gate; $e.gated),
	between("gate, ns"; $ns.gate // 0; $e.gated_min_ns; $e.gated_max_ns),
	same("unplug"; $c | by("unplug"); {disabled: 1, invalidated: 1, draining: 1, gone: 1});

# [verdict, reasons...] on sums.
def verdict:
	$report[0].expected as $e | $report[0].driver as $d
	| losses as $losses
	| if $losses != [] then ["inconclusive"] + $losses
	  else [ if $script == "timeline" then timeline(.count; .total_ns; $e; $d)
		 else timeline_device(.count; .total_ns; $e; $d; .sum) end ] as $wrong
	    | if $wrong != [] then ["fail"] + $wrong else ["pass"] end
	  end;

$sums[0]
| if $alter == [] then verdict[]
  else . as $s | $alter[] | . as [$want, $path, $by]
       | ($s | setpath($path; (getpath($path) // 0) + $by) | verdict) as $got
       | select($got[0] != $want)
       | "\($path | join(" ")) and \($by): \($got), expected \($want)"
  end
