# SPDX-License-Identifier: GPL-2.0-only
"""Schedules on a module that is broken on purpose: which ones notice, and by which oracle."""

import re
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import ktap, lanes, names, races, schedules
from .say import Stop, say

KSELFTEST = Path(__file__).resolve().parent.parent / "kselftest"
VARIABLE = "HOTMIRROR_RACE_SABOTAGE"
ALL, HONEST = "all", "honest"
LIMIT = 3600                   # seconds for a run, where many schedules end at a limit of their own
# Where the fault can show, if that is not anonymous memory.
ELSEWHERE = {"EVICT_NO_COPY": "private", "SKIP_UNMAP": "dax"}
ANON = "anon"
# What a failure says, and the oracle that says so.
ORACLES = ((r"no order explains", "order"), (r"stale entr", "stale entry"),
           (r"the callback left|an entry went", "callback"), (r"kernel: ", "kernel log"),
           (r"left behind|objects of the module", "nothing left"), (r"deadlock", "deadlock"))
OTHER = "other"


def modes(wanted, directory):
    """The names that --sabotage means."""
    known = schedules.Schedules(directory).answer("--sabotages").split()
    if wanted == ALL:
        return known
    found = [name for name in known if name.lower() == wanted.lower()]
    if not found:
        raise Stop(f"there is no way {wanted} to break the device", f"use {ALL} or one of {' '.join(known)}")
    return found


def oracle(detail):
    return next((name for pattern, name in ORACLES if re.search(pattern, detail)), OTHER)


def shortest(results):
    """Few sides and gates before many, then the first in the order of the list."""
    return min(results, key=lambda result: (result.pair.count("+"), result.gate.count(",")))


@dataclass
class Mode:
    name: str
    memory: str
    run: int
    caught: list               # results

    def oracles(self):
        """[(oracle, how many, the shortest)], the busiest first."""
        seen = Counter(oracle(result.detail) for result in self.caught)
        return [(name, count, shortest([r for r in self.caught if oracle(r.detail) == name]))
                for name, count in seen.most_common()]


def one_run(given, mode, tests, out):
    """The Run of all the tests with the module broken so; HONEST: with it as it is."""
    command = [sys.executable, KSELFTEST, "--kernel", given.kernel, "--tests", tests, "--races", given.races,
               "--out", out, "--limit", LIMIT, *given.rest]
    if mode != HONEST:
        command += ["--env", f"{VARIABLE}={mode}"]
    status = lanes.run(list(map(str, command)), out.name, subprocess.DEVNULL)
    if status not in (0, 1):
        raise Stop(f"the run with {mode} could not be judged (exit status {status})", "its last words are above")
    return races.read(out, {})


def measure(given, directory):
    """The Modes, in order. What fails on the honest module, too, is no catch."""
    wanted = modes(given.sabotage, directory)
    tests = {mode: given.tests or f"{names.SHORT}*@{ELSEWHERE.get(mode, ANON)}:*" for mode in wanted}
    jobs = [(HONEST, " ".join(sorted(set(tests.values()))))] + list(tests.items())
    with ThreadPoolExecutor(given.jobs) as pool, lanes.ended_with(pool):
        pending = [pool.submit(one_run, given, mode, globs, given.out / mode) for mode, globs in jobs]
        runs = dict(zip((mode for mode, _ in jobs), map(lanes.result, pending)))
    honest = {result.name for result in runs[HONEST].failures()}
    if honest:
        say(f"{len(honest)} schedules fail on the module as it is, and are left out")
    found = []
    for mode in wanted:
        ran = [result for result in runs[mode].results if result.status in (ktap.PASS, ktap.FAIL, ktap.XFAIL)]
        caught = [result for result in ran if result.status == ktap.FAIL and result.name not in honest]
        memories = sorted({result.memory for result in ran})
        found.append(Mode(mode, ", ".join(memories), len(ran), caught))
        (given.out / f"{mode}.txt").write_text(
            "".join(f"{result.name}\t{oracle(result.detail)}\t{result.detail}\n" for result in caught), encoding="utf-8")
    return found


def table(found):
    """Markdown: a row for each fault."""
    lines = ["| fault | caught by | on | the shortest | oracles |", "|---|---|---|---|---|"]
    for mode in found:
        first = f"`{shortest(mode.caught).name}`" if mode.caught else "none"
        oracles = ", ".join(f"{name} {count}" for name, count, _ in mode.oracles())
        lines.append(f"| `{mode.name}` | {len(mode.caught)} of {mode.run} | {mode.memory} | {first} | {oracles} |")
    return lines


def report(given, found):
    """Print and keep the table; the exit status."""
    lines = table(found)
    (given.out / "sabotage.md").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for mode in found:
        print(f"{mode.name}: {len(mode.caught)} of {mode.run} schedules catch it")
        for name, count, result in mode.oracles():
            print(f"  {name}: {count}, first {result.name}: {result.detail}")
    print("\n".join(["", *lines]))
    missed = [mode.name for mode in found if not mode.caught]
    print(f"{len(found) - len(missed)} passed, {len(missed)} failed, 0 skipped", flush=True)
    say(f"sabotage.md, and the schedules of each fault, are in {given.out}")
    return 1 if missed else 0
