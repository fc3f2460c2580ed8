# SPDX-License-Identifier: GPL-2.0-only
"""What a run did with the schedules: by pair of operations and memory, by class, in text."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import median

from . import kernels, ktap
from .say import Stop
from .schedules import NAME

PARTS = re.compile(r"race\.([^@]+)@([^:]+):(.+)$")
NOT_BLOCKED = ("", "-", "no", "none")
UNREACHABLE = "unreachable"
COLUMNS = ("run", "reachable", "blocked", "failed", "xfail", "skipped")
SHOWN = 100                    # failures in text
BAD = (ktap.FAIL, ktap.MISSING)


@dataclass
class Result:
    name: str
    status: str
    detail: str
    ms: int
    facts: dict

    def __post_init__(self):
        match = PARTS.match(self.name)
        self.pair, self.memory, self.gate = match.groups() if match else (self.name, "?", "?")

    @property
    def unreachable(self):
        return self.status == ktap.SKIP and self.detail.startswith(UNREACHABLE)

    @property
    def blocked(self):
        return self.facts.get("blocked", "") not in NOT_BLOCKED

    @property
    def kind(self):
        """Its class, as the program says; the memory where it said nothing."""
        return self.facts.get("class") or self.memory


@dataclass
class Cell:
    """Schedules of one pair on one memory, or of any other group."""
    run: int = 0
    reachable: int = 0
    blocked: int = 0
    failed: int = 0
    xfail: int = 0
    skipped: int = 0
    why: Counter = field(default_factory=Counter)     # of what did not run

    def add(self, result):
        self.run += 1
        self.reachable += result.status not in (ktap.SKIP, ktap.MISSING)
        self.blocked += result.blocked
        self.failed += result.status in BAD
        self.xfail += result.status == ktap.XFAIL
        self.skipped += result.status == ktap.SKIP and not result.unreachable
        if result.status == ktap.SKIP:
            self.why[result.detail.removeprefix(UNREACHABLE).lstrip(": ")] += 1


def grouped(results, key):
    cells = defaultdict(Cell)
    for result in results:
        cells[key(result)].add(result)
    return dict(cells)


def facts_of(log):
    """{name: {"class": "anon", ...}} from all that the program printed."""
    output, found = ktap.Output(), {}
    for line in log.splitlines():
        if result := output.feed(line):
            words = " ".join(note.removeprefix(ktap.FACTS) for note in result.notes
                             if note.startswith(ktap.FACTS)).split()
            found[result.name] = dict(word.split("=", 1) for word in words if "=" in word)
    return found


@dataclass
class Run:
    """One OUT."""
    results: list
    verdict: str
    cause: str
    facts: dict                # what to say of the kernel and of the run, in order
    kernel: str                # as KERNEL= names it
    guests: int

    def failures(self):
        return [result for result in self.results if result.status in BAD]

    def replay(self, result):
        kernel = "" if self.kernel == kernels.NEWEST else f" KERNEL={self.kernel}"
        return f"make kselftest{kernel} TESTS='{result.name}' REPEAT=100"


OPTIONS = ("DEVICE_PRIVATE", "DEVICE_COHERENT", "TRANSPARENT_HUGEPAGE", "PER_VMA_LOCK", "USERFAULTFD", "KSM",
           "KASAN", "PROVE_LOCKING", "DEBUG_VM", "PREEMPT", "PREEMPT_LAZY", "PREEMPT_VOLUNTARY")


def read(out, config):
    """The Run that OUT holds. config: the kernel's options, {} where they are not known."""
    try:
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        what = json.loads((out / "what-was-run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop(f"{out} holds no results of a run: {error}", "name the OUT of a run that was judged") from error
    log = out / "programs" / f"{NAME}.log"
    said = facts_of(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
    results = [Result(name, test["status"], test["detail"], test["ms"], said.get(name, {}))
               for test in summary["tests"] if test["name"].startswith(f"{NAME}:race.")
               for name in [test["name"].removeprefix(f"{NAME}:")]]
    if not results:
        raise Stop(f"{out} holds no result of a schedule", "TESTS='race.*' names schedules")
    guests = what.get("guests") or [what]
    guest = guests[0]["guest"] or {}
    known = " ".join(f"{name}={config.get(name, 'n')}" for name in OPTIONS) if config else "not known"
    facts = {"kernel": f"{summary['kernel']} ({guests[0]['kernel']['name']})", "its options": known,
             "hotmirror": f"{guests[0]['commit']}, {guests[0]['module']['file']}",
             "run": f"{guests[0]['started']} to {guests[-1].get('finished', '?')}",
             "on": f"{len(guests)} guest{'s' * (len(guests) > 1)}, {summary['accel']}, {guest.get('cpus', '?')} CPUs each",
             "verdict": summary["verdict"] + (f": {summary['cause']}" if summary["cause"] else "")}
    return Run(results, summary["verdict"], summary["cause"], facts, guests[0]["kernel"]["name"], len(guests))


@dataclass
class Rate:
    schedules: int
    seconds: float
    median_us: float
    blocked: int

    @property
    def each_second(self):
        return self.schedules / self.seconds if self.seconds else 0


def rates(results):
    """{class: Rate} of what was reachable; the time is that from result to result in a guest."""
    groups = defaultdict(list)
    for result in results:
        if result.status in (ktap.PASS, ktap.FAIL, ktap.XFAIL):
            groups[result.kind].append(result)
    found = {}
    for kind, members in sorted(groups.items()):
        own = [int(r.facts["us"]) for r in members if r.facts.get("us", "").isdigit()]
        found[kind] = Rate(len(members), sum(r.ms for r in members) / 1000, median(own) if own else 0,
                           sum(r.blocked for r in members))
    return found


# ---- one run and another ----

def differing(runs):
    """{name: {status: [numbers of runs, from 1]}} of what was not the same in all. runs: [{name: status}]"""
    found = {}
    for name in sorted(set().union(*runs)):
        seen = defaultdict(list)
        for number, run in enumerate(runs, 1):
            seen[run.get(name, "not run")].append(number)
        if len(seen) > 1:
            found[name] = dict(seen)
    return found


def always_failed(runs):
    """Names that got the same bad status in every run."""
    return [name for name, status in sorted(runs[0].items())
            if status in BAD and all(run.get(name) == status for run in runs)]


# ---- text ----

def table(heads, rows):
    """Lines of columns; the first is a name, the others are right."""
    rows = [[str(value) for value in row] for row in [heads, *rows]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    return ["  ".join(value.ljust(width) if i == 0 else value.rjust(width)
                      for i, (value, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def _numbers(cell):
    return [getattr(cell, name) for name in COLUMNS]


def by_gate(run):
    return [[gate, *_numbers(cell)] for gate, cell in sorted(grouped(run.results, lambda result: result.gate).items())]


def by_wait(run):
    """[where B was blocked, schedules, in which classes], the busiest first."""
    waits = defaultdict(Counter)
    for result in run.results:
        if result.blocked:
            waits[result.facts["blocked"]][result.kind] += 1
    return [[place, kinds.total(), ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())]
            for place, kinds in sorted(waits.items(), key=lambda item: -item[1].total())]


def by_class(run):
    return [[kind, rate.schedules, f"{rate.seconds:.1f}", f"{rate.each_second:.0f}" if rate.seconds else "-",
             f"{rate.median_us:.0f}", rate.blocked] for kind, rate in rates(run.results).items()]


RATE_COLUMNS = ("class", "schedules", "seconds", "a second", "median us", "blocked")
WAIT_COLUMNS = ("B was blocked at", "schedules", "of class")


def total(run):
    return grouped(run.results, lambda result: "all")["all"]


def overview(run):
    """Facts, totals, rates and failures: what fits on a screen."""
    lines = [f"{name:12} {text}" for name, text in run.facts.items()]
    lines += ["", *table(["memory", *COLUMNS], [[name, *_numbers(cell)] for name, cell in (
        *grouped(run.results, lambda result: result.memory).items(), ("all", total(run)))])]
    lines += ["", *table(RATE_COLUMNS, by_class(run))]
    failed = run.failures()
    lines += ["", f"{len(failed)} failed" + (", and what replays each:" if failed else "")]
    for result in failed[:SHOWN]:
        lines += [f"  {result.name}: {result.detail or result.status}", f"      {run.replay(result)}"]
    return lines + ([f"  and {len(failed) - SHOWN} more: see races.html"] if len(failed) > SHOWN else [])


def text(run):
    """All of it, with a line for each pair and memory, and why what could not run did not."""
    cells = grouped(run.results, lambda result: (result.pair, result.memory))
    lines = ["Schedules of hotmirror_race", "", *overview(run), "", "Each pair of operations, on each memory:", "",
             *table(["pair@memory", *COLUMNS], [[f"{pair}@{memory}", *_numbers(cell)]
                                                for (pair, memory), cell in cells.items()]),
             "", "Each gate:", "", *table(["gate", *COLUMNS], by_gate(run)), "", "Why schedules did not run:", ""]
    why = total(run).why.most_common()
    lines += [f"{count:7}  {reason or 'no reason given'}" for reason, count in why] or ["  all ran"]
    waits = by_wait(run)
    lines += ["", "What B was blocked at:", ""]
    lines += [f"{count:7}  {place}: {kinds}" for place, count, kinds in waits] or ["  nothing"]
    return "\n".join(lines) + "\n"
