# SPDX-License-Identifier: GPL-2.0-only
#
# What the stream of one script about waits says, against what hotmirror_waits did.
# Arguments as for judge.jq.
#
# expected	what hotmirror_waits tallied: {map: {key: n or {min, max}}}

include "stream";

# Maps that the workload fills, so that they are in every whole stream.
def filled:
	{ notifier_subscribers: ["@callbacks", "@callback_ns", "@callback_total_ns",
				 "@rest_total_ns", "@subscribed"],
	  retry_storms: ["@attempts", "@retries", "@stacks", "@lost_ns", "@lost_total_ns",
			 "@longest"],
	  slow_invalidations: ["@invalidations", "@slow", "@slow_ns", "@slow_total_ns",
			       "@delayed_total_ns", "@waits", "@wait_ns", "@wait_total_ns"],
	  uffd_stalls: ["@stalls", "@stall_ns", "@stall_total_ns", "@handled", "@handled_ns",
			"@interrupted"]
	}[$script];

# Sums by the first part of the key, "a" of "a,b,c".
def by_first: to_entries | group_by(.key | split(",")[0])
	| map({key: (.[0].key | split(",")[0]), value: (map(.value) | add)}) | from_entries;

# Numbers of histogram entries by key.
def counted: map_values(entries);

def all_between($what; $got; $limits):
	$limits | to_entries[] as {key: $k, value: $v}
	| between("\($what)[\($k)], ns"; $got[$k] // 0; $v.min; $v.max);

# The driver counts a callback where it clears: in the last pass.
def notifier_subscribers($m; $e; $d):
	same("@callbacks"; $m["@callbacks"]; $e.callbacks),
	same("entries of @callback_ns"; $m["@callback_ns"] | counted;
	     $e.callbacks | by_first),
	same("callbacks of the driver"; $d.invalidates;
	     $e.callbacks | by_first
	     | (.hotmirror_invalidate // 0) + (.hotmirror_invalidate_finish // 0)),
	same("@subscribed"; $m["@subscribed"] | keys - ["hotmirror_invalidate_start"];
	     $e.callbacks | by_first | keys
	     - ["hotmirror_invalidate_start", "hotmirror_invalidate_finish",
		"kvm_mmu_notifier_release"]),
	# What was held is in the time of the one that was held.
	($e.slow | to_entries[] as {key: $k, value: $v}
	 | if ($m["@callback_total_ns"][$k] // 0) >= $v.min then empty
	   else "@callback_total_ns[\($k)]: less than \($v.min)" end),
	same("@lost_returns"; $m["@lost_returns"] // {}; {});

def retry_storms($m; $e; $d):
	same("@retries"; $m["@retries"]; $e.retries),
	same("retries of the driver"; $d.retries;
	     $e.retries | with_entries(select(.key | contains("itself") | not)) | add),
	same("@longest"; $m["@longest"]; {hm_victim: 3}),
	# One for each access that populated, one more for each fault or retry.
	same("@attempts"; $m["@attempts"]; $d.populates + $d.faults + $d.retries),
	same("entries of @lost_ns"; $m["@lost_ns"] | counted;
	     {hm_victim: ($e.retries | add)}),
	all_between("@lost_total_ns"; $m["@lost_total_ns"]; $e.lost),
	same("@stacks"; $m["@stacks"] | by_first; {hm_protect: 4, hm_discard: 1}),
	($m["@stacks"] | keys[]
	 | select((startswith("hm_protect") and contains("mprotect"))
		  or (startswith("hm_discard") and contains("madvise")) | not)
	 | "a stack that is not the culprit's: \(.)");

# On a busy machine others are slow, too, even of hm_slow: its stack goes when it ends.
# Only what was held calls back the device.
def slow_invalidations($m; $e; $d):
	($m["@slow"] | with_entries(select(.key | startswith("hm_slow,")))) as $slow
	| same("@slow of hm_slow"; $slow | with_entries(select(.key | contains("hotmirror")));
	       $e.slow_calls),
	same("entries of @slow_ns"; $m["@slow_ns"] | counted | add; $m["@slow"] | add),
	all_between("@slow_total_ns"; $m["@slow_total_ns"]; $e.slow | map_values(.max = infinite)),
	between("@delayed_total_ns of hm_slow"; $m["@delayed_total_ns"] | by_first | .hm_slow // 0;
		  $e.slow | map(.min) | add;
		  if $slow == $e.slow_calls then $e.slow | map(.max) | add else infinite end),
	same("@waits"; $m["@waits"]; $e.waits),
	same("entries of @wait_ns"; $m["@wait_ns"] | counted; $e.waits | by_first),
	all_between("@wait_total_ns"; $m["@wait_total_ns"]; $e.wait);

def uffd_stalls($m; $e; $d):
	same("@stalls"; $m["@stalls"]; $e.stalls),
	same("@handled"; $m["@handled"]; $e.handled),
	same("@interrupted"; $m["@interrupted"]; $e.interrupted),
	same("entries of @stall_ns"; $m["@stall_ns"] | counted; $e.stalls | by_first),
	same("entries of @handled_ns"; $m["@handled_ns"] | counted; $e.handled | by_first),
	all_between("@stall_total_ns"; {all: ($m["@stall_total_ns"] | add)}; $e.stall);

$stream
| maps as $m
| $report[0].expected as $e | $report[0].driver as $d
| verdict(losses($script; $missed; filled);
	  if $script == "notifier_subscribers" then notifier_subscribers($m; $e; $d)
	  elif $script == "retry_storms" then retry_storms($m; $e; $d)
	  elif $script == "slow_invalidations" then slow_invalidations($m; $e; $d)
	  elif $script == "uffd_stalls" then uffd_stalls($m; $e; $d)
	  else "no such script: \($script)" end)
