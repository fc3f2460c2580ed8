# SPDX-License-Identifier: GPL-2.0-only
"""OUT/summary.json and OUT/summary.txt of an observation."""

from . import observation, races

TOP = 20                       # entries of a map, and slow events, in text
UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))


def duration(ns):
    """1.23 ms"""
    for unit, name in UNITS:
        if abs(ns) >= unit:
            return f"{ns / unit:.3g} {name}" if abs(ns) < 1000 * unit else f"{ns / unit:.0f} {name}"
    return f"{ns:.0f} ns"


def count(number):
    return f"{number:,}".replace(",", " ") if isinstance(number, int) else str(number)


def value(name, number):
    """A number of a map, in the unit that its name ends with."""
    timed = name.endswith("_ns") and isinstance(number, (int, float))
    return duration(number) if timed else count(number)


def seconds(observed):
    begin, end = observed.session.get("begin_ns"), observed.session.get("end_ns")
    first, last = (begin, end) if begin and end else observed.span()
    return (last - first) / 1e9


def facts(observed):
    """What to say of the session, in order: {name: text}."""
    session = observed.session
    what = session.get("scenario") or " ".join(session.get("command") or []) or "not known"
    status = session.get("status")
    rows = {"observed": what + ("" if status in (0, None) else f" (it ended with status {status})"),
            "kernel": session.get("kernel") or "not known", "machine": session.get("machine"),
            "bpftrace": session.get("bpftrace"), "started": session.get("started"),
            "for": f"{seconds(observed):.2f} s, {count(len(observed.events))} events on the timeline",
            "note": session.get("note")}
    return {name: str(text) for name, text in rows.items() if text}


def quantile(buckets, part):
    """Upper bound of the bucket that the part of all entries is in."""
    total = sum(n for _, _, n in buckets)
    reached = 0
    for _, top, n in buckets:
        reached += n
        if n and reached >= part * total:
            return top
    return None


def hist_row(key, buckets):
    """[key, entries, the bucket of the median and of 99 %]"""
    return [key or "all", sum(n for _, _, n in buckets), quantile(buckets, 0.5), quantile(buckets, 0.99)]


def hist_rows(keys):
    """hist_row() of each key, the one with most entries first."""
    return sorted((hist_row(*item) for item in keys.items()), key=lambda row: -row[1])


def top_entries(entries):
    """(key, number) of a map, the largest first."""
    def size(item):
        return item[1] if isinstance(item[1], (int, float)) else 0
    return sorted(entries.items(), key=size, reverse=True)


def script_summary(script):
    return {"name": script.name, "file": script.facts.get("file"), "sha256": script.facts.get("sha256"),
            "args": script.facts.get("args"), "missed": script.missed, "lost": script.lost,
            "problems": script.problems, "missing": script.facts.get("missing") or [], "maps": script.maps,
            "histograms": {name: {key: [list(bucket) for bucket in buckets] for key, buckets in keys.items()}
                           for name, keys in script.hists.items()}}


def event_summary(observed, event):
    return {"start_ns": event.start, "ns": event.ns, "tid": event.tid, "comm": observed.comm(event.tid),
            "cpu": event.cpu, "kind": event.kind, "words": event.words}


def summary(observed):
    """summary.json"""
    return {
        "version": 1, "verdict": observed.verdict, "reasons": observed.reasons,
        "session": {name: entry for name, entry in observed.session.items() if name != "scripts"},
        "scripts": [script_summary(script) for script in observed.scripts],
        "timeline": {"events": len(observed.events),
                     "kinds": {name: observation.figures(ns) for name, ns in observation.kinds(observed.events).items()},
                     "slowest": [event_summary(observed, event) for event in observation.slowest(observed.events)]},
    }


# ---- text ----

def _script_lines(script):
    lost = f", {script.lost} events lost" if script.lost else ""
    missed = f", {script.missed} events missed" if script.missed else ""
    yield f"== {script.name}{lost}{missed}"
    yield from (f"   cannot see {text}" for text in script.facts.get("missing") or [])
    maps = {name: entries for name, entries in script.maps.items() if name != observation.COUNTED}
    for name, entries in maps.items():
        yield f"   {name}"
        for key, number in top_entries(entries)[:TOP]:
            yield f"   {'  ' + value(name, number):>16}  " + "\n                     ".join(key.strip().split("\n"))
        if len(entries) > TOP:
            yield f"     and {len(entries) - TOP} more"
    for name, keys in script.hists.items():
        rows = [[key, count(n), duration((half or 0) + 1), duration((most or 0) + 1)]
                for key, n, half, most in hist_rows(keys)]
        yield from ("   " + line for line in races.table([name, "entries", "half below", "99 % below"], rows))
    if not maps and not script.hists:
        yield "   no figures" if not script.name.startswith("timeline") else "   its events are on the timeline"


def _timeline_lines(observed):
    rows = [[name, count(f["count"]), *(duration(f[part]) for part in ("total_ns", "median_ns", "p99_ns", "max_ns"))]
            for name, f in ((name, observation.figures(ns)) for name, ns in observation.kinds(observed.events).items())]
    yield "== timeline"
    yield from ("   " + line for line in races.table(["kind", "events", "in all", "median", "99 % below", "longest"], rows))
    first = observed.span()[0]
    yield "== slowest events"
    for event in observation.slowest(observed.events)[:TOP]:
        words = " ".join(f"{name}={text}" for name, text in event.words.items())
        yield f"   {duration(event.ns):>9}  at {(event.start - first) / 1e9:9.6f} s  {event.kind:17} {who(observed, event)}  {words}"


def who(observed, event):
    comm = observed.comm(event.tid)
    return f"{comm}/{event.tid}" if comm else f"thread {event.tid}"


def text(observed):
    """summary.txt; its first line says whether to believe the rest."""
    lines = ["complete: no event was lost" if not observed.reasons else
             "INCONCLUSIVE: " + "; ".join(observed.reasons)]
    lines += [f"{name:9} {line}" for name, line in facts(observed).items()]
    for script in observed.scripts:
        lines += _script_lines(script)
    if observed.events:
        lines += _timeline_lines(observed)
    return "\n".join(lines) + "\n"
