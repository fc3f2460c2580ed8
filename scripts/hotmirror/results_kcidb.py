# SPDX-License-Identifier: GPL-2.0-only
"""Results as a report of KCIDB's I/O schema 5.3: a checkout, a build and its tests.

A status is about the kernel: FAIL accuses it, ERROR the test or its environment, MISS is
a test that nobody got to. All ids follow from what was run, so that the same OUT sent
twice is the same report, and two runs of one build share the build.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime

from . import git, ktap
from .results import NOT_RUN, OWN_FAULT, excerpt, path
from .say import Stop

VERSION = {"major": 5, "minor": 3}
ROOT = "kselftest.hotmirror"   # where our tests are in the tree of all tests
ORIGIN = re.compile(r"[a-z0-9_]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
URL = re.compile(r"https://[^/\s]+/\S+")
ARCHITECTURE = "x86_64"        # the only one that there is a guest for

OF_TEST = {ktap.PASS: "PASS", ktap.FAIL: "FAIL", ktap.SKIP: "SKIP", ktap.XFAIL: "SKIP", ktap.MISSING: "ERROR"}
# {why a test has no verdict on the kernel: status}
WITHOUT_VERDICT = {NOT_RUN: "MISS", OWN_FAULT: "ERROR"}


@dataclass(frozen=True)
class Source:
    """Where the kernel's source came from; "" is not known, as it is of a packaged kernel."""
    tree_name: str = ""
    commit: str = ""
    url: str = ""
    branch: str = ""
    describe: str = ""
    changes: str = ""          # hash of what was not committed


def source_of(tree, remote="origin"):
    """The Source of a git tree."""
    commit = git.ask(tree, "rev-parse", "HEAD", check=False)
    if not COMMIT.fullmatch(commit):
        raise Stop(f"--tree {tree} is not a git tree with a commit", "name the tree of the kernel that was run")
    changes = git.ask(tree, "diff", "HEAD", check=False)
    url = git.ask(tree, "remote", "get-url", remote, check=False)
    return Source(commit=commit, url=url if URL.fullmatch(url) else "",
                  branch=git.ask(tree, "symbolic-ref", "--quiet", "--short", "HEAD", check=False),
                  describe=git.ask(tree, "describe", "--always", check=False),
                  changes=hashlib.sha256(changes.encode()).hexdigest() if changes else "")


def known(**values):
    """Only what is there: KCIDB knows no null."""
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}


def whole(value):
    """Without the nulls that summary.json or what-was-run.json may have inside."""
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items() if item is not None}
    return [whole(item) for item in value if item is not None] if isinstance(value, list) else value


def text(value):
    return value.replace("\0", "")


def _when(stamp):
    """RFC 3339 of what was-run.json says."""
    try:
        return datetime.strptime(stamp or "", "%Y-%m-%dT%H:%M:%S%z").isoformat()
    except ValueError:
        return ""


def _id(origin, *words):
    return f"{origin}:" + ":".join(re.sub(r"[\s\0-\x1f]+", "_", word) for word in words)


def _checkout(results, origin, source):
    """A packaged kernel is known by its release."""
    words = ("git", source.commit, *filter(None, (source.changes[:16],))) if source.commit \
        else ("package", results.kernel)
    made = known(
        id=_id(origin, *words), origin=origin, tree_name=source.tree_name, git_repository_url=source.url,
        git_commit_hash=source.commit, git_commit_name=source.describe, git_repository_branch=source.branch,
        comment=f"{results.kernel}" + (", with changes that are not committed" if source.changes else "")
        if source.commit else f"packaged kernel {results.kernel}",
        misc=known(kernel=results.fact("kernel", "name"), uncommitted_sha256=source.changes))
    if source.commit and not source.changes:
        made["patchset_hash"] = ""
    return made | {"valid": True}


def _build(results, origin, checkout):
    facts = results.section("kernel")
    module = results.section("module")
    parts = [results.kernel, facts.get("config_sha256"), module.get("sha256")]
    key = hashlib.sha256(json.dumps([checkout["id"], *parts]).encode()).hexdigest()[:16]
    return known(
        id=_id(origin, results.kernel, key), origin=origin, checkout_id=checkout["id"],
        architecture=ARCHITECTURE, config_name=facts.get("name"),
        comment=f"kernel {results.kernel}, module test_hotmirror",
        status="PASS" if any(test.status == ktap.PASS for test in results.tests) else "",
        misc=known(config_sha256=facts.get("config_sha256"), module_sha256=module.get("sha256"),
                   hotmirror_commit=results.fact("commit")))


def _environment(results):
    accel = results.summary.get("accel")
    guest = results.section("guest")
    comment = f"QEMU, {accel}" if guest else "the running machine" if accel else ""
    return known(comment=comment, misc=known(
        accel=accel, cpus=guest.get("cpus"), mem_mb=guest.get("mem_mb"), append=guest.get("append"),
        guests=len(results.facts) if len(results.facts) > 1 else None,
        module_parameters=results.fact("module", "parameters"), seed=results.fact("seed")))


def status(test):
    if test.kernel_ended_it:
        return "FAIL"
    return WITHOUT_VERDICT.get(test.why, OF_TEST[test.status])


def _of_run(results):
    """The status of the run as a whole, and whether anything was judged in it."""
    reached = any(test.status != ktap.MISSING for test in results.tests)
    return {"pass": "PASS", "fail": "FAIL", "unknown": "ERROR" if reached else "MISS"}[results.verdict]


class _Tests:
    """Makes the tests of one build, each with an id of its own."""

    def __init__(self, results, origin, build):
        self.results, self.origin, self.build = results, origin, build
        self.environment = _environment(results)
        self.made, self.times = [], {}

    def add(self, where, **values):
        """Two guests have both a kernel:... of the same name; a path may come again, an id may not."""
        self.times[where] = self.times.get(where, 0) + 1
        again = (f"again-{self.times[where]}",) if self.times[where] > 1 else ()
        self.made.append(known(
            id=_id(self.origin, self.results.key, where, *again), origin=self.origin,
            build_id=self.build["id"], path=where, environment=self.environment, **values))

    def run(self):
        results = self.results
        started, ended = (_when(results.fact(name)) for name in ("started", "finished"))
        took = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds() \
            if started and ended else None
        said = f"{results.verdict}: {results.cause}" if results.cause else results.verdict
        self.add(ROOT, status=_of_run(results), comment=text(said), start_time=started, duration=took,
                 misc=known(verdict=results.verdict, counts=results.summary.get("counts")))
        boot = results.summary.get("boot_ms")
        if isinstance(boot, int) and boot > 0:
            self.add(f"{ROOT}.boot", status="DONE", comment="from QEMU's start to the first record",
                     number={"value": boot / 1000, "unit": "s", "prefix": "metric"})

    def test(self, test):
        self.add(f"{ROOT}.{path(test.name)}", status=status(test), comment=text(test.detail),
                 duration=test.ms / 1000, log_excerpt=text(excerpt(test.log)),
                 misc={"name": text(test.name), "status": test.status})


def document(results, origin="hotmirror", source=Source()):
    if not ORIGIN.fullmatch(origin):
        raise Stop(f"--origin {origin} is no name of an origin", "use a-z, 0-9 and _")
    if source.commit and not COMMIT.fullmatch(source.commit):
        raise Stop(f"--commit {source.commit} is not a full commit hash", "give all 40 hex digits")
    if source.url and not URL.fullmatch(source.url):
        raise Stop(f"--url {source.url} is not the https:// URL of a repository")
    checkout = _checkout(results, origin, source)
    build = _build(results, origin, checkout)
    tests = _Tests(results, origin, build)
    tests.run()
    for test in results.tests:
        tests.test(test)
    made = {"version": VERSION, "checkouts": [checkout], "builds": [build], "tests": tests.made}
    return json.dumps(whole(made), indent=1) + "\n"
