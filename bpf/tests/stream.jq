# SPDX-License-Identifier: GPL-2.0-only
#
# A jq library: what the stream of a bpftrace script says, and whether to believe it.

def printed($word): any(.[]; .type == "printf" and (.data | startswith($word)));

def unknown: map(.type) - ["attached_probes", "printf", "map", "hist", "stats",
			   "lost_events"] | unique;

# All maps of the stream; one without an entry is absent.
def maps: map(select(.type | IN("map", "hist", "stats")).data) | add // {};

# Reasons not to believe the stream, in an array.
def losses($script; $missed; $filled):
	[ if printed("READY \($script)") then empty else "the stream has no READY" end,
	  if printed("DONE \($script)") then empty else "the stream has no DONE: cut off" end,
	  ($filled - (maps | keys) | .[] | "the stream has no \(.): cut off"),
	  (map(select(.type == "lost_events").data.events) | add // 0
	   | select(. > 0) | "\(.) events lost by the output buffer"),
	  ($missed | select(. > 0) | "\(.) events missed by a busy program"),
	  (unknown[] | "bpftrace reported: \(.)") ];

# Entries of a histogram.
def entries: map(.count) | add // 0;

def same($what; $got; $want):
	if $got == $want then empty else "\($what): \($got), expected \($want)" end;

def between($what; $got; $min; $max):
	if $got >= $min and $got <= $max then empty
	else "\($what): \($got), expected \($min) to \($max)" end;

# Whether get_user_pages_remote() can be seen on this kernel, 605 for 6.5: a probe on entry
# and return takes six arguments, and before that it has seven.
def gup($kernel): $kernel >= 605;

# Verdict (pass, fail, inconclusive) and then one line a reason. A stream with a loss is
# inconclusive whatever its numbers are.
def verdict($losses; mismatches):
	if $losses != [] then "inconclusive", $losses[]
	else [mismatches] as $wrong
	  | if $wrong != [] then "fail", $wrong[] else "pass" end
	end;
