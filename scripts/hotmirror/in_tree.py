# SPDX-License-Identifier: GPL-2.0-only
"""Our module and collection as commits in a kernel's git tree.

They are made beside the work tree, with an index of their own, and the branch is the last
thing that is made: whatever goes wrong before, nothing has changed.
"""

import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import build
from .say import Stop, say

MODULE, TESTS = "lib/test_hotmirror", "tools/testing/selftests/hotmirror"
KCONFIG, MAKEFILE, TARGETS, PEOPLE = ("lib/Kconfig.debug", "lib/Makefile", "tools/testing/selftests/Makefile",
                                      "MAINTAINERS")
NEEDED = ("Kbuild", "Makefile", KCONFIG, MAKEFILE, TARGETS, PEOPLE)
NAME, TITLE = "hotmirror", "HOTMIRROR - TEST DEVICE FOR HMM MIRRORS"
BESIDE = "TEST_HMM"            # upstream's own test module: ours goes next to it

MODULE_MESSAGE = """\
lib/test_hotmirror: add a test device for mirrors and hot-unplug

A GPU driver that uses HMM mirrors an address space into a device page
table. The process, the memory manager and the unplug of the device
memory itself tear at that mapping, and drivers rely on rules for it
that nothing tests.

Add a module that is such a mirror without a GPU. It owns device memory
of three kinds (private, coherent, DAX-like), can be unplugged step by
step (disable, invalidate, drain), and has gates at which a test can
hold each of its operations.
"""
TESTS_MESSAGE = """\
selftests/hotmirror: add tests of HMM mirrors and hot-unplug

Test the races between an HMM mirror and everything that takes memory
away from it, with lib/test_hotmirror. Each race is a named schedule
that holds its window open at a gate, so a test neither flakes nor
depends on the load of the machine.

A test is judged by more than its own checks: by the kernel log, by what
is left behind, and by comparison with what a CPU gets in its place.
"""


@dataclass(frozen=True)
class Commit:
    message: str
    source: Path               # directory of ours
    place: str                 # where it goes
    edits: tuple               # [(file, function of its text)]


def files(directory):
    """Paths of what is ours, without products of a build."""
    return build.sources(directory) + [path for path in [directory / ".gitignore"] if path.is_file()]


# ---- hunks: each takes a file's text and returns it with ours in its place ----

def _insert(text, at, added):
    return text[:at] + added + text[at:]


def kconfig(text):
    """After upstream's test module: its entry ends where the next begins."""
    ours = re.search(rf"^config {BESIDE}\n", text, re.M)
    after = ours and re.search(r"^(?!\s|#)\S", text[ours.end():], re.M)
    if not after:
        raise Stop(f"{KCONFIG} has no entry {BESIDE}", "this tree is too old for the module")
    return _insert(text, ours.end() + after.start(), f'source "{MODULE}/Kconfig"\n\n')


def makefile(text):
    ours = re.search(rf"^obj-\$\(CONFIG_{BESIDE}\).*\n", text, re.M)
    if not ours:
        raise Stop(f"{MAKEFILE} has no line for {BESIDE}", "this tree is too old for the module")
    return _insert(text, ours.end(), f"obj-$(CONFIG_TEST_HOTMIRROR) += {Path(MODULE).name}/\n")


def targets(text):
    """Before the first target that comes later in the alphabet, wherever the rest is."""
    for match in re.finditer(r"^TARGETS \+= (\S+)\n", text, re.M):
        if match[1] > NAME:
            return _insert(text, match.start(), f"TARGETS += {NAME}\n")
    raise Stop(f"{TARGETS} has no list of targets that reaches {NAME}")


def people(who, place):
    """A function that adds our entry, or one more place to it."""
    def edit(text):
        entry = re.search(rf"^{re.escape(TITLE)}\n(?:\w:\t.*\n)+", text, re.M)
        if entry:
            return _insert(text, entry.end(), f"F:\t{place}/\n")
        # The list is not quite sorted: only what begins as we do says where we belong.
        titles = [(match[1], match.start()) for match in re.finditer(r"(?<=\n\n)([^\s].*)\n(?=[A-Z]:\t)", text)]
        later = [at for title, at in titles if title[:1] == TITLE[0] and title > TITLE]
        later += [at for title, at in titles if title[:1] > TITLE[0]]
        if not later:
            raise Stop(f"{PEOPLE} has no list that reaches {TITLE}")
        return _insert(text, later[0], f"{TITLE}\nM:\t{who}\nL:\tlinux-mm@kvack.org\nS:\tMaintained\n"
                                       f"F:\t{place}/\n\n")
    return edit


# ---- the tree ----

class Tree:
    def __init__(self, path):
        self.path, self.environment = path, dict(os.environ)

    def git(self, *arguments, data=None, check=True, whole=False):
        """stdout, without its last newline unless whole; None of one that failed with check=False."""
        done = subprocess.run(["git", "-C", str(self.path), *arguments], check=False, capture_output=True,
                              input=data, env=self.environment)
        if done.returncode and check:
            said = done.stderr.decode(errors="replace").strip() or f"status {done.returncode}"
            raise Stop(f"git {arguments[0]} in {self.path}: {said.splitlines()[0]}")
        said = done.stdout.decode("utf-8", "surrogateescape")
        return None if done.returncode else said if whole else said.rstrip("\n")

    def blob(self, data):
        return self.git("hash-object", "-w", "--no-filters", "--stdin", data=data)

    def blobs(self, paths):
        listed = "".join(f"{path}\n" for path in paths).encode()
        return self.git("hash-object", "-w", "--no-filters", "--stdin-paths", data=listed).split()

    def text(self, name):
        """A file as it is in the index that is being made."""
        return self.git("cat-file", "blob", f":{name}", whole=True)

    def who(self):
        found = self.git("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT", check=False)
        if not found:
            raise Stop(f"git does not know who commits in {self.path}",
                       "git config user.name and user.email: they are the Signed-off-by")
        return found.rpartition(">")[0] + ">"


def examine(tree, branch):
    """Everything that can be wrong, said before anything is done."""
    path = tree.path
    if not path.is_dir():
        raise Stop(f"{path} is not a directory", "name a kernel's git tree")
    missing = [name for name in NEEDED if not (path / name).is_file()]
    if missing:
        raise Stop(f"{path} is not a kernel tree: it has no {missing[0]}", "name the top of one")
    top = tree.git("rev-parse", "--show-toplevel", check=False)
    if not top or Path(top).resolve() != path.resolve() or not tree.git("rev-parse", "-q", "--verify", "HEAD", check=False):
        raise Stop(f"{path} is not a git tree with a commit", "git init, git add -A -f, git commit")
    if not tree.git("check-ref-format", "--branch", branch, check=False):
        raise Stop(f"--branch {branch} is no name of a branch")
    for place in (MODULE, TESTS):
        if (path / place).exists() or tree.git("ls-tree", "HEAD", place):
            raise Stop(f"{path} has {place} already", "check out what was before it")
    if tree.git("rev-parse", "-q", "--verify", f"refs/heads/{branch}", check=False):
        raise Stop(f"{path} has a branch {branch} already", "remove it, or give another name with --branch")
    changed = tree.git("status", "--porcelain", "--untracked-files=no")
    if changed:
        raise Stop(f"{path} has changes that are not committed, {changed.split(None, 1)[-1].splitlines()[0]} among them",
                   "commit or stash them")


def _commit(tree, parent, commit, who):
    edited = [(name, edit(tree.text(name)).encode("utf-8", "surrogateescape")) for name, edit in commit.edits]
    listed = [f"100644 {tree.blob(text)}\t{name}" for name, text in edited]
    ours = files(commit.source)
    for path, blob in zip(ours, tree.blobs(ours)):
        mode = "100755" if os.access(path, os.X_OK) else "100644"
        listed.append(f"{mode} {blob}\t{commit.place}/{path.relative_to(commit.source)}")
    tree.git("update-index", "--add", "--index-info", data="".join(line + "\n" for line in listed).encode())
    message = f"{commit.message}\nSigned-off-by: {who}\n"
    return tree.git("commit-tree", "-p", parent, "-F", "-", tree.git("write-tree"), data=message.encode())


def install(path, branch, check_out=True):
    """Make the commits and the branch; [commit]."""
    tree = Tree(path)
    examine(tree, branch)
    who = tree.who()
    series = (Commit(MODULE_MESSAGE, build.DRIVER, MODULE,
                     ((KCONFIG, kconfig), (MAKEFILE, makefile), (PEOPLE, people(who, MODULE)))),
              Commit(TESTS_MESSAGE, build.TOP / "selftests", TESTS, ((TARGETS, targets), (PEOPLE, people(who, TESTS)))))
    made = [tree.git("rev-parse", "HEAD")]
    with tempfile.TemporaryDirectory(prefix="hotmirror-index-") as scratch:
        tree.environment["GIT_INDEX_FILE"] = f"{scratch}/index"
        tree.git("read-tree", "HEAD")
        for commit in series:
            made.append(_commit(tree, made[-1], commit, who))
        del tree.environment["GIT_INDEX_FILE"]
    if check_out:
        tree.git("checkout", "-q", "-b", branch, made[-1])
    else:
        tree.git("branch", branch, made[-1])
    for one in made[1:]:
        say(tree.git("log", "-1", "--format=%h %s", one))
    return made[1:]
