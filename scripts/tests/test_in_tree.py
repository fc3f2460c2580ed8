# SPDX-License-Identifier: GPL-2.0-only
"""scripts/in-tree on a tiny tree: its hunks, its commits, and what it refuses. The real one: scripts/tests/in-tree."""

import os
import subprocess
from contextlib import contextmanager

from tap import SCRIPTS, case, check, equal
from test_input import refused, scratch

from hotmirror import build, in_tree
from hotmirror.say import Stop

KCONFIG = """config TEST_HMM
\ttristate "Test HMM"
\tdepends on TRANSPARENT_HUGEPAGE
# a comment
\thelp
\t  Text.

\t  If unsure, say N.

config TEST_FREE_PAGES
\ttristate "Test freeing pages"
"""
MAKEFILE = "obj-$(CONFIG_TEST_LOCKUP) += a.o\nobj-$(CONFIG_TEST_HMM) += test_hmm.o\nobj-$(CONFIG_TEST_FPU) += test_fpu.o\n"
TARGETS = "# list\nTARGETS += acct\nTARGETS += mount\nTARGETS += hid\nTARGETS += intel_pstate\nTARGETS += hidden\n"
# Not quite sorted, as it is.
PEOPLE = """List of maintainers
===================

HMM - Heterogeneous Memory Management
M:\tA <a@example.org>
F:\tmm/hmm*

ZZZ OUT OF ORDER
S:\tMaintained

HONEYWELL SENSOR
S:\tMaintained

HP WMI
S:\tMaintained

IBM THINGS
S:\tMaintained
"""
FILES = {"Kbuild": "", "Makefile": "VERSION = 7\n", "lib/Kconfig.debug": KCONFIG, "lib/Makefile": MAKEFILE,
         "tools/testing/selftests/Makefile": TARGETS, "MAINTAINERS": PEOPLE, ".gitignore": "/*\n"}
WHO = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
NAMED = {"GIT_COMMITTER_NAME": "A Tester", "GIT_COMMITTER_EMAIL": "t@example.org", "GIT_AUTHOR_NAME": "A Tester",
         "GIT_AUTHOR_EMAIL": "t@example.org"}
OURS = {**os.environ, **WHO, **NAMED}


def git(tree, *words):
    return subprocess.run(["git", "-C", tree, *words], check=True, capture_output=True, text=True, env=OURS).stdout


def run(*words, environment=None):
    return subprocess.run([SCRIPTS / "in-tree", *words], check=False, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL, env=OURS if environment is None else environment)


@contextmanager
def kernel_tree(changed=None):
    """A git tree that looks like a kernel's; changed: {file: text, or None: not there}."""
    with scratch() as path:
        tree = path / "linux"
        for name, text in (FILES | (changed or {})).items():
            if text is not None:
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                (tree / name).write_text(text)
        git(path, "init", "-q", "-b", "main", str(tree))
        git(tree, "add", "-A", "-f")
        git(tree, "commit", "-q", "-m", "base")
        yield tree


def state(tree):
    """All that must not change: refs, HEAD, index, files."""
    return (git(tree, "for-each-ref"), git(tree, "symbolic-ref", "HEAD"), git(tree, "status", "--porcelain"),
            sorted(str(path) for path in tree.rglob("*") if ".git" not in path.parts))


def refused_unchanged(tree, *words, options=(), **others):
    before = state(tree)
    refused(run(str(tree), *options, **others), *words)
    equal(before, state(tree), "the tree")


# ---- what it makes ----

@case
def files_are_ours_as_they_are():
    """Every file of ours is in its place, byte by byte, with its mode, and nothing else is."""
    with kernel_tree() as tree:
        done = run(str(tree))
        equal((0, ""), (done.returncode, done.stdout), f"ending; {done.stderr!r}")
        equal("hotmirror", git(tree, "symbolic-ref", "--short", "HEAD").strip(), "branch")
        equal("", git(tree, "status", "--porcelain"), "changes")
        for ours, place in ((build.DRIVER, in_tree.MODULE), (build.TOP / "selftests", in_tree.TESTS)):
            tracked = subprocess.run(["git", "-C", ours, "ls-files"], check=True, capture_output=True, text=True).stdout.split()
            check(set(tracked) <= set(git(tree, "ls-files", place).replace(place + "/", "").split()), f"files of {ours}")
            for name in (path.relative_to(ours) for path in in_tree.files(ours)):
                equal((ours / name).read_bytes(), (tree / place / name).read_bytes(), name)
                equal(os.access(ours / name, os.X_OK), os.access(tree / place / name, os.X_OK), f"mode of {name}")


@case
def commits_are_in_kernel_style():
    """A subject with its subsystem, lines that a mail takes, signed off by the committer."""
    with kernel_tree() as tree:
        run(str(tree), "--branch", "topic/x")
        for message, place in zip(git(tree, "log", "-2", "--format=%B%x00").split("\0"), (in_tree.TESTS, in_tree.MODULE)):
            lines = message.strip().splitlines()
            check(lines[0].startswith(place.removeprefix("tools/testing/") + ": ") and not lines[1], lines[:2])
            equal("Signed-off-by: A Tester <t@example.org>", lines[-1], "last line")
            check(max(map(len, lines)) <= 75, f"long lines in {lines}")
        changed = git(tree, "show", "--format=", "--name-only", "HEAD").split()
        equal({"MAINTAINERS", "tools/testing/selftests/Makefile"},
              {name for name in changed if not name.startswith(in_tree.TESTS + "/")}, "what the second commit changes beside")
        check(not any(name.startswith(in_tree.TESTS + "/") for name in git(tree, "ls-tree", "-r", "--name-only", "HEAD~1").split()),
              "tests in the first commit")


@case
def hunks_are_in_their_places():
    """After upstream's module, in the alphabet, before the next maintainer; nothing else moves."""
    with kernel_tree() as tree:
        run(str(tree))
        for name, before, ours in (
                ("lib/Kconfig.debug", "config TEST_FREE_PAGES", 'source "lib/test_hotmirror/Kconfig"\n\n'),
                ("lib/Makefile", "obj-$(CONFIG_TEST_FPU)", "obj-$(CONFIG_TEST_HOTMIRROR) += test_hotmirror/\n"),
                ("tools/testing/selftests/Makefile", "TARGETS += mount", "TARGETS += hotmirror\n"),
                ("MAINTAINERS", "HP WMI", "HOTMIRROR - TEST DEVICE FOR HMM MIRRORS\nM:\tA Tester <t@example.org>\n"
                 "L:\tlinux-mm@kvack.org\nS:\tMaintained\nF:\tlib/test_hotmirror/\n"
                 "F:\ttools/testing/selftests/hotmirror/\n\n")):
            equal(FILES[name].replace(before, ours + before, 1), (tree / name).read_text(), name)


@case
def hunks_refuse_what_they_do_not_know():
    """Another kernel's files, in which there is no place for ours."""
    for hunk, text in ((in_tree.kconfig, "config TEST_HMM_ELSE\n"), (in_tree.kconfig, "config TEST_HMM\n\thelp\n"),
                       (in_tree.makefile, "obj-y += a.o\n"), (in_tree.targets, "TARGETS += acct\n"),
                       (in_tree.people("A <a@b>", "lib/x"), "\n\nACPI\nS:\tMaintained\n")):
        try:
            hunk(text)
        except Stop:
            continue
        check(False, f"{hunk} took {text!r}")


@case
def branch_without_a_checkout():
    """--no-checkout leaves the work tree alone, and checks nothing out."""
    with kernel_tree() as tree:
        before = state(tree)
        equal(0, run(str(tree), "--no-checkout", "--branch", "b").returncode, "status")
        equal(before[1:], state(tree)[1:], "the work tree")
        equal("2\n", git(tree, "rev-list", "--count", "main..b"), "commits")


# ---- what it refuses ----

@case
def no_kernel_tree_is_refused():
    """Nothing, a file's directory, a tree without one of the files."""
    with scratch() as path:
        refused(run(str(path / "nowhere")), "not a directory")
        refused(run(str(path)), "not a kernel tree: it has no Kbuild")
        refused(run(), "TREE")
    for name in in_tree.NEEDED:
        with kernel_tree({name: None}) as tree:
            refused_unchanged(tree, f"not a kernel tree: it has no {name}")


@case
def no_git_tree_is_refused():
    """A tarball's tree, a tree inside another one's repository, one without a commit."""
    with kernel_tree() as tree:
        inner = tree / "inner"
        for name, text in FILES.items():
            (inner / name).parent.mkdir(parents=True, exist_ok=True)
            (inner / name).write_text(text)
        refused(run(str(inner)), "not a git tree")
        (tree / ".git").rename(tree.parent / "gone")
        refused(run(str(tree)), "not a git tree")
        git(tree, "init", "-q")
        refused(run(str(tree)), "not a git tree with a commit")


@case
def dirty_tree_is_refused():
    """Changed, staged or removed: named, and left as it is. What git does not know is not in the way."""
    for spoil, name in ((lambda tree: (tree / "Makefile").write_text("x"), "Makefile"),
                        (lambda tree: (git(tree, "rm", "-q", "lib/Makefile"), (tree / "lib/Makefile").write_text("x")),
                         "lib/Makefile")):
        with kernel_tree() as tree:
            spoil(tree)
            refused_unchanged(tree, f"not committed, {name}")
    with kernel_tree({"lib/Makefile": None}) as tree:
        (tree / "lib/Makefile").write_text(MAKEFILE)
        refused_unchanged(tree, "lib/Makefile")
    with kernel_tree() as tree:
        (tree / "notes").write_text("x")
        equal(0, run(str(tree)).returncode, "status with a file of somebody's own")


@case
def second_time_is_refused():
    """A branch of that name, a tree that has ours, in HEAD or beside it."""
    with kernel_tree() as tree:
        run(str(tree))
        refused_unchanged(tree, "has lib/test_hotmirror already", options=("--branch", "other"))
        git(tree, "checkout", "-q", "main")
        refused_unchanged(tree, "a branch hotmirror already")
        (tree / in_tree.TESTS).mkdir()
        refused_unchanged(tree, "has tools/testing/selftests/hotmirror already", options=("--branch", "other"))


@case
def bad_names_are_refused():
    """No name of a branch; nobody who could sign off; an old tree."""
    with kernel_tree() as tree:
        refused_unchanged(tree, "--branch a..b", options=("--branch", "a..b"))
        nobody = {key: value for key, value in OURS.items() if key not in NAMED} | {"HOME": str(tree.parent)}
        refused_unchanged(tree, "who commits", environment=nobody)
    for name, text in (("lib/Kconfig.debug", "config X\n"), ("lib/Makefile", "\n"), ("MAINTAINERS", "\n"),
                       ("tools/testing/selftests/Makefile", "TARGETS += a\n")):
        with kernel_tree({name: text}) as tree:
            refused_unchanged(tree, f"^.*{name} has no")
