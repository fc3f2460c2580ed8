# SPDX-License-Identifier: GPL-2.0-only
"""Configure and build a kernel tree: one build directory for each tree and flavour.

A build directory is kept, and built in again: only what changed is compiled. ccache brings back
objects of earlier commits of the same tree. To it a tree at another path is another one: the
paths are in what the compiler is given.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cache, host, kernels
from .say import Stop, say

PARTS = Path(__file__).resolve().parent.parent / "kbuild.d"
FLAVOURS = {
    "fast": "no debug information: to bisect and for mutants",
    "full": "with BTF, so that the bpf scripts run, too",
    "debug": "KASAN, lockdep, DEBUG_VM, page table check, kmemleak, fault injection",
    "cov": "gcov counters in the files that the suite is about",
}
# What a cov kernel counts. Kbuild knows an object by its last name only.
COVERED = ("mm/hmm", "mm/migrate_device", "mm/memremap", "mm/mmu_notifier", "mm/userfaultfd",
           "drivers/dax/device", "drivers/dax/bus", "drivers/dax/super")
NEEDED = {"flex": "flex", "bison": "bison", "bc": "bc", "gcc": "gcc", "make": "make", "ccache": "ccache",
          "/usr/include/gelf.h": "libelf-dev", "/usr/include/openssl/opensslv.h": "libssl-dev"}
CACHED_COMPILER = "CC=ccache gcc"
OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$")
STEP = re.compile(r"^\s+(CC|AS|LD|AR|CC \[M\]|HOSTCC)\s+(\S+)")
# The compiler's first word on it, or what make, the linker or modpost say.
ERROR = re.compile(r"^(?!make)\S.*\b(fatal )?error\b:?|undefined reference|^ERROR: |"
                   r"^make.*\*\*\* (?!\[.*Error)|No rule to make target")
STATE, LOG, STEPS = "hotmirror-state", "hotmirror-build.log", "hotmirror-steps"
REPORT_EVERY = 15
# Names another place for build directories than the cache: those of tests do not stay.
PLACE = "HOTMIRROR_KERNELS"
# What must not differ from build to build.
FIXED = {"KBUILD_BUILD_TIMESTAMP": "2019-08-06", "KBUILD_BUILD_USER": "hotmirror",
         "KBUILD_BUILD_HOST": "hotmirror", "KBUILD_BUILD_VERSION": "1"}


class Unbuildable(Stop):
    """The tree's fault, not ours: an option that it lacks, code that does not compile."""


@dataclass
class Job:
    tree: Path
    flavour: str
    jobs: int
    directory: Path = None
    more: dict = field(default_factory=dict)   # {option: value} that are needed, too

    def __post_init__(self):
        self.tree = source_tree(self.tree)
        key = cache.digest("kbuild 1", str(self.tree), self.flavour, *sorted(map(str, self.more.items())))
        self.directory = self.directory or place() / f"kernel-{self.flavour}-{key}"


def place():
    return Path(os.environ.get(PLACE) or cache.root())


def finished():
    """Build directories in the cache that a whole build left, and whose source is still there."""
    return sorted(path.parent for path in cache.root().glob(f"kernel-*/{STATE}")
                  if (path.parent / "source/Makefile").exists() and (path.parent / "Module.symvers").exists())


def source_tree(path):
    """The top of a kernel source tree that can be built outside of itself."""
    path = Path(path).expanduser()
    if not path.is_dir():
        raise Stop(f"{path} is not a directory", "name the top of a kernel source tree")
    path = path.resolve()
    makefile = path / "Makefile"
    if not all((path / name).exists() for name in ("Kbuild", "Kconfig", "mm")) or \
       not re.search(r"^VERSION = \d+", makefile.read_text() if makefile.exists() else "", re.M):
        raise Stop(f"{path} is not a kernel tree: it lacks Makefile, Kbuild, Kconfig or mm/",
                   "name the top of a kernel source tree")
    if (path / ".config").exists() or (path / "include/config").exists():
        raise Stop(f"{path} was built in place, so it cannot be built elsewhere",
                   f"run make -C {path} mrproper, or give KERNEL={path} to use that build")
    return path


def options(job):
    """{option: value} of those that are needed, only wanted, and set without a look at what comes of it."""
    needed, wanted, older = {}, {}, {}
    sections = {"# wanted": wanted, "# older": older}
    for name in ("base", job.flavour):
        into = needed
        for line in (PARTS / f"{name}.config").read_text(encoding="utf-8").splitlines():
            into = sections.get(line, into)
            match = OPTION.match(line)
            if match:
                into[match.group(1)] = match.group(2)
    return {**needed, **job.more}, wanted, older


def tree_state(tree):
    """A hash that changes with every file of the tree; of a git tree: commit and what differs."""
    if (tree / ".git").exists() and shutil.which("git"):
        def ask(*command):
            return subprocess.run(["git", "-C", str(tree), *command], check=True, capture_output=True).stdout
        untracked = ask("ls-files", "-o", "--exclude-standard", "-z").decode().split("\0")
        return cache.digest(ask("rev-parse", "HEAD^{tree}"), ask("diff", "HEAD", "--binary"),
                            *(tree / name for name in untracked if name))
    stamps = []
    for directory, _, names in os.walk(tree):
        for name in names:
            status = os.lstat(os.path.join(directory, name))
            stamps.append(f"{directory}/{name} {status.st_mtime_ns} {status.st_size}")
    return cache.digest("\n".join(sorted(stamps)))


def compiler():
    return host.run(["gcc", "--version"], "asking the compiler for its name").splitlines()[0]


def make_command(job, *targets):
    covered = [f"GCOV_PROFILE_{Path(name).name}.o=y" for name in COVERED] if job.flavour == "cov" else []
    return ["make", "-C", str(job.tree), f"O={job.directory}", f"-j{job.jobs}",
            CACHED_COMPILER, "LOCALVERSION=", *covered, *targets]


def first_error(lines):
    """The line that says why, and the file and function lines of the compiler that lead to it."""
    return next((line.strip() for line in lines if ERROR.search(line)), lines[-1].strip() if lines else "")


def configure(job):
    """allnoconfig and our options; what the tree does not take is said, or a Stop."""
    needed, wanted, older = options(job)
    asked = "".join(f"{name}={value}\n" for name, value in {**older, **wanted, **needed}.items())
    fragment = job.directory / "hotmirror.config"
    before = job.directory / ".config"
    if fragment.exists() and fragment.read_text() == asked and before.exists():
        targets = ["olddefconfig"]
    else:
        fragment.write_text(asked)
        targets = [f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig"]
    done = subprocess.run(make_command(job, *targets), check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, **FIXED}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (job.directory / LOG).write_text(done.stdout)
    if done.returncode:
        raise Unbuildable(f"{job.tree} cannot be configured: {first_error(done.stdout.splitlines())}",
                          f"see {job.directory / LOG}")
    got = {f"CONFIG_{name}": value for name, value in kernels.read_config(before).items()}
    lost = [f"{name}={value}" for name, value in needed.items() if got.get(name) != value]
    if lost:
        raise Unbuildable(f"{job.tree} cannot provide {', '.join(lost)}",
                          "its Kconfig lacks it, or a dependency of it is off")
    return [f"{name}={value}" for name, value in wanted.items() if got.get(name) != value]


def _usual_steps(flavour):
    """How many steps the last whole build of that flavour took, 0 if unknown."""
    counts = sorted(cache.root().glob(f"kernel-{flavour}-*/{STEPS}"), key=lambda p: p.stat().st_mtime)
    return int(counts[-1].read_text()) if counts else 0


def compile_all(job):
    """make, with a line of progress now and then; the first error is what a failure is called."""
    usual, steps, lines, said = _usual_steps(job.flavour), 0, [], time.monotonic()
    whole = not (job.directory / "vmlinux").exists()
    process = subprocess.Popen(make_command(job, "vmlinux", "modules"), stdin=subprocess.DEVNULL,
                               env={**os.environ, **FIXED}, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    try:
        with open(job.directory / LOG, "a", encoding="utf-8") as log:
            for line in process.stdout:
                log.write(line)
                lines.append(line)
                steps += bool(STEP.match(line))
                if time.monotonic() - said >= REPORT_EVERY:
                    said = time.monotonic()
                    share = f" of about {usual}" if whole and usual >= steps else ""
                    say(f"{job.flavour}: {steps}{share} objects")
        status = process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    if status:
        raise Unbuildable(f"{job.tree} does not build: {first_error(lines)}", f"see {job.directory / LOG}")
    if whole:
        (job.directory / STEPS).write_text(str(steps))
    return steps


@contextlib.contextmanager
def _directory(job):
    where = place() if job.directory.parent == place() else job.directory
    with cache.cannot("building in", job.directory), cache.lock(job.directory.name, where):
        job.directory.mkdir(parents=True, exist_ok=True)
        cache.used(job.directory)
        yield


def forget(job):
    """What is built there is not what its tree says: no finished kernel."""
    (job.directory / STATE).unlink(missing_ok=True)


def build(job, only_configure=False):
    """Bring the build directory up to date; (steps, the wanted options that the tree lacks).

    None instead of steps: nothing had changed since the last build.
    """
    if not only_configure:
        cache.need_space(6 if job.flavour in ("full", "debug") else 3, f"a {job.flavour} kernel")
    host.install_missing({**NEEDED, **({"pahole": "dwarves"} if job.flavour == "full" else {})})
    with _directory(job):
        state = json.dumps([tree_state(job.tree), compiler(), *options(job)])
        kept = job.directory / STATE
        if kept.exists() and kept.read_text() == state:
            return None, []
        forget(job)
        missing = configure(job)
        if only_configure:
            return 0, missing
        release = host.run(make_command(job, "-s", "kernelrelease"), "asking for the release").split()[-1]
        say(f"building {release} ({job.flavour}, {job.jobs} jobs) in {job.directory}")
        steps = compile_all(job)
        kept.write_text(state)
        return steps, missing
