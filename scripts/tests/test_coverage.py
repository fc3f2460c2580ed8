# SPDX-License-Identifier: GPL-2.0-only
"""make races, make explore and make flake: what they count, what they show, what they refuse."""

import json
import os
import re
import subprocess
from html.parser import HTMLParser

from tap import HERE, SCRIPTS, case, check, equal
from test_input import refused, scratch

from hotmirror import broken, races, races_html

GUEST = ["--collection", str(HERE / "races"), "--driver", str(HERE / "provoke"), "--parameters", ""]
LOG = """\
TAP version 13
1..3
# RUN           race.read+munmap@anon:one ...
# race: class=anon blocked=mmap_lock us=1500 orders=AB,BA took=AB
ok 1 race.read+munmap@anon:one
# race: class=anon blocked=- us=500 orders=AB,BA took=-
# page 0: <neither>
not ok 2 race.read+munmap@anon:two
ok 3 race.read+munmap@dax:one # SKIP unreachable: dax is no place for it
"""
TESTS = {"race.read+munmap@anon:one": ("pass", ""), "race.read+munmap@anon:two": ("fail", "page 0: <neither>"),
         "race.read+munmap@dax:one": ("skip", "unreachable: dax is no place for it"),
         "race.pin+fork@anon:one": ("xfail", "a bug"), "race.pin+fork@dax:one": ("skip", "ENOMEM"),
         "race.pin+fork@dax:two": ("missing", "the guest died")}


def script(name, *arguments, environment=None):
    keep = {key: value for key, value in os.environ.items() if key not in ("KERNEL", "TESTS", "RACES", "REPEAT", "OUT", "SECONDS", "COUNT", "SEED", "MEMORY")}
    return subprocess.run([str(SCRIPTS / name), *arguments], check=False, text=True, capture_output=True,
                          env={**keep, **(environment or {})})


def an_out(path, tests=None):
    """An OUT as scripts/kselftest leaves it."""
    (path / "programs").mkdir()
    (path / "programs/hotmirror_race.log").write_text(LOG)
    (path / "summary.json").write_text(json.dumps({
        "verdict": "fail", "cause": "because", "kernel": "7.3-test", "accel": "tcg", "tests": [
            {"name": name if ":" in name.partition(".")[0] else f"hotmirror_race:{name}", "status": status, "ms": 500,
             "detail": detail} for name, (status, detail) in (tests or TESTS).items()]}))
    (path / "what-was-run.json").write_text(json.dumps({
        "started": "then", "commit": "c0ffee", "kernel": {"name": "trixie"}, "module": {"file": "m.ko"},
        "guest": {"cpus": 2}}))
    return path


@case
def cells_are_counted():
    """Run, reachable, blocked, failed, expected failures, skipped for other reasons."""
    with scratch() as path:
        run = races.read(an_out(path), {})
    cells = races.grouped(run.results, lambda result: (result.pair, result.memory))
    equal({("read+munmap", "anon"): [2, 2, 1, 1, 0, 0], ("read+munmap", "dax"): [1, 0, 0, 0, 0, 0],
           ("pin+fork", "anon"): [1, 1, 0, 0, 1, 0], ("pin+fork", "dax"): [2, 0, 0, 1, 0, 1]},
          {pair: [getattr(cell, name) for name in races.COLUMNS] for pair, cell in cells.items()}, "cells")
    rates = races.rates(run.results)
    equal((2, 1.0, 2.0, 1000, 1), (rates["anon"].schedules - 1, rates["anon"].seconds - 0.5,
                                   rates["anon"].each_second, rates["anon"].median_us, rates["anon"].blocked), "rate")


@case
def tables_of_an_earlier_run():
    """On stdout and in races.txt: totals, the failures and what replays them on that kernel."""
    with scratch() as path:
        run = script("races", "--from", str(an_out(path)))
        text = (path / "races.txt").read_text()
    equal(0, run.returncode, f"status ({run.stderr})")
    for line in (r"^all +6 +3 +1 +2 +1 +1$", r"^read\+munmap@anon +2 +2 +1 +1 +0 +0$", r"^ +1  dax is no place for it$",
                 r"^ +1  mmap_lock: anon 1$", r"make kselftest KERNEL=trixie TESTS='race\.read\+munmap@anon:two' REPEAT=100$"):
        check(re.search(line, text, re.M), f"no {line!r} in:\n{text}")
    check("2 failed, and what replays each" in run.stdout, run.stdout)


class Page(HTMLParser):
    """Whether elements nest, what cells of the map have, what is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        given = dict(attrs)
        check(not {"src", "href", "onclick"} & set(given), f"<{tag}> {given}")
        if tag == "td" and "class" in given:
            self.cells.append((given["class"], given.get("title", "")))

    def handle_endtag(self, tag):
        equal(tag, self.open.pop(), "nesting")


@case
def page_is_whole():
    """It nests, loads nothing, has no script, quotes what tests print, and a tip on every cell."""
    with scratch() as path:
        text = races_html.page(races.read(an_out(path), {"KSM": "y"}))
    page = Page(text)
    equal(([], False), (page.open, "script" in page.tags), "what is open at the end, a script")
    check("<td>anon 1</td>" in text.partition("What B was blocked at")[2], "no table of what B was blocked at")
    check("<neither>" not in text and "&lt;neither&gt;" in text, "a detail is not quoted")
    equal(["bad", "never", "known", "bad"], [kind for kind, _ in page.cells], "cells of the map")
    check(all(tip for _, tip in page.cells), "a cell without a tip")
    check("light dark" in text and "prefers-color-scheme: dark" in text, "no dark colours")


@case
def results_that_are_none():
    with scratch() as path:
        refused(script("races", "--from", str(path)), "holds no results of a run")
        refused(script("races", "--from", str(an_out(path, {"hotmirror_abi:query.x": ("pass", "")}))),
                "no result of a schedule")
    refused(script("races", "--from", "/nowhere"), "/nowhere holds no results")
    refused(script("races", "--from", "/nowhere", "--repeat", "3"), "--repeat 3 has no meaning")
    refused(script("races", "--tests", "hotmirror_abi:*"), r"TESTS=hotmirror_abi:\* names other tests")
    refused(script("races", environment={"RACES": "some", "OUT": "/tmp/hotmirror-no-such"}), "RACES=some")


@case
def coverage_of_a_run():
    """A default run in a guest: 54 schedules, its verdict is the exit status."""
    with scratch() as path:
        run = script("races", *GUEST, "--out", str(path / "o"), "--env", "RACE_BROKEN=race.read+fork@thp:step.1")
        kept = {p.name for p in (path / "o").iterdir()}
    equal(1, run.returncode, f"status ({run.stderr})")
    check(re.search(r"^all +54 +48 +16 +1 +1 +0$", run.stdout, re.M), run.stdout)
    check({"races.txt", "races.html", "summary.json"} <= kept, f"files: {kept}")


@case
def oracles_are_told_by_what_they_say():
    for detail, name in (("no order explains page 0: got [..]", "order"), ("2 stale entries, the first of page 1", "stale entry"),
                         ("an entry went that no callback names: page 3", "callback"), ("kernel: WARNING: at mm", "kernel log"),
                         ("left behind: 1 device pages", "nothing left"), ("what is that", "other")):
        equal(name, broken.oracle(detail), detail)


@case
def sabotage_in_guests():
    """Which schedules notice, what fails without it aside; a fault that nobody notices is a failure."""
    with scratch() as path:
        run = script("races", *GUEST, "--out", str(path), "--sabotage", "all", "--tests", "race.*@anon:step.[0-4]",
                     "--env", "RACE_BROKEN=race.pin+fork@anon:step.*")
        kept = {p.name: p.read_text() for p in path.glob("*.*") if p.is_file()}
    equal(1, run.returncode, f"status ({run.stderr})")
    rows = ["| `SKIP_RETRY` | 10 of 45 | anon | `race.read+munmap@anon:step.0` | stale entry 10 |",
            "| `DROP_DIRTY` | 0 of 45 | anon | none |  |"]
    equal([*rows, "1 passed, 1 failed, 0 skipped"], run.stdout.splitlines()[-3:], "table")
    equal(rows, kept["sabotage.md"].splitlines()[2:], "sabotage.md")
    equal(("race.read+munmap@anon:step.0", 10, 0), (kept["SKIP_RETRY.txt"].partition("\t")[0],
          kept["SKIP_RETRY.txt"].count("\n"), len(kept["DROP_DIRTY.txt"])), "lists of schedules")
    check("5 schedules fail on the module as it is" in run.stderr, run.stderr)


@case
def sabotage_that_there_is_not():
    refused(script("races", *GUEST, "--sabotage", "skip_tea"), "no way skip_tea", "all or one of SKIP_RETRY DROP_DIRTY")
    refused(script("races", "--sabotage", "all", "--from", "/nowhere"), "not allowed with")


@case
def exploration_of_memories():
    """Progress on stderr, a line each, the name that replays a failure; seed and share are told the program."""
    with scratch() as path:
        out = ["--out", str(path / "o"), *GUEST]
        run = script("explore", *out, "--env", "EXPLORE_BROKEN=thp", environment={"COUNT": "9", "SEED": "77"})
        facts = json.loads((path / "o/what-was-run.json").read_text())
        drawn = [re.search(r"seed (\d+)$", script("explore", *out, "--memory", "a*").stderr, re.M)[1] for _ in range(2)]
    said = "12 schedules, 6 a second, seed 77, count 9, seconds -"
    equal((1, [f"explore.anon: pass: {said}", f"explore.thp: fail: {said}", "  race.read+fork@thp:step.8: page 0",
               "      make kselftest TESTS='race.read+fork@thp:step.8'", f"explore.dax-pte: pass: {said}"]),
          (run.returncode, run.stdout.splitlines()[:5]), f"status and output ({run.stderr})")
    equal(("2 passed, 1 failed, 0 skipped", "77"), (run.stdout.splitlines()[-1], facts["seed"]), "closing line, seed")
    check(f"hotmirror_explore: thp: {said}" in run.stderr, f"no progress in {run.stderr}")
    check(drawn[0] != drawn[1], f"the same seed is drawn twice: {drawn}")


@case
def exploration_that_the_guest_does_not_survive():
    """The schedule that was begun last is what replays it."""
    with scratch() as path:
        run = script("explore", "--out", str(path / "o"), *GUEST, "--env", "EXPLORE_DIES=thp", "--memory", "[at]*")
    equal(1, run.returncode, f"status ({run.stderr})")
    check(re.search(r"^explore\.anon: pass: .* seconds 60\nexplore\.thp: missing: .*\n  race\.pin\+fork@thp:step\.7: .*panic",
                    run.stdout, re.M), run.stdout)


@case
def exploration_that_cannot_run():
    for environment, words in (({"SECONDS": "9", "COUNT": "9"}, ["SECONDS and COUNT"]), ({"SEED": "-1"}, ["SEED=-1"]),
                               ({"COUNT": "0"}, ["COUNT=0 is not a number from 1"]), ({"SECONDS": "long"}, ["SECONDS=long"]),
                               ({"MEMORY": "a b"}, ["MEMORY=a b"])):
        refused(script("explore", environment=environment), *words)
    with scratch() as path:
        run = script("explore", "--out", str(path / "o"), *GUEST, "--memory", "nowhere")
    equal((2, ""), (run.returncode, run.stdout), "status and stdout")
    check("explore.nowhere matches no test" in run.stderr, run.stderr)


@case
def verdicts_are_compared():
    """Another status, a schedule that one run lacks; what always fails is no difference."""
    runs = [{"a": "pass", "b": "pass", "c": "fail", "d": "pass"}, {"a": "pass", "b": "fail", "c": "fail", "d": "pass"},
            {"a": "pass", "b": "pass", "c": "fail"}]
    equal({"b": {"pass": [1, 3], "fail": [2]}, "d": {"pass": [1, 2], "not run": [3]}}, races.differing(runs), "differing")
    equal(["c"], races.always_failed(runs), "failed in every run")
    equal(({}, []), (races.differing(runs[:1] * 3), races.always_failed([{"a": "pass"}] * 3)), "of equal runs")


@case
def flake_in_guests():
    """Two boots: equal ones are 0 differing verdicts; a failure in both is not hidden."""
    with scratch() as path:
        out = ["--runs", "2", "--out", str(path / "o")]
        run = script("flake", *out, *GUEST)
        equal((0, ["54 passed, 0 failed, 0 skipped", "0 differing verdicts of 54 schedules in 2 runs"]),
              (run.returncode, run.stdout.splitlines()), f"status and output ({run.stderr})")
        run = script("flake", *out, *GUEST, "--tests", "race.read+*@thp:*", "--env", "RACE_BROKEN=race.read+fork@thp:step.1")
        kept = (path / "o/differing.txt").read_text()
    equal((1, "0 differing verdicts of 6 schedules in 2 runs"), (run.returncode, run.stdout.splitlines()[-1]), "broken")
    equal("race.read+fork@thp:step.1: failed in every run\n", kept, "differing.txt")


@case
def flake_that_cannot_run():
    with scratch() as path:
        run = script("flake", "--runs", "3", "--out", str(path / "o"), *GUEST, "--tests", "race.nothing*")
        equal((2, ""), (run.returncode, run.stdout), "status and stdout")
        check(re.search(r"run 1 could not be judged \(exit status 2\)", run.stderr), run.stderr)
    refused(script("flake", "--runs", "1"), "--runs takes 2 or more")
    refused(script("flake", "--jobs", "0"), "--jobs 1 or more")
