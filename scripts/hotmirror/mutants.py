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

from . import build, cache, git, host, kernel_build, ktap
from .report import write_json
from .say import Stop, say

PLACE = Path(__file__).resolve().parent.parent / "mutants"
HEAD = re.compile(r"^// (FILE|FAULT|HISTORY|FIRST): (.*)$", re.M)
KILLED, SURVIVED, NOT_HERE, UNBUILDABLE, UNJUDGED = \
    "killed", "survived", "not in this tree", "does not build", "not judged"
COUNTED = (KILLED, SURVIVED)
KEPT = "mutants.json"          # in OUT
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

    @property
    def key(self):
        """Changes with the fault, not with what is said about it."""
        return cache.digest(*(line for line in self.patch.read_text(encoding="utf-8").splitlines()
                              if not line.startswith("//")))


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
    judge: str = ""            # of the verdict, see judge()
    patch: str = ""            # which fault it was, see Mutant.key


def kept(flavour, kernel, results):
    """What stays of a run, in its OUT and in docs/mutation.json."""
    return {"flavour": flavour, "kernel": kernel, "results": [asdict(one) for one in results.values()]}


def judge():
    """A hash of the tests and the module: who says that a mutant survived."""
    return build.Snapshot([(path, path.relative_to(build.TOP)) for name in ("selftests", "test_driver")
                           for path in build.sources(build.TOP / name)]).key()


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
    """One run over the mutants; OUT/mutants.json is kept after each, so that it can go on.

    A kill stays one when tests are added; a mutant that survived other tests is tried again.
    """

    def __init__(self, tree, flavour, jobs, out, baseline=False):
        self.tree, self.out, self.baseline = tree, out, baseline
        self.job = kernel_build.Job(tree.path, flavour, jobs)
        self.file = out / KEPT
        self.judge = judge()
        self.kernel, self.results = "", {}
        if self.file.exists():
            before = json.loads(self.file.read_text())
            if before["flavour"] != flavour:
                raise Stop(f"{out} is of another flavour: {before['flavour']}", "name an empty or a new directory")
            self.kernel = before["kernel"]
            self.results = {one["name"]: Result(**one) for one in before["results"]}

    def keep(self, result):
        self.results[result.name] = result
        write_json(self.file, kept(self.job.flavour, self.kernel, self.results))

    def _build(self):
        kernel_build.build(self.job)
        release = (self.job.directory / "include/config/kernel.release").read_text().strip()
        if self.kernel not in ("", release):
            raise Stop(f"{self.out} is of kernel {self.kernel}, this is {release}", "name an empty or a new directory")
        self.kernel = release

    def _before(self, mutant):
        """What is known of that very fault."""
        before = self.results.get(mutant.name)
        return before if before and before.patch == mutant.key else Result(mutant.name, UNJUDGED, patch=mutant.key)

    def _stands(self, before):
        return before.verdict == KILLED or before.verdict == SURVIVED and before.judge == self.judge

    def todo(self, mutant):
        """Is something of it not known yet: what the suite says, or what hmm-tests say?"""
        before = self._before(mutant)
        return not self._stands(before) or self.baseline and not before.baseline

    def try_one(self, mutant):
        result = self._before(mutant)
        try:
            if self.tree.apply(mutant):
                self._build_and_run(mutant, result)
            else:
                result.verdict = NOT_HERE
        finally:
            self.tree.restore()
            kernel_build.forget(self.job)
        self.keep(result)
        return result

    def _build_and_run(self, mutant, result):
        started = time.monotonic()
        try:
            self._build()
        except kernel_build.Unbuildable as stop:
            result.verdict, result.by = UNBUILDABLE, stop.what
            return
        if not self._stands(result):
            result.judge = self.judge
            result.build_seconds = round(time.monotonic() - started, 1)
            result.verdict, result.by = self._judged(mutant)
            result.seconds = round(time.monotonic() - started, 1)
        if self.baseline and result.verdict in COUNTED and not result.baseline:
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
        self._build()
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
