# SPDX-License-Identifier: GPL-2.0-only
"""What OUT/raw of an observation says: scripts, their maps and events, and whether to believe it.

Nothing here judges numbers; it only tells a whole observation from one with a loss.
"""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import quantiles

from . import build
from .say import Stop

EVENT = re.compile(r"(\d+) (\d+) (\d+) (\d+) ([a-z_]+)((?: [a-z_]+=\S*)*)\n?$")
GATE = re.compile(r"^#define HOTMIRROR_GATE_([A-Z_]+)_([A-Z]+)\s+(\d+)\b", re.M)
COUNTED = "@events"            # map of timeline scripts: {"cpu,second": events that they printed}
TRACER = ("bpf_prog_", "bpf_trampoline_")     # frames of who looks, in stacks
NO_DEVICE = 0xffffffff         # id of a gate at the entry of a core function

# kind of a line of timeline.bt or timeline_device.bt -> what it is shown as. Of two that
# contain each other the outer one is first.
GROUPS = {
    "span": "invalidation, start to end", "fault": "fault", "device_fault": "fault", "cpu_fault": "CPU fault",
    "migrate": "migration", "device_migrate": "migration", "memunmap": "unplug", "unplug": "unplug",
    "populate": "populate and walk", "walk": "populate and walk", "read_begin": "wait for an invalidation",
    "uffd_wait": "userfault wait", "invalidate": "invalidate callbacks", "device_invalidate": "invalidate callbacks",
    "gate": "gate",
}
DETAIL = ("event", "stage", "direction", "state", "gate", "of")     # words that say which of a kind


@dataclass(frozen=True)
class Event:
    end: int                   # ns of CLOCK_BOOTTIME
    ns: int
    tid: int
    cpu: int
    kind: str
    words: dict

    @property
    def start(self):
        return self.end - self.ns

    @property
    def device(self):
        """Number of the instance that it is of, None of a core event."""
        number = int(self.words.get("id", NO_DEVICE))
        return None if number == NO_DEVICE else number

    @property
    def name(self):
        which = next((self.words[word] for word in DETAIL if self.words.get(word)), "")
        return f"{self.kind} {which}".rstrip()


@dataclass
class Script:
    name: str
    facts: dict                # its part of session.json
    maps: dict = field(default_factory=dict)       # {@name: {key: number}}; key "" of one without keys
    hists: dict = field(default_factory=dict)      # {@name: {key: [(min, max, count)]}}
    lines: list = field(default_factory=list)      # what it printed, but for events
    lost: int = 0
    events: dict = field(default_factory=dict)     # {"cpu,second": lines that are events}
    problems: list = field(default_factory=list)   # why its figures are not to be believed
    errors: Counter = field(default_factory=Counter)   # what bpftrace said of itself
    ready: bool = False
    done: bool = False

    @property
    def missed(self):
        return self.facts.get("missed") or 0


@dataclass
class Observation:
    session: dict
    scripts: list
    events: list               # by start
    problems: list             # with the session itself

    @property
    def reasons(self):
        """Why it is inconclusive; none if it is not."""
        return self.problems + [f"{script.name}: {problem}" for script in self.scripts for problem in script.problems]

    @property
    def verdict(self):
        return "inconclusive" if self.reasons else "complete"

    def comm(self, tid):
        return (self.session.get("threads") or {}).get(str(tid), "")

    def span(self):
        """(first, last) ns of what is shown: the workload and all events."""
        begin, end = self.session.get("begin_ns"), self.session.get("end_ns")
        first = [event.start for event in self.events] + ([begin] if begin else [])
        last = [event.end for event in self.events] + ([end] if end else [])
        return (min(first), max(last)) if first else (0, 0)


# ---- the stream of one script ----

def gate_names():
    """{number: "populate.begin"} of the module's header."""
    try:
        text = (build.DRIVER / "test_hotmirror_gate_uapi.h").read_text(encoding="utf-8")
    except OSError:
        return {}
    return {number: f"{place}.{point}".lower() for place, point, number in GATE.findall(text)}


def parse_event(text, gates):
    """The Event of a printed line, None if it is none."""
    match = EVENT.match(text)
    if not match:
        return None
    words = dict(word.split("=", 1) for word in match[6].split())
    if match[5] == "gate":
        words["gate"] = gates.get(words.get("gate"), f"core {words.get('gate')}")
    event = Event(*(int(match[n]) for n in range(1, 5)), match[5], words)
    return event if event.ns <= event.end else None


def _key(text):
    """A stack in lines (0.23 escapes them twice), without the frames of the tracer itself."""
    lines = text.replace("\\n", "\n").split("\n")
    return "\n".join(line for line in lines if not line.lstrip().startswith(TRACER))


def keyed(value):
    """Maps without keys get one, so that all look the same."""
    if not isinstance(value, dict):
        return {"": value}
    found = {}
    for key, entry in value.items():
        short = _key(key)
        found[key if short in found else short] = entry     # two that differ stay two
    return found


def _buckets(entries):
    return [(entry.get("min"), entry.get("max"), entry["count"]) for entry in entries]


def _take_map(script, kind, data):
    for name, value in data.items():
        if kind == "hist":
            script.hists[name] = {key: _buckets(entries) for key, entries in keyed(value).items()}
        elif kind == "stats" and not isinstance(value, dict):
            script.maps[name] = {"": value}
        else:
            script.maps[name] = keyed(value)


def _take_print(script, text, events, gates):
    if text.startswith(f"READY {script.name}"):
        script.ready = True
    elif text.strip() == f"DONE {script.name}":
        script.done = True
    elif event := parse_event(text, gates):
        events.append(event)
        place = f"{event.cpu},{event.end // 10**9}"
        script.events[place] = script.events.get(place, 0) + 1
    else:
        script.lines.append(text.rstrip("\n"))


def _take(script, record, events, gates):
    kind, data = record["type"], record.get("data")
    if kind == "printf":
        _take_print(script, data, events, gates)
    elif kind in ("map", "hist", "stats"):
        _take_map(script, kind, data)
    elif kind == "lost_events":
        script.lost += data["events"]
    elif kind != "attached_probes":
        script.errors[f"{kind}: {str(data or record.get('msg'))[:200]}"] += 1


def read_stream(script, text, events, gates):
    broken = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            _take(script, json.loads(line), events, gates)
        except (ValueError, KeyError, TypeError, AttributeError):
            broken.append(number)
    if broken:
        script.problems.append(f"{len(broken)} lines of its stream are not whole, the first is line {broken[0]}")
    script.problems += [f"bpftrace reported {times} times {text}" for text, times in script.errors.items()]


def _judge(script, last):
    """What was lost, in words. What came after the last second is nobody's loss: bpftrace was being stopped."""
    if script.facts.get("failed"):
        script.problems.append(f"was not attached: {script.facts['failed']}")
        return
    checks = ((not script.ready, "it never said READY"),
              (not script.done, "its stream has no DONE: it was cut off"),
              (script.lost, f"{script.lost} events lost by the output buffer"),
              (script.missed, f"{script.missed} events missed by a busy program"))
    script.problems += [text for bad, text in checks if bad]
    counted = {key: n for key, n in script.maps.get(COUNTED, {}).items() if int(key.rpartition(",")[2]) <= last}
    printed = {key: n for key, n in script.events.items() if int(key.rpartition(",")[2]) <= last}
    # Not more: count() misses where one thread interrupts another one in it.
    if any(printed.get(key, 0) < n for key, n in counted.items()):
        script.problems.append(f"{sum(printed.values())} of {sum(counted.values())} events are in its stream")
    strange = [line for line in script.lines if script.name.startswith("timeline") and line]
    if strange:
        script.problems.append(f"{len(strange)} lines of no known form, the first: {strange[0][:100]}")


# ---- a directory ----

def _session(raw, problems):
    """session.json. What it notes is a doubt, but for a workload that was ended as the user wished."""
    path = raw / "session.json"
    try:
        session = json.loads(path.read_text(encoding="utf-8"))
        note = session.get("note") or ""
        problems += [note] if note and "asked for" not in note else []
        return session
    except FileNotFoundError:
        problems.append("there is no session.json: kernel, command and missed events are not known")
    except ValueError as error:
        problems.append(f"session.json is not whole: {error}")
    return {}


def read(out):
    """The Observation in OUT/raw."""
    raw = out / "raw"
    streams = {path.stem: path for path in sorted(raw.glob("*.json")) if path.stem not in ("session", "workload")}
    problems, events, gates = [], [], gate_names()
    session = _session(raw, problems) if raw.is_dir() else {}
    if not streams and not session.get("scripts"):
        raise Stop(f"{out} holds no observation: there is no stream of a script in {raw}",
                   "name the OUT of scripts/observe")
    listed = {facts["name"]: facts for facts in session.get("scripts") or []}
    scripts = []
    for name in [*listed, *(name for name in streams if name not in listed)]:
        script = Script(name, listed.get(name, {}))
        if name in streams:
            read_stream(script, streams[name].read_text(encoding="utf-8", errors="replace"), events, gates)
        _judge(script, (session.get("end_ns") or 2**63) // 10**9)
        scripts.append(script)
    events.sort(key=lambda event: (event.start, -event.end))
    return Observation(session, scripts, events, problems)


# ---- figures ----

def kinds(events):
    """{name of a kind: [durations]}, the longest total first."""
    found = defaultdict(list)
    for event in events:
        found[event.name].append(event.ns)
    return dict(sorted(found.items(), key=lambda item: -sum(item[1])))


def figures(durations):
    """count, total, median, 99th percentile, max of durations in ns."""
    cuts = quantiles(durations, n=100, method="inclusive") if len(durations) > 1 else [durations[0]] * 99
    return {"count": len(durations), "total_ns": sum(durations), "median_ns": round(cuts[49]),
            "p99_ns": round(cuts[98]), "max_ns": max(durations)}


def slowest(events, each=8):
    """The slowest of each kind, the slowest of all first."""
    by_kind = defaultdict(list)
    for event in events:
        by_kind[event.name].append(event)
    few = [event for group in by_kind.values() for event in sorted(group, key=lambda event: -event.ns)[:each]]
    return sorted(few, key=lambda event: (-event.ns, event.start))
