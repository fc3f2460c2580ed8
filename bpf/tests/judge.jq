# SPDX-License-Identifier: GPL-2.0-only
#
# What the stream of one bpftrace script says, against what is known otherwise.
#
#	jq -rn -L DIR --arg script NAME --argjson missed N --argjson kernel 605 \
#	   --slurpfile stream S.json --slurpfile report R.json --slurpfile trace T.json \
#	   -f judge.jq
#
# script	notifier_latency, fault_latency, fault_trace, device_events: whose
#		expectations apply; any other name: none, only the stream is judged
# missed	events that the kernel counted as not seen by the script
# kernel	its version, 605 for 6.5
# stream	what `bpftrace -f json` printed
# report	{expected, driver}: REPORT of hotmirror_workload
# trace	{events}: the device's events as the tracefs ring buffer has them
#
# Prints the verdict (pass, fail, inconclusive) and then one line a reason. A
# stream with a loss is inconclusive whatever its numbers are.

include "stream";

# Before 6.2 the driver takes its page faults by itself, as a CPU does: after a wait that
# dropped the lock once more, where the core's function finds the page.
def again($waits): if $kernel < 602 then $waits else 0 end;

# Maps that the workload fills, so that they are in every whole stream.
def filled:
	{ notifier_latency: ["@invalidations", "@callback_ns", "@callback_total_ns",
			     "@span_ns"],
	  fault_latency: ["@uffd_ns", "@uffd_total_ns", "@faults", "@restarts"],
	  fault_trace: (["@calls", "@own_ns", "@own_total_ns", "@uffd_ns",
			 "@uffd_total_ns", "@walk_ns", "@walk_total_ns"]
			+ if gup($kernel) then ["@faults", "@fault_ns", "@fault_total_ns", "@restarts"]
			  else [] end),
	  device_events: ["@invalidations", "@invalidate_ns", "@cleared", "@faults", "@fault_ns",
			  "@fault_total_ns", "@populates", "@populate_ns",
			  "@populate_retries", "@migrated", "@migrate_ns", "@unplug_ns"]
	}[$script] // [];

# The script counted each event as often as the workload made it, no other event,
# and every one of them is in the histogram.
def events_match($m; $expected; $hist):
	same("@invalidations"; $m["@invalidations"]; $expected),
	same("entries of \($hist)"; $m[$hist] | map_values(entries); $expected);

def notifier_latency($m; $e; $d; $t):
	events_match($m; $e.events; "@callback_ns"),
	same("entries of @span_ns"; $m["@span_ns"] | map_values(entries);
	     $e.events | del(.RELEASE)),
	same("@refused"; $m["@refused"] // {}; {}),
	same("callbacks of the driver"; $d.invalidates; $e.events | add);

# A wait lies between what the workload measured inside of it and around it, and drops
# the lock, so that the fault is taken up anew.
def fault_latency($m; $e; $d; $t):
	same("@faults"; $m["@faults"]; $e.faults + again($e.held)),
	same("faults of the driver"; $d.faults; $e.faults),
	same("@restarts"; $m["@restarts"]; $e.held),
	same("@major"; $m["@major"] // 0; 0),
	same("@busy"; $m["@busy"] // 0; 0),
	same("userfaultfd waits"; $m["@uffd_ns"] | map_values(entries); {remote: $e.held}),
	between("userfaultfd wait, ns"; $m["@uffd_total_ns"].remote // 0; $e.held_min_ns;
		$e.held_max_ns);

# Calls, faults and waits of the path that the driver takes; where no probe can be on it,
# nothing but the wait is seen, and nobody knows whose it is.
def fault_trace($m; $e; $d; $t):
	(if gup($kernel) then "get_user_pages_remote" else "other" end) as $path
	| (if gup($kernel) then {($path): $e.faults} else {} end) as $faults
	| ($m["@uffd_total_ns"][$path] // 0) as $wait
	# One walk for each access that populated, one more for each fault or retry.
	| same("@calls"; $m["@calls"]; $faults
	       + {hmm_range_fault: ($d.populates + $d.faults + $d.retries)}),
	  same("faults of the driver"; $d.faults; $e.faults),
	  (("@own_ns", "@walk_ns") as $hist
	   | same("entries of \($hist)"; $m[$hist] | map_values(entries); $m["@calls"])),
	  same("userfaultfd waits"; $m["@uffd_ns"] | map_values(entries); {($path): $e.held}),
	  between("userfaultfd wait, ns"; $wait; $e.held_min_ns; $e.held_max_ns),
	  same("@faults"; $m["@faults"] // {}; $faults),
	  same("entries of @fault_ns"; $m["@fault_ns"] // {} | map_values(entries); $faults),
	  # A wait drops the lock, and the fault is taken up anew.
	  same("@restarts"; $m["@restarts"] // {}; $faults | map_values($e.held)),
	  same("@busy"; $m["@busy"] // {}; {}),
	  # The call without its wait is a part of what the driver measured around the call.
	  ($faults | keys[]
	   | between("faults without the wait, ns"; $m["@own_total_ns"][.]; 1; $d.fault_ns - $wait)),
	  ($m["@calls"] | keys[]
	   | same("walks and faults of \(.), ns"; $m["@walk_total_ns"][.] + ($m["@fault_total_ns"][.] // 0);
		  $m["@own_total_ns"][.]));

def device_events($m; $e; $d; $t):
	events_match($m; $e.events; "@invalidate_ns"),
	same("callbacks of the driver"; $d.invalidates; $e.events | add),
	same("@cleared"; $m["@cleared"] | add; $d.cleared),
	same("@refused"; $m["@refused"] // {} | add // 0; $d.refused),
	same("@faults"; $m["@faults"]; $e.faults),
	# Each in an access of its own.
	same("entries of @fault_ns"; $m["@fault_ns"] | entries; $e.faults),
	same("faults of the driver"; $d.faults; $e.faults),
	same("@fault_total_ns"; $m["@fault_total_ns"]; $d.fault_ns),
	same("@populates"; $m["@populates"] | add; $d.populates),
	same("@populate_retries"; $m["@populate_retries"]; $d.retries),
	same("@migrated"; $m["@migrated"] | {to_dev, to_sys};
	     {to_dev: $d.to_dev, to_sys: $d.to_sys}),
	same("steps of @unplug_ns"; $m["@unplug_ns"] | map_values(entries);
	     {disabled: 1, invalidated: 1, draining: 1, gone: 1}),
	same("invalidations in the ring buffer"; $t.events.hotmirror_invalidate;
	     $e.events | add),
	same("faults in the ring buffer"; $t.events.hotmirror_fault; $e.faults);

$stream
| . as $s | ($s | maps) as $m
| $report[0].expected as $e | $report[0].driver as $d | $trace[0] as $t
| verdict($s | losses($script; $missed; filled);
	  if $script == "notifier_latency" then notifier_latency($m; $e; $d; $t)
	  elif $script == "fault_latency" then fault_latency($m; $e; $d; $t)
	  elif $script == "fault_trace" then fault_trace($m; $e; $d; $t)
	  elif $script == "device_events" then device_events($m; $e; $d; $t)
	  else empty end)
