# SPDX-License-Identifier: GPL-2.0-only
"""The checks of scripts/lint.

A check is a function that takes a Bench (a copy of the sources, the guest's tools) and
returns complaints, one text each; none means that it passed. That a slow one passed is
remembered in the cache, by the tools and the text of what it looked at.
"""

import ast
import contextlib
import fnmatch
import functools
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import build, cache, guest, host, kernels, lint_readme
from .say import Stop, say

HERE = Path(__file__).resolve().parent
IGNORED_TYPES = "scripts/lint.d/checkpatch-ignore"
MAX_LINES = 600
SHOWN = 25                     # complaints of one check that are printed
OLDEST_PYTHON = (3, 11)
SOURCES = (".c", ".h", ".py", ".sh", ".bt", ".jq", ".mk")
PICTURES = (".png",)
# Files whose format has no place for a licence line, or that are shown as they are.
NO_SPDX = ("*.md", "*.json", "*.log", "config", "settings", "*/config", "*/settings", "COPYING", "LICENSES/*")
# What Debian's sparse does not know of the headers of 7.3; it needs neither to judge us.
SPARSE_HELP = "-D__typeof_unqual__=__typeof__ '-D__builtin_strlen(s)=(sizeof(s)-1)'"


class Report:
    """TAP on stdout, and the closing line."""

    def __init__(self):
        self.number = self.passed = self.failed = 0
        print("TAP version 13", flush=True)

    def add(self, name, complaints):
        self.number += 1
        for line in complaints[:SHOWN]:
            print(f"# {line}")
        if len(complaints) > SHOWN:
            print(f"# and {len(complaints) - SHOWN} more")
        print(f"{'not ok' if complaints else 'ok'} {self.number} lint:{name}", flush=True)
        self.failed += bool(complaints)
        self.passed += not complaints

    def close(self):
        print(f"1..{self.number}")
        print(f"{self.passed} passed, {self.failed} failed, 0 skipped", flush=True)
        return 1 if self.failed else 0


class Bench:
    """Sources to look at, in a directory of their own, and the tools to do it."""

    def __init__(self, root, files):
        self.root, self.files = root, sorted(files)
        self.remembers = False

    @functools.cached_property
    def tools(self):
        """What judges, as a hash."""
        return cache.digest("lint 1", *(debian.key() for debian in guest.GUESTS.values()), *sorted(HERE.glob("lint*.py")))

    def _key(self, check, names):
        return cache.digest(self.tools, check, *(part for name in names for part in (name, self.text(name))))

    def _entry(self, check, names):
        return cache.root() / f"lint-{self._key(check, names)}"

    def is_known(self, check, names):
        """These files passed the check before, as they are now."""
        return self.remembers and self._entry(check, names).exists()

    def recall(self, check, names):
        """The lines that a check that remembers them printed of these files, as they are now; None if it has not seen them."""
        entry = self._entry(check, names)
        return entry.read_text().splitlines() if self.remembers and entry.exists() else None

    def remember(self, check, names, lines=()):
        if self.remembers:
            text = "".join(f"{line}\n" for line in lines)
            cache.entry("lint", self._key(check, names), lambda aside: aside.write_text(text))

    def text(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def first_line(self, name):
        return self.text(name).partition("\n")[0]

    def named(self, *globs):
        return [f for f in self.files if any(fnmatch.fnmatch(f, glob) for glob in globs)]

    def scripts_of(self, interpreter):
        return [f for f in self.files if re.match(rf"#!.*\b({interpreter})\b", self.first_line(f))]

    def in_tree(self, command, kernel_source=None, debian=guest.DEBIAN_13):
        """Run in a guest's tree, in the copy of the sources: (status, output)."""
        binds = [(self.root, "dir", "rw")]
        if kernel_source:
            binds.append((kernel_source, "kernel", "ro"))
        caught = 'log=$1; shift; "$@" >"$log" 2>&1 </dev/null; echo $? >"$log.status"'
        debian.in_tree(["sh", "-c", caught, "sh", "/payload/dir/.lint.log", *command],
                       "running " + command[0], binds, "/payload/dir")
        log = self.root / ".lint.log"
        status = int((self.root / ".lint.log.status").read_text())
        return status, log.read_text(encoding="utf-8", errors="replace").splitlines()


@contextlib.contextmanager
def bench(contents):
    """contents: {relative name: bytes}."""
    root = Path(tempfile.mkdtemp(prefix="hotmirror-lint-"))
    try:
        for name, data in contents.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield Bench(root, contents)
    finally:
        if host.is_root():
            shutil.rmtree(root)
        else:
            host.as_root(["rm", "-rf", "--one-file-system", str(root)], "removing " + str(root))


def worktree():
    """What git has or would add, as it is now; pictures are nobody's text."""
    command = ["git", "-C", str(build.TOP), "ls-files", "-z", "--cached", "--others",
               "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise Stop(f"{build.TOP} is not a git work tree, or git is missing",
                   "run scripts/lint in a clone") from error
    names = [name for name in listed.split("\0")
             if name and not name.endswith(PICTURES) and (build.TOP / name).is_file()]
    return {name: (build.TOP / name).read_bytes() for name in names}


# ---- text ----

def spdx(b):
    """the SPDX line is the first one, or the second after #!"""
    bad = []
    for name in b.files:
        if any(fnmatch.fnmatch(name, glob) for glob in NO_SPDX):
            continue
        want = "GPL-2.0-only"
        if name.endswith("_uapi.h"):
            want += " WITH Linux-syscall-note"
        lines = b.text(name).splitlines()
        line = lines[1:2] if lines and lines[0].startswith("#!") else lines[:1]
        if not line or not re.search(rf"SPDX-License-Identifier: {want}( \*/)?$", line[0]):
            bad.append(f"{name}: no line `SPDX-License-Identifier: {want}` at its top")
    return bad


def whitespace(b):
    """no trailing white space, no CR, a newline at the end"""
    bad = []
    for name in b.files:
        text = b.text(name)
        bad += [f"{name}:{n}: trailing white space"
                for n, line in enumerate(text.split("\n"), 1) if re.search(r"[ \t\r]$", line)]
        if text and not text.endswith("\n"):
            bad.append(f"{name}: no newline at its end")
    return bad


def registry_host(b):
    """no package registry or mirror by name: it comes from the machine's configuration"""
    host_name = re.compile(r"\b(deb|ftp\d*|archive|security|snapshot|mirrors?|registry|repo|"
                           r"pypi|proxy|packages|ports|files|static|index)\.[a-z0-9.-]+\.?"
                           r"(org|com|net|io|dev)\b|"
                           r"^\s*deb(-src)?\s+(\[.*\]\s*)?\w+://|"
                           r"\b(https?|ftp)://[\w.-]+/(debian|ubuntu|simple|pypi)\b", re.M)
    return [f"{name}: {match.group(0).strip()}" for name in b.files
            for match in host_name.finditer(b.text(name))]


def file_size(b):
    """no source file is longer than 600 lines"""
    return [f"{name}: {lines} lines" for name in b.files
            if name.endswith(SOURCES) and (lines := b.text(name).count("\n")) > MAX_LINES]


# ---- one language each ----

def shellcheck(b):
    """shellcheck on every sh and bash script"""
    scripts = sorted({*b.scripts_of("sh|bash|dash"), *b.named("*.sh")})
    if not scripts:
        return []
    status, output = b.in_tree(["shellcheck", "--format=gcc", *scripts])
    return output or ([f"shellcheck ended with status {status}"] if status else [])


def _imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def python(b):
    """Python compiles as 3.11 does, and needs the standard library only"""
    bad = []
    own = {Path(name).parent.name for name in b.named("*/__init__.py")}
    own |= {Path(name).stem for name in b.named("*.py")}
    for name in sorted({*b.named("*.py"), *b.scripts_of(r"python3?")}):
        try:
            tree = ast.parse(b.text(name), name, feature_version=OLDEST_PYTHON)
            compile(b.text(name), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            bad.append(f"{name}:{error.lineno}: {error.msg}")
            continue
        bad += [f"{name}: imports {module}" for module in _imports(tree)
                if module.partition(".")[0] not in sys.stdlib_module_names | own]
    return bad


@dataclass
class Ignored:
    glob: str
    kind: str
    reason: str
    used: bool = False


def _ignored(b):
    lines = b.text(IGNORED_TYPES).splitlines() if IGNORED_TYPES in b.files else []
    return [Ignored(*line.split(None, 2)) for line in lines
            if line.strip() and not line.startswith("#")]


def _run_checkpatch(b, files):
    return b.in_tree(["perl", "/payload/kernel/scripts/checkpatch.pl", "--strict", "--no-tree",
                      "--show-types", "--terse", "--no-summary", "-f", *files], kernels.newest().source)


def _checkpatch_lines(b, files):
    """What it says of them; of files that it saw before it is remembered."""
    known = {name: b.recall("checkpatch", [name]) for name in files}
    new = [name for name in files if known[name] is None]
    status, output = _run_checkpatch(b, new) if new else (0, [])
    said = [line for lines in known.values() for line in lines or ()] + output
    if status not in (0, 1) or (status and not output):
        return [*said, f"checkpatch.pl ended with status {status}"]
    # A line that names no file is of checkpatch itself: who knows what it has seen.
    if all(line.partition(":")[0] in new for line in output):
        for name in new:
            b.remember("checkpatch", [name], [line for line in output if line.startswith(f"{name}:")])
    return said


def checkpatch(b):
    """checkpatch.pl --strict of the newest kernel on every C file and header"""
    ignored, bad = _ignored(b), []
    for line in _checkpatch_lines(b, b.named("*.c", "*.h")):
        match = re.match(r"(\S+?):\d+: (?:ERROR|WARNING|CHECK):(\w+): ", line)
        hits = [i for i in ignored if match and match.group(2) == i.kind
                and fnmatch.fnmatch(match.group(1), i.glob)]
        for hit in hits:
            hit.used = True
        if not hits:
            bad.append(line)
    bad += [f"{IGNORED_TYPES}: {i.glob} {i.kind} is not needed any more"
            for i in ignored if not i.used]
    return bad


# ---- builds ----

def _kernel_of(b, pick):
    kernel = pick()
    return kernel, ["make", "-k", f"-j{host.cpus()}", "-C", "test_driver", "W=1",
                    f"KDIR={kernel.headers}"]


def _accusing(output):
    return [line for line in output if re.search(r"\b(warning|error|undefined)\b[:!]", line)
            or re.match(r"make.*\*\*\* ", line)]


def w1(b, pick):
    """the module builds without a word from gcc, W=1"""
    kernel, make = _kernel_of(b, pick)
    status, output = b.in_tree(make, debian=kernel.debian)
    return _accusing(output) or ([f"make ended with status {status}"] if status else [])


def sparse(b, pick):
    """sparse has nothing to say on the module, and it did look at every file"""
    kernel, make = _kernel_of(b, pick)
    status, output = b.in_tree([*make, "KBUILD_CHECKSRC=2", "CHECK=sparse", f"CF={SPARSE_HELP}"],
                               debian=kernel.debian)
    looked = sum(bool(re.match(r"\s*CHECK\s", line)) for line in output)
    files = len(b.named("test_driver/*.c"))
    bad = _accusing(output)
    if looked < files:
        bad.append(f"sparse looked at {looked} of {files} files")
    return bad or ([f"make ended with status {status}"] if status else [])


def _modules(b):
    """Directories that Kbuild builds."""
    return {str(Path(name).parent) for name in b.named("Kbuild", "*/Kbuild", "Makefile", "*/Makefile")
            if re.search(r"^obj-", b.text(name), re.M)}


def collections(b, pick):
    """the kselftest collections build with -Wall -Wextra -Werror"""
    kernel = pick()
    bad = []
    for name in b.named("Makefile", "*/Makefile"):
        if not re.search(r"^include .*/lib\.mk$", b.text(name), re.M):
            continue
        where = Path(name).parent
        make = ["make", "-k", f"-j{host.cpus()}", "-C", str(where), "all",
                "KSFT=/payload/kernel/tools/testing/selftests",
                "USERCFLAGS=-Wall -Wextra -Werror"]
        status, output = b.in_tree(make, kernel.source, kernel.debian)
        b.in_tree([*make[:5], "clean", *make[6:]], kernel.source, kernel.debian)
        bad += _accusing(output) or ([f"{where}: make ended with status {status}"] if status else [])
    return bad


def user_c(b):
    """C of no collection and no module compiles with -Wall -Wextra -Werror"""
    elsewhere = _modules(b) | {str(Path(name).parent) for name in b.named("*/Makefile")
                               if "lib.mk" in b.text(name)}
    bad = []
    for name in b.named("*.c"):
        if any(Path(name).is_relative_to(place) for place in elsewhere):
            continue
        status, output = b.in_tree(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
                                    "-pthread", "-c", "-o", "/dev/null", name])
        if status:
            bad += _accusing(output) or [f"{name}: gcc ended with status {status}"]
    return bad


@dataclass
class Check:
    name: str
    function: object
    pick: object = None        # a kernel to build for
    looks_at: tuple = ()       # globs; that these passed is remembered

    def run(self, b):
        names = b.named(*self.looks_at)
        if names and b.is_known(self.name, names):
            return []
        complaints = self.function(b, self.pick) if self.pick else self.function(b)
        if names and not complaints:
            b.remember(self.name, names)
        return complaints


DRIVER = ("test_driver/*",)
TESTS = ("*.c", "*.h", "*Makefile", "selftests/*", "bpf/*")
CHECKS = [
    Check("spdx", spdx),
    Check("whitespace", whitespace),
    Check("registry_host", registry_host),
    Check("file_size", file_size),
    Check("python", python),
    Check("shellcheck", shellcheck),
    Check("checkpatch", checkpatch),
    Check("w1.newest", w1, kernels.newest, DRIVER),
    Check("sparse.newest", sparse, kernels.newest, DRIVER),
    Check("w1.trixie", w1, kernels.stable, DRIVER),
    Check("sparse.trixie", sparse, kernels.stable, DRIVER),
    Check("collections.newest", collections, kernels.newest, TESTS),
    Check("collections.trixie", collections, kernels.stable, TESTS),
    Check("user_c", user_c),
    Check("readme.newest", lint_readme.readme, kernels.newest, TESTS),
]

# Apart, because nothing else needs that guest.
BOOKWORM = [
    Check("w1.bookworm", w1, kernels.oldstable, DRIVER),
    Check("sparse.bookworm", sparse, kernels.oldstable, DRIVER),
    Check("collections.bookworm", collections, kernels.oldstable, TESTS),
]


def run_all(report, checks, fresh=False):
    with bench(worktree()) as b:
        b.remembers = not fresh
        for check in checks:
            say(f"lint: {check.name}")
            report.add(check.name, check.run(b))
