# SPDX-License-Identifier: GPL-2.0-only
"""Read the (K)TAP that one test program prints."""

import re
from dataclasses import dataclass, field

RESULT = re.compile(r"^(not )?ok (\d+)(?: -)?(?: (.*))?$")
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*# SKIP\s*(.*))?", re.I)
DIRECTIVE = re.compile(r"#\s*(SKIP|XFAIL|XPASS|TODO|TIMEOUT|ERROR)\b[:\s]*(.*)$", re.I)
RUN = re.compile(r"^#\s+RUN\s+(\S+)")
NOISE = re.compile(r"^#\s+(RUN|OK|FAIL|SKIP)\s|^# (Starting|Totals|PASSED|FAILED)\b|^#\s*$")
EXPLAINS = re.compile(r"Expected|terminated|exited|Failed|error|signal|timeout", re.I)

PROGRESS = "# progress: "      # how far it is, and what is about to run: no notes of a test
NEXT = "# next: "
FACTS = "race: "               # a note of figures, for scripts/races
NO_NOTES = ("TAP version", "KTAP version", PROGRESS, NEXT)

PASS, FAIL, SKIP, XFAIL, MISSING = "pass", "fail", "skip", "xfail", "missing"


@dataclass
class Result:
    number: int
    name: str
    status: str
    detail: str = ""
    notes: list = field(default_factory=list)    # diagnostic lines, without their "# "


def parse_result(line):
    """A Result of an "ok" or "not ok" line, else None."""
    match = RESULT.match(line)
    if not match:
        return None
    failed, number, text = match.group(1), int(match.group(2)), (match.group(3) or "").strip()
    directive = DIRECTIVE.search(text)
    name = text.split(" #", 1)[0].strip() if not text.startswith("#") else ""
    detail = directive.group(2).strip() if directive else text[len(name):].strip(" #")
    word = directive.group(1).upper() if directive else ""
    status = FAIL if failed else PASS
    if word == "SKIP":
        status = SKIP
    elif word in ("XFAIL", "TODO"):
        status = XFAIL
    elif word == "XPASS":
        status, detail = FAIL, "passed although it is marked as expected to fail " + detail
    elif word in ("TIMEOUT", "ERROR"):
        status, detail = FAIL, f"{word.lower()} {detail}".strip()
    return Result(number, name or f"test {number}", status, detail.strip())


class Output:
    """Feed it a program's lines; results come out, the rest is kept as their notes."""

    def __init__(self):
        self.plan = None
        self.skip_all = None      # reason of "1..0 # SKIP"
        self.bail = None
        self.running = None       # test that began last and has no result yet
        self.notes = []

    def feed(self, line):
        result = parse_result(line)
        if result:
            result.notes, self.notes, self.running = self.notes, [], None
            if result.status == FAIL and not result.detail:
                result.detail = explain(result.notes)
            return result
        plan = PLAN.match(line)
        began = RUN.match(line)
        if plan:
            self.plan = int(plan.group(1))
            skipped = not self.plan and plan.group(2) is not None
            self.skip_all = (plan.group(2) or "no reason given") if skipped else None
        elif line.startswith("Bail out!"):
            self.bail = line.removeprefix("Bail out!").strip() or "no reason given"
        elif began:
            self.running = began.group(1)
        elif not NOISE.match(line) and line and not line.startswith(NO_NOTES):
            self.notes.append(line.removeprefix("# "))
        return None


def explain(notes):
    """The note that says best why a test failed."""
    notes = [note for note in notes if not note.startswith(FACTS)]
    return next((note for note in notes if EXPLAINS.search(note)), notes[-1] if notes else "")
