# SPDX-License-Identifier: GPL-2.0-only
"""scripts/results: what other systems are told of recorded, broken and made-up runs."""

import copy
import functools
import itertools
import json
import os
import re
import shutil
import subprocess
from xml.etree import ElementTree

import kcidb
from tap import HERE, SCRIPTS, case, check, equal
from test_input import refused, scratch

from hotmirror import judge, kernels, results, results_junit, results_kcidb, results_lava, verdict
from hotmirror.say import Stop

# OUT of real guests, 7.3.4: all is well but a known kernel bug; one panics; programs lie.
RECORDED = HERE / "results"
WHOLE, DIED, BROKEN = "whole", "died", "broken"
PLAIN_PATH = re.compile(r"([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*)?")
URLS = ("--kernel", "https://h/bzImage", "--rootfs", "https://h/root.ext4.xz", "--modules", "https://h/m.tar.gz",
        "--tarball", "file:///srv/kselftest.tar.xz")
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")


def run(*words, **options):
    return subprocess.run([str(SCRIPTS / "results"), *map(str, words)], check=False, text=True, encoding="utf-8",
                          capture_output=True, stdin=subprocess.DEVNULL, **options)


def told(*words):
    done = run(*words)
    equal((0, ""), (done.returncode, done.stderr), f"scripts/results {words}")
    return done.stdout


def junit(out):
    return ElementTree.fromstring(results_junit.document(results.read(out)).encode())


def report(out, *options):
    """A KCIDB report that is right."""
    made = json.loads(told("kcidb", out, *options) if options else results_kcidb.document(results.read(out)))
    equal([], kcidb.complaints(made), "complaints")
    return made


def summary(name):
    return json.loads((RECORDED / name / "summary.json").read_text(encoding="utf-8"))


def place(out, summary=None, facts=None, logs=()):
    """An OUT of our own making."""
    shutil.copytree(RECORDED / WHOLE, out)
    for name, value in (("summary.json", summary), ("what-was-run.json", facts)):
        if value is not None:
            (out / name).write_text(json.dumps(value), encoding="utf-8")
    for name, text in logs:
        (out / "kmsg").mkdir(exist_ok=True)
        (out / "kmsg" / f"{name}.log").write_bytes(text)
    return out


def stopped(cause, **more):
    """summary.json of a run that never began."""
    return {"verdict": "unknown", "cause": cause, "kernel": "trixie", "accel": None, "boot_ms": 0,
            "counts": {}, "tests": [], **more}


def one_test(name="hotmirror_x:a.b", status="fail", detail="", ms=1500):
    return {"verdict": "fail", "cause": "", "kernel": "7.3", "accel": "tcg", "boot_ms": 5000,
            "tests": [{"name": name, "status": status, "ms": ms, "detail": detail}]}


def cases(root):
    """{full name: testcase}"""
    return {f"{one.get('classname')}:{one.get('name')}": one for one in root.iter("testcase")}


def kinds(one):
    return [child.tag for child in one if child.tag != "system-out"]


def statuses(made):
    return {test["misc"]["name"]: test["status"] for test in made["tests"] if "name" in test.get("misc", {})}


def of_run(made):
    return next(test for test in made["tests"] if test["path"] == "kselftest.hotmirror")


# ---- JUnit ----

@case
def junit_of_a_whole_run():
    """A suite a program, every test in it, an expected failure skipped with its reason."""
    root, tests = junit(RECORDED / WHOLE), summary(WHOLE)["tests"]
    equal(sorted(test["name"] for test in tests), sorted(set(cases(root)) - {"run:verdict"}), "tests")
    equal({"run", *(test["name"].partition(":")[0] for test in tests)}, {suite.get("name") for suite in root}, "suites")
    equal([], kinds(cases(root)["run:verdict"]), "what is said of the run")
    known = next(test for test in tests if test["status"] == "xfail")
    skipped = cases(root)[known["name"]].find("skipped")
    equal(("xfail", "XFAIL: " + known["detail"]), (skipped.get("type"), skipped.get("message")), "the expected failure")
    properties = {one.get("name"): one.get("value") for one in root[1].find("properties")}
    facts = json.loads((RECORDED / WHOLE / "what-was-run.json").read_text())
    equal({"kernel": facts["kernel"]["release"], "accel": facts["accel"], "module_sha256": facts["module"]["sha256"],
           "commit": facts["commit"], "verdict": "pass"},
          {name: properties.get(name) for name in ("kernel", "accel", "module_sha256", "commit", "verdict")}, "properties")


@case
def junit_of_a_panic():
    """What failed says why, with the kernel's words; what is missing is an error; the counts agree."""
    root = junit(RECORDED / DIED)
    seen = {name: kinds(one) for name, one in cases(root).items()}
    equal({"ending:global.first_passes": [], "ending:global.fails": ["failure"], "ending:global.skips": ["skipped"],
           "ending:global.warns": ["failure"], "ending:global.panics": ["error"], "run:verdict": ["failure"]},
          {name: seen[name] for name in seen if "status" not in name and "short" not in name and "last" not in name}, "kinds")
    warned, died = cases(root)["ending:global.warns"], cases(root)["ending:global.panics"].find("error")
    check("provoke_warning" in warned.find("system-out").text, "the log of the warning")
    equal(("missing", True), (died.get("type"), "provoked panic" in died.get("message")), "the panic")
    for suite in root:
        equal([len(suite.findall("testcase")), *(len(suite.findall(f"testcase/{tag}")) for tag in
                                                 ("failure", "error", "skipped"))],
              [int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")], suite.get("name"))
    equal("2.000", f"{sum(float(one.get('time')) for one in root) + 2 - float(root.get('time')):.3f}", "times add up")


@case
def junit_has_no_illegal_characters():
    """Control characters, halves of surrogates and non-characters are left out, the rest stays."""
    bad = "a\0b\x1b[31mc\x0bd\ufffee\ud800f <&>\"'\t\U0001f600"
    with scratch() as path:
        out = place(path / "out", one_test(detail=bad), logs=[("hotmirror_x:a.b", b"k\0\x1b\xff<]]>\n")])
        failure = cases(junit(out))["hotmirror_x:a.b"].find("failure")
        equal("ab[31mcdef <&>\"'\t\U0001f600", failure.get("message"), "message")
        equal("k\ufffd<]]>\n", cases(junit(out))["hotmirror_x:a.b"].find("system-out").text, "log")


@case
def junit_of_nothing():
    """A run that never began is one error with the cause."""
    with scratch() as path:
        out = place(path / "out", stopped("the module does not build"), {})
        root = junit(out)
        equal(["run"], [suite.get("name") for suite in root], "suites")
        error = cases(root)["run:verdict"].find("error")
        equal(("unknown", "the module does not build"), (error.get("type"), error.get("message")), "the error")
        equal(("1", "1", "0"), tuple(root.get(name) for name in ("tests", "errors", "failures")), "counts")


# ---- KCIDB ----

@case
def kcidb_of_a_whole_run():
    """Valid; every test once; the boot is a measurement; the packaged kernel is its checkout."""
    made, before = report(RECORDED / WHOLE), summary(WHOLE)
    words = {"pass": "PASS", "fail": "FAIL", "skip": "SKIP", "xfail": "SKIP"}
    equal({test["name"]: words[test["status"]] for test in before["tests"]}, statuses(made), "statuses")
    boot = next(test for test in made["tests"] if test["path"] == "kselftest.hotmirror.boot")
    equal(("DONE", {"value": before["boot_ms"] / 1000, "unit": "s", "prefix": "metric"}),
          (boot["status"], boot["number"]), "boot")
    equal("PASS", of_run(made)["status"], "status of the run")
    equal(f"hotmirror:package:{before['kernel']}", made["checkouts"][0]["id"], "checkout")
    check("git_commit_hash" not in made["checkouts"][0], "a commit of a packaged kernel")
    equal(made, report(RECORDED / WHOLE), "the same OUT, told twice")
    equal({"ci_1"}, {one["origin"] for name in ("checkouts", "builds", "tests")
                     for one in report(RECORDED / WHOLE, "--origin", "ci_1")[name]}, "origin")


@case
def kcidb_of_a_panic():
    """The test that the kernel died in accuses it; those that nobody got to are MISS."""
    made = report(RECORDED / DIED)
    seen = statuses(made)
    equal({"ending:global.first_passes": "PASS", "ending:global.fails": "FAIL", "ending:global.skips": "SKIP",
           "ending:global.warns": "FAIL", "ending:global.panics": "FAIL", "ending:global.last_passes": "MISS"},
          {name: word for name, word in seen.items() if name.startswith("ending:")}, "statuses")
    equal(("FAIL", True), (of_run(made)["status"], "provoked panic" in of_run(made)["comment"]), "the run")
    warned = next(test for test in made["tests"] if test["path"] == "kselftest.hotmirror.ending.global.warns")
    check("provoke_warning" in warned["log_excerpt"], "the log of the warning")


@case
def kcidb_of_programs_that_lie():
    """What the test itself did wrong is ERROR, and so is what its program left out."""
    seen = statuses(report(RECORDED / BROKEN))
    equal({"ending:global.first_passes": "PASS", "ending_short:one": "PASS", "ending_short:two": "PASS",
           "ending_short:test 3": "ERROR", "ending_status:one": "PASS", "ending_status:exit": "ERROR"}, seen, "statuses")


@case
def kcidb_of_every_reason():
    """Each way in which the judge says that a test gave no verdict has its status."""
    panic, hang = verdict.PANIC + "oh", verdict.HANG + "no sign of life"
    for status, name, detail, expected in (
            ("missing", "a", judge.RUNNING_WHEN + panic, "FAIL"), ("missing", "a", judge.RUNNING_WHEN + hang, "FAIL"),
            ("missing", "a", judge.RUNNING_WHEN + "QEMU was killed by SIGKILL", "ERROR"),
            ("missing", "a", judge.RUNNING_WHEN + "interrupted", "ERROR"),
            ("missing", "a", panic, "MISS"), ("missing", "a", "interrupted", "MISS"), ("missing", "a", "it was not run", "MISS"),
            ("missing", "a", judge.UNREPORTED, "ERROR"), ("missing", "a", "hotmirror_x was killed by SIGSEGV", "ERROR"),
            ("missing", "a", "hotmirror_x.sh gave up: no", "ERROR"), ("missing", "a", "hotmirror_xy was killed", "MISS"),
            ("fail", "a", "one is not two", "FAIL"), ("fail", "a", judge.TWICE, "ERROR"),
            ("fail", "a", judge.UNPLANNED, "ERROR"), ("fail", "a", "error of its set-up", "ERROR"),
            ("fail", judge.EXIT_TEST, "hotmirror_x was ended after 9 s", "ERROR"),
            ("fail", judge.EXIT_TEST, f"hotmirror_x {judge.CANNOT_BE_KILLED}", "FAIL"),
            ("xfail", "a", "kernel bug", "SKIP"), ("skip", "a", "no such memory", "SKIP"), ("pass", "a", "", "PASS")):
        with scratch() as path:
            made = report(place(path / "out", one_test(f"hotmirror_x:{name}", status, detail)))
            equal([expected], list(statuses(made).values()), f"{status} {detail!r}")


@case
def kcidb_of_nothing():
    """A run that never began is MISS as a whole, with the cause; it has neither boot nor tests."""
    for cause, more, expected in (
            ("the module does not build", {}, "MISS"),
            ("interrupted", {"tests": [{"name": "a:b", "status": "missing", "ms": 0, "detail": "interrupted"}]}, "MISS"),
            ("interrupted", {"tests": [{"name": "a:b", "status": "pass", "ms": 0, "detail": ""}]}, "ERROR")):
        with scratch() as path:
            out = place(path / "out", stopped(cause, **more))
            os.unlink(out / "what-was-run.json")
            made = report(out)
            equal((expected, f"unknown: {cause}"), (of_run(made)["status"], of_run(made)["comment"]), "the run")
            equal(1 + len(more.get("tests", [])), len(made["tests"]), "tests")


@case
def kcidb_has_no_null():
    """Nulls, zero bytes and long logs of an OUT do not come through; ids stay apart."""
    tests = one_test(detail="a\0b")["tests"] * 2 + [{"name": "k\0:\n x", "status": "pass", "ms": 0, "detail": None}]
    facts = {"kernel": {"name": None, "release": None}, "guest": None, "seed": None, "module": 7, "started": "never"}
    with scratch() as path:
        out = place(path / "out", one_test() | {"tests": tests, "counts": {"pass": None}, "kernel": "7.3\n x"}, facts,
                    [("hotmirror_x:a.b", b"first\n" + b"x" * 99999 + b"\0last\n")])
        made = report(out)
    kept = made["tests"][2]["log_excerpt"]
    check(kept.startswith("first\n") and kept.endswith("last\n") and "left out" in kept, "the excerpt")
    check(made["tests"][2]["id"] != made["tests"][3]["id"], "ids of two tests of one name")


@case
def kcidb_of_two_guests():
    """what-was-run.json of a run in two guests has the facts of each."""
    facts = json.loads((RECORDED / WHOLE / "what-was-run.json").read_text())
    with scratch() as path:
        made = report(place(path / "out", facts={"guests": [facts, facts]}))
        equal(2, of_run(made)["environment"]["misc"]["guests"], "guests")
        equal(report(RECORDED / WHOLE)["builds"], made["builds"], "the build")


def commit_of(tree):
    return subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@case
def kcidb_of_a_git_tree():
    """Commit, branch and URL are the tree's; what is not committed is told, and is another checkout."""
    with scratch() as tree:
        for words in (("init", "-q", "-b", "topic", tree), ("-C", tree, "commit", "-q", "--allow-empty", "-m", "x"),
                      ("-C", tree, "remote", "add", "origin", "https://git.example.org/linux.git")):
            subprocess.run([*GIT, *map(str, words)], check=True)
        clean = report(RECORDED / WHOLE, "--tree", tree, "--tree-name", "mm-unstable")["checkouts"][0]
        equal({"git_commit_hash": commit_of(tree), "git_repository_branch": "topic", "patchset_hash": "",
               "git_repository_url": "https://git.example.org/linux.git", "tree_name": "mm-unstable"},
              {name: clean.get(name) for name in ("git_commit_hash", "git_repository_branch", "patchset_hash",
                                                  "git_repository_url", "tree_name")}, "checkout")
        (tree / "file").write_text("x")
        subprocess.run(["git", "-C", tree, "add", "file"], check=True)
        dirty = report(RECORDED / WHOLE, "--tree", tree)["checkouts"][0]
        check(dirty["id"] != clean["id"] and "patchset_hash" not in dirty and "changes" in dirty["comment"], dirty)
    given = report(RECORDED / WHOLE, "--commit", "0" * 40, "--url", "https://h/l.git")["checkouts"][0]
    equal("hotmirror:git:" + "0" * 40, given["id"], "checkout by options")


# What is done to a good report, and the complaint about it.
SPOILT = (
    (lambda made: made["tests"][0].update(comment=None), r"comment is null"),
    (lambda made: made["tests"][0]["misc"].update(counts={"pass": None}), r"pass is null"),
    (lambda made: made["tests"][0].update(status="XFAIL"), r"status is 'XFAIL'"),
    (lambda made: made["tests"][0].update(path="a..b"), r"path is 'a\.\.b'"),
    (lambda made: made["tests"][0].update(path="race.read+munmap"), r"path is"),
    (lambda made: made["tests"][0].pop("build_id"), r"has no build_id"),
    (lambda made: made["builds"][0].pop("checkout_id"), r"has no checkout_id"),
    (lambda made: made["tests"][0].update(result="PASS"), r"result, which is not known"),
    (lambda made: made["tests"][0].update(duration="1.5"), r"duration is '1.5', no number"),
    (lambda made: made["tests"][0].update(duration=True), r"duration is True, no number"),
    (lambda made: made["tests"][0].update(log_excerpt="x" * 16385), r"log_excerpt has 16385"),
    (lambda made: made["tests"][0].update(start_time="2026-11-23T02:38:34+0000"), r"start_time is"),
    (lambda made: made["tests"][0].update(origin="Our CI"), r"origin is"),
    (lambda made: made["tests"][0].update(id="no-origin"), r"id is"),
    (lambda made: made["tests"][0].update(build_id="hotmirror:other"), r"other is not in builds"),
    (lambda made: made["tests"][1].update(id=made["tests"][0]["id"]), r"an id twice"),
    (lambda made: made["tests"][0].update(number={"unit": "s"}), r"has no value"),
    (lambda made: made["version"].update(major=4), r"major is 4"),
    (lambda made: made["version"].update(minor=4), r"minor is 4"),
    (lambda made: made.update(tests={}), r"tests is \{\}, no list"),
    (lambda made: made.pop("version"), r"has no version"),
)


@case
def kcidb_validator_refuses():
    """What judges the reports refuses each thing that the schema forbids."""
    good = report(RECORDED / WHOLE)
    for spoil, complaint in SPOILT:
        made = copy.deepcopy(good)
        spoil(made)
        check(any(re.search(complaint, line) for line in kcidb.complaints(made)),
              f"no complaint {complaint!r} in {kcidb.complaints(made)}")


# ---- names ----

@case
def paths_are_apart():
    """Every name has a path of its own, which is one and can be turned back."""
    names = [f"p:{''.join(letters)}" for count in range(1, 5) for letters in itertools.product("a.-+:2", repeat=count)]
    names += [f"{''.join(letters)}:t" for count in range(1, 4) for letters in itertools.product("a.-+2", repeat=count)]
    names += ["hotmirror_race:race.read+munmap@anon-missing:populate.faulted", "x:é € \0\n", "x:-and-", "x:-2b-", "x:--",
              "kernel:before hotmirror_abi", "x:a|b=c,d", "x:\\x41"]
    paths = [results.path(name) for name in names]
    equal([], [path for path in paths if not path or not PLAIN_PATH.fullmatch(path)], "no paths")
    equal(len(names), len(set(paths)), "paths")
    equal([], [name for name, path in zip(names, paths) if results.name_of(path) != name], "names that are lost")
    equal("hotmirror_race.race.read-and-munmap-on-anon--missing-at-populate.faulted\n", told("path", names[-8]), "a path")
    equal(names[-8] + "\n", told("name", paths[-8]), "its name")


# ---- LAVA ----

def scalar(text):
    return json.loads(text) if text else None


def yaml(lines, depth=0):
    """What a block of the YAML that we write stands for; lines is used up."""
    made = None
    while lines:
        line = lines[0]
        indent = len(line) - len(line.lstrip())
        if indent < depth or (indent == depth and isinstance(made, dict) and line.lstrip().startswith("- ")):
            break
        lines.pop(0)
        key = line.strip()
        if key.startswith("- "):
            made = [] if made is None else made
            if key == "- |":
                text = list(itertools.takewhile(lambda one: not one or one.startswith(" " * (indent + 2)), lines))
                del lines[:len(text)]
                inside = len(text[0]) - len(text[0].lstrip())
                made.append("".join(one[inside:] + "\n" for one in text))
                continue
            lines.insert(0, " " * (indent + 2) + key[2:])
            made.append(yaml(lines, indent + 2))
            continue
        made = {} if made is None else made
        match = re.fullmatch(r"([\w-]+):(?: (.*))?", key)
        check(match and isinstance(made, dict) and indent == depth, f"no YAML of ours: {line!r}")
        plain = match[2] and match[2] != "true" and re.fullmatch(r"[a-z][\w/.-]*", match[2])
        if match[2]:
            made[match[1]] = match[2] if plain else scalar(match[2])
        else:
            following = next((one for one in lines if one), "")
            inner = len(following) - len(following.lstrip())
            made[match[1]] = yaml(lines, inner) if inner >= indent else None
    return made


def job(text):
    made = yaml([line for line in text.splitlines() if not line.startswith("#")])
    library = "import sys, json, yaml; print(json.dumps(yaml.safe_load(sys.stdin.read())))"
    done = subprocess.run(["python3", "-c", library], input=text, text=True, capture_output=True, check=False)
    if "No module named" not in done.stderr:
        equal((0, ""), (done.returncode, done.stderr), "python3-yaml")
        equal(made, json.loads(done.stdout), "what python3-yaml reads")
    return made


@case
def lava_job():
    """It parses, downloads what it was given, boots with the arena, and runs the test as it is."""
    made = job(told("lava", *URLS, "--initrd", "https://h/initrd", "--append", "quiet"))
    deploy, boot, test = (next(iter(action.values())) for action in made["actions"])
    equal(["deploy", "boot", "test"], [next(iter(action)) for action in made["actions"]], "actions")
    rootfs, kernel = deploy["images"]["rootfs"], deploy["images"]["kernel"]
    equal(("https://h/root.ext4.xz", "xz", "ext4"), tuple(rootfs[name] for name in ("url", "compression", "format")), "rootfs")
    equal({"lava": True, "modules": {"url": "https://h/m.tar.gz", "compression": "gz", "format": "tar", "path": "/"},
           "kselftest": {"url": "file:///srv/kselftest.tar.xz", "compression": "xz", "format": "tar",
                         "path": "/opt/kselftest/"}}, rootfs["overlays"], "overlays")
    check("memmap=576M$4544M quiet'" in kernel["image_arg"] and "compression" not in kernel, kernel)
    equal(("qemu", 5632), (boot["method"], made["context"]["memory"]), "the machine")
    definition = test["definitions"][0]["repository"]
    equal([results_lava.TEST.read_text()], definition["run"]["steps"], "the test")
    equal("arena=576M@4544M sabotage=1", definition["params"]["PARAMETERS"], "parameters")
    check(all(minutes <= made["timeouts"]["job"]["minutes"] for minutes in results_lava.MINUTES.values()), "time limits")


LAVA_TEST_CASE = """#!/bin/sh
echo "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=$1 RESULT=$3${5:+ MEASUREMENT=$5}>"
"""
PROGRAMS = {
    "hotmirror_one": """echo "TAP version 13
1..6
ok 1 race.read+munmap@anon-missing:populate.faulted
not ok 2 a.fails
ok 3 a.skips # SKIP no such memory
ok 4 a.known # XFAIL kernel bug
ok 5 # SKIP what 6.1 prints
ok 6 - with.dash"; exit 1""",
    "hotmirror_two": "echo 'TAP version 13\n1..3\nok 1 a.one'",
    "hotmirror_three.sh": "echo 'TAP version 13\n1..1\nok 1 a.b'",
    "hotmirror_four": "echo 'TAP version 13\n1..0 # SKIP no module'; exit 4",
    "hotmirror_five": "echo nothing",
}
SEEN = {
    "hotmirror_one": "fail", "hotmirror_one.race.read-and-munmap-on-anon--missing-at-populate.faulted": "pass",
    "hotmirror_one.a.fails": "fail", "hotmirror_one.a.skips": "skip", "hotmirror_one.a.known": "skip",
    "hotmirror_one.test-20-5": "skip", "hotmirror_one.with.dash": "pass", "hotmirror_two": "fail",
    "hotmirror_two.a.one": "pass", "hotmirror_three": "pass", "hotmirror_three.a.b": "pass", "hotmirror_four": "skip",
    "hotmirror_five": "fail",
}


@functools.cache
def framework():
    return kernels.newest().source / "tools" / "testing" / "selftests"


def tarball(path):
    """What gen_tar's tarball has, with programs of our own and the framework of 7.3."""
    shutil.copytree(framework() / "kselftest", path / "kselftest")
    shutil.copy(framework() / "run_kselftest.sh", path)
    (path / "hotmirror").mkdir()
    for name, text in PROGRAMS.items():
        (path / "hotmirror" / name).write_text(f"#!/bin/sh\n{text}\n")
        os.chmod(path / "hotmirror" / name, 0o755)
    (path / "kselftest-list.txt").write_text("mm:other\n" + "".join(f"hotmirror:{name}\n" for name in PROGRAMS))


def lava_test(path, **variables):
    """Run the job's test as LAVA does, sh -e; (status, {case: result}, cases that it counted)."""
    tools = path / "tools"
    tools.mkdir()
    for name, text in (("lava-test-case", LAVA_TEST_CASE), ("lava-test-raise", "#!/bin/sh\nexit 1\n")):
        (tools / name).write_text(text)
        os.chmod(tools / name, 0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "KSELFTEST": str(path / "k"), "DEVICE": "/dev/null"}
    done = subprocess.run(["sh", "-e", str(results_lava.TEST)], env=environment | variables, text=True,
                          capture_output=True, check=False, stdin=subprocess.DEVNULL)
    signals = re.findall(r"^<LAVA_SIGNAL_TESTCASE TEST_CASE_ID=(\S+) RESULT=(\S+?)(?: MEASUREMENT=(\d+))?>$",
                         done.stdout, re.M)
    counted = [int(number) for _, _, number in signals if number]
    check(not counted or "# overriding timeout to 600\n" in done.stdout, "the limit of a program")
    return done.returncode, {name: word for name, word, number in signals if not number}, counted


@case
def lava_test_tells_each_test():
    """The framework's own runner, its output as signals: what fails, skips, is known, is cut short."""
    with scratch() as path:
        (path / "k").mkdir()
        tarball(path / "k")
        equal((0, SEEN, [len(SEEN)]), lava_test(path), "cases")


@case
def lava_test_gives_up():
    """Without a tarball, the module or a program it fails with a case that says which."""
    with scratch() as path:
        equal((1, {"tarball": "fail"}, []), lava_test(path), "no tarball")
    for variables, word in (({"DEVICE": "/nowhere"}, "module"), ({"PROGRAMS": "other*"}, "programs")):
        with scratch() as path:
            (path / "k").mkdir()
            tarball(path / "k")
            equal((1, {word: "fail"}, []), lava_test(path, **variables), word)


# ---- bad input ----

@case
def bad_out_is_refused():
    """Not a directory, no summary, not JSON, of something else: one line, whatever the format."""
    with scratch() as path:
        (path / "empty").mkdir()
        for name, text in (("cut", '{"verdict": "pa'), ("observed", '{"verdict": "complete", "scripts": []}'),
                           ("list", "[]"), ("word", '{"verdict": "good", "tests": []}'),
                           ("test", '{"verdict": "pass", "tests": [{"name": "a:b", "status": "ok", "ms": 1}]}'),
                           ("nameless", '{"verdict": "pass", "tests": [{"name": ":", "status": "pass", "ms": 1}]}')):
            (path / name).mkdir()
            (path / name / "summary.json").write_text(text)
        shutil.copytree(RECORDED / WHOLE, path / "facts")
        (path / "facts" / "what-was-run.json").write_text("{")
        for name, words in (("nowhere", "not a directory"), ("empty", "no summary.json"), ("cut", "not JSON"),
                            ("observed", "scripts/report"), ("list", "no results"), ("word", "no results"),
                            ("test", "test 0"), ("nameless", "test 0"), ("facts", "what-was-run.json is not JSON")):
            try:
                results.read(path / name)
            except Stop as stop:
                check(words in f"{stop.what}; {stop.remedy}", f"{stop.what!r} does not say {words!r}")
            else:
                check(False, f"{name} was taken")
        for form in ("junit", "kcidb"):
            refused(run(form, path / "cut"), "summary.json is not JSON")


@case
def bad_options_are_refused():
    """One line that names the option; a file that cannot be written is not begun."""
    for words, complaint in (
            ((), "FORMAT"), (("tap", "x"), "tap"), (("junit",), "OUT"), (("path", "noname"), "noname"), (("name", "a"), "'a'"),
            (("name", "a.-zz-"), "-zz-"), (("name", "a.-2b-"), "-2b-"),
            (("kcidb", RECORDED / WHOLE, "--origin", "My CI"), "--origin"),
            (("kcidb", RECORDED / WHOLE, "--commit", "abc"), "--commit"),
            (("kcidb", RECORDED / WHOLE, "--tree", "/proc"), "--tree /proc"),
            (("kcidb", RECORDED / WHOLE, "--commit", "0" * 40, "--url", "git@h:l"), "--url"),
            (("lava", *URLS[:-2]), "--tarball"), (("lava", *URLS[:-1], "/srv/x"), "--tarball /srv/x"),
            (("lava", *URLS, "--append", "a'b"), "--append"),
            (("junit", RECORDED / WHOLE, "-o", "/nowhere/x"), "-o /nowhere/x")):
        refused(run(*words), complaint)


@case
def file_is_written_whole():
    """-o writes what stdout would have got; --help says how."""
    with scratch() as path:
        equal("", told("kcidb", RECORDED / WHOLE, "-o", path / "x.json"), "stdout")
        equal(told("kcidb", RECORDED / WHOLE), (path / "x.json").read_text(), "the file")
        refused(run("kcidb", path / "nowhere", "-o", path / "x.json"), "not a directory")
        equal(["x.json"], os.listdir(path), "files")
    check("Exit status" in told("--help"), "--help")
