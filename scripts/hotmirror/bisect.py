# SPDX-License-Identifier: GPL-2.0-only
"""git bisect with a frozen judge: what one step is, and what it leaves.

Everything that judges is copied when the bisection starts and is the same in each step:
the module's source, the tests, the kselftest framework, these scripts, the guest's image, the
flavour's options, the seed. Only the kernel changes. A hash of it all stands in the log of each
step; a compiler or an image that changed under way ends the bisection instead of deciding it.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import build, cache, git, guest, host, kept, kernel_build, kernels, slower
from .report import write_json
from .say import Stop, say

GOOD, BAD, CANNOT, ABORT = 0, 1, 125, 128
WORDS = {GOOD: "good", BAD: "bad", CANNOT: "cannot judge", ABORT: "ended"}
IN_A_ROW = 3                   # steps that cannot judge, one after the other, before it stops
DIRECTORY, STATE = "hotmirror-bisect", "bisect.json"
FRAMEWORK = "framework"        # the parts of a kernel source that tests are built with
# Of the checkout, what a step needs.
JUDGE = ("Makefile", "selftests", "test_driver", "bpf", "scripts")


@dataclass
class Rule:
    """What is asked of each commit."""
    tests: str
    repeat: int = 20
    flavour: str = "fast"
    jobs: int = 0
    bad_if: str = ""           # patterns in the kernel's log instead of failed tests
    good_if: str = ""
    environment: list = field(default_factory=list)
    append: str = ""
    metric: str = ""           # how long a scenario takes instead: see slower.py
    slower: float = 0
    rounds: int = 3
    seconds: int = 10
    accel: str = "auto"

    def question(self):
        return slower.Question(slower.metric(self.metric), self.slower, self.tests, self.rounds, self.seconds, self.accel)


def work_tree(path):
    """The top of the kernel's git tree; a changed file would be judged with every commit."""
    top = shutil.which("git") and git.ask(path, "rev-parse", "--show-toplevel", check=False)
    if not top:
        raise Stop(f"{path} is not in a git tree", "run it in the kernel tree that is bisected")
    tree = kernel_build.source_tree(top)
    git.need_clean(tree, "commit them or put them away (git stash), each commit is judged as it is")
    return tree


def home(tree):
    return Path(git.ask(tree, "rev-parse", "--absolute-git-dir")) / DIRECTORY


# ---- the judge ----

def freeze(place):
    """Copy what judges; returns the facts that must not change."""
    judge = place / "judge"
    judge.mkdir()
    for name in JUDGE:
        source = build.TOP / name
        if source.is_dir():
            shutil.copytree(source, judge / name, ignore=shutil.ignore_patterns("__pycache__", "*.o", "*.ko"))
        else:
            shutil.copy2(source, judge / name)
    shutil.copytree(kernels.newest().source, judge / FRAMEWORK, symlinks=True)
    image = guest.DEBIAN_13.image()
    kept = place / "guest.erofs"
    try:
        os.link(image, kept)
    except OSError:
        shutil.copy2(image, kept)
    return {"judge": cache.digest(judge), "guest": image.name, "compiler": kernel_build.compiler()}


def check_frozen(place, frozen):
    """The judge is the one that was frozen; the image is put back if the cache lost it."""
    image = cache.root() / frozen["guest"]
    if not image.exists():
        cache.entry("image", frozen["guest"].removeprefix("image-"),
                    lambda aside: shutil.copy2(place / "guest.erofs", aside))
    now = {"judge": cache.digest(place / "judge"), "guest": guest.DEBIAN_13.image().name,
           "compiler": kernel_build.compiler()}
    if (place / kept.DIRECTORY).exists():
        now["good kernel"] = cache.digest(place / kept.DIRECTORY)
    for what, before in frozen.items():
        if now.get(what) != before:
            raise Stop(f"the {what} changed since the bisection began: {before}, now {now.get(what)}",
                       "bring it back, or begin again: scripts/bisect start")


# ---- one commit ----

@dataclass
class Step:
    commit: str
    verdict: int = ABORT
    why: str = ""
    judge: str = ""
    out: str = ""              # directory of the last run
    seconds: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)    # of a metric: {side: {"ns": [...], "events": [...]}}


class Bisection:
    """One that was started, as its directory tells."""

    def __init__(self, tree):
        self.tree, self.place = tree, home(tree)
        state = self.place / STATE
        if not state.exists():
            raise Stop(f"no bisection was started in {tree}", "scripts/bisect start --help")
        known = json.loads(state.read_text())
        self.rule, self.frozen, self.ends = Rule(**known["rule"]), known["frozen"], known["ends"]
        self.hash = cache.digest(json.dumps(known["frozen"], sort_keys=True), json.dumps(known["rule"], sort_keys=True))

    def steps(self):
        files = sorted((self.place / "steps").glob("*/step.json"))
        return [Step(**json.loads(path.read_text())) for path in files]

    def step(self):
        """Judge what is checked out; the step, which is also kept."""
        check_frozen(self.place, self.frozen)
        done = self.steps()
        commit = git.ask(self.tree, "rev-parse", "HEAD")
        where = self.place / "steps" / f"{len(done) + 1:03}-{commit[:12]}"
        where.mkdir(parents=True)
        step = Step(commit, judge=self.hash)
        step.verdict, step.why = self._judge(where, step)
        write_json(where / "step.json", asdict(step))
        subject = git.ask(self.tree, "log", "-1", "--format=%s", commit)
        took = ", ".join(f"{name} {value} s" for name, value in step.seconds.items())
        say(f"step {len(done) + 1}: {commit[:12]} {subject}: {WORDS[step.verdict]}: {step.why} ({took}; judge {self.hash})")
        in_a_row = [one.verdict for one in [*done, step]][-IN_A_ROW - 1:]
        if in_a_row == [CANNOT] * (IN_A_ROW + 1):
            raise Stop(f"{IN_A_ROW + 1} commits in a row cannot be judged, the last: {step.why}",
                       "skip the range by hand (git bisect skip A..B), or choose a test or a flavour "
                       f"that it can be judged by; the logs are in {self.place / 'steps'}")
        return step

    def _judge(self, where, step):
        started = time.monotonic()
        try:
            job = kernel_build.Job(self.tree, self.rule.flavour, self.rule.jobs or host.cpus())
            kernel_build.build(job)
        except kernel_build.Unbuildable as stop:
            return CANNOT, stop.what
        finally:
            step.seconds["build"] = round(time.monotonic() - started, 1)
        started = time.monotonic()
        try:
            return (self._measure if self.rule.metric else self._run)(job.directory, where, step)
        finally:
            step.seconds["tests"] = round(time.monotonic() - started, 1)

    def _measure(self, kernel, where, step):
        """Beside the good kernel, in the same minutes."""
        good = slower.Side("good", str(self.place / kept.DIRECTORY), self.place / kept.DIRECTORY / build.MODULE)
        verdict, why, step.figures = slower.compare(
            self.rule.question(), good, slower.Side("here", str(kernel)), where,
            script=self.place / "judge/scripts/observe", environment=self._environment())
        step.out = str(where / f"here-{max(1, len(step.figures['here']['ns']))}")
        return verdict, why

    def _run(self, kernel, where, step):
        schedules = all(re.match(r"(hotmirror_race:)?race\.", text) for text in self.rule.tests.split())
        for number in range(1 if schedules else self.rule.repeat):
            out = where / f"run-{number + 1}"
            step.out = str(out)
            status, said = self._kselftest(kernel, out, ["--repeat", str(self.rule.repeat)] if schedules else [])
            verdict, why = self._verdict(status, out, said)
            if verdict != GOOD:
                break
        return verdict, why

    def _kselftest(self, kernel, out, options):
        """(exit status, the last words on stderr) of one run in a guest."""
        command = [sys.executable, str(self.place / "judge/scripts/kselftest"), "--kernel", str(kernel),
                   "--tests", self.rule.tests, "--out", str(out), "--append", self.rule.append, *options,
                   *(part for text in self.rule.environment for part in ("--env", text))]
        # One failure decides; a pattern is looked for in all that the tests make the kernel say.
        if not (self.rule.bad_if or self.rule.good_if):
            command.append("--first-failure")
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=self._environment())
        out.mkdir(exist_ok=True)
        (out / "said.log").write_text(done.stderr + done.stdout)
        return done.returncode, (done.stderr.strip().splitlines() or ["nothing"])[-1]

    def _environment(self):
        """Ours, without what make was given; the framework is the frozen one."""
        clean = {name: value for name, value in os.environ.items()
                 if name not in ("KERNEL", "TESTS", "OUT", "RACES", "REPEAT", "SHARD", "SCENARIO", "SCRIPTS", "DURATION")}
        return {**clean, kernels.FRAMEWORK: str(self.place / "judge" / FRAMEWORK)}

    def _verdict(self, status, out, said):
        summary = out / "summary.json"
        if not summary.exists():
            return CANNOT, said            # the runner itself broke: whatever its status is
        cause = json.loads(summary.read_text())["cause"]
        if self.rule.bad_if or self.rule.good_if:
            return self._by_pattern(status, out, cause)
        if status == 0:
            return GOOD, f"{self.rule.tests} passes"
        return (BAD if status == 1 else CANNOT), cause

    def _by_pattern(self, status, out, cause):
        """By the kernel's log; one of a guest that did not boot says nothing."""
        if status not in (0, 1):
            return CANNOT, cause
        log = "".join((out / name).read_text(errors="replace") for name in ("kernel.log", "console.log")
                      if (out / name).exists())
        found = re.search(self.rule.bad_if or self.rule.good_if, log, re.M)
        shown = f"the kernel log has: {found.group(0)}" if found else "the kernel log has no such line"
        return (BAD if bool(found) == bool(self.rule.bad_if) else GOOD), shown


# ---- the beginning ----

def start(tree, rule, good, bad, trust):
    """Freeze the judge, try both ends, tell git."""
    for pattern in (rule.bad_if, rule.good_if):
        try:
            re.compile(pattern)
        except re.error as error:
            raise Stop(f"{pattern!r} is no pattern: {error}") from error
    if rule.metric:
        rule.question()
    ends = {name: git.ask(tree, "rev-parse", "--verify", f"{commit}^{{commit}}")
            for name, commit in (("good", good), ("bad", bad))}
    place = home(tree)
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    frozen = freeze(place)
    if rule.metric:
        with _checked_out(tree, ends["good"]):
            frozen["good kernel"] = kept.keep(kernel_build.Job(tree, rule.flavour, rule.jobs or host.cpus()), place)
    write_json(place / STATE, {"rule": asdict(rule), "frozen": frozen, "ends": ends})
    bisection = Bisection(tree)
    say(f"the judge is frozen in {place / 'judge'} ({bisection.hash})")
    if not trust:
        _try_ends(bisection)
    git.ask(tree, "bisect", "start", ends["bad"], ends["good"])
    return bisection


def _try_ends(bisection):
    """A good commit that fails, or a bad one that passes, would cost hours."""
    for name, expected in (("good", GOOD), ("bad", BAD)):
        with _checked_out(bisection.tree, bisection.ends[name]):
            step = bisection.step()
        if step.verdict != expected:
            raise Stop(f"the {name} commit {step.commit[:12]} is {WORDS[step.verdict]}: {step.why}",
                       "name another commit or another test; --trust skips this trial")


@contextlib.contextmanager
def _checked_out(tree, commit):
    """That commit meanwhile; then the branch or commit that was."""
    before = git.ask(tree, "symbolic-ref", "-q", "--short", "HEAD", check=False) or git.ask(tree, "rev-parse", "HEAD")
    git.ask(tree, "checkout", "-q", commit)
    try:
        yield
    finally:
        git.ask(tree, "checkout", "-q", before)


# ---- the end ----

def first_bad(tree):
    """The commit that git found, or None while it is still looking."""
    found = re.search(r"^# first bad commit: \[(\w+)\]", git.ask(tree, "bisect", "log"), re.M)
    return found.group(1) if found else None


def _keep_log(step, path):
    """The kernel's log of a step's last run, without its times."""
    log = Path(step.out) / "kernel.log" if step and step.out else None
    text = log.read_text(errors="replace") if log and log.exists() else ""
    path.write_text(re.sub(r"^\[ *[\d.]+\] ", "", text, flags=re.M))
    return path


def report(bisection):
    """What was found, in words; also kept as report.txt."""
    commit, steps = first_bad(bisection.tree), bisection.steps()
    bad = next((step for step in steps if step.commit == commit), None)
    good = next((step for step in reversed(steps) if step.verdict == GOOD), None)
    rule = bisection.rule
    lines = [f"tests:   {rule.tests}, {rule.repeat} times" if not rule.metric else
             f"metric:  {rule.metric} of {rule.tests}, {rule.rounds} rounds of {rule.seconds} s; bad is over "
             f"{rule.slower:g} times the good kernel's",
             f"judge:   {bisection.hash} ({', '.join(bisection.frozen.values())})",
             f"kernels: {rule.flavour}", ""]
    lines += [git.ask(bisection.tree, "show", "--stat", "--format=first bad commit: %H%n%an, %ad%n%n    %s%n", commit)
              if commit else "the first bad commit is not known yet", ""]
    for number, step in enumerate(steps, 1):
        took = sum(step.seconds.values())
        lines.append(f"{number:3} {step.commit[:12]} {WORDS[step.verdict]:12} {took:6.1f} s  {step.why}")
    lines += ["", "Kernel logs, the last good one at the left, the first bad one at the right:"]
    logs = [_keep_log(good, bisection.place / "last-good.log"), _keep_log(bad, bisection.place / "first-bad.log")]
    done = subprocess.run(["diff", "--side-by-side", "--expand-tabs", "--width=160", *logs],
                          check=False, capture_output=True, text=True, errors="replace")
    text = "\n".join([*lines, done.stdout])
    (bisection.place / "report.txt").write_text(text)
    return text
