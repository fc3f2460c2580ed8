# SPDX-License-Identifier: GPL-2.0-only
"""A kselftest collection: build it, install it, know its programs and tests by name.

A collection is a directory with a Makefile that includes lib.mk and takes KSFT=.
One inside this repository is built among its siblings, so that relative paths hold.
"""

import fnmatch
import os
from dataclasses import dataclass, replace
from pathlib import Path

from . import build, cache, guest, host, names
from .say import Stop, say

DEFAULT_TIMEOUT = 45           # of kselftest/runner.sh, for a program
SIBLINGS = ("selftests", "bpf", "test_driver")
HEADER = "# FIXTURE"           # first line of a harness's -l


@dataclass(frozen=True)
class Program:
    name: str                  # the file
    tests: tuple = None        # names that it listed; None: known when it prints its plan
    tiers: tuple = None        # of each test, of a program that lists plain names
    seconds_each: int = None   # that its names take, if it says so: then they are few
    arguments: tuple = ()
    timeout: int = DEFAULT_TIMEOUT

    @property
    def lists_names(self):
        return self.tiers is not None

    @property
    def is_long(self):
        """Its names are many, and are dealt to the shards one by one."""
        return self.lists_names and not self.seconds_each

    @property
    def prefix(self):
        return self.name.removesuffix(".sh")

    def full(self, test):
        return f"{self.prefix}:{test}"


@dataclass
class Collection:
    name: str
    installed: Path            # what goes to the guest
    framework: Path            # kselftest/ of the framework, for scripts
    programs: list
    debian: guest.Guest = None  # whose tree the programs are for; None: this machine

    def knows(self, program, name):
        """Is it the name of a test that -l of the program leaves out?"""
        doing = f"asking {program.name} for {name}"
        try:
            if self.debian:
                self.debian.in_tree([f"/payload/t/{program.name}", "--explain", name], doing,
                                   [(self.installed, "t", "ro")])
            else:
                host.run([self.installed / program.name, "--explain", name], doing)
        except Stop:
            return False
        return True


def parse_list(text):
    """Test names of a harness's -l: blocks of fixture, its variants and its tests in columns."""
    tests, fixture, variants, found = [], "", [], []

    def block_done():
        for variant in variants or [""]:
            tests.extend(".".join(filter(None, (fixture, variant, name))) for name in found)

    for line in text.splitlines()[1:]:
        if line.startswith("---"):
            block_done()
            fixture, variants, found = "", [], []
            continue
        words = line.split()
        if line[:1] != " " and words:
            fixture = words.pop(0)
        elif words and line[21:22] == " ":      # no variant left, but a test
            found.append(words.pop(0))
        if words and (len(words) == 2 or line[:1] == " " and len(line.rstrip()) < 47):
            variants.append(words.pop(0))
        found.extend(words)
    block_done()
    return tuple(tests)


def parse(text):
    """(tests, tiers, seconds_each) of a program's -l, None for what it does not say."""
    if text.startswith(names.HEADER):
        return *names.parse(text), names.seconds_each(text)
    return (parse_list(text) if text.startswith(HEADER) else None), None, None


def inputs(directory):
    """[(file, path relative to the build's source root)]."""
    if not directory.is_relative_to(build.TOP):
        return [(p, Path(directory.name) / p.relative_to(directory)) for p in build.sources(directory)]
    roots = {directory}
    if directory.relative_to(build.TOP).parts[0] == "bpf":
        roots = {build.TOP / "bpf", build.TOP / "selftests"}
    files = [p for root in sorted(roots) for p in build.sources(root)]
    files += sorted(directory.parent.glob("*.h"))       # what collections share
    files += [build.DRIVER / name for name in build.UAPI]
    return [(path, path.relative_to(build.TOP)) for path in files]


def _build(kernel, directory, snapshot, aside):
    """Fill aside with install/ (what runs) and list/ (what each program's -l printed)."""
    snapshot.write(aside / "src")
    for name in ("out", "install", "list"):
        (aside / name).mkdir()
    where = directory.relative_to(build.TOP) if directory.is_relative_to(build.TOP) else directory.name
    script = f"""
        set -e
        cd "$1/src/{where}"
        make -j{host.cpus()} KSFT="$2" OUTPUT="$1/out" INSTALL_PATH="$1/install" all
        make -s KSFT="$2" OUTPUT="$1/out" INSTALL_PATH="$1/install" install >/dev/null
        make -s KSFT="$2" OUTPUT="$1/out" COLLECTION=c emit_tests >"$1/list/programs"
        for program in $(sed s/^c:// "$1/list/programs"); do
            case $(head -c 2 "$1/install/$program") in
            '#!') ;;
            *) "$1/install/$program" -l >"$1/list/$program" 2>&1 || : ;;
            esac
        done"""
    doing = f"building the tests of {where} with the framework of {kernel.source.name}"
    selftests = "tools/testing/selftests"
    if kernel.running:
        host.run(["sh", "-c", script, "sh", aside, kernel.source / selftests], doing)
    else:
        binds = [(aside, "b", "rw"), (kernel.source, "k", "ro")]
        kernel.debian.in_tree(["sh", "-c", script, "sh", "/payload/b", f"/payload/k/{selftests}"], doing, binds)


def _timeout(installed):
    """timeout= of the collection's settings file."""
    settings = installed / "settings"
    for line in settings.read_text().splitlines() if settings.exists() else ():
        if line.startswith("timeout="):
            return int(line.removeprefix("timeout="))
    return DEFAULT_TIMEOUT


def _programs(built):
    programs, timeout = [], _timeout(built / "install")
    for line in (built / "list/programs").read_text().split():
        name = line.removeprefix("c:")
        listed = built / "list" / name
        text = listed.read_text(errors="replace") if listed.exists() else ""
        programs.append(Program(name, *parse(text), timeout=timeout))
    return programs


def load(kernel, directory):
    """Build the collection for this kernel (cached by content) and read its plan."""
    directory = directory.resolve()
    if not (directory / "Makefile").exists():
        raise Stop(f"{directory} is not a kselftest collection: it has no Makefile")
    snapshot = build.Snapshot(inputs(directory))
    key = cache.digest("collection 3", kernel.source.name, kernel.running, guest_part(kernel),
                       str(directory), snapshot.key())

    def make(aside):
        say(f"building the tests in {directory.name}/")
        aside.mkdir()
        _build(kernel, directory, snapshot, aside)

    built = cache.entry("tests", key, make)
    name = "hotmirror" if directory == build.TOP / "selftests" else directory.name
    return Collection(name, built / "install",
                      kernel.source / "tools/testing/selftests/kselftest", _programs(built),
                      None if kernel.running else kernel.debian)


def guest_part(kernel):
    return os.uname().nodename if kernel.running else kernel.debian.key()


def select(programs, globs, choice=names.Choice(), knows=lambda program, name: False):
    """The programs, reduced to the tests that match one of the globs over full names.

    Of programs that list names also to the choice's tier; of those that list many also to
    its shard, and the other programs are dealt to the shards one by one. Those with many
    come last: they take longest. knows(): see names.pick().
    """
    spelt = {full: glob for glob in globs for full in names.spellings(glob)}
    used, chosen, listing = set(), [], []
    for program in programs:
        if program.lists_names:
            listing.append(names.pick(program, spelt, choice, used, knows))
        else:
            chosen.append(_pick(program, spelt, used) if spelt else program)
    unused = [glob for glob in globs if glob not in used]
    if unused:
        raise Stop(f"TESTS: {' '.join(unused)} matches no test",
                   f"scripts/schedules --explain '{unused[0]}' says why" if unused[0].startswith(names.SHORT)
                   else "names look like hotmirror_abi:query.reports_abi_version; "
                        "scripts/kselftest --list prints them all")
    listing = [program for program in listing if program]
    chosen += [program for program in listing if not program.is_long]
    if choice.repeat > 1 and not listing and not choice.shard:
        raise Stop("REPEAT is for schedules, and TESTS names none", "name some: TESTS='race.*'")
    return (choice.part([program for program in chosen if program]) +
            [program for program in listing if program.is_long])


def _pick(program, globs, used):
    """globs: {full glob: what the user wrote}"""
    if program.tests is None:
        hits = [glob for glob in globs if fnmatch.fnmatchcase(program.prefix, glob.partition(":")[0])]
        used.update(globs[glob] for glob in hits)
        return program if hits else None
    found = []
    for test in program.tests:
        hits = [glob for glob in globs if fnmatch.fnmatchcase(program.full(test), glob)]
        used.update(globs[glob] for glob in hits)
        found += [test] if hits else []
    if not found:
        return None
    if len(found) == len(program.tests):
        return program
    return replace(program, tests=tuple(found),
                   arguments=tuple(word for name in found for word in ("-r", name)))
