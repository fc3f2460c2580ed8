# SPDX-License-Identifier: GPL-2.0-only
"""What a run leaves: KTAP on stdout while it goes on, and the files of OUT."""

import json
import re
import shutil
import sys
import time
from pathlib import Path

from . import ktap, verdict
from .say import Stop, colour, say

OWNED = ("results.ktap", "console.log", "kernel.log", "summary.json", "what-was-run.json")
OWNED_DIRECTORIES = ("kmsg", "programs")
GUESTS = ("guest-1", "guest-2")                # of a run in two guests: each one's OUT
MARK = ".hotmirror-out"
NOTES_SHOWN = 12


def prepare(path):
    """An empty OUT directory; one of an earlier run is emptied, anything else is refused."""
    path = Path(path).resolve()
    if path.exists() and not path.is_dir():
        raise Stop(f"OUT={path} is not a directory", "name a directory that does not exist yet")
    if path.exists() and any(path.iterdir()) and not (path / MARK).exists():
        raise Stop(f"OUT={path} holds files that are not ours", "name an empty or a new directory")
    try:
        for name in OWNED_DIRECTORIES + GUESTS:
            shutil.rmtree(path / name, ignore_errors=True)
        for name in OWNED_DIRECTORIES:
            (path / name).mkdir(parents=True)
        for name in OWNED:
            (path / name).unlink(missing_ok=True)
        (path / MARK).touch()
    except OSError as error:
        raise Stop(f"OUT={path} cannot be written: {error.strerror}", "name another directory") from error
    return path


def say_verdict(word, cause):
    shade = {"pass": "32", "fail": "31"}.get(word, "33")
    say(colour(shade, word.upper()) + (f": {cause}" if cause else ""))


def safe(name):
    return re.sub(r"[^\w.:+-]", "_", name)


class Report:
    """Listener of the judge."""

    def __init__(self, out, programs):
        self.out, self.count = out, 0
        self.ktap = open(out / "results.ktap", "w", encoding="utf-8")
        self.header = ["KTAP version 1", f"1..{len(programs)}"]
        self.numbers = {}

    def line(self, text):
        """A line of KTAP; the header waits for the first one, so that a set-up error prints none."""
        for part in [*self.header, text]:
            self.ktap.write(part + "\n")
            print(part)
        self.header = []
        self.ktap.flush()
        sys.stdout.flush()

    def started(self, run):
        name = run.program.name
        say(f"{name}: " + (f"{len(run.program.tests)} tests" if run.program.tests else "running"))
        self.numbers[name] = 0
        self.line(f"# Subtest: {run.program.prefix}")
        self.line("    KTAP version 1")
        if run.program.tests is not None:
            self.line(f"    1..{len(run.program.tests)}")

    def progress(self, run, text):
        say(f"{run.program.prefix}: {text}")

    def tested(self, run, test):
        if test.log:
            self._keep_log(test)
        if not run:
            self.line(f"# not ok: {test.name}: {test.detail}")
            return
        self.numbers[run.program.name] += 1
        short = test.name.partition(":")[2]
        self.line("    " + result_line(self.numbers[run.program.name], short, test))
        for note in test.notes[:NOTES_SHOWN] if test.status == ktap.FAIL else ():
            self.line(f"    # {note}")

    def _keep_log(self, test):
        text = "".join(f"[{m.us / 1e6:12.6f}] {m.text}\n" for m in test.log)
        (self.out / "kmsg" / (safe(test.name) + ".log")).write_text(text, encoding="utf-8",
                                                                    errors="replace")

    def finished(self, run):
        name = run.program.name
        if run.program.tests is None:
            self.line(f"    1..{self.numbers[name]}")
        self.count += 1
        statuses = {test.status for test in run.tests.values()}
        bad = statuses & {ktap.FAIL, ktap.MISSING}
        skipped = " # SKIP " + (run.output.skip_all or "") if statuses == {ktap.SKIP} else ""
        reason = f" # {run.complaint}" if run.complaint else skipped.rstrip()
        self.line(f"{'not ok' if bad else 'ok'} {self.count} {run.program.prefix}{reason}")
        if run.raw:
            path = self.out / "programs" / f"{safe(name)}.log"
            path.write_text("\n".join(run.raw) + "\n", encoding="utf-8", errors="replace")

    def close(self, judge, found):
        """The closing line and the verdict in words."""
        totals = verdict.counts(judge.tests)
        for note in judge.notes:
            say(f"note: {note}")
        say_verdict(found.word, found.cause)
        self.line(closing(totals))
        self.ktap.close()


def result_line(number, name, test):
    """A KTAP result line. KTAP has no word for missing: it is a failure with its reason."""
    ok = "not ok" if test.status in (ktap.FAIL, ktap.MISSING) else "ok"
    detail = test.detail.replace("#", "")
    directive = {ktap.SKIP: f" # SKIP {detail}", ktap.XFAIL: f" # XFAIL {detail}",
                 ktap.MISSING: f" # MISSING {detail}", ktap.FAIL: f" # {detail}" if detail else ""}
    return f"{ok} {number} {name}{directive.get(test.status, '')}".rstrip()


def closing(totals):
    """An expected failure proves nothing, so it counts with the skipped ones."""
    return (f"{totals['pass']} passed, {totals['fail'] + totals['missing']} failed, "
            f"{totals['skip'] + totals['xfail']} skipped")


def write_files(out, judge, found, ending, facts):
    """summary.json, what-was-run.json, kernel.log."""
    log = "".join(f"[{m.us / 1e6:12.6f}] {m.text}\n" for m in judge.kernel_log)
    (out / "kernel.log").write_text(log, encoding="utf-8", errors="replace")
    summary = {
        "verdict": found.word, "cause": found.cause,
        "kernel": judge.boot_release or facts["kernel"]["release"], "accel": facts["accel"],
        "boot_ms": ending.boot_ms, "first_test_ms": ending.first_test_ms, "counts": verdict.counts(judge.tests),
        "excused": [{"test": test, "message": text, "reason": reason}
                    for test, text, reason in judge.excused],
        "notes": judge.notes,
        "tests": [{"name": test.name, "status": test.status, "ms": test.ms, "detail": test.detail}
                  for test in judge.tests],
    }
    write_json(out / "summary.json", summary)
    facts["finished"] = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(out / "what-was-run.json", facts)


def write_stop(out, stop, kernel):
    """A summary for a run that ended before there was anything to judge."""
    write_json(out / "summary.json", {
        "verdict": "unknown", "cause": stop.what, "kernel": kernel, "accel": None, "boot_ms": 0,
        "counts": verdict.counts([]), "tests": []})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8",
                    errors="replace")


def show_list(programs):
    for program in programs:
        for test in program.tests if program.tests is not None else ["*"]:
            sys.stdout.write(program.full(test) + "\n")
