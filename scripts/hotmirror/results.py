# SPDX-License-Identifier: GPL-2.0-only
"""The OUT of a run, read back for other systems: results_junit, results_kcidb, results_lava."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import judge, ktap, report, verdict
from .say import Stop

STATUSES = (ktap.PASS, ktap.FAIL, ktap.SKIP, ktap.XFAIL, ktap.MISSING)
VERDICTS = tuple(verdict.EXIT)
NAME = re.compile("[^:]+:.", re.S)
EXCERPT = 16000                # characters of a kernel log; KCIDB takes 16,384

# Why a test gave no verdict on the kernel, from what its detail says.
UNDER_WAY = "under way"        # when the run ended
NOT_RUN = "not run"            # the run ended before
OWN_FAULT = "own fault"        # of the test or its program
ERROR_DIRECTIVE = "error"      # what ktap.py makes of "# ERROR ..."


@dataclass(frozen=True)
class Test:
    name: str                  # full: program:test
    status: str
    ms: int
    detail: str
    log: str                   # what the kernel said meanwhile

    @property
    def program(self):
        return self.name.partition(":")[0]

    @property
    def short(self):
        return self.name.partition(":")[2]

    @property
    def why(self):
        """One of the three for a test without a verdict of its own, else ""."""
        if self.status == ktap.MISSING:
            if self.detail.startswith(judge.RUNNING_WHEN):
                return UNDER_WAY
            return OWN_FAULT if self.detail == judge.UNREPORTED or self._names_program else NOT_RUN
        broken = self.detail in judge.BROKEN_REPORTS or self.detail.startswith(ERROR_DIRECTIVE)
        ended = self.short == judge.EXIT_TEST and not self.detail.endswith(judge.CANNOT_BE_KILLED)
        return OWN_FAULT if self.status == ktap.FAIL and (broken or ended) else ""

    @property
    def _names_program(self):
        """Is the detail a complaint about the program? It begins with its name."""
        return self.detail.removeprefix(self.program).removeprefix(".sh").startswith(" ")

    @property
    def kernel_ended_it(self):
        return self.why == UNDER_WAY and verdict.accuses_kernel(self.detail.removeprefix(judge.RUNNING_WHEN))


@dataclass
class Results:
    """summary is summary.json, facts what-was-run.json (of each guest), key one of the run's own."""
    out: Path
    summary: dict
    facts: list
    key: str
    tests: list = field(default_factory=list)

    @property
    def verdict(self):
        return self.summary["verdict"]

    @property
    def cause(self):
        return self.summary.get("cause") or ""

    @property
    def kernel(self):
        """Its release; of a run that did not get so far, what was asked for."""
        return str(self.summary.get("kernel") or "unknown")

    def fact(self, *names, default=None):
        """A value of what-was-run.json, of the first guest that has it."""
        for found in self.facts:
            for name in names:
                found = found.get(name) if isinstance(found, dict) else None
            if found is not None:
                return found
        return default

    def section(self, name):
        found = self.fact(name)
        return found if isinstance(found, dict) else {}

    @property
    def properties(self):
        """What a reader of any result wants to know; nothing that is not known."""
        made = {"verdict": self.verdict, "cause": self.cause, "kernel": self.kernel,
                "kernel_name": self.fact("kernel", "name"), "config_sha256": self.fact("kernel", "config_sha256"),
                "accel": self.summary.get("accel"), "cpus": self.fact("guest", "cpus"),
                "mem_mb": self.fact("guest", "mem_mb"), "module_sha256": self.fact("module", "sha256"),
                "module_parameters": self.fact("module", "parameters"), "seed": self.fact("seed"),
                "commit": self.fact("commit"), "started": self.fact("started")}
        return {name: str(value) for name, value in made.items() if value not in (None, "")}


def excerpt(text, limit=EXCERPT):
    """Beginning and end of a long text: the first complaint, and how it ended."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 40
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Stop(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Stop(f"{path} is not JSON: {error}", "it was cut off or edited; run again") from error


def _test(out, number, given):
    """A Test of one entry of summary.json."""
    good = (isinstance(given, dict) and NAME.match(str(given.get("name"))) and given.get("status") in STATUSES and isinstance(given.get("ms", 0), int))
    if not good:
        raise Stop(f"{out}/summary.json: test {number} is not a result of a test", "it was edited; run again")
    log = out / "kmsg" / (report.safe(given["name"]) + ".log")
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    return Test(given["name"], given["status"], given.get("ms", 0), str(given.get("detail") or ""), text)


def read(out):
    """Results of an OUT, or Stop."""
    if not out.is_dir():
        raise Stop(f"{out} is not a directory", "name the OUT of a run")
    if not (out / "summary.json").is_file():
        raise Stop(f"{out} has no summary.json", "name the OUT of a run that has ended")
    summary = _json(out / "summary.json")
    if not isinstance(summary, dict) or not isinstance(summary.get("tests"), list) \
            or summary.get("verdict") not in VERDICTS:
        raise Stop(f"{out}/summary.json holds no results of tests",
                   "of scripts/kselftest it does; an observation is for scripts/report")
    ran = out / "what-was-run.json"
    what = _json(ran) if ran.is_file() else {}
    facts = [found for found in (what.get("guests", [what]) if isinstance(what, dict) else [])
             if isinstance(found, dict)]
    key = hashlib.sha256(json.dumps([summary, what], sort_keys=True).encode()).hexdigest()[:16]
    tests = [_test(out, number, given) for number, given in enumerate(summary["tests"])]
    return Results(out, summary, facts, key, tests)


# Names in a tree of dot-separated [A-Za-z0-9_-]+, as KCIDB and LAVA want them. Letters,
# digits and _ stay. So does a dot, and the first colon, which ends the program, is one.
# Anything else is -WORD- with a word of its own, or -XX- for each byte of its UTF-8. A -
# is only ever in these, so the name can be had back: no two names have the same path.
WORDS = {"-": "", "+": "and", "@": "on", ":": "at", "|": "or", "=": "is", ",": "then"}
LETTERS = {word: letter for letter, word in WORDS.items()}
PLAIN = re.compile(r"[A-Za-z0-9_]")


def _spelt(letter):
    if PLAIN.match(letter):
        return letter
    if letter in WORDS:
        return f"-{WORDS[letter]}-"
    return "".join(f"-{byte:02x}-" for byte in letter.encode("utf-8", "surrogatepass"))


def _dotted(text):
    """Dots that separate something stay, others are spelt."""
    inside = range(1, len(text) - 1)
    return "".join("." if c == "." and i in inside and text[i - 1] != "." and text[i + 1] != "." else _spelt(c)
                   for i, c in enumerate(text))


def path(name):
    """The path of a test's full name."""
    program, colon, test = name.partition(":")
    return ".".join(filter(None, ("".join(map(_spelt, program)), _dotted(test) if colon else "")))


def _plain(part):
    pieces = re.split(r"-([^-]*)-", part)
    words = [LETTERS[word].encode() if word in LETTERS else bytes.fromhex(word) for word in pieces[1::2]]
    return b"".join(text.encode() + word for text, word in zip(pieces[::2], [*words, b""])).decode(
        "utf-8", "surrogatepass")


def name_of(text):
    """The name that has this path."""
    program, dot, test = text.partition(".")
    try:
        name = f"{_plain(program)}:{_plain(test)}"
    except ValueError:
        name = ""
    if not program or not dot or path(name) != text:
        raise Stop(f"{text!r} is not the path of a test")
    return name
