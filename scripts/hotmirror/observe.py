# SPDX-License-Identifier: GPL-2.0-only
"""What scripts/observe knows of scripts and scenarios, and raw/session.json of what was seen."""

import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

from . import build, names
from .say import Stop

BPF = build.TOP / "bpf"
PARTS = build.TOP / "scripts/observe.d"
SCENARIOS = BPF / "tests/hotmirror_scenario.c"
OLDEST = (0, 17)
MARK = ".hotmirror-observation"
MADE = ("raw", "summary.json", "summary.txt", "report.html", "trace.json", "screenshot.png")
TESTS = re.compile(r"hotmirror_\w+:")
BTF = Path("/sys/kernel/btf/vmlinux")
# What a live machine is observed with if nobody says: it needs no test device.
DEFAULT_SCRIPTS = ("notifier_latency", "fault_latency", "timeline")


@dataclass(frozen=True)
class Script:
    name: str
    path: Path
    text: str


@dataclass(frozen=True)
class Scenario:
    name: str
    scripts: tuple
    text: str


def scripts():
    """{name: Script} of bpf/, each with the first words of its header."""
    found = {}
    for path in sorted(BPF.glob("*.bt")):
        header = re.search(rf"^ \* {path.stem}(?:\.bt)? - (.*?)\n \*$", path.read_text(encoding="utf-8"), re.M | re.S)
        text = re.sub(r"\s*\n \*\s*", " ", header[1]) if header else ""
        text = re.split(r"(?<=\w)[.:] ", text)[0].rstrip(".")
        found[path.stem] = Script(path.stem, path, textwrap.shorten(text, 110, placeholder=" ..."))
    return found


def scenarios():
    """{name: Scenario} of the table in hotmirror_scenario.c."""
    rows = re.findall(r'\{ "(\w+)", "([\w ]+)",\s+"([^"]+)",\s+run_\w+ \}', SCENARIOS.read_text(encoding="utf-8"))
    return {name: Scenario(name, tuple(fit.split()), text) for name, fit, text in rows}


def choose_scripts(text, wanted):
    """The scripts that SCRIPTS names by glob or prefix; without it those of wanted that exist."""
    known = scripts()
    if not text.split():
        return [known[name] for name in wanted if name in known]
    chosen = {}
    for word in text.split():
        word = word.removesuffix(".bt")
        hits = [name for name in known if fnmatch.fnmatchcase(name, word)] or \
               [name for name in known if name.startswith(word)]
        if not hits:
            raise Stop(f"SCRIPTS: {word} is no script", f"there are {', '.join(known)}")
        chosen |= {name: known[name] for name in hits}
    return list(chosen.values())


def choose_scenario(name):
    """The Scenario; a schedule, or tests of a program, as one."""
    known = scenarios()
    if name in known:
        return known[name]
    if name.startswith(names.SHORT) or TESTS.match(name):
        return Scenario(name.replace("|", "+"), ("notifier_latency", "timeline", "timeline_device"), "")
    raise Stop(f"SCENARIO={name} is unknown",
               f"use {', '.join(known)}, a schedule such as race.read+munmap@anon:populate.begin, or tests of one "
               "program such as hotmirror_migrate:*")


# ---- the machine ----

def need_machine():
    """Root, bpftrace and BTF, or a Stop that names what is missing. Returns the bpftrace."""
    if os.geteuid():
        raise Stop("observing needs root: bpftrace loads programs into the kernel", "run it with sudo")
    wanted = os.environ.get("HOTMIRROR_BPFTRACE") or "bpftrace"
    program = shutil.which(wanted)
    if not program:
        raise Stop(f"there is no {wanted}", "install it, for example apt-get install bpftrace")
    version = bpftrace_version(program)
    if version < OLDEST:
        raise Stop("{} is version {}.{}".format(program, *version),
                   "the scripts need {}.{} or newer: install it, or name another one with HOTMIRROR_BPFTRACE".format(*OLDEST))
    if not BTF.is_file():
        raise Stop(f"this kernel has no BTF ({BTF} is not there)", "use one with CONFIG_DEBUG_INFO_BTF=y")
    return program


def bpftrace_version(program):
    """(major, minor)."""
    try:
        said = subprocess.run([program, "--version"], check=False, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Stop(f"{program} --version: {error}", "install a bpftrace that works") from error
    match = re.search(r"v?(\d+)\.(\d+)", said.stdout)
    if said.returncode or not match:
        tail = (said.stderr or said.stdout).strip().splitlines()[-1:] or [f"status {said.returncode}"]
        raise Stop(f"{program} --version does not work: {tail[0]}", "install a bpftrace that works")
    return int(match[1]), int(match[2])


# ---- OUT ----

def prepare(out):
    """An empty OUT/raw; an earlier observation there is removed, anything else is refused."""
    out = Path(out).resolve()
    if out.exists() and not out.is_dir():
        raise Stop(f"OUT={out} is not a directory", "name a directory that does not exist yet")
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise Stop(f"OUT={out} holds files that are not ours", "name an empty or a new directory")
    try:
        for name in MADE:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (out / "raw").mkdir(parents=True)
        (out / MARK).touch()
    except OSError as error:
        raise Stop(f"OUT={out} cannot be written: {error.strerror}", "name another directory") from error
    return out


class Facts:
    """The lines that observe.sh left, and raw/session.json of them."""

    def __init__(self, raw):
        self.raw, self.lines = raw, []
        path = raw / "facts"
        if path.exists():
            self.lines = [line.split("\t") for line in path.read_text(errors="replace").splitlines()]
            path.unlink()

    def all(self, key):
        return [line[1:] for line in self.lines if line[0] == key]

    def one(self, key):
        found = self.all(key)
        return found[-1][0] if found and found[-1] else None

    def number(self, key):
        text = self.one(key)
        return int(text) if text and re.fullmatch(r"-?\d+", text) else None

    def _script(self, script):
        seen = next((line for line in self.all("script") if line[0] == script.name), None)
        why = [text for name, text in self.all("failed") if name == script.name]
        return {"name": script.name, "file": str(script.path.relative_to(build.TOP)),
                "sha256": hashlib.sha256(script.path.read_bytes()).hexdigest(), "args": [],
                "missed": int(seen[1]) if seen else 0, "ready_ms": int(seen[2]) if seen else None,
                "ended": bool(seen) and seen[3] == "1", "failed": why[0] if why else None,
                "missing": [text for name, text in self.all("missing") if name == script.name]}

    def write_session(self, chosen, command, scenario, notes):
        """Write raw/session.json and return it."""
        notes = [*notes, *(line[0] for line in self.all("note"))]
        if not self.all("complete"):
            notes.append("the observation did not come to its end")
        session = {
            "version": 1, "kernel": self.one("kernel"), "machine": self.one("machine"),
            "bpftrace": self.one("bpftrace"), "command": command, "scenario": scenario,
            "status": self.number("status"), "begin_ns": self.number("begin_ns"),
            "end_ns": self.number("end_ns"), "started": self.one("started"),
            "scripts": [self._script(script) for script in chosen],
            "threads": self._threads(), "note": "; ".join(notes)}
        (self.raw / "session.json").write_text(json.dumps(session, indent=1) + "\n", encoding="utf-8")
        return session

    def _threads(self):
        try:
            return json.loads((self.raw / "workload.json").read_text())["threads"]
        except (OSError, ValueError, KeyError):
            return {}
