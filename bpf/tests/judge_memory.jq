# SPDX-License-Identifier: GPL-2.0-only
#
# What the stream of one script about device memory says, against what
# hotmirror_workload_memory did and what the driver counted. Arguments as for judge.jq.

include "stream";

# Maps that the workload fills, so that they are in every whole stream.
def filled:
	{ migration: ["@calls", "@asked", "@moved", "@left", "@setup_ns", "@setup_total_ns",
		      "@copy_ns", "@copy_total_ns", "@pages_ns", "@pages_total_ns",
		      "@finalize_ns", "@finalize_total_ns", "@page_ns"],
	  cpu_faults: (["@wait_ns", "@wait_total_ns"]
		       + if $report[0].driver.private == 1
			 then ["@faults", "@fault_ns", "@fault_total_ns"] else [] end),
	  unplug_phases: ["@phase_ns", "@phase_total_ns", "@unpinned", "@unpinned_by"]
	}[$script];

def counted: map_values(entries);

# Of the map, the numbers that are not 0.
def some: with_entries(select(.value != 0));

# "a,b" of @left: what was left in direction a for reason b.
def left($moves):
	$moves | to_entries | map(.key as $d
	| .value | {not_collected, busy, no_target, failed} | to_entries[]
	| {key: "\($d),\(.key)", value}) | from_entries | some;

# A device looks at all its pages to be rid of some, so that the rest is unused or busy.
def evicted($m; $e; $d):
	same("@asked[evict]"; $m["@asked"].evict; $e.moves.evict.asked),
	same("@left[evict]"; $m["@left"] | with_entries(select(.key | startswith("evict"))) | add;
	     $e.moves.evict.asked - $e.moves.evict.moved),
	same("pages evicted"; $m["@moved"].evict; $d.evicted);

def migration($m; $e; $d):
	($e.moves | del(.evict)) as $moves
	| same("@calls"; $m["@calls"]; $e.moves | map_values(.calls)),
	  same("@asked"; $m["@asked"] | del(.evict); $moves | map_values(.asked)),
	  same("@moved"; $m["@moved"]; $e.moves | map_values(.moved)),
	  same("@left"; $m["@left"] | with_entries(select(.key | startswith("evict") | not))
	       | some; left($moves)),
	  evicted($m; $e; $d),
	  same("pages that the driver moved"; $m["@moved"] | {to_dev, to_sys, to_ram: (.to_ram // 0)};
	       $d | {to_dev, to_sys, to_ram}),
	  same("entries of @setup_ns"; $m["@setup_ns"] | counted; $m["@calls"]),
	  (("@copy_ns", "@pages_ns", "@finalize_ns") as $stage
	   | same("entries of \($stage)"; $m[$stage] | counted;
		  $m["@copy_ns"] | counted)),
	  # What the driver was held for is in its part, and nothing is from outside.
	  ($e.copy | to_entries[] as {key: $k, value: $v}
	   | between("@copy_total_ns[\($k)]"; $m["@copy_total_ns"][$k]; $v.min_ns;
		     $e.around_ns[$k])),
	  ($moves | keys[] as $k
	   | between("all stages of \($k), ns"; $m["@setup_total_ns"][$k]
		     + $m["@copy_total_ns"][$k] + $m["@pages_total_ns"][$k]
		     + $m["@finalize_total_ns"][$k]; 1; $e.around_ns[$k])),
	  same("@refused"; $m["@refused"] // {}; {}),
	  same("@unseen"; $m["@unseen"] // {}; {});

def cpu_faults($m; $e; $d):
	same("@faults"; $m["@faults"] // {}
	     | with_entries(.key |= split(",")[-1]);
	     $e.faults | some),
	same("callbacks"; $m["@fault_ns"] // {} | keys;
	     if $d.private == 1 then ["hotmirror_migrate_to_ram"] else [] end),
	same("entries of @fault_ns"; $m["@fault_ns"] // {} | counted | add // 0;
	     $e.faults | add),
	same("faults that moved a page"; $d.to_ram; $e.faults | add),
	(if $d.private == 1
	 then between("@fault_total_ns"; $m["@fault_total_ns"] | add; $e.fault.min_ns;
		      $e.around_ns.to_ram)
	 else empty end),
	same("entries of @wait_ns"; $m["@wait_ns"] | entries; $e.waits),
	between("@wait_total_ns"; $m["@wait_total_ns"]; $e.wait.min_ns; $e.wait.max_ns),
	same("@failed"; $m["@failed"] // {}; {}),
	same("@lost"; $m["@lost"] // 0; 0);

def unplug_phases($m; $e; $d):
	same("entries of @phase_ns"; $m["@phase_ns"] | counted;
	     {"test_hotmirror,disable": 2, "test_hotmirror,invalidate": 2,
	      "test_hotmirror,drain": 2, "core,memunmap": 2, "core,drain": 2}),
	between("drains, ns"; $m["@phase_total_ns"]["test_hotmirror,drain"];
		$e.drain.min_ns; $e.drain.max_ns),
	# One within the other. The core waits for RCU at least.
	between("waits of the core, ns"; $m["@phase_total_ns"]["core,drain"]; 1;
		$m["@phase_total_ns"]["core,memunmap"]),
	between("memunmap_pages(), ns"; $m["@phase_total_ns"]["core,memunmap"]; 1;
		$m["@phase_total_ns"]["test_hotmirror,drain"]),
	same("@unpinned"; $m["@unpinned"]; {hm_holder: $e.pinned}),
	same("@unpinned_by"; $m["@unpinned_by"] | add; $e.pinned),
	($m["@unpinned_by"] | keys[] | select(contains("hotmirror_unpin") | not)
	 | "a stack that does not come from UNPIN: \(.)"),
	# Coherent pages are evicted before the drain.
	same("@freed"; $m["@freed"] // {} | add // 0;
	     if $d.private == 1 then $d.evicted else 0 end);

$stream
| maps as $m
| $report[0].expected as $e | $report[0].driver as $d
| verdict(losses($script; $missed; filled);
	  if $script == "migration" then migration($m; $e; $d)
	  elif $script == "cpu_faults" then cpu_faults($m; $e; $d)
	  elif $script == "unplug_phases" then unplug_phases($m; $e; $d)
	  else "no such script: \($script)" end)
