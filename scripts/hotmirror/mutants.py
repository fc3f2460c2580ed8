# SPDX-License-Identifier: GPL-2.0-only
"""Faults put into the core kernel on purpose, and whether the suite notices each one.

A mutant is a semantic patch (Coccinelle) in scripts/mutants, so that it survives the next
kernel version; its head says which file it changes, what goes wrong then, and which tests
are likely to notice.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import build, git, host, kernel_build, ktap
from .report import write_json
from .say import Stop, say

PLACE = Path(__file__).resolve().parent.parent / "mutants"
HEAD = re.compile(r"^// (FILE|FAULT|HISTORY|FIRST): (.*)$", re.M)
KILLED, SURVIVED, NOT_HERE, UNBUILDABLE, UNJUDGED = \
    "killed", "survived", "not in this tree", "does not build", "not judged"
COUNTED = (KILLED, SURVIVED)
TOOLS = {"spatch": "coccinelle"}


@dataclass
class Mutant:
    name: str
    path: str                  # in the kernel tree
    fault: str
    first: str = ""            # globs of the tests to begin with
    history: str = ""

    @property
    def patch(self):
        return PLACE / f"{self.name}.cocci"


def known():
    found = []
    for path in sorted(PLACE.glob("*.cocci")):
        head = dict(HEAD.findall(path.read_text(encoding="utf-8")))
        if "FILE" not in head or "FAULT" not in head:
            raise Stop(f"{path} lacks a line // FILE: or // FAULT:", "see the others in scripts/mutants")
        found.append(Mutant(path.stem, head["FILE"], head["FAULT"], head.get("FIRST", ""), head.get("HISTORY", "")))
    return found


@dataclass
class Result:
    name: str
    verdict: str
    by: str = ""               # the test, or how the kernel ended
    seconds: float = 0
    build_seconds: float = 0
    baseline: str = ""         # what upstream's hmm-tests say


class Tree:
    """A clean git tree that takes one mutant at a time."""

    def __init__(self, path):
        self.path = kernel_build.source_tree(path)
        if not (self.path / ".git").exists():
            raise Stop(f"{self.path} is not a git tree", "mutants are taken back by git: use a clone")
        git.need_clean(self.path, "commit them or put them away (git stash), or use a clone of its own")

    def apply(self, mutant):
        """Whether the mutant changed anything."""
        target = self.path / mutant.path
        if not target.exists():
            return False
        before = target.read_bytes()
        host.run(["spatch", "--very-quiet", "--in-place", "--sp-file", mutant.patch, target],
                 f"applying {mutant.name}")
        return target.read_bytes() != before

    def restore(self):
        git.ask(self.path, "checkout", "-q", "--", ".")


class Hunt:
    """One run over the mutants; OUT/mutants.json is kept after each, so that it can go on."""

    def __init__(self, tree, flavour, jobs, out, baseline=False):
        self.tree, self.out, self.baseline = tree, out, baseline
        self.job = kernel_build.Job(tree.path, flavour, jobs)
        self.file = out / "mutants.json"
        self.judge = self._judge()
        self.results = {}
        if self.file.exists():
            known_results = json.loads(self.file.read_text())
            if known_results["flavour"] != flavour or known_results["judge"] != self.judge:
                raise Stop(f"{out} is of another judge or flavour", "name an empty or a new directory")
            self.results = {one["name"]: Result(**one) for one in known_results["results"]}

    @staticmethod
    def _judge():
        """The tests and the module; a result of others does not count."""
        return build.Snapshot([(path, path.relative_to(build.TOP)) for name in ("selftests", "test_driver")
                               for path in build.sources(build.TOP / name)]).key()

    def keep(self, result):
        self.results[result.name] = result
        release = self.job.directory / "include/config/kernel.release"
        write_json(self.file, {"flavour": self.job.flavour, "judge": self.judge,
                               "kernel": release.read_text().strip() if release.exists() else "",
                               "results": [asdict(one) for one in self.results.values()]})

    def todo(self, mutant):
        """Is something of it not known yet: what the suite says, or what hmm-tests say?"""
        known_result = self.results.get(mutant.name)
        return not known_result or self.baseline and known_result.verdict in COUNTED and not known_result.baseline

    def try_one(self, mutant):
        result = self.results.get(mutant.name) or Result(mutant.name, NOT_HERE)
        try:
            if self.tree.apply(mutant):
                self._build_and_run(mutant, result)
        finally:
            self.tree.restore()
            kernel_build.forget(self.job)
        self.keep(result)
        return result

    def _build_and_run(self, mutant, result):
        started = time.monotonic()
        try:
            kernel_build.build(self.job)
        except kernel_build.Unbuildable as stop:
            result.verdict, result.by = UNBUILDABLE, stop.what
            return
        if result.verdict not in COUNTED:
            result.build_seconds = round(time.monotonic() - started, 1)
            result.verdict, result.by = self._judged(mutant)
            result.seconds = round(time.monotonic() - started, 1)
        if self.baseline and result.verdict in COUNTED:
            result.baseline = self._hmm_tests(mutant)

    def _judged(self, mutant):
        verdict, by = SURVIVED, ""
        for tests in ([mutant.first] if mutant.first else []) + [""]:
            verdict, by = self._suite(mutant, tests)
            if verdict != SURVIVED:
                break
        return verdict, by

    def _suite(self, mutant, tests):
        """(verdict, what noticed) of one run of the tests, which ends with the first failure."""
        out = self.out / mutant.name
        shutil.rmtree(out, ignore_errors=True)
        status = self._run(["scripts/kselftest", "--kernel", str(self.job.directory), "--tests", tests,
                            "--first-failure", "--out", str(out)], out)
        if status == 0:
            return SURVIVED, ""
        summary = json.loads((out / "summary.json").read_text())
        failed = next((test["name"] for word in (ktap.FAIL, ktap.MISSING) for test in summary["tests"]
                       if test["status"] == word), "")
        if status == 1:
            return KILLED, failed or summary["cause"]
        # A kernel that does not come up with the fault in it is noticed, too.
        return (KILLED if "did not boot" in summary["cause"] else UNJUDGED), summary["cause"]

    def _hmm_tests(self, mutant):
        out = self.out / f"{mutant.name}.hmm-tests"
        status = self._run(["scripts/hmm-tests", "--only", "upstream", "--kernel", str(self.job.directory),
                            "--first-failure", "--out", str(out)], out)
        return {0: SURVIVED, 1: KILLED}.get(status, UNJUDGED)

    @staticmethod
    def _run(command, out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with open(f"{out}.log", "wb") as log:
            return subprocess.run([sys.executable, *command], check=False, cwd=build.TOP, stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log).returncode

    def healthy(self):
        """The tree without a mutant passes: what kills a mutant is the mutant."""
        kernel_build.build(self.job)
        nothing = Mutant("no-mutant", "", "")
        verdict, by = self._suite(nothing, "")
        if verdict != SURVIVED:
            raise Stop(f"the suite fails on this tree without any mutant: {by}", f"see {self.out / 'no-mutant'}")
        if self.baseline and self._hmm_tests(nothing) != SURVIVED:
            raise Stop("hmm-tests fail on this tree without any mutant", f"see {self.out / 'no-mutant.hmm-tests.log'}")


def table(results):
    """A row a mutant, and the score."""
    width = max((len(one.name) for one in results), default=4)
    lines = [f"{one.name:{width}}  {one.verdict:16}  {one.seconds:6.1f} s  {one.by}"
             + (f"  [hmm-tests: {one.baseline}]" if one.baseline else "") for one in results]
    counted = [one for one in results if one.verdict in COUNTED]
    killed = sum(one.verdict == KILLED for one in counted)
    if counted:
        lines.append(f"score: {killed} of {len(counted)} killed, {100 * killed / len(counted):.0f} %; "
                     f"{sum(one.seconds for one in counted) / len(counted):.0f} s a mutant on average")
    based = [one for one in counted if one.baseline in COUNTED]
    if based:
        lines.append(f"upstream's hmm-tests: {sum(one.baseline == KILLED for one in based)} of {len(based)} killed")
    return "\n".join(lines)


def shown(result, number, total, remaining):
    say(f"{number} of {total}: {result.name}: {result.verdict}{': ' if result.by else ''}{result.by} "
        f"({result.seconds:.0f} s, {remaining})")
