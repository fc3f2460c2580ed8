# SPDX-License-Identifier: GPL-2.0-only
"""Is a kernel slower than another one? A percentile of what a bpf script measures, of both in turn.

A metric is SCRIPT:KIND:pN, as timeline:invalidate:p99: of the events of that kind that bpf/SCRIPT.bt
prints, the duration that N of a hundred do not exceed. Both kernels are observed in guests that
take turns, so that what the machine does besides meets both alike; the median of the rounds counts.
Where a figure cannot be trusted (events lost, too few of them) there is no verdict, but a reason.
"""

import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles

from . import build, observation, observe, verdict
from .say import Stop, say

FASTER, SLOWER, CANNOT = 0, 1, 125           # as git bisect has it: good, bad, skip
LEAST_EVENTS = 20
KIND = re.compile(r'printf\("%llu %llu %d %d ([a-z_]+) ')


@dataclass(frozen=True)
class Metric:
    script: str
    kind: str
    percent: int

    def __str__(self):
        return f"p{self.percent} of {self.kind}"

    @property
    def least(self):
        """Events that it takes: below, the highest of them would be the percentile, that is chance."""
        return max(LEAST_EVENTS, -(-100 // (100 - self.percent)))

    def of(self, durations):
        return round(quantiles(durations, n=100, method="inclusive")[self.percent - 1])


def kinds():
    """{script: its kinds of events} of the scripts that print one line an event."""
    found = {name: tuple(dict.fromkeys(KIND.findall(one.path.read_text(encoding="utf-8"))))
             for name, one in observe.scripts().items()}
    return {name: words for name, words in found.items() if words}


def metric(text):
    """The Metric, or a Stop that lists what there is."""
    known, parts = kinds(), text.split(":")
    if len(parts) != 3:
        raise Stop(f"--metric {text} is not SCRIPT:KIND:pN", "for example timeline:invalidate:p99")
    script, kind, percent = parts
    if script not in known:
        raise Stop(f"--metric {text}: no script {script} prints events", f"there are {', '.join(known)}")
    if kind not in known[script]:
        raise Stop(f"--metric {text}: {script} has no {kind}", f"it has {', '.join(known[script])}")
    if not re.fullmatch(r"p[1-9]\d?", percent):
        raise Stop(f"--metric {text}: {percent} is no percentile", "use p1 to p99")
    return Metric(script, kind, int(percent[1:]))


@dataclass
class Question:
    """What is measured, and how often."""
    metric: Metric
    factor: float
    scenario: str              # as of scripts/observe
    rounds: int = 3
    seconds: int = 10
    accel: str = "auto"

    def __post_init__(self):
        if not self.factor > 1:
            raise Stop(f"--slower {self.factor:g}: no kernel is that much slower than itself", "use a factor over 1, as 2")
        if self.rounds < 1:
            raise Stop("--rounds takes 1 or more")
        if not 1 <= self.seconds <= 3600:
            raise Stop("--seconds takes 1 to 3600")
        observe.choose_scenario(self.scenario)


@dataclass(frozen=True)
class Side:
    """A kernel, and its module if that is built already."""
    name: str
    kernel: str
    module: Path = None


@dataclass
class Figures:
    """Of each round: the percentile in ns, and how many events it is of."""
    ns: list = field(default_factory=list)
    events: list = field(default_factory=list)

    def __str__(self):
        return ", ".join(f"{ns / 1e3:.1f}" for ns in self.ns) + f" us of {', '.join(map(str, self.events))} events"


class Unmeasured(Exception):
    """There is no figure. accused: the kernel died of the workload."""

    def __init__(self, why, accused=False):
        super().__init__(why)
        self.accused = accused


# ---- what was seen ----

def figure(question, out):
    """(percentile, events) of an observation in OUT, or Unmeasured."""
    try:
        seen = observation.read(out)
    except Stop as stop:
        raise Unmeasured(stop.what) from stop
    note = seen.session.get("note") or ""
    died = next((part for part in note.split("; ") if verdict.accuses_kernel(part)), None)
    if died:
        raise Unmeasured(died, accused=True)
    if seen.reasons:
        raise Unmeasured(f"inconclusive: {seen.reasons[0]}")
    if seen.session.get("status"):
        raise Unmeasured(f"the workload ended with status {seen.session['status']}: {_last(out / 'raw/workload.log')}")
    asked = question.metric
    durations = [event.ns for event in seen.events if event.kind == asked.kind]
    if len(durations) < asked.least:
        raise Unmeasured(f"{len(durations)} events of {asked.kind}, {asked} takes {asked.least}: observe for longer "
                         "(--seconds), or another scenario")
    return asked.of(durations), len(durations)


def _last(path):
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it printed nothing"


def decide(question, good, here):
    """(SLOWER or FASTER, why) of the Figures of two kernels."""
    before, now = median(good.ns), median(here.ns)
    ratio = now / before if before else float("inf") if now else 1.0
    return (SLOWER if ratio > question.factor else FASTER,
            f"{question.metric} is {now / 1e3:.1f} us, {ratio:.2f} times the good kernel's {before / 1e3:.1f} us "
            f"(bad is over {question.factor:g}; here {here}; good {good})")


# ---- two kernels ----

def measure(question, side, out, script=build.TOP / "scripts/observe", environment=None):
    """One observation of a kernel; (percentile, events) or Unmeasured."""
    command = [sys.executable, str(script), "--kernel", side.kernel, "--scripts", question.metric.script,
               "--duration", str(question.seconds), "--accel", question.accel, "--raw", "--out", str(out),
               *(["--module", str(side.module)] if side.module else []), question.scenario]
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{out}.log", "w", encoding="utf-8") as log:
        status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                env=environment).returncode
    if status not in (0, 1):
        raise Unmeasured(_last(Path(f"{out}.log")))
    return figure(question, out)


def compare(question, good, here, out, **how):
    """(verdict, why, {side's name: figures}). The sides take turns, and who is first."""
    figures = {side.name: Figures() for side in (good, here)}
    for number in range(question.rounds):
        for side in (good, here) if number % 2 == 0 else (here, good):
            try:
                ns, events = measure(question, side, out / f"{side.name}-{number + 1}", **how)
            except Unmeasured as gone:
                bad = gone.accused and side is here
                return SLOWER if bad else CANNOT, f"{side.name}: {gone}", _plain(figures)
            figures[side.name].ns.append(ns)
            figures[side.name].events.append(events)
            say(f"{side.name}, round {number + 1} of {question.rounds}: {question.metric} is {ns / 1e3:.1f} us of {events}")
    found, why = decide(question, figures[good.name], figures[here.name])
    (out / "figures.json").write_text(json.dumps({"why": why, **_plain(figures)}, indent=1) + "\n")
    return found, why, _plain(figures)


def _plain(figures):
    return {name: asdict(one) for name, one in figures.items()}
