# SPDX-License-Identifier: GPL-2.0-only
"""One run in two guests side by side: each has a shard of it, the results are one.

A guest is a scripts/kselftest of its own with --shard, and an OUT of its own below OUT.
"""

import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import kernels, lanes, names, report
from .say import say

WORTH = 1000                   # schedules, or tests on a slow kernel; fewer are over before a second guest has booted
HEADER = re.compile(r"(KTAP version \d+|1\.\.\d+)$")
PLAN = re.compile(r"    1\.\.(\d+)$")
RESULT = re.compile(r"((?:not )?ok) \d+ (\S+)(.*)$")
CLOSING = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped$")
NO_SUMMARY = {"verdict": "unknown", "cause": "it said nothing", "kernel": "", "accel": None, "boot_ms": 0,
              "counts": {}, "excused": [], "notes": [], "tests": []}


def wanted(programs, choice, kernel, jobs):
    """Is this a run for two guests on a machine that can have so many side by side?"""
    if choice.shard or kernel.running or jobs < 2:
        return False
    counted = programs if kernels.slowness(kernel) > 1 else [program for program in programs if program.is_long]
    asked = choice.races == names.ALL or counted is programs
    return asked and sum(len(program.tests or ()) for program in counted) >= WORTH


@dataclass
class Guest:
    block: list = field(default_factory=list)    # lines of the program that runs, not shown yet
    program: str = ""
    plan: int = 0                                # of a program that runs in every guest
    done: str = ""                               # "ok" or "not ok" of that program
    over: bool = False                           # it will say nothing more


class Joiner:
    """KTAP of several guests as one, line by line.

    The block of a program that ran in one guest is shown when it is whole. One that runs
    in every guest is shown as it goes on, from when the last guest has reached it.
    """

    def __init__(self, count, shared, show):
        self.guests = [Guest() for _ in range(count)]
        self.shared, self.show = shared, show
        self.programs = self.number = 0
        self.open = False
        self.totals = [0, 0, 0]
        self.lock = threading.Lock()

    def feed(self, index, line):
        guest, line = self.guests[index], line.rstrip("\n")
        with self.lock:
            if match := CLOSING.match(line):
                self.totals = [a + int(b) for a, b in zip(self.totals, match.groups())]
            elif line.startswith("# Subtest: "):
                guest.program, guest.block = line.removeprefix("# Subtest: "), [line]
            elif not HEADER.match(line):
                self._line(guest, line)

    def end(self, index):
        with self.lock:
            self.guests[index].over = True
            self._go_on()

    def _line(self, guest, line):
        if guest.program in self.shared:
            if match := PLAN.match(line):
                guest.plan = int(match[1])
            elif match := RESULT.match(line):
                guest.done, guest.program = match[1], ""
            elif not line.startswith("    KTAP"):
                guest.block.append(line)
            self._go_on()
        elif guest.program:
            guest.block.append(line)
            if match := RESULT.match(line):
                self._whole(guest, match)
        else:
            self.show(line)

    def _whole(self, guest, match):
        self.programs += 1
        for line in guest.block[:-1]:
            self.show(line)
        self.show(f"{match[1]} {self.programs} {match[2]}{match[3]}")
        guest.program, guest.block = "", []

    def _go_on(self):
        """Show what may be shown of the program that runs everywhere."""
        inside = [guest for guest in self.guests if guest.plan]
        if not inside or not all(guest.plan or guest.over for guest in self.guests):
            return
        if not self.open:
            self.open = True
            self.show(f"# Subtest: {self.shared[0]}")
            self.show("    KTAP version 1")
            self.show(f"    1..{sum(guest.plan for guest in inside)}")
        for guest in inside:
            for line in guest.block:
                self._result(line)
            guest.block = []
        if all(guest.done or guest.over for guest in inside):
            self._close(inside)

    def _result(self, line):
        match = RESULT.match(line[4:]) if line.startswith("    ") else None
        self.number += bool(match)
        if not line.startswith("# Subtest: "):
            self.show(f"    {match[1]} {self.number} {match[2]}{match[3]}" if match else line)

    def _close(self, inside):
        self.programs += 1
        whole = all(guest.done == "ok" for guest in self.guests)
        self.show(f"{'ok' if whole else 'not ok'} {self.programs} {self.shared[0]}")
        for guest in inside:
            guest.plan, guest.done = 0, ""
        self.shared, self.open = self.shared[1:], False
        self.number = 0


def _guest(index, argv, out, joiner):
    command = [sys.executable, *argv, "--shard", f"{index + 1}/{len(report.GUESTS)}",
               "--out", str(out / report.GUESTS[index])]
    try:
        status = lanes.run(command, report.GUESTS[index], take=lambda line: joiner.feed(index, line))
    finally:
        joiner.end(index)
    if status == 1 and "--first-failure" in argv:
        lanes.end_all()


def _summary(path):
    try:
        return NO_SUMMARY | json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return NO_SUMMARY


def _join_files(out, guests):
    """kmsg/ and programs/ of all guests in one; what two have is put together."""
    for path in guests:
        for part in report.OWNED_DIRECTORIES:
            for kept in sorted((path / part).glob("*")):
                with open(out / part / kept.name, "ab") as whole:
                    whole.write(kept.read_bytes())
    facts = [json.loads(file.read_text(encoding="utf-8")) for path in guests
             if (file := path / "what-was-run.json").exists()]
    report.write_json(out / "what-was-run.json", {"guests": facts})


def _join_summaries(out, guests):
    found = [_summary(path) for path in guests]
    words = {summary["verdict"] for summary in found}
    joint = {
        "verdict": next(word for word in ("fail", "unknown", "pass") if word in words),
        "cause": "; ".join(f"{path.name}: {summary['cause']}"
                           for path, summary in zip(guests, found) if summary["cause"]),
        "kernel": found[0]["kernel"], "accel": found[0]["accel"],
        "boot_ms": max(summary["boot_ms"] for summary in found),
        "counts": {name: sum(summary["counts"].get(name, 0) for summary in found)
                   for name in ("pass", "fail", "skip", "xfail", "missing")}}
    joint |= {name: [one for summary in found for one in summary[name]]
              for name in ("excused", "notes", "tests")}
    report.write_json(out / "summary.json", joint)
    return joint


def run(argv, programs, out):
    """Run, join, say how it ended; the exit status."""
    guests = [out / name for name in report.GUESTS]
    say(f"in {len(guests)} guests, side by side")
    shared = [program.prefix for program in programs if program.is_long]
    with open(out / "results.ktap", "w", encoding="utf-8") as kept:
        def show(line):
            kept.write(line + "\n")
            print(line, flush=True)

        show(f"KTAP version 1\n1..{len(programs)}")
        joiner = Joiner(len(guests), shared, show)
        with ThreadPoolExecutor(len(guests)) as pool:
            try:
                with lanes.ended_with(pool):
                    for future in [pool.submit(_guest, index, argv, out, joiner)
                                   for index in range(len(guests))]:
                        lanes.result(future)
            except KeyboardInterrupt:
                say("interrupted")
        _join_files(out, guests)
        joint = _join_summaries(out, guests)
        report.say_verdict(joint["verdict"], joint["cause"])
        show("{} passed, {} failed, {} skipped".format(*joiner.totals))
    return report.verdict.EXIT[joint["verdict"]]
