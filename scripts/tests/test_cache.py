# SPDX-License-Identifier: GPL-2.0-only
"""The cache: who may write an entry, and what goes when nobody uses it."""

import contextlib
import os
import subprocess
import sys
import time

from tap import SCRIPTS, case, check, equal
from test_input import scratch

from hotmirror import cache, lint


@contextlib.contextmanager
def cache_in(path):
    """This process's cache is path/hotmirror meanwhile."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def aged(path, days):
    when = time.time() - days * cache.DAY
    os.utime(path, (when, when), follow_symlinks=False)


@case
def cache_forgets_what_nobody_uses():
    """But no Debian tree, nothing that is locked, and no file of a lock that is held."""
    with scratch() as path, cache_in(path):
        base = path / "hotmirror"
        (path / "src").mkdir()
        stays = ("tests-new", "tree-old", "bookworm-tree-old", "module-locked", ".lock-module-locked", "kernel-fast-used")
        goes = ("tests-old", "image-old.erofs", "kernel-fast-old", "kernel-fast-lost", ".new-tests-killed", ".lock-killed")
        for name in (*stays, *goes):
            one = base / name
            one.parent.mkdir(exist_ok=True)
            if name.startswith(".lock-") or name.endswith(".erofs"):
                one.touch()
            else:
                one.mkdir()
                (one / "file").touch()
            if name in ("kernel-fast-used", "kernel-fast-old"):
                (one / "source").symlink_to(path / "src")
            aged(one, 0.5 if "-new" in name else 2 if "fast-lost" in name or "used" in name or "killed" in name else 20)
        with cache.lock("module-locked"):
            aged(base / ".lock-module-locked", 20)
            equal(sorted(goes), sorted(cache.prune(14)), "what went")
            equal(sorted(stays), sorted(one.name for one in base.iterdir()), "what stayed")
        equal(["module-locked"], cache.prune(14), "what went when it was free")
        check(not list(base.glob(".lock-*")), "a lock's file stayed")


HOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from hotmirror import cache
for _ in range(50):
    with cache.lock("counter"):
        count = int(open(sys.argv[2]).read())
        open(sys.argv[2], "w").write(str(count + 1))
"""


@case
def locks_that_leave_no_file_exclude_all_the_same():
    with scratch() as path, cache_in(path):
        (path / "count").write_text("0")
        holders = [subprocess.Popen([sys.executable, "-c", HOLD, str(SCRIPTS), str(path / "count")],
                                    stderr=subprocess.DEVNULL) for _ in range(4)]
        equal([0] * 4, [one.wait(60) for one in holders], "how they ended")
        equal("200", (path / "count").read_text(), "the count")
        equal([], list((path / "hotmirror").iterdir()), "what they left")


@case
def checkpatch_is_remembered_with_what_it_said():
    """A complaint stays one as long as its file does. What checkpatch says of itself is not forgotten, either."""
    complaint, seen = "one.c:1: CHECK:SPACING: no", []

    def run(status, lines):
        lint._run_checkpatch = lambda b, files: (seen.append(files), (status, lines))[1]
        with lint.bench({"one.c": text, "two.c": b"int two;\n"}) as b:
            b.remembers = True
            return lint.checkpatch(b)

    before, text = lint._run_checkpatch, b"int one;\n"
    try:
        with scratch() as path, cache_in(path):
            equal(["one.c:1: broken", "checkpatch.pl ended with status 2"], run(2, ["one.c:1: broken"]), "of one that broke")
            equal(["Can't open x"], run(1, ["Can't open x"]), "of one that could not see")
            equal([complaint], run(1, [complaint]), "the first time")
            equal([complaint], run(0, []), "the second time")
            text = b"int uno;\n"
            equal([], run(0, []), "of another text")
    finally:
        lint._run_checkpatch = before
    equal([["one.c", "two.c"]] * 3 + [["one.c"]], seen, "what checkpatch was given")
