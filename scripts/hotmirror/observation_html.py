# SPDX-License-Identifier: GPL-2.0-only
"""OUT/report.html of an observation: one file, nothing is fetched. Chart.js draws, if it is there."""

import json
from html import escape

from . import build, observation
from .observation_text import count, duration, facts, hist_rows, top_entries, value, who

PARTS = build.TOP / "scripts" / "report.d"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
MOST_EVENTS = 200000           # in the page; of more the longest
MOST_WITH_WORDS = 20000        # with all that the script said of them
MOST_LANES = 40
MOST_KEYS = 8                  # of a histogram, in colours of their own
MOST_ROWS = 100                # of a map
COLOURS = {"unplug": "--g-unplug", "populate and walk": "--g-populate", "fault": "--g-fault", "CPU fault": "--g-cpu",
           "migration": "--g-migration", "invalidation, start to end": "--g-span", "invalidate callbacks": "--g-callback",
           "wait for an invalidation": "--g-read", "userfault wait": "--g-uffd", "gate": "--g-gate"}
# Outermost first: what is inside of another one is drawn on it, and thinner.
HEIGHTS = dict(zip(COLOURS, (1, .95, .85, .85, .75, .6, .45, .45, .45, .35)))
SERIES = ("--g-fault", "--g-uffd", "--g-cpu", "--g-callback", "--g-migration", "--g-gate", "--g-unplug", "--g-read")


def _table(heads, rows, text_columns=(0,), attributes=lambda row: ""):
    """A table; cells are text, or (class, html)."""
    def cell(i, content):
        kind = "text" if i in text_columns else ""
        if isinstance(content, tuple):
            kind, content = f"{kind} {content[0]}".strip(), content[1]
        else:
            content = escape(str(content))
        return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"

    head = "".join(f'<th scope="col"{" class=text" if i in text_columns else ""}>{escape(name)}</th>'
                   for i, name in enumerate(heads))
    body = "".join(f"<tr{attributes(row)}>" + "".join(cell(i, part) for i, part in enumerate(row)) + "</tr>\n" for row in rows)
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def _details(title, content):
    return f"<details><summary>{escape(title)}</summary>\n{content}</details>\n"


# ---- histograms ----

def _sets(keys, buckets):
    """[{name, counts}] over the union of all buckets; the keys with few entries in one."""
    index = {bucket: i for i, bucket in enumerate(buckets)}
    ranked = sorted(keys.items(), key=lambda item: -sum(n for _, _, n in item[1]))
    sets = []
    for number, (key, entries) in enumerate(ranked):
        if number < MOST_KEYS:
            sets.append({"name": key or "all", "counts": [0] * len(buckets)})
        elif number == MOST_KEYS:
            sets.append({"name": f"{len(ranked) - MOST_KEYS} others", "counts": [0] * len(buckets)})
        for low, high, n in entries:
            sets[-1]["counts"][index[(low or 0, high)]] += n
    return sets


def _buckets(keys):
    """All buckets of a histogram, with the empty ones between them if they are powers of two."""
    seen = sorted({(low or 0, high) for entries in keys.values() for low, high, _ in entries}, key=lambda bucket: bucket[0])
    if any(low >= 2 and high != 2 * low - 1 for low, high in seen):
        return seen
    low, most = next((bucket[0] for bucket in seen if bucket[0] >= 2), 0), max(bucket[0] for bucket in seen)
    filled = {bucket[0]: bucket for bucket in seen}
    while low and low <= most:
        filled.setdefault(low, (low, 2 * low - 1))
        low *= 2
    return [filled[low] for low in sorted(filled)]


def histogram_spec(script, name, keys, number):
    """What page.js needs to draw one histogram."""
    buckets = _buckets(keys)
    timed = name.endswith("_ns")
    return {"canvas": f"histogram-{number}", "name": f"{script.name} {name}", "timed": timed, "buckets": buckets,
            "axis": "duration, lower end of the bucket" if timed else "lower end of the bucket", "sets": _sets(keys, buckets)}


def _histogram(spec, keys):
    shown = duration if spec["timed"] else count
    rows = [[name, count(total), shown((half or 0) + 1), shown((most or 0) + 1)]
            for name, total, half, most in hist_rows(keys)]
    everything = [[set_["name"], f"{shown(low)} to {shown(high + 1)}" if high is not None else f"{shown(low)} or more", count(n)]
                  for set_ in spec["sets"] for (low, high), n in zip(spec["buckets"], set_["counts"]) if n]
    label = f"Histogram of {spec['name']}: " + "; ".join(f"{row[0]} {row[1]} entries, half below {row[2]}" for row in rows)
    return (f'<section class="card"><h3>{escape(spec["name"].partition(" ")[2])}</h3>\n'
            f'<div class="plot"><canvas id="{spec["canvas"]}" role="img" aria-label="{escape(label, quote=True)}"></canvas></div>\n'
            + _table(["", "entries", "half below", "99 % below"], rows)
            + _details("As a table", _table(["", "bucket", "entries"], everything, (0, 1))) + "</section>\n")


# ---- scripts ----

def families(maps):
    """Maps that share keys, so that they are columns of one table: [{name: entries}]."""
    found = []
    for name, entries in maps.items():
        shared = [family for family in found if any(set(entries) & set(other) for other in family.values())]
        found = [family for family in found if family not in shared]
        found.append({key: part for family in [*shared, {name: entries}] for key, part in family.items()})
    return found


def _family(maps):
    """One table: a key in each row, a map in each column; the key that has most first."""
    first = next(iter(maps.values()))
    keys = [key for key, _ in top_entries({**{key: 0 for part in maps.values() for key in part}, **first})]
    rows = [[("stack" if "\n" in key else "", escape(key.strip() or "all")),
             *(value(name, part[key]) if key in part else "" for name, part in maps.items())] for key in keys[:MOST_ROWS]]
    more = f'<p class="soft">and {count(len(keys) - MOST_ROWS)} more</p>' if len(keys) > MOST_ROWS else ""
    return f'<section class="card"><h3>{escape(", ".join(maps))}</h3>\n{_table(["", *maps], rows)}{more}</section>\n'


def _losses(script):
    words = [f"{count(number)} {what}" for number, what in
             ((script.lost, "events lost"), (script.missed, "events missed")) if number]
    words += [problem for problem in script.problems if not problem.endswith(("output buffer", "busy program"))]
    return f'<span class="lost">{escape("; ".join(words))}</span>' if words else "nothing lost"


def _script(script, specs):
    drawn = [_histogram(spec, script.hists[name]) for name, spec in specs.get(script.name, {}).items()]
    drawn += [_family(maps) for maps in families(
        {name: entries for name, entries in script.maps.items() if name != observation.COUNTED and entries})]
    missing = "".join(f'<p class="lost">cannot see {escape(text)}</p>' for text in script.facts.get("missing") or [])
    printed = "".join(escape(line) + "\n" for line in script.lines[:MOST_ROWS])
    if not drawn and not missing and not printed.strip() and not script.problems:
        return ""
    return (f"<h2>{escape(script.name)}</h2>\n<p>{_losses(script)}</p>{missing}\n"
            + (f'<div class="cards">\n{"".join(drawn)}</div>\n' if drawn else "")
            + (_details("What it printed", f"<pre>{printed}</pre>") if printed.strip() else ""))


def _script_facts(observed):
    rows = [[script.name, ("", f"<code>{escape((script.facts.get('sha256') or '?')[:12])}</code>"),
             " ".join(map(str, script.facts.get("args") or [])) or "–", ("", _losses(script))] for script in observed.scripts]
    return _details("Versions of the scripts, and what they lost",
                    _table(["script", "sha256", "arguments", "lost"], rows, (0, 1, 2, 3)))


# ---- the timeline ----

def _lane_of(observed, event):
    return f"hotmirror{event.device}" if event.device is not None else who(observed, event)


def chosen_events(observed):
    """(events, lanes in order, what is left out in words)"""
    events, left_out = observed.events, []
    if len(events) > MOST_EVENTS:
        shortest = sorted((event.ns for event in events), reverse=True)[MOST_EVENTS - 1]
        events = [event for event in events if event.ns >= shortest][:MOST_EVENTS]
        left_out.append(f"only the {count(MOST_EVENTS)} longest of {count(len(observed.events))} events are in this page")
    sizes = {}
    for event in events:
        lane = _lane_of(observed, event)
        sizes[lane] = sizes.get(lane, 0) + 1
    lanes = sorted(sizes, key=lambda lane: -sizes[lane])[:MOST_LANES]
    if len(lanes) < len(sizes):
        left_out.append(f"only the {MOST_LANES} busiest of {len(sizes)} lanes are drawn")
        events = [event for event in events if _lane_of(observed, event) in set(lanes)]
    return events, sorted(lanes, key=lambda lane: (not lane.startswith("hotmirror"), lane)), left_out


def timeline_spec(observed):
    """What page.js needs to draw the timeline: columns, and the indices of each lane's events."""
    events, lanes, left_out = chosen_events(observed)
    first, last = observed.span()
    kinds = list(dict.fromkeys(event.name for event in events))
    number = {kind: i for i, kind in enumerate(kinds)}
    place = {lane: i for i, lane in enumerate(lanes)}
    groups = {name: {} for name in COLOURS}
    for i, event in enumerate(events):
        groups[observation.GROUPS[event.kind]].setdefault(place[_lane_of(observed, event)], []).append(i)
    words = None
    if len(events) <= MOST_WITH_WORDS:
        words = [" ".join(f"{name}={text}" for name, text in event.words.items()) for event in events]
    return {
        "length": last - first, "names": lanes, "kinds": kinds, "start": [event.start - first for event in events],
        "ns": [event.ns for event in events], "kind": [number[event.name] for event in events], "words": words,
        "groups": [{"name": name, "colour": COLOURS[name], "height": HEIGHTS[name], "lanes": sorted(found.items())}
                   for name, found in groups.items() if found],
    }, left_out


BUTTONS = (("+", "Zoom in"), ("-", "Zoom out"), ("ArrowLeft", "◀ Earlier"), ("ArrowRight", "Later ▶"), ("0", "All"))


def _timeline(observed, spec, left_out):
    if not spec:
        return '<h2>Timeline</h2>\n<section class="card"><p class="soft">No events: timeline.bt was not among the scripts, or saw nothing.</p></section>\n'
    tools = "".join(f'<button type="button" data-key="{key}">{escape(text)}</button>' for key, text in BUTTONS)
    keys = "".join(f'<li><button type="button" data-group="{n}" aria-pressed="true"><i style="background: var({group["colour"]})"></i>'
                   f'{escape(group["name"])}</button></li>' for n, group in enumerate(spec["groups"]))
    rows = [[name, count(f["count"]), *(duration(f[part]) for part in ("total_ns", "median_ns", "p99_ns", "max_ns"))]
            for name, f in ((name, observation.figures(ns)) for name, ns in observation.kinds(observed.events).items())]
    label = f"Timeline of {len(observed.events)} events in {len(spec['names'])} lanes; the table below has their figures"
    return ('<h2>Timeline</h2>\n<section class="card">\n<p class="soft">A lane is a device or a thread. Drag to zoom, click a kind to hide it; '
            'keys: + − 0 and arrows.</p>\n'
            + "".join(f'<p class="soft">{escape(text)}</p>\n' for text in left_out)
            + f'<div class="tools">{tools}</div>\n<ul class="keys" aria-label="Kinds of events">{keys}</ul>\n'
            f'<div class="lanes"><canvas id="timeline" tabindex="0" role="img" aria-label="{escape(label, quote=True)}"></canvas>'
            '<div id="drag" class="drag" hidden></div></div>\n<p class="soft" id="shown" aria-live="polite"></p>\n'
            + _details("As a table", _table(["kind", "events", "in all", "median", "99 % below", "longest"], rows))
            + "</section>\n")


def _slowest(observed):
    events = observation.slowest(observed.events)
    if not events:
        return ""
    first = observed.span()[0]
    rows = [[("", f'<i class="dot" style="background: var({COLOURS[observation.GROUPS[event.kind]]})"></i>{escape(event.name)}'),
             duration(event.ns), f"{(event.start - first) / 1e9:.6f} s", _lane_of(observed, event),
             ("long", escape(" ".join(f"{name}={text}" for name, text in event.words.items())))] for event in events]
    places = {id(row): f' data-at="{event.start - first}" data-ns="{event.ns}"' for row, event in zip(rows, events)}
    return ('<h2>Slowest events</h2>\n<section class="card"><p class="soft">The slowest few of each kind. Click one to see it on the timeline.</p>\n'
            + _table(["event", "took", "began at", "lane", "detail"], rows, (0, 3, 4), lambda row: places[id(row)]) + "</section>\n")


# ---- the page ----

def _bar(observed):
    if not observed.reasons:
        return ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in observed.reasons)
    return f'<div class="bar" role="alert"><div>Inconclusive: figures below are not the whole truth.<ul>{reasons}</ul></div></div>\n'


def _inline(text):
    """For the inside of a script element."""
    return text.replace("</", "<\\/").replace("<!--", "<\\!--")


def _scripts(data, library):
    if not library:
        return ""
    return (f'<script type="application/json" id="data">{json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", chr(92) + "u003c")}</script>\n'
            f"<script>{_inline(library)}</script>\n<script>{_inline((PARTS / 'page.js').read_text(encoding='utf-8'))}</script>\n")


def page(observed, library, why_not=""):
    """The page. library: the text of Chart.js; without it, why_not says why there are no charts."""
    specs, number = {}, 0
    for script in observed.scripts:
        for name, keys in script.hists.items():
            specs.setdefault(script.name, {})[name] = histogram_spec(script, name, keys, number)
            number += 1
    spec, left_out = timeline_spec(observed) if observed.events else (None, [])
    data = {"histograms": [spec_ for found in specs.values() for spec_ in found.values()], "timeline": spec, "series": SERIES}
    told = facts(observed)
    what = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told.items())
    good = "" if observed.reasons else '<p class="good">Complete: no event was lost.</p>\n'
    plain = f'<p class="lost">There are no charts: {escape(why_not)}.</p>\n' if not library else ""
    order = sorted(observed.scripts, key=lambda script: script.name.startswith("timeline"))
    return "".join((
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>hotmirror: {escape(told['observed'])}</title>\n<style>{(PARTS / 'page.css').read_text(encoding='utf-8')}</style></head><body>\n",
        _bar(observed), f"<main>\n<h1>{escape(told['observed'])}</h1>\n{good}{plain}",
        f'<section class="card"><dl>{what}</dl>\n{_script_facts(observed)}</section>\n',
        _timeline(observed, spec, left_out), _slowest(observed), *(_script(script, specs) for script in order),
        "</main>\n", _scripts(data, library), "</body></html>\n"))
