# SPDX-License-Identifier: GPL-2.0-only
"""hotmirror_race on this machine: what it says about schedules, without the module."""

import difflib
import fnmatch
import json
import re
import subprocess

from . import build, cache, collection, host, kernels, names, report
from .say import Stop, say

NAME = "hotmirror_race"
COLLECTION = build.TOP / "selftests"
DOCS = build.TOP / "docs/races.md"
SHOWN = 20                     # candidates for a name that is not complete


def program(directory=COLLECTION):
    """Path of the program, built here with this machine's compiler; cached by content."""
    directory = directory.resolve()
    source = kernels.newest().source / "tools/testing/selftests"
    host.install_missing({"cc": "gcc", "make": "make"})
    snapshot = build.Snapshot(collection.inputs(directory))
    compiler = host.run(["cc", "-dumpfullversion", "-dumpmachine"], "asking the compiler for its version")

    def make(aside):
        say(f"building {NAME} for this machine")
        snapshot.write(aside / "src")
        (aside / "out").mkdir()
        inside = directory.is_relative_to(build.TOP)
        where = aside / "src" / (directory.relative_to(build.TOP) if inside else directory.name)
        host.run(["make", "-s", f"-j{host.cpus()}", "-C", where, f"KSFT={source}",
                  f"OUTPUT={aside / 'out'}", aside / "out" / NAME], f"building {NAME} for this machine")

    key = cache.digest("host 1", source, compiler, str(directory), snapshot.key())
    return cache.entry("host", key, make) / "out" / NAME


class Schedules:
    def __init__(self, directory=COLLECTION):
        self.path = program(directory)
        self.names, self.tiers = names.parse(self.ask("-l").stdout)

    def ask(self, *arguments):
        return subprocess.run([str(self.path), *arguments], check=False, capture_output=True, text=True)

    def matching(self, globs):
        """Names that match one of the globs, which are written as in TESTS."""
        full = {spelt for glob in globs for spelt in names.spellings(glob)}
        return [name for name in self.names
                if not full or any(fnmatch.fnmatchcase(f"{NAME}:{name}", glob) for glob in full)]

    def about(self, option, wanted):
        """(full name, the program's text) for a name that may be abbreviated."""
        wanted = self._spelt(wanted)
        if wanted in self.names:
            return wanted, self.answer(option, wanted)
        answer = self.ask(option, wanted)
        if not answer.returncode:
            return wanted, answer.stdout
        found = self._candidates(wanted)
        if len(found) == 1:
            say(f"{wanted} is {found[0]}")
            return found[0], self.answer(option, found[0])
        if found:
            more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise Stop(f"{wanted} may be {len(found)} schedules: {' '.join(found[:SHOWN])}{more}",
                       "say more of the name")
        why = " ".join(answer.stderr.split())
        near = difflib.get_close_matches(wanted, self.names, 3, 0.8)
        raise Stop(f"{wanted} is no schedule: {why}",
                   "near: " + " ".join(near) if near else "scripts/schedules --list prints the names")

    def _spelt(self, wanted):
        """As names are written, whether or not there is one."""
        wanted = wanted.removeprefix(f"{NAME}:").replace("|", "+")
        return names.SHORT + wanted if names.SHORT + wanted in self.names else wanted

    def answer(self, *arguments):
        """What it prints; it must be willing."""
        answer = self.ask(*arguments)
        if answer.returncode:
            raise Stop(f"{NAME} {' '.join(arguments)}: {' '.join(answer.stderr.split())}")
        return answer.stdout

    def rows(self, table):
        """[(name, words)] of --operations, --memories, --gates; of --blocked one for each kind of wait."""
        lines = self.answer(f"--{table}").splitlines()
        if table != "blocked":
            return [tuple(line.split(None, 1)) for line in lines]
        waits = {}
        for name, point in ((line[:20].strip(), line[21:].split(",")) for line in lines):
            waits.setdefault(name, []).append(f"`{point[0]}`" + "…" * (len(point) > 1))
        return [(name, " ".join(points)) for name, points in waits.items()]

    def _candidates(self, wanted):
        """Names that begin so; if there are none, those with it somewhere."""
        short = wanted.removeprefix(names.SHORT)
        begin = [name for name in self.names if name.removeprefix(names.SHORT).startswith(short)]
        return begin or [name for name in self.names if short in name]


# ---- the tables of docs/races.md ----

TABLE = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- end -->", re.S)


def in_docs(known, text):
    """The text with the program's tables between <!-- operations --> and <!-- end -->, and so on."""
    def block(match):
        rows = "".join(f"| `{name}` | {words} |\n" for name, words in known.rows(match[1]))
        return f"<!-- {match[1]} -->\n| | |\n|---|---|\n{rows}<!-- end -->"
    return TABLE.sub(block, text)


# ---- what is sent to a maintainer ----

MAIL = """\
Subject: {subject}

Hello,

hotmirror (selftests for HMM, DAX and device memory hot-unplug) has a schedule that ends
wrong on {kernel}:

{explained}
What was seen: {seen}

Kernel:  {kernel}
Config:  {config}
Module:  {module}

{log}

{file} replays it. It needs test_hotmirror.ko and
test_hotmirror_uapi.h, and nothing else:

    gcc -O2 -pthread -I <directory of test_hotmirror_uapi.h> -o replay {file}
    insmod test_hotmirror.ko && ./replay

or, in a checkout of hotmirror, in a VM:

    make kselftest TESTS='{name}'
"""


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _quoted_log(out, test):
    path = out / "kmsg" / (report.safe(test) + ".log")
    if not path.exists():
        return "The kernel log is silent."
    return "Kernel log while it ran:\n\n" + "".join(
        f"    {line}\n" for line in path.read_text(errors="replace").splitlines()).rstrip()


def mail(name, explained, file, out):
    """The text for a maintainer, with what the run in OUT saw of the schedule."""
    test, summary = f"{NAME}:{name}", _read(out / "summary.json")
    ran = next((one for one in summary.get("tests", ()) if one["name"] == test), None)
    if not ran:
        raise Stop(f"{out} has no result of {name}, and the mail would say nothing",
                   f"run make kselftest TESTS='{name}' OUT={out} first, or name another --results")
    facts = _read(out / "what-was-run.json")
    facts = facts.get("guests", [facts])[0]
    kernel, module = facts.get("kernel", {}), facts.get("module", {})
    return MAIL.format(
        subject=f"[hotmirror] {name}: {ran['detail'] or ran['status']}"[:120], name=name,
        explained="".join(f"    {line}\n" for line in explained.splitlines()),
        seen=f"{ran['status']}{': ' + ran['detail'] if ran['detail'] else ''}",
        kernel=summary.get("kernel", "unknown"), file=file,
        config=f"of {kernel.get('name')} (sha256 of its options {kernel.get('config_sha256', '')[:16]})",
        module=f"{module.get('file')} {module.get('parameters')} (hotmirror {facts.get('commit')})",
        log=_quoted_log(out, test))
