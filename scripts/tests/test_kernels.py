# SPDX-License-Identifier: GPL-2.0-only
"""scripts/kbuild, scripts/bisect and scripts/mutate before a kernel is compiled: what they refuse,
what they call a failure, and when a bisection ends. The tree is a small one with a Makefile that
understands the same goals; whole kernels are built by make check-deep."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tap import SCRIPTS, case, check, equal
from test_cache import cache_in
from test_input import refused, scratch

from hotmirror import bisect, kernel_build, kernels, mutants, mutants_doc

MAKEFILE = """
VERSION = 7
PATCHLEVEL = 3
allnoconfig olddefconfig:
\tgrep -v -x -f lacks $(O)/hotmirror.config >$(O)/.config
kernelrelease:
\t@echo 7.3.0-test
vmlinux: $(patsubst %.c,$(O)/%.o,$(wildcard mm/*.c))
\ttouch $(O)/vmlinux
modules:
\t@:
$(O)/%.o: %.c
\t@mkdir -p $(@D); echo '  CC      $*.o'; $(CC) -c -o $@ $<
"""
GOOD_C, BAD_C = "int fine;\n", "int wrong = ;\n"


def tree(path, lacks="none", source=GOOD_C):
    for name in ("mm", "Kbuild", "Kconfig"):
        (path / name).mkdir() if name == "mm" else (path / name).touch()
    (path / "Makefile").write_text(MAKEFILE)
    (path / "lacks").write_text(lacks + "\n")
    (path / "mm/code.c").write_text(source)
    return path


def git(path, *command):
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    return subprocess.run(["git", "-C", str(path), *who, *command], check=True, capture_output=True,
                          text=True).stdout.strip()


def repository(path, sources):
    """A git tree with a commit for each source; the hashes."""
    tree(path, source=sources[0])
    git(path, "init", "-q")
    hashes = []
    for number, source in enumerate(sources):
        (path / "mm/code.c").write_text(f"/* {number} */\n" + source)
        git(path, "add", "-A")
        git(path, "commit", "-q", "-m", f"commit {number}")
        hashes.append(git(path, "rev-parse", "HEAD"))
    return hashes


def run(script, *options, cwd=None):
    # Python compiles what it runs, unless told not to: as on most machines.
    drop = ("KERNEL", "TESTS", "OUT", "PYTHONDONTWRITEBYTECODE")
    keep = {name: value for name, value in os.environ.items() if name not in drop}
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as place:
        return subprocess.run([str(SCRIPTS / script), *map(str, options)], check=False, text=True, cwd=cwd,
                              capture_output=True, stdin=subprocess.DEVNULL, env={**keep, kernel_build.PLACE: place})


def failed(done, *words):
    """Status 1 with the reason in one line: the tree's fault."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("hotmirror: error:")]
    equal(1, done.returncode, f"exit status ({done.stderr!r})")
    equal(1, len(errors), f"error lines in {done.stderr!r}")
    for word in words:
        check(word in errors[0], f"{errors[0]!r} does not say {word!r}")


@case
def trees_that_are_none():
    refused(run("kbuild", "/no/such/tree"), "is not a directory", "kernel source tree")
    refused(run("kbuild", "9.9"), "no packaged source of 9.9", "7.3, 6.12")
    with scratch() as path:
        refused(run("kbuild", path), "is not a kernel tree", "Makefile, Kbuild")
        tree(path)
        refused(run("kbuild", path, "--jobs", "0"), "--jobs takes 1 or more")
        (path / ".config").touch()
        refused(run("kbuild", path), "was built in place", "mrproper")


@case
def option_that_the_tree_lacks():
    """A needed one is a failure that names it; a wanted one is only said."""
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src", lacks="CONFIG_HMM_MIRROR=y")
        failed(run("kbuild", path / "src", "--out", path / "out"), "cannot provide CONFIG_HMM_MIRROR=y")
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src", lacks="CONFIG_SECRETMEM=y")
        done = run("kbuild", path / "src", "--out", path / "out")
        equal(0, done.returncode, done.stderr)
        check("not in this tree: CONFIG_SECRETMEM=y" in done.stderr, done.stderr)


@case
def option_that_is_asked_for():
    """It gets a build directory of its own, and is needed."""
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src", lacks="CONFIG_NEVER=y")
        refused(run("kbuild", path / "src", "--set", "LOTS"), "--set LOTS is not NAME=VALUE", "TEST_HOTMIRROR=y")
        failed(run("kbuild", path / "src", "--set", "NEVER=y"), "cannot provide CONFIG_NEVER=y")
        plain, more = (run("kbuild", path / "src", *given).stdout for given in ((), ("--set", "TEST_HOTMIRROR=y")))
        check(plain and more and Path(plain).name != Path(more).name, f"{plain} and {more}")


@case
def first_error_is_what_a_failed_build_is_called():
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src", source=BAD_C)
        failed(run("kbuild", path / "src", "--out", path / "out"), "does not build: mm/code.c:1:13: error: expected")


@case
def only_what_changed_is_built():
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src")
        for said in ("1 objects", "up to date"):
            done = run("kbuild", path / "src", "--out", path / "out")
            equal(f"{path / 'out'}\n", done.stdout, f"stdout ({done.stderr})")
            check(said in done.stderr, f"{done.stderr!r} does not say {said!r}")
        (path / "src/mm/more.c").write_text(GOOD_C)
        check("1 objects" in run("kbuild", path / "src", "--out", path / "out").stderr, "a new file is not built")
        check("up to date" not in run("kbuild", path / "src", "--out", path / "out", "--debug").stderr,
              "another flavour is taken for built")


@case
def configuration_alone():
    """Nothing is compiled, a build that is up to date stays so, and nobody misses an older name."""
    with scratch() as path:
        (path / "src").mkdir()
        tree(path / "src", lacks="CONFIG_PROC_SYSCTL=y", source=BAD_C)
        configure = ("kbuild", path / "src", "--out", path / "out", "--configure")
        done = run(*configure)
        equal((0, f"{path / 'out'}\n"), (done.returncode, done.stdout), f"status and stdout ({done.stderr})")
        check((path / "out/.config").exists() and not (path / "out/vmlinux").exists(), "more or less than configured")
        check("not in this tree" not in done.stderr, done.stderr)
        (path / "src/mm/code.c").write_text(GOOD_C)
        for arguments, said in (configure[:-1], "1 objects"), (configure, "up to date"), (configure[:-1], "up to date"):
            check(said in run(*arguments).stderr, f"{arguments[1:]} does not say {said!r}")
        failed(run(*configure, "--set", "PROC_SYSCTL=y"), "cannot provide CONFIG_PROC_SYSCTL=y")


@case
def directories_have_a_place():
    """Of their own, if one is named; a build that failed is not taken for a kernel, nor one without its source."""
    with scratch() as path:
        for name in ("src", "kernels", "hotmirror"):
            (path / name).mkdir()
        tree(path / "src")
        keep = {**os.environ, kernel_build.PLACE: str(path / "kernels")}
        done = subprocess.run([str(SCRIPTS / "kbuild"), str(path / "src")], check=False, text=True, env=keep,
                              capture_output=True, stdin=subprocess.DEVNULL)
        equal(0, done.returncode, done.stderr)
        made = list((path / "kernels").iterdir())
        equal([f"{one}\n" for one in made], [done.stdout], "where it was built, and what it left beside")

        def finished():
            with cache_in(path):
                return [one.name for one in kernel_build.finished()]

        kept = path / "hotmirror/kernel-fast-1"
        made[0].rename(kept)
        equal([], finished(), "without a source")
        (kept / "source").symlink_to(path / "src")
        (kept / "Module.symvers").touch()
        equal([kept.name], finished(), "whole")
        (kept / kernel_build.STATE).unlink()
        equal([], finished(), "unfinished")


@case
def bisections_that_cannot_begin():
    with scratch() as path:
        tree(path)
        refused(run("bisect", "start", "--tests", "x", "A", "B", cwd=path), "is not in a git tree")
    with scratch() as path:
        first, last = repository(path, [GOOD_C, GOOD_C])
        refused(run("bisect", "start", first, last, cwd=path), "nothing to judge by", "--tests")
        refused(run("bisect", "start", "--tests", "x", first, "nothing", cwd=path), "git rev-parse")
        refused(run("bisect", "start", "--tests", "x", "--bad-if", "(", first, last, cwd=path), "is no pattern")
        refused(run("bisect", "start", "--tests", "x", "--repeat", "0", first, last, cwd=path), "--repeat takes 1")
        refused(run("bisect", "start", "--tests", "x", "--bad-if", "a", "--good-if", "b", first, last, cwd=path),
                "one of them decides")
        (path / "mm/code.c").write_text(BAD_C)
        refused(run("bisect", "start", "--tests", "x", first, last, cwd=path), "has changes", "git stash")
        git(path, "checkout", "-q", ".")
        done = run("bisect", cwd=path)
        equal(bisect.ABORT, done.returncode, f"a step without a start ({done.stderr})")


@case
def bad_ends_are_told_before_the_search():
    """Here neither can be judged: it does not compile."""
    with scratch() as path:
        first, last = repository(path, [BAD_C, BAD_C])
        done = run("bisect", "start", "--tests", "hotmirror_abi:*", first, last, cwd=path)
        equal(2, done.returncode, done.stderr)
        check("the good commit" in done.stderr and "cannot judge" in done.stderr, done.stderr)
        equal(last, git(path, "rev-parse", "HEAD"), "what is checked out afterwards")


def started(path, sources, tests="x"):
    """The hashes of a repository in which a bisection was started that tried neither end."""
    hashes = repository(path, sources)
    equal(0, run("bisect", "start", "--trust", "--tests", tests, hashes[0], hashes[-1], cwd=path).returncode, "start")
    return hashes


@case
def fourth_commit_in_a_row_ends_it():
    with scratch() as path:
        started(path, [GOOD_C, *[BAD_C] * 8, GOOD_C])
        done = run("bisect", "run", cwd=path)
        equal(2, done.returncode, done.stderr)
        check("4 commits in a row cannot be judged" in done.stderr, done.stderr)
        steps = sorted((path / ".git/hotmirror-bisect/steps").glob("*/step.json"))
        verdicts = [json.loads(step.read_text()) for step in steps]
        equal([bisect.CANNOT] * 4, [step["verdict"] for step in verdicts], "verdicts")
        check(all("does not build: mm/code.c" in step["why"] for step in verdicts), f"{verdicts}")
        equal(1, len({step["judge"] for step in verdicts}), "judges")
        check("first bad commit is not known" in done.stdout, done.stdout)


@case
def judge_that_changed_decides_nothing():
    with scratch() as path:
        started(path, [GOOD_C] * 3)
        (path / ".git/hotmirror-bisect/judge/selftests/settings").write_text("timeout=1\n")
        done = run("bisect", cwd=path)
        equal(bisect.ABORT, done.returncode, done.stderr)
        check("the judge changed" in done.stderr, done.stderr)


@case
def judge_that_is_broken_blames_no_commit():
    """Nor does one that is called wrongly: git takes every status up to 127 for bad, but 125."""
    with scratch() as path:
        started(path, [GOOD_C] * 3)
        for words in (("--no-such-option",), ("no_such_command",), ("step", "--frobnicate")):
            done = run("bisect", *words, cwd=path)
            equal(bisect.ABORT, done.returncode, f"{words}: {done.stderr}")
        (path / ".git/hotmirror-bisect/bisect.json").write_text("{")
        done = run("bisect", cwd=path)
        equal(bisect.ABORT, done.returncode, done.stderr)
        check("the judge itself is broken" in done.stderr, done.stderr)


@case
def module_that_does_not_build_is_no_verdict():
    """On a real kernel: the step is skipped and its reason has the compiler's first error; nothing boots."""
    with scratch() as path:
        hashes = started(path, [GOOD_C] * 2, "one:*")
        bisection = bisect.Bisection(path)
        judge = bisection.place / "judge"
        # One test is enough: it never runs. So is one file of the module.
        shutil.rmtree(judge / "selftests")
        (judge / "selftests").mkdir()
        (judge / "selftests/Makefile").write_text("TEST_PROGS := one.sh\ninclude $(KSFT)/lib.mk\n")
        (judge / "selftests/one.sh").write_text("#!/bin/sh\n")
        (judge / "selftests/one.sh").chmod(0o755)
        (judge / "test_driver/Kbuild").write_text("obj-m := test_hotmirror.o\ntest_hotmirror-y := wrong.o\n")
        (judge / "test_driver/wrong.c").write_text(BAD_C)
        verdict, why = bisection._run(kernels.NEWEST, path, bisect.Step(hashes[0]))
        equal(bisect.CANNOT, verdict, why)
        check("wrong.c:1:13: error: expected expression" in why, why)
        equal([], list(path.glob("run-1/console.log")), "a guest")


@case
def verdicts_of_runs():
    """Failures are bad, what was not judged is skipped, and a pattern decides only where a guest ran."""
    with scratch() as out:
        (out / "summary.json").write_text('{"cause": "why"}')
        (out / "kernel.log").write_text("[    1.0] WARNING: at mm/rmap.c\n")

        def verdict(status, **rule):
            judge = bisect.Bisection.__new__(bisect.Bisection)
            judge.rule = bisect.Rule(tests="t", **rule)
            return judge._verdict(status, out, "said")[0]

        equal([bisect.GOOD, bisect.BAD, bisect.CANNOT], [verdict(n) for n in range(3)], "by exit status")
        equal([bisect.BAD, bisect.BAD, bisect.CANNOT], [verdict(n, bad_if="WARNING.*rmap") for n in range(3)], "bad if")
        equal([bisect.GOOD, bisect.GOOD, bisect.CANNOT], [verdict(n, bad_if="nothing") for n in range(3)], "bad if not")
        equal([bisect.GOOD] * 2, [verdict(n, good_if="WARNING") for n in range(2)], "good if")
        (out / "summary.json").unlink()
        equal([bisect.CANNOT] * 3, [verdict(n) for n in range(3)], "of a runner that broke")


@case
def mutants_are_described():
    known = mutants.known()
    check(len(known) >= 30, f"only {len(known)} mutants")
    shown = run("mutate", "--list").stdout
    for one in known:
        check(one.name in shown and one.fault in shown, f"{one.name} is not in the list")
    refused(run("mutate", "--only", "none", "--list"), "matches no mutant", "--list")
    refused(run("mutate"), "no TREE")
    with scratch() as path:
        tree(path)
        refused(run("mutate", path), "is not a git tree")
    with scratch() as path:
        repository(path, [GOOD_C])
        (path / "mm/code.c").write_text(BAD_C)
        refused(run("mutate", path), "has changes", "git stash")


def _table(*verdicts):
    return mutants.table([mutants.Result(f"m{n}", verdict, baseline=mutants.SURVIVED)
                          for n, verdict in enumerate(verdicts)])


@case
def score_counts_what_was_judged():
    text = _table(mutants.KILLED, mutants.KILLED, mutants.SURVIVED, mutants.NOT_HERE, mutants.UNJUDGED)
    check("score: 2 of 3 killed, 67 %" in text, text)
    check("hmm-tests: 0 of 3 killed" in text, text)


def kept(path, name, flavour="fast", judge="j", kernel="7.3.4", **verdicts):
    """The mutants.json of a run: {mutant: (verdict, by, baseline)}."""
    (path / name).mkdir()
    results = {one: mutants.Result(one, verdict, by, seconds=45, baseline=baseline, judge=judge)
               for one, (verdict, by, baseline) in verdicts.items()}
    (path / name / mutants.KEPT).write_text(json.dumps(mutants.kept(flavour, kernel, results)))
    return path / name


@case
def verdict_stands_until_there_are_other_tests():
    """A kill stands then, too. Another fault under the same name is another mutant."""
    one = mutants.known()[0]
    standing = {"mine": True, "earlier": False}
    with scratch() as path:
        (path / "tree").mkdir()
        repository(path / "tree", [GOOD_C])
        for verdict, stands in ((mutants.KILLED, {"mine": True, "earlier": True}), (mutants.SURVIVED, standing),
                                (mutants.UNJUDGED, {"mine": False, "earlier": False})):
            for whose, expected in stands.items():
                hunt = mutants.Hunt(mutants.Tree(path / "tree"), "fast", 1, path)
                hunt.results[one.name] = before = mutants.Result(
                    one.name, verdict, judge=hunt.judge if whose == "mine" else whose, patch=one.key)
                equal(not expected, hunt.todo(one), f"{verdict}, of {whose} tests: is there something to do")
                before.patch = "another"
                check(hunt.todo(one), f"{verdict}: of another fault")
        hunt.results[one.name] = mutants.Result(one.name, mutants.KILLED, judge=hunt.judge, patch=one.key)
        hunt.baseline = True
        check(hunt.todo(one), "its baseline is not known")
        hunt.results[one.name].baseline = mutants.UNJUDGED
        check(not hunt.todo(one), "its baseline is known")


KNOWN = [mutants.Mutant(name, "mm/hmm.c", f"the fault of {name}") for name in ("one", "two", "three")]


@case
def table_has_a_row_a_mutant_and_both_scores():
    """Of shards as of one run; a flavour has columns of its own."""
    with scratch() as path:
        runs = mutants_doc.load([
            kept(path, "1", one=(mutants.KILLED, "hotmirror_dax:a.b", mutants.SURVIVED)),
            kept(path, "2", judge="k", two=(mutants.SURVIVED, "", mutants.KILLED), three=(mutants.NOT_HERE, "", "")),
            kept(path, "3", flavour="debug", one=(mutants.KILLED, "the kernel panicked | twice", ""))])
    text = mutants_doc.section(runs, KNOWN)
    for line in ("fast kernel 7.3.4: this suite 1 of 2 killed, 50 %; upstream's hmm-tests 1 of 2 killed, 50 %; "
                 "45 s a mutant on average, build and suite. "
                 "Tests were added after 1 of the verdicts.",
                 "debug kernel 7.3.4: this suite 1 of 1 killed, 100 %; 45 s a mutant on average, build and suite.",
                 "| mutant | file | what goes wrong | killed by (fast) | hmm-tests (fast) | killed by (debug) |",
                 "| one | mm/hmm.c | the fault of one | `hotmirror_dax:a.b` | survived | the kernel panicked \\| twice |",
                 "| two | mm/hmm.c | the fault of two | **survived** | killed | not run |"):
        check(line in text.splitlines(), f"{line!r} is not in\n{text}")
    equal(len(KNOWN), sum(line.startswith(("| one", "| two", "| three")) for line in text.splitlines()), "rows")


@case
def tables_that_cannot_be_made():
    with scratch() as path:
        refused(run("mutate", "--table", path), "is nothing that scripts/mutate kept", "--out")
        (path / "mutants.json").write_text('{"flavour": "fast"}')
        refused(run("mutate", "--table", path), "is nothing that scripts/mutate kept: 'kernel'")
        ours = kept(path, "1", one=(mutants.KILLED, "x", ""))
        refused(run("mutate", "--table", ours, kept(path, "2", kernel="7.3.5")), "of another kernel", "of one kernel")


@case
def new_run_begins_with_what_the_page_knows():
    """Of that flavour, and only where nothing is known yet."""
    for run in mutants_doc.known():
        with scratch() as path:
            mutants_doc.begin_with_known(run.flavour, path)
            equal([run], mutants_doc.load([path]), "a new OUT")
            (path / mutants.KEPT).write_text("mine")
            mutants_doc.begin_with_known(run.flavour, path)
            equal("mine", (path / mutants.KEPT).read_text(), "an OUT that has results")
    with scratch() as path:
        mutants_doc.begin_with_known("full", path)
        equal([], list(path.iterdir()), "an OUT of a flavour that nobody ran")


@case
def page_lists_the_mutants_that_there_are():
    """It is made of what is kept beside it, again when a mutant is added: scripts/mutate --table."""
    made = mutants_doc.PAGE.read_text(encoding="utf-8").partition(mutants_doc.MARK)[2]
    rows = [line.split(" | ")[:3] for line in made.splitlines() if line.startswith("| ")][1:]
    known = sorted(mutants.known(), key=lambda one: (one.path, one.name))
    equal([[f"| {one.name}", one.path, one.fault.replace("|", "\\|")] for one in known], rows, "rows")
    check(made == "\n" + mutants_doc.section(mutants_doc.known(), known), "scripts/mutate --table makes another page")
