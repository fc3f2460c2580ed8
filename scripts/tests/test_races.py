# SPDX-License-Identifier: GPL-2.0-only
"""Schedules as the scripts see them: names, selection, two guests, scripts/schedules."""

import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from tap import HERE, SCRIPTS, case, check, equal
from test_input import kselftest, refused, scratch

from hotmirror import build, collection, joined, names, schedules
from hotmirror.collection import Program
from hotmirror.say import Stop

RACES = HERE / "races"
GUEST = ["--collection", str(RACES), "--driver", str(HERE / "provoke"), "--parameters", ""]
RACE = "hotmirror_race:"
LISTED = Program("hotmirror_race", ("race.a+b@x:one", "race.a+b@x:two", "race.a+c@y:one"), (1, 2, 1))
BESIDE = [Program("one", ("t",)), Program("two", ("t",)), Program("three.sh")]


def select(globs, programs=(LISTED, *BESIDE), **given):
    return collection.select(list(programs), globs, names.Choice(**given))


def stopped(function, *arguments, says, **named):
    try:
        function(*arguments, **named)
    except Stop as stop:
        check(re.search(says, stop.what), f"{stop.what!r} does not say {says!r}")
    else:
        raise AssertionError(f"{arguments} was accepted")


@case
def list_of_names_is_read():
    """And one that is not whole is refused."""
    equal((("race.a+b@x:one", "race.c"), (1, 2)), names.parse("# NAMES\nrace.a+b@x:one\t1\nrace.c\t2\n"), "list")
    for text, says in (("# NAMES\nrace.a\n", "race.a"), ("# NAMES\nrace.a\tx\n", "race.a"),
                       ("# NAMES\n\t1\n", "1"), ("# NAMES\nrace.a\t1\nrace.a\t2\n", "race.a twice")):
        stopped(names.parse, text, says=says)


@case
def header_says_how_long_a_name_takes():
    """Then the names are few: the program is in one shard as a whole, and its limit is theirs."""
    equal([None, 5], [names.seconds_each(f"# NAMES{more}\nx\t1\n") for more in ("", " 5")], "seconds")
    for text in ("# NAMES x\n", "# NAMES 0\n", "# NAMESPACE\n"):
        stopped(names.seconds_each, text, says="a list of names begins with")
    few = Program("hotmirror_explore", ("explore.x", "explore.y"), (1, 1), 50)
    seen = [(program.tests, program.arguments, program.timeout) for shard in ((1, 2), (2, 2))
            for program in select(["explore.*"], [few, LISTED], shard=shard)]
    equal([(few.tests, ("-g", "explore.*"), 220)], seen, "of both shards")
    equal(["explore.y"], [name for program in select(["explore.y"], [few, LISTED]) for name in program.tests], "short form")
    equal(620, select(["explore.*"], [few], repeat=5)[0].timeout, "limit, repeated")


@case
def globs_for_the_program_are_exact():
    """What is left of a glob behind "program:" matches just the names that the whole glob does."""
    full = [LISTED.full(name) for name in LISTED.tests] + [RACE + "race.otmirror_race:race@x"]
    for glob in ("*", "hot*", "*race*", "*_race:race.a*", "hotmirror_race:*", "h*e:r*one", "*:*:one", "**two",
                 "h[a-p]tmirror_rac?:*[!o]ne", "hotmirror_race:race.a+b@x:two", "?*:race.?+c@y:one", "no*", "x:*",
                 "*[or]*@x", "hotmirror_race", "hotmirror_race:", ""):
        left = names.residuals(glob, RACE)
        for name in full:
            bare = name.removeprefix(RACE)
            equal(fnmatch.fnmatchcase(name, glob), any(fnmatch.fnmatchcase(bare, rest) for rest in left),
                  f"{glob} on {name} by {left}")


@case
def default_is_tier_1():
    picked = select([])
    equal(["one", "two", "three.sh", "hotmirror_race"], [p.name for p in picked], "programs, schedules last")
    equal((("--tier", "1"), LISTED.tests[::2]), (picked[-1].arguments, picked[-1].tests), "default")
    equal((("--tier", "0"), LISTED.tests), (select([], races="all")[-1].arguments, select([], races="all")[-1].tests), "all")
    equal(LISTED.tests, select(["race.*"])[0].tests, "of those that TESTS names, all")
    equal(LISTED.tests[:1], select(["race.a+b*"], races="default")[0].tests, "unless told")


@case
def short_form_and_bar_name_schedules():
    for glob in ("race.a+b@x:two", "race.a|b@x:two", "hotmirror_race:race.a+b@x:two", "hotmirror_race:race.a|b@x:tw*"):
        picked = select([glob])
        equal([("hotmirror_race", LISTED.tests[1:2])], [(p.name, p.tests) for p in picked], glob)
    stopped(select, ["race.a+b@x:two", "race.a+b@y:*"], says=r"race\.a\+b@y:\* matches no test")


@case
def name_that_is_not_listed_is_asked_for():
    """Only a whole one; shards and tiers are of lists."""
    def knows(program, name):
        equal("race.a+b@x:one,B=two", name, "what is asked for")
        return True

    picked = collection.select([LISTED], ["race.a|b@x:one,B=two", "race.a+c*"], names.Choice("default", (1, 1)), knows)
    equal([((*LISTED.tests[2:], "race.a+b@x:one,B=two"),
            ("-g", "race.a+c*", "-g", "race.a+b@x:one,B=two", "--tier", "1", "--shard", "1/1"))],
          [(program.tests, program.arguments) for program in picked], "plan")
    stopped(select, ["race.a+b@x:one,B=two"], says="matches no test")


@case
def shards_are_a_partition():
    """Every schedule and every program is in one shard, none in two."""
    seen = [program.full(name) for shard in ((1, 2), (2, 2)) for program in select([], races="all", shard=shard)
            for name in program.tests or ["*"]]
    equal(sorted([*map(LISTED.full, LISTED.tests), "one:t", "two:t", "three:*"]), sorted(seen), "all shards")
    equal([], select(["race.a+c*"], shard=(2, 2)), "a shard of fewer schedules than shards")


@case
def limit_grows_with_the_plan():
    many = Program("hotmirror_race", tuple(map(str, range(1000))), (1,) * 1000, timeout=45)
    equal(370, select([], [many])[0].timeout, "seconds for 1,000")
    equal(2620, select([], [many], repeat=10)[0].timeout, "seconds for ten times as many")


@case
def plan_is_what_the_program_runs():
    """The rule of names.py against that of a program: same names, same order."""
    program = schedules.program(RACES)
    listed = Program("hotmirror_race", *names.parse(subprocess.run(
        [program, "-l"], check=True, capture_output=True, text=True).stdout))
    for globs in ([], ["race.*@anon:*"], ["*"], ["race.read|*:step.1", "hot*_race:*pin*@thp*[24]"], ["*race*3"]):
        for given in ({}, {"races": "default"}, {"races": "all"}, {"shard": (2, 3)},
                      {"races": "default", "shard": (5, 7), "repeat": 2}):
            for picked in select(globs, [listed], **given):
                said = subprocess.run([program, *picked.arguments], check=True, capture_output=True, text=True)
                ran = re.findall(r"^ok \d+ (\S+)", said.stdout, re.M)
                equal(picked.tests, tuple(ran), f"{globs} {given}: {picked.arguments}")


@case
def bad_selections():
    for options, words in ((["--races", "some"], ["RACES=some", "default or all"]),
                           (["--shard", "3/2"], ["3/2", "I/N"]), (["--shard", "0/2"], ["0/2"]),
                           (["--shard", "half"], ["half"]), (["--repeat", "0"], ["REPEAT=0"]),
                           (["--repeat", "often"], ["REPEAT=often"]),
                           (["--repeat", "2", "--tests", "beside_one:*"], ["REPEAT is for schedules"]),
                           (["--without", "beside_on"], ["--without beside_on: there is no such program"]),
                           (["--without", "hotmirror_race", "--tests", "race.*"], [r"race\.\* matches no test"]),
                           (["--tests", "race.read+frok@anon:*"], [r"race\.read\+frok@anon:\*", "--explain"]),
                           (["--tests", "race.read+fork@anon:step.1", "--shard", "2/2"], ["shard 2/2 is empty"])):
        refused(kselftest(*GUEST, *options), *words)
    refused(kselftest(*GUEST, environment={"RACES": "some"}), "RACES=some")


@case
def stages_of_make_check_part_the_schedules():
    """Each real schedule is in one of its two selections, whatever memories there are."""
    told = dict(re.findall(r'^(ANON|OTHERS) = "(.*)"$', (SCRIPTS / "check").read_text(), re.M))
    known = schedules.Schedules()
    anon, others = (known.matching(told[name].split()) for name in ("ANON", "OTHERS"))
    equal(sorted(known.names), sorted(anon + others), "schedules of both")


@case
def characters_of_names_survive_make():
    glob = "race.a|b+c@x~y:z.* hotmirror_abi:*"
    said = subprocess.run(["make", "-s", "--eval", "show: ; @printenv TESTS REPEAT", "show", f"TESTS={glob}", "REPEAT=3"],
                          cwd=build.TOP, check=True, capture_output=True, text=True).stdout
    equal(f"{glob}\n3\n", said, "what the script gets")


def results(*options):
    """Run in a guest, with relative paths: (run, OUT's summary, {test: status}, files in OUT)."""
    here = ["--collection", "races", "--driver", "provoke", "--parameters", ""]
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        run = kselftest(*here, *options, "--out", os.path.relpath(out, HERE), cwd=HERE)
        summary = json.loads((Path(out) / "summary.json").read_text())
        kept = {str(p.relative_to(out)) for p in Path(out).rglob("*") if p.is_file()}
    return run, summary, {test["name"]: test["status"] for test in summary["tests"]}, kept


@case
def schedules_in_a_guest():
    """One of each result, by the short form and by a full name; and a name that -l leaves out."""
    run, summary, tests, _ = results(
        "--tests", "race.read|munmap@anon:step.[01] race.pin+fork@dax-pte:step.1 "
                   "hotmirror_race:race.write+munmap@thp:step.1 race.read|fork@thp:step.1,B=step.2",
        "--env", "RACE_BROKEN=race.read+munmap@anon:step.1")
    equal({RACE + "race.read+munmap@anon:step.0": "pass", RACE + "race.read+munmap@anon:step.1": "fail",
           RACE + "race.write+munmap@thp:step.1": "xfail", RACE + "race.read+fork@thp:step.1,B=step.2": "pass", RACE + "race.pin+fork@dax-pte:step.1": "skip"},
          tests, "statuses")
    equal((1, f"{RACE}race.read+munmap@anon:step.1: page 0: neither AB nor BA"),
          (run.returncode, summary["cause"]), "verdict")


@case
def all_schedules_in_two_guests():
    """Each in one of them, one plan, one closing line, the files of both."""
    run, summary, tests, kept = results("--races", "all", "--env", "RACE_BROKEN=race.read+munmap@anon:step.1")
    lines = run.stdout.splitlines()
    equal(1085, len(tests), "results")
    equal("fail", tests[RACE + "race.read+munmap@anon:step.1"], "the broken one")
    check(summary["cause"].startswith("guest-"), f"cause {summary['cause']!r}")
    equal(["KTAP version 1", "1..4", "963 passed, 1 failed, 121 skipped"], [*lines[:2], lines[-1]], "frame")
    equal(1, lines.count("    1..1080"), "plan of the schedules")
    numbers = [int(number) for number in re.findall(r"^    (?:not )?ok (\d+) race\.", run.stdout, re.M)]
    equal(list(range(1, 1081)), numbers, "numbers")
    check({"guest-1/console.log", "guest-2/console.log", "programs/hotmirror_race.log", "results.ktap"} <= kept,
          f"files: {sorted(kept)}")


@case
def two_guests_where_they_are_worth_it():
    """All schedules on any kernel, the whole suite on a slow one; never a part of a run, or few tests."""
    many = tuple(f"t{n}" for n in range(joined.WORTH))
    programs = {word: [SimpleNamespace(tests=tests, is_long=is_long)] for word, tests, is_long in (
        ("schedules", many, True), ("tests", many, False), ("few", many[1:], True), ("unlisted", None, False))}
    fast, slow = (SimpleNamespace(config=config, running=False) for config in ({}, {"KASAN": "y"}))
    running = SimpleNamespace(config=slow.config, running=True)
    everything, default = names.Choice(races=names.ALL), names.Choice()
    rows = (("schedules", everything, fast, True), ("schedules", default, fast, False), ("tests", everything, fast, False),
            ("tests", default, slow, True), ("schedules", default, slow, True), ("few", everything, slow, False),
            ("unlisted", default, slow, False), ("tests", names.Choice(shard=(1, 2)), slow, False),
            ("tests", default, running, False))
    for word, choice, kernel, expected in rows:
        equal(expected, joined.wanted(programs[word], choice, kernel, 2), f"{word} {choice} {kernel}")
        equal(False, joined.wanted(programs[word], choice, kernel, 1), f"{word} on one CPU")


def join(*turns, guests=2):
    """Feed a Joiner (guest, line or None for its end); what it shows."""
    shown = []
    joiner = joined.Joiner(guests, ["race"], shown.append)
    for guest, line in turns:
        joiner.feed(guest, line + "\n") if line is not None else joiner.end(guest)
    return shown, joiner.totals


def block(name, *results):
    return [f"# Subtest: {name}", "    KTAP version 1", f"    1..{len(results)}",
            *(f"    {word} {number} {name}{number}" for number, word in enumerate(results, 1))]


@case
def guests_that_take_turns():
    """Blocks are whole, the shared one begins when both are there, and is counted on."""
    one = ["KTAP version 1", "1..2", *block("a", "ok"), "ok 1 a", *block("race", "ok", "not ok"), "not ok 2 race"]
    two = [*block("b", "ok"), "ok 1 b", *block("race", "ok"), "ok 2 race"]
    shown, totals = join(*[(0, line) for line in one[:-1]], *[(1, line) for line in two], (1, "3 passed, 0 failed, 0 skipped"),
                         (0, one[-1]), (0, "2 passed, 1 failed, 0 skipped"), (0, None), (1, None))
    equal([*block("a", "ok"), "ok 1 a", *block("b", "ok"), "ok 2 b", "# Subtest: race", "    KTAP version 1", "    1..3",
           "    ok 1 race1", "    not ok 2 race2", "    ok 3 race1", "not ok 3 race"], shown, "shown")
    equal([5, 1, 0], totals, "totals")


@case
def guest_that_vanishes_is_no_pass():
    """The other one's results are shown, the shared program is not ok."""
    shown, _ = join(*[(0, line) for line in block("race", "ok")], (1, None), (0, "ok 1 race"), (0, None))
    equal([*block("race", "ok"), "not ok 1 race"], shown, "shown")
    shown, _ = join(*[(0, line) for line in block("race", "ok")], (0, None), (1, None))
    equal("not ok 1 race", shown[-1], "both vanish")


@case
def interruption_ends_all_lanes():
    """Whatever runs is ended, and what did not begin does not; by SIGTERM and by Ctrl-C."""
    # Who is started in the background of a script begins with SIGINT ignored.
    script = ("import signal, sys; sys.path.insert(0, sys.argv[1])\n"
              "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
              "from concurrent.futures import ThreadPoolExecutor\n"
              "from hotmirror import lanes, say\n"
              "def go():\n"
              "    with ThreadPoolExecutor(2) as pool, lanes.ended_with(pool):\n"
              "        runs = [pool.submit(lanes.run, ['sh', '-c', 'echo $$; exec sleep 100'], str(n),\n"
              "                            None, lambda line: print(line, end='', flush=True)) for n in range(3)]\n"
              "        return [lanes.result(run) for run in runs]\n"
              "say.main(go)\n")
    for number, send in ((signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)):
        with subprocess.Popen([sys.executable, "-c", script, str(SCRIPTS)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            pids = [int(process.stdout.readline()) for _ in range(2)]
            send(process.pid, number)
            left, _ = process.communicate(timeout=60)
        equal(130, process.returncode, f"exit status after {number!r}")
        equal("", left, "what began after the interruption")
        equal([], [pid for pid in pids if os.path.exists(f"/proc/{pid}")], "processes that are left")


def ask(*arguments, environment=None):
    return subprocess.run([SCRIPTS / "schedules", "--collection", RACES, *arguments], check=False, text=True,
                          capture_output=True, env={**os.environ, **(environment or {})})


@case
def schedules_are_listed():
    equal(1080, len(ask("--list").stdout.splitlines()), "all names")
    equal(["race.read+fork@anon:step.1", "race.pin+fork@thp:step.33"],
          ask("--list", "race.read|fork@anon:step.1", "race.pin+fork@thp:*33").stdout.splitlines(), "of two globs")
    refused(ask("--list", "race.nothing*"), r"race\.nothing\*", "--operations")


@case
def name_may_be_incomplete():
    whole = ask("--explain", "race.read+fork@anon:step.39").stdout
    check("A: runs to the gate" in whole, f"said {whole!r}")
    for part in ("read|fork@anon:step.39", "race.read+fork@anon:step.39", "d+fork@anon:step.39",
                 "hotmirror_race:race.read|fork@anon:step.39"):
        equal(whole, ask("--explain", part).stdout, part)
    equal("race.read+fork@anon:step.3", ask("--explain", "read+fork@anon:step.3").stdout.splitlines()[0],
          "a whole name that others begin with")
    refused(ask("--explain", "read+fork@anon:step."), "may be 40 schedules", r"and 20 more", "say more")


@case
def name_that_is_none():
    refused(ask("--explain", "race.read+frok@anon:step.1"), "is no schedule", "operations are: read",
            r"near: race\.read\+fork@anon:step\.1")
    refused(ask("--explain", "foo"), "foo is no schedule", "--list")
    refused(ask("--explain", ""), "NAME is missing")
    refused(ask(), "is required", "--help")
    refused(ask("--explain", "foo", "-o", "/nowhere"), "-o goes with --reproducer")
    refused(ask("--gates"), "--gates")


@case
def program_that_does_not_build():
    with scratch() as path:
        (path / "Makefile").write_text((RACES / "Makefile").read_text())
        (path / "hotmirror_race.c").write_text("int main(void) { return nonsense; }\n")
        run = subprocess.run([SCRIPTS / "schedules", "--collection", path, "--list"], check=False, text=True,
                             capture_output=True)
        refused(run, "building hotmirror_race")
        check("nonsense" in run.stderr, "the compiler's words are lost")


def a_result(out, name):
    (out / "kmsg").mkdir()
    (out / "summary.json").write_text(json.dumps({
        "kernel": "7.3-test", "tests": [{"name": RACE + name, "status": "fail", "ms": 1, "detail": "neither order"}]}))
    (out / "kmsg" / f"{joined.report.safe(RACE + name)}.log").write_text("[1.0] WARNING: at mm/hmm.c\n")


@case
def reproducer_comes_with_a_mail():
    """C on stdout; with -o two files, and the mail has kernel, result, log and words."""
    name = "race.read+munmap@anon:step.1"
    check("int main" in ask("--reproducer", name).stdout, "no C on stdout")
    with scratch() as path:
        refused(ask("--reproducer", name, "-o", str(path / "d"), "--results", str(path)), "has no result of", "make kselftest")
        equal([], list(path.iterdir()), "what a refusal leaves")
        a_result(path, name)
        equal(0, ask("--reproducer", name, "-o", str(path / "d"), "--results", str(path)).returncode, "status")
        kept = {p.suffix: p.read_text() for p in (path / "d").iterdir()}
        (path / "file").write_text("")
        refused(ask("--reproducer", name, "-o", str(path / "file"), "--results", str(path)), "cannot be written")
    check("int main" in kept[".c"], "no C")
    for word in ("7.3-test", "neither order", "WARNING: at mm/hmm.c", "A: runs to the gate", f"TESTS='{name}'"):
        check(word in kept[".mail"], f"no {word} in {kept['.mail']}")
