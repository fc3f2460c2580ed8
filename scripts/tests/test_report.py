# SPDX-License-Identifier: GPL-2.0-only
"""scripts/report: recorded and broken observations, and the page in a real browser."""

import functools
import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

from browser import browser
from tap import HERE, SCRIPTS, case, check, equal
from test_input import refused, scratch

from hotmirror import build, observation

# Made by scripts/observe of the workload of bpf/tests, on 7.3.4 with bpftrace 0.23.
RECORDED = HERE / "observation" / "raw"
PICTURES = Path(os.environ.get("OUT") or build.TOP / "out") / "report"
PHONE, WIDE = 390, 1280
MANY = 100000
GROUPS = "return chart.data.datasets.map(set => [set.label, set.data.reduce((sum, bar) => sum + bar.events, 0)])"
HISTOGRAMS = """return Object.values(Chart.instances).filter(some => some !== chart).map(some =>
    [some.canvas.id, some.data.datasets.map(set => set.data)])"""


def report(out, *options):
    return subprocess.run([str(SCRIPTS / "report"), *options, str(out)], check=False, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)


@functools.cache
def recorded():
    """{name: text} of the recorded observation."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(RECORDED.iterdir())}


def place(out, changes=None):
    """The recorded observation in OUT/raw; changes: {name: function of its text, or None: not there}."""
    raw = out / "raw"
    raw.mkdir(parents=True)
    for name, text in recorded().items():
        change = (changes or {}).get(name, lambda same: same)
        if change:
            (raw / name).write_text(change(text), encoding="utf-8")
    return out


def made(out):
    """(summary.json, first line of summary.txt, report.html, trace.json)"""
    text = (out / "summary.txt").read_text(encoding="utf-8")
    return (json.loads((out / "summary.json").read_text()), text.partition("\n")[0],
            (out / "report.html").read_text(encoding="utf-8"), json.loads((out / "trace.json").read_text()))


def counts(summary):
    return {name: kind["count"] for name, kind in summary["timeline"]["kinds"].items()}


# ---- what it says ----

@case
def whole_observation_is_complete():
    """Its figures are those that the workload and the driver counted."""
    told = json.loads(recorded()["workload.json"])
    expected, driver = told["expected"], told["driver"]
    with scratch() as out:
        run = report(place(out), "--no-charts")
        equal((0, ""), (run.returncode, run.stdout), f"ending; stderr {run.stderr!r}")
        summary, line, _, trace = made(out)
    equal(("complete", [], "complete: no event was lost"), (summary["verdict"], summary["reasons"], line), "verdict")
    seen = counts(summary)
    equal([driver["faults"], expected["faults"], expected["held"], expected["gated"], driver["populates"]],
          [seen[name] for name in ("device_fault", "fault remote", "uffd_wait", "gate access.begin", "populate")], "counts")
    for event, times in expected["events"].items():
        equal(times, seen[f"device_invalidate {event}"], f"callbacks of {event}")
    equal(driver["fault_ns"], summary["timeline"]["kinds"]["device_fault"]["total_ns"], "ns of faults")
    check(expected["held_min_ns"] <= summary["timeline"]["kinds"]["uffd_wait"]["max_ns"] <= expected["held_max_ns"], "wait")
    equal(summary["timeline"]["events"], sum(seen.values()), "events in all")
    maps = {script["name"]: script["maps"] for script in summary["scripts"]}
    equal(expected["events"], maps["device_events"]["@invalidations"], "a map")
    equal("complete", trace["otherData"]["verdict"], "verdict of the trace")


def lost_line(text):
    return text + '{"type": "lost_events", "data": {"events": 7}}\n'


def without_an_event(text):
    return re.sub(r'\{"type": "printf", "data": "\d+ \d+ \d+ \d+ uffd_wait.*\n', "", text, count=1)


def session_with(**changes):
    """Change a fact of the script timeline."""
    def change(text):
        session = json.loads(text)
        next(script for script in session["scripts"] if script["name"] == "timeline").update(changes)
        return json.dumps(session)
    return change


LOSSES = {
    "lost events": ({"timeline.json": lost_line}, "timeline: 7 events lost by the output buffer"),
    "missed events": ({"session.json": session_with(missed=3)}, "timeline: 3 events missed by a busy program"),
    "cut between lines": ({"fault_latency.json": lambda text: text.partition('{"type": "printf", "data": "DONE')[0]},
                          "fault_latency: its stream has no DONE: it was cut off"),
    "cut in a line": ({"fault_latency.json": lambda text: text[:len(text) // 2]}, "fault_latency: 1 lines of its stream are not whole, the first is line [0-9]+"),
    "empty stream": ({"fault_latency.json": lambda text: ""}, "fault_latency: it never said READY"),
    "no stream": ({"fault_latency.json": None}, "fault_latency: it never said READY"),
    "an event less": ({"timeline.json": without_an_event}, r"timeline: \d+ of \d+ events are in its stream"),
    "strange line": ({"timeline.json": lambda text: text.replace(" walk ", " WALK ", 1)},
                     r"timeline: 1 lines of no known form, the first: \d+ \d+ \d+ \d+ WALK "),
    "error of bpftrace": ({"timeline.json": lambda text: text + 5 * '{"type": "helper_error", "msg": "no such element"}\n'},
                          "timeline: bpftrace reported 5 times helper_error: no such element"),
    "no session": ({"session.json": None}, "there is no session.json: kernel, command and missed events are not known"),
    "not attached": ({"timeline.json": None, "session.json": session_with(failed="no such probe")},
                     "timeline: was not attached: no such probe"),
    "cut short": ({"session.json": lambda text: text.replace('"note":""', '"note":"interrupted"')}, "interrupted"),
    "session cut": ({"session.json": lambda text: text[:40]}, "session.json is not whole"),
}


@case
def losses_are_inconclusive():
    """Each of them: status 1, the first line of the summary, a red bar on top of the page, a word in the trace."""
    for name, (changes, reason) in LOSSES.items():
        with scratch() as out:
            run = report(place(out, changes), "--no-charts")
            equal(1, run.returncode, f"{name}: status; stderr {run.stderr!r}")
            summary, line, page, trace = made(out)
        equal("inconclusive", summary["verdict"], name)
        check(re.match(f"INCONCLUSIVE: .*{reason}", line), f"{name}: first line {line!r}")
        check(re.search(r'<body>\n<div class="bar" role="alert"><div>Inconclusive: .*<li>', page), f"{name}: no bar")
        equal("inconclusive", trace["otherData"]["verdict"], name)


def without_maps(text):
    return "".join(line + "\n" for line in text.splitlines() if '"map"' not in line and '"hist"' not in line)


@case
def empty_maps_and_no_timeline():
    """Nothing happened: still a whole observation, and a page."""
    def facts(text):
        session = json.loads(text)
        session["scripts"] = [script for script in session["scripts"] if not script["name"].startswith("timeline")]
        return json.dumps(session)

    changes = {"timeline.json": None, "timeline_device.json": None, "session.json": facts,
               "notifier_latency.json": without_maps}
    with scratch() as out:
        run = report(place(out, changes), "--no-charts")
        equal(0, run.returncode, f"status; stderr {run.stderr!r}")
        summary, _, page, trace = made(out)
    equal((0, {}), (summary["timeline"]["events"], summary["scripts"][0]["maps"]), "nothing")
    check("No events: timeline.bt was not among the scripts" in page, "the page does not say why it has no timeline")
    equal([], trace["traceEvents"], "trace")


@case
def missing_functions_are_told():
    missing = ["do_huge_pmd_device_private: CPU faults on PMD-sized device memory"]
    with scratch() as out:
        report(place(out, {"session.json": session_with(missing=missing)}), "--no-charts")
        page, text = (out / "report.html").read_text(), (out / "summary.txt").read_text()
    for where, content in (("page", page), ("summary", text)):
        check(f"cannot see {missing[0]}" in content, f"the {where} does not say what is missing")


@case
def stacks_are_lines():
    """Of both bpftrace versions, without the tracer's own frames; two maps' entries are never made one."""
    for stack in ("who,\n bpf_prog_1+2\n zap+3\n", "who,\\n bpf_prog_1+2\\n zap+3\\n"):
        equal({"who,\n zap+3\n": 4}, observation.keyed({stack: 4}), "a stack")
    equal(7, sum(observation.keyed({"a,\n bpf_prog_1+2\n": 4, "a,\n bpf_prog_2+2\n": 3}).values()), "two alike")


@case
def nothing_to_report_on():
    with scratch() as out:
        refused(report(out / "none"), "holds no observation", "scripts/observe")
        (out / "raw").mkdir()
        refused(report(out), "holds no observation")


@case
def hostile_text_stays_text():
    """A command, a comm or a key of a map cannot become part of the page."""
    evil = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'

    def name_it(text):
        session = json.loads(text)
        session.update(scenario=evil, threads={tid: evil for tid in map(str, range(4000))})
        return json.dumps(session)

    with scratch() as out:
        report(place(out, {"session.json": name_it,
                           "notifier_latency.json": lambda text: text.replace('"UNMAP"', json.dumps(evil))}), "--no-charts")
        page = (out / "report.html").read_text(encoding="utf-8")
        report(out)
        drawn = (out / "report.html").read_text(encoding="utf-8")
    check("<img" not in page and "<script>alert" not in page, "it became part of the page")
    check("<img" not in drawn and "<script>alert" not in drawn, "it became part of the data")


class Links(HTMLParser):
    """What a page would fetch."""
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [(tag, name, value) for name, value in attrs
                       if name in ("src", "href", "action", "data", "poster", "srcset") or tag in ("link", "iframe", "object")]


@case
def page_is_self_contained():
    with scratch() as out:
        equal(0, report(place(out)).returncode, "status")
        page = (out / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    equal([], links.found, "what it fetches")
    check("default-src 'none'" in page, "no policy that forbids it")
    check("@import" not in page and "url(" not in page.partition("<script")[0], "a style that fetches")


# ---- the trace ----

SLICE = {"ph": str, "name": str, "cat": str, "ts": (int, float), "dur": (int, float), "pid": int, "tid": int, "args": dict}
META = {"process_name": "name", "process_sort_index": "sort_index", "thread_name": "name"}


def well_formed(event):
    """By the document of the trace event format: what "X" and "M" need."""
    if event["ph"] == "M":
        return META[event["name"]] in event["args"] and isinstance(event["pid"], int) and isinstance(event["tid"], int)
    return event["ph"] == "X" and event["ts"] >= 0 and event["dur"] >= 0 and \
        all(isinstance(event[key], kind) for key, kind in SLICE.items())


def crossing(slices):
    """Pairs on one track that overlap, and none is inside of the other."""
    found, inside = [], []
    for entry in sorted(slices, key=lambda entry: (entry["ts"], -entry["dur"])):
        start, end = round(entry["ts"] * 1000), round((entry["ts"] + entry["dur"]) * 1000)
        while inside and inside[-1] <= start:
            inside.pop()
        if inside and end > inside[-1]:
            found.append(entry)
        inside.append(end)
    return found


@case
def trace_is_in_the_documented_format():
    with scratch() as out:
        report(place(out), "--no-charts")
        summary, _, _, trace = made(out)
    events = trace["traceEvents"]
    equal([], [event for event in events if not well_formed(event)], "events that are not well-formed")
    slices = [event for event in events if event["ph"] == "X"]
    equal(summary["timeline"]["events"], len(slices), "events")
    tracks = {(event["pid"], event["tid"]) for event in slices}
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    equal(tracks, named, "tracks with a name")
    equal({pid for pid, _ in tracks}, {event["pid"] for event in events if event["name"] == "process_name"}, "processes")
    for track in tracks:
        equal([], crossing([e for e in slices if (e["pid"], e["tid"]) == track]), f"events that cross on {track}")
    wait = next(event for event in slices if event["cat"] == "uffd_wait")
    equal(wait["args"]["ns"] / 1000, wait["dur"], "us of a wait")
    began = next(event["start_ns"] for event in summary["timeline"]["slowest"] if event["kind"] == "uffd_wait")
    equal((began - int(trace["otherData"]["zero_boottime_ns"])) / 1000, wait["ts"], "us at which it began")


# ---- the page, in a browser ----

# Canvases that show one colour only, which is what an empty one does.
BLANK = """return [...document.querySelectorAll('canvas')].filter(canvas => {
    const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    return pixels.every(pixel => pixel === pixels[0]);
}).map(canvas => canvas.id)"""


def no_complaints(b, what):
    equal([], b.said(), f"console, {what}")


def buckets(summary):
    """{count of buckets that are not empty} of all histograms, in the order of the page."""
    return [sum(n for entries in keys.values() for _, _, n in entries)
            for script in summary["scripts"] for keys in script["histograms"].values()]


@case
def page_in_a_browser():
    """No errors, all points, phone width, dark mode; pictures are kept in OUT/report."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with scratch() as out, browser() as b:
        equal(0, report(place(out)).returncode, "status")
        summary, *_ = made(out)
        b.open(out / "report.html", WIDE)
        no_complaints(b, "wide")
        drawn = b.ask(HISTOGRAMS)
        equal(buckets(summary), [sum(n or 0 for data in sets for n in data) for _, sets in drawn], "entries of histograms")
        check(all(sets for _, sets in drawn), "a histogram without data")
        groups = dict(b.ask(GROUPS))
        equal(summary["timeline"]["events"], sum(groups.values()), "events in bars")
        equal(counts(summary)["uffd_wait"], groups["userfault wait"], "waits in bars")
        check(b.ask("return [...document.querySelectorAll('canvas')].every(c => c.width > 100 && c.getAttribute('aria-label'))"),
              "a canvas is empty or has no label")
        b.screenshot(PICTURES / "wide.png")
        equal([], b.ask(BLANK), "canvases with nothing on them")
        light = b.ask("return getComputedStyle(document.body).backgroundColor")
        b.open(out / "report.html", WIDE, scheme="dark")
        check(light != b.ask("return getComputedStyle(document.body).backgroundColor"), "dark is as light")
        check(b.ask("return chart.data.datasets[0].backgroundColor") != "", "no colour")
        b.screenshot(PICTURES / "dark.png")
        b.open(out / "report.html", PHONE)
        equal(PHONE, b.ask("return document.documentElement.scrollWidth"), "width on a phone")
        check(b.ask("return Object.values(Chart.instances).every(some => some.width <= innerWidth)"), "a chart is wider")
        b.screenshot(PICTURES / "phone.png")
        equal([], b.ask(BLANK), "canvases with nothing on them, on a phone")
        no_complaints(b, "phone")
    for name in ("wide", "dark", "phone"):
        check((PICTURES / f"{name}.png").stat().st_size > 20000, f"{name}.png is nearly empty")


@case
def timeline_answers():
    """Zoom by button, key and row; kinds can be hidden; colours follow the scheme while it is open."""
    with scratch() as out, browser() as b:
        report(place(out))
        b.open(out / "report.html", WIDE)
        everything = b.ask("return view[1] - view[0]")
        b.ask("document.querySelector('[data-key=\"+\"]').click()")
        equal(everything / 2, b.ask("return view[1] - view[0]"), "after Zoom in")
        b.ask("document.getElementById('timeline').dispatchEvent(new KeyboardEvent('keydown', {key: '0'}))")
        equal(everything, b.ask("return view[1] - view[0]"), "after the key 0")
        b.ask("document.querySelector('tr[data-at]').click()")
        check(b.ask("return view[1] - view[0]") < everything, "a row of the slowest events does not zoom")
        b.ask("document.querySelector('[data-key=\"0\"]').click()")
        before = b.ask(GROUPS)
        b.ask("document.querySelector('[data-group=\"0\"]').click()")
        equal([[before[0][0], 0], *before[1:]], b.ask(GROUPS), "with a kind hidden")
        colour = b.ask("return chart.data.datasets[1].backgroundColor")
        b.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        b.drawn()
        check(colour != b.ask("return chart.data.datasets[1].backgroundColor"), "the scheme changed, the colours did not")
        no_complaints(b, "after all")


@case
def inconclusive_page_is_red():
    with scratch() as out, browser() as b:
        report(place(out, {"timeline.json": lost_line}))
        b.open(out / "report.html", PHONE)
        top = b.ask("const bar = document.querySelector('.bar'), box = bar.getBoundingClientRect();"
                    "return [box.top, box.width, getComputedStyle(bar).backgroundColor, bar.textContent]")
        equal([0, PHONE, "rgb(179, 38, 30)"], top[:3], "the bar")
        check("7 events lost" in top[3], f"the bar says {top[3]!r}")
        check(b.ask("return [...document.querySelectorAll('.lost')].some(e => e.textContent.includes('7 events lost'))"),
              "the count is not in red beside its script")


def many(text):
    """The same timeline as often as makes MANY events, one after the other."""
    lines = text.splitlines()
    events = [line for line in lines if re.search(r'"data": "\d', line)]
    numbers = [list(map(int, re.search(r'"data": "(\d+) (\d+) \d+ (\d+)', line).groups())) for line in events]
    first, last = min(end - ns for end, ns, _ in numbers), max(end for end, *_ in numbers)
    made_lines, seconds = [], {}
    for n in range(MANY):
        line, (end, _, cpu) = events[n % len(events)], numbers[n % len(events)]
        later = end + n // len(events) * (last - first)
        made_lines.append(line.replace(f'"{end} ', f'"{later} ', 1))
        place = f"{cpu},{later // 10**9}"
        seconds[place] = seconds.get(place, 0) + 1
    done = next(i for i, line in enumerate(lines) if "DONE timeline" in line)
    ready = next(i for i, line in enumerate(lines) if "READY timeline" in line)
    return "\n".join([*lines[:ready + 1], *made_lines, lines[done],
                      json.dumps({"type": "map", "data": {"@events": seconds}})]) + "\n"


@case
def a_hundred_thousand_events():
    """They are all in the page, in no more bars than pixels can show; zooming parts them."""
    with scratch() as out, browser() as b:
        run = report(place(out, {"timeline.json": many, "timeline_device.json": None,
                                 "session.json": lambda text: text.replace('"end_ns"', '"was_end_ns"')}))
        check(f"{MANY}" in (out / "summary.json").read_text(), f"not all events; stderr {run.stderr!r}")
        b.open(out / "report.html", WIDE)
        bars = b.ask("return chart.data.datasets.flatMap(set => set.data).length")
        equal(MANY, sum(n for _, n in b.ask(GROUPS)), "events in bars")
        lanes = b.ask("return lanes.groups.reduce((sum, group) => sum + group.lanes.length, 0)")
        check(bars <= lanes * WIDE, f"{bars} bars in {lanes} lanes of {WIDE} pixels")
        check("zoom in to part them" in b.ask("return document.getElementById('shown').textContent"), "it does not say so")
        b.ask("for (let i = 0; i < 12; i++) document.querySelector('[data-key=\"+\"]').click()")
        near = b.ask("return chart.data.datasets.flatMap(set => set.data).map(bar => bar.events)")
        check(near and sum(near) / len(near) < MANY / bars, "zooming does not part them")
        no_complaints(b, "many events")


@case
def page_without_chartjs():
    """No library: tables only, and it says why."""
    with scratch() as out, browser() as b:
        equal(0, report(place(out), "--no-charts").returncode, "status")
        b.open(out / "report.html", PHONE)
        equal(PHONE, b.ask("return document.documentElement.scrollWidth"), "width")
        check("There are no charts: --no-charts was given" in b.ask("return document.body.textContent"), "no reason")
        check(b.ask("return document.querySelectorAll('table').length") > 5, "no tables")
        no_complaints(b, "without the library")
