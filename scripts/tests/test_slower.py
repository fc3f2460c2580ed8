# SPDX-License-Identifier: GPL-2.0-only
"""A latency as the judge of a bisection: what is asked, what a recorded stream says, what is no verdict.
Kernels are compared by scripts/tests/latency (a stage of make check-deep)."""

import dataclasses
import json
import re

from tap import case, check, equal
from test_input import refused, scratch
from test_kernels import GOOD_C, repository, run
from test_report import lost_line, place, recorded

from hotmirror import bisect, slower
from hotmirror.say import Stop

COMPARE = ("compare", "GOOD", "BAD", "--tests", "uffd")
LINE = re.compile(r'"data": "\d+ (\d+) \d+ \d+ (\w+) ')


def question(metric="timeline:invalidate:p50", factor=2.0, scenario="uffd", **more):
    return slower.Question(slower.metric(metric), factor, scenario, **more)


def unmeasured(asked, changes=None):
    """(why there is no figure of the recorded observation, is the kernel accused of it)"""
    with scratch() as out:
        try:
            found = slower.figure(asked, place(out, changes))
        except slower.Unmeasured as gone:
            return str(gone), gone.accused
    raise AssertionError(f"there is a figure: {found}")


def session(**facts):
    """A change of session.json."""
    return {"session.json": lambda text: json.dumps({**json.loads(text), **facts})}


@case
def questions_that_are_none():
    """Each is refused before anything is built, and what there is instead is named."""
    def compare(metric, factor="2", *options):
        return run("bisect", *COMPARE, "--metric", metric, "--slower", factor, *options)

    refused(compare("invalidate"), "is not SCRIPT:KIND:pN", "timeline:invalidate:p99")
    refused(compare("nothing:invalidate:p99"), "no script nothing", "there are timeline, timeline_device")
    refused(compare("notifier_latency:invalidate:p99"), "no script notifier_latency prints events")
    refused(compare("timeline:device_invalidate:p99"), "timeline has no device_invalidate", "it has walk, .*invalidate")
    for percent in ("99", "p0", "p100", "p9.5", "max"):
        refused(compare(f"timeline:invalidate:{percent}"), f"{percent} is no percentile", "p1 to p99")
    for factor in ("1", "0.5", "-2", "nan"):
        refused(compare("timeline:invalidate:p99", factor), f"--slower {factor}", "a factor over 1")
    refused(compare("timeline:invalidate:p99", "fast"), "invalid float value")
    refused(compare("timeline:invalidate:p99", "2", "--rounds", "0"), "--rounds takes 1")
    refused(compare("timeline:invalidate:p99", "2", "--seconds", "0"), "--seconds takes 1")
    refused(compare("timeline:invalidate:p99", "2", "--tests", "nothing"), "is unknown", "pingpong.*a schedule")
    refused(compare("timeline:invalidate:p99", "2", "--accel", "warp"), "invalid choice")


@case
def bisections_by_a_metric_that_cannot_begin():
    with scratch() as path:
        ends = repository(path, [GOOD_C] * 2)

        def start(*options):
            return run("bisect", "start", "--tests", "uffd", *options, *ends, cwd=path)

        asked = ("--metric", "timeline:invalidate:p99")
        refused(start(*asked), "--metric and --slower go together")
        refused(start("--slower", "2"), "--metric and --slower go together")
        refused(start(*asked, "--slower", "2", "--fast"), "needs a kernel with BTF, which --fast has not", "--full")
        refused(start(*asked, "--slower", "2", "--bad-if", "x"), "one of them decides")
        refused(start(*asked, "--slower", "0.9"), "a factor over 1")
        check(not (path / ".git/hotmirror-bisect").exists(), "something was frozen")


@case
def every_kind_of_the_streams_is_known():
    """What a script prints can be asked for: no list is kept beside the scripts."""
    known = slower.kinds()
    equal(["timeline", "timeline_device"], sorted(known), "scripts")
    for name, words in known.items():
        printed = {kind for _, kind in LINE.findall(recorded()[f"{name}.json"])}
        equal(set(), printed - set(words), f"kinds of {name} that are not known")
        equal(set(), {kind for kind in printed if slower.metric(f"{name}:{kind}:p99").kind != kind}, "kinds")


@case
def percentile_is_that_of_the_stream():
    """Counted here by hand, between the two events that it lies between."""
    stream = recorded()["timeline.json"]
    for kind, percent in (("invalidate", 50), ("invalidate", 90), ("span", 75)):
        durations = sorted(int(ns) for ns, what in LINE.findall(stream) if what == kind)
        at, part = divmod((len(durations) - 1) * percent, 100)
        expected = durations[at] + (durations[at + 1] - durations[at]) * part / 100
        with scratch() as out:
            found, events = slower.figure(question(f"timeline:{kind}:p{percent}"), place(out))
        equal(len(durations), events, f"events of {kind}")
        check(abs(found - expected) <= 1, f"p{percent} of {kind} is {found}, not {expected}")


@case
def doubt_is_no_figure():
    """Nor are too few events; a kernel that died of the workload is accused."""
    few, accused = unmeasured(question("timeline:memunmap:p50"))
    check("events of memunmap, p50 of memunmap takes 20" in few and not accused, few)
    equal(100, slower.metric("timeline:invalidate:p99").least, "events that a p99 takes")
    lost, accused = unmeasured(question(), {"timeline.json": lost_line})
    check("inconclusive: timeline: 7 events lost" in lost and not accused, lost)
    cut, _ = unmeasured(question(), {"timeline.json": lambda text: text[:len(text) // 2]})
    check("inconclusive: timeline: " in cut, cut)
    absent, _ = unmeasured(question(), {"timeline.json": None})
    check("inconclusive" in absent, absent)
    failed, accused = unmeasured(question(), session(status=4))
    check("the workload ended with status 4" in failed and not accused, failed)
    equal(("Kernel panic - not syncing: Oops", True),
          unmeasured(question(), session(note="a script ended; Kernel panic - not syncing: Oops")), "a panic")
    with scratch() as out:
        try:
            slower.figure(question(), out)
            raise AssertionError("nothing at all has a figure")
        except slower.Unmeasured as gone:
            check("holds no observation" in str(gone), str(gone))


@case
def medians_of_the_rounds_decide():
    """One round that something disturbed does not; the factor itself is not over it."""
    def verdict(good, here, factor=2.0):
        return slower.decide(question(factor=factor), slower.Figures(good, [100] * len(good)),
                             slower.Figures(here, [100] * len(here)))

    for good, here, expected in (([10, 10, 10], [10, 10, 10], slower.FASTER), ([10, 10, 10], [20, 20, 20], slower.FASTER),
                                 ([10, 10, 10], [21, 21, 21], slower.SLOWER), ([10, 10, 10], [900, 10, 10], slower.FASTER),
                                 ([900, 10, 10], [30, 30, 30], slower.SLOWER), ([30, 30, 30], [10, 10, 10], slower.FASTER),
                                 ([0, 0, 0], [1, 1, 1], slower.SLOWER), ([0, 0, 0], [0, 0, 0], slower.FASTER)):
        equal(expected, verdict(good, here)[0], f"verdict of {good} and {here}")
    why = verdict([1000, 1000], [4000, 6000])[1]
    check("p50 of invalidate is 5.0 us, 5.00 times the good kernel's 1.0 us (bad is over 2; here 4.0, 6.0 us of 100, 100 events"
          in why, why)


@case
def report_has_the_figures_of_both():
    with scratch() as path:
        ends = repository(path, [GOOD_C] * 2)
        bisection = bisect.start(path, bisect.Rule(tests="uffd"), *ends, trust=True)
        bisection.rule = bisect.Rule(tests="uffd", metric="timeline:invalidate:p99", slower=2, rounds=1, seconds=4)
        found, why = slower.decide(bisection.rule.question(), slower.Figures([1000], [200]), slower.Figures([4000], [150]))
        step = bisection.place / "steps/001-x"
        step.mkdir(parents=True)
        (step / "step.json").write_text(json.dumps(dataclasses.asdict(bisect.Step(ends[1], found, why))))
        text = bisect.report(bisection)
    for words in ("metric:  timeline:invalidate:p99 of uffd, 1 rounds of 4 s; bad is over 2 times the good kernel's",
                  "p99 of invalidate is 4.0 us, 4.00 times the good kernel's 1.0 us",
                  "here 4.0 us of 150 events; good 1.0 us of 200 events"):
        check(words in text, f"{words!r} is not in\n{text}")


@case
def names_are_those_of_observe():
    """A scenario or a schedule; the schedule need not be built to be asked for."""
    question(scenario="race.read+munmap@anon:populate.begin")
    try:
        question(scenario="nothing")
        raise AssertionError("nothing is a scenario")
    except Stop as stop:
        check("pingpong" in stop.remedy, stop.remedy)
