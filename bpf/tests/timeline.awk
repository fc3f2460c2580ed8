# SPDX-License-Identifier: GPL-2.0-only
#
# What the stream of timeline.bt or timeline_device.bt sums up to, as JSON.
#
#	awk -v start=0x... -v end=0x... -f timeline.awk STREAM
#
# start, end	the region: an invalidation that does not touch it is not counted
#
# count		events by kind; what has an event=, stage= or state= by that, too
# total_ns	their durations, by the same
# sum		cleared, moved (by direction), faults, retries
# lost		events lost by the output buffer; strange: lines of no known form
# printed	events; counted: the same as the script counted them where they happened

BEGIN {
	FS = " "
	known = "^(walk|fault|uffd_wait|invalidate|span|read_begin|migrate|cpu_fault|memunmap|" \
		"populate|device_fault|device_invalidate|device_migrate|unplug|gate)$"
}

function less(a, b)
{
	return length(a) != length(b) ? length(a) < length(b) : a < b
}

function outside()
{
	return ("start" in word) && ("end" in word) &&
	       !(less(word["start"], end) && less(start, word["end"]))
}

function add(key)
{
	count[key]++
	total[key] += duration
}

function table(name, values, key, comma)
{
	printf "\"%s\":{", name
	for (key in values) {
		printf "%s\"%s\":%.0f", comma, key, values[key]
		comma = ","
	}
	printf "}"
}

$1 == "{\"type\":" && $2 == "\"printf\"," {
	sub(/^.*"data": "/, "")
	if (!sub(/\\n"}$/, ""))
		strange++
	if ($1 == "READY" || $1 == "DONE") {
		mark[$1]++
		next
	}
	printed++
	kind = $5
	duration = $2
	if ($1 !~ /^[0-9]+$/ || duration !~ /^[0-9]+$/ || duration + 0 > $1 + 0 || kind !~ known) {
		strange++
		next
	}
	split("", word)
	for (i = 6; i <= NF; i++) {
		split($i, pair, "=")
		word[pair[1]] = pair[2]
	}
	if (kind ~ /^(invalidate|span)$/ && outside())
		next
	add(kind)
	for (name in word)
		if (name ~ /^(event|stage|state|direction|of)$/)
			add(kind "." word[name])
	sum["cleared"] += word["cleared"]
	sum["faults"] += word["faults"]
	sum["retries"] += word["retries"]
	if ("moved" in word)
		sum["moved." word["direction"]] += word["moved"]
	next
}

$2 == "\"lost_events\"," {
	gsub(/[^0-9]/, "")
	lost += $0
	next
}

# {"cpu,second": events, ...}
$2 == "\"map\"," && $4 == "{\"@events\":" {
	for (i = 6; i <= NF; i += 2)
		counted += $i + 0
	next
}

$2 != "\"attached_probes\"," && NF {
	strange++
}

END {
	printf "{"
	table("mark", mark)
	printf ","
	table("count", count)
	printf ","
	table("total_ns", total)
	printf ","
	table("sum", sum)
	printf ",\"lost\":%d,\"strange\":%d,\"printed\":%d,\"counted\":%d}\n",
	       lost, strange, printed, counted
}
