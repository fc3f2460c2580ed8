# SPDX-License-Identifier: GPL-2.0-only
"""Results of the same tests on several kernels, as one table."""

import re
from collections import Counter, defaultdict
from pathlib import Path

from . import ktap
from .report import closing

MARKS = {ktap.PASS: "", ktap.SKIP: "s", ktap.XFAIL: "x", ktap.FAIL: "F", ktap.MISSING: "M"}
NONE = "-"                     # the kernel's run had no such test


def title(kernel):
    """A short name: that of a package's suite, or flavour and key of a self-built one."""
    return Path(kernel).name if "/" in kernel else kernel


def _cell(tests):
    """"40", "38+2s", "37+1F": passed, and what else there was."""
    tally = Counter(test["status"] for test in tests)
    others = [f"{tally[status]}{mark}" for status, mark in MARKS.items() if mark and tally[status]]
    return "+".join([str(tally[ktap.PASS]), *others]) if tests else NONE


def by_program(summary):
    found = defaultdict(list)
    for test in summary["tests"]:
        found[test["name"].partition(":")[0]].append(test)
    return found


def _same_reason(text):
    """Numbers and names of a single test do not make another reason."""
    return re.sub(r"0x[0-9a-f]+|\b\d+\b", "N", text) or "no reason given"


def _reasons(summary, status):
    tally = Counter(_same_reason(test["detail"]) for test in summary["tests"] if test["status"] == status)
    return [f"    {count:5} {reason}" for reason, count in tally.most_common()]


def _rows(rows):
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]


def table(columns):
    """columns: [(title, summary)]. Programs by kernels, then why tests were skipped or failed on each."""
    parts = [(name, summary, by_program(summary)) for name, summary in columns]
    programs = list(dict.fromkeys(program for _, _, found in parts for program in found))
    rows = [["", *(name for name, _, _ in parts)], ["kernel", *(summary["kernel"] for _, summary, _ in parts)],
            ["verdict", *(summary["verdict"] for _, summary, _ in parts)]]
    rows += [[program, *(_cell(found.get(program, [])) for _, _, found in parts)] for program in programs]
    lines = [*_rows(rows), "", "passed +s skipped +x expected to fail +F failed +M missing"]
    for name, summary, _ in parts:
        lines += ["", f"{name}: {closing(summary['counts'])}"]
        for status, word in ((ktap.SKIP, "skipped"), (ktap.XFAIL, "expected to fail")):
            reasons = _reasons(summary, status)
            lines += [f"  {word}:", *reasons] if reasons else []
        lines += [f"  failed: {test['name']}: {test['detail']}" for test in summary["tests"]
                  if test["status"] in (ktap.FAIL, ktap.MISSING)]
        lines += [f"  {summary['cause']}"] if summary["cause"] and not summary["tests"] else []
    totals = Counter()
    for _, summary in columns:
        totals.update(summary["counts"])
    return "\n".join([*lines, "", closing(totals)])
