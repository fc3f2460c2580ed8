# SPDX-License-Identifier: GPL-2.0-only
"""What the runner's own tests share: a list of cases, TAP output, a closing line."""

import fnmatch
import sys
import time
import traceback

from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent
CASES = []


class Skip(Exception):
    """This machine cannot run the case."""


def case(function):
    """Register a test; its name is its module's and its own, its docstring the fact it proves."""
    module = function.__module__.removeprefix("test_")
    CASES.append((f"runner_{module}:{function.__name__}", function))
    return function


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(expected, seen, what):
    if isinstance(expected, dict) and isinstance(seen, dict):
        both = [key for key in expected if key in seen and expected[key] == seen[key]]
        expected, seen = ({key: value for key, value in one.items() if key not in both}
                          for one in (expected, seen))
    check(expected == seen, f"{what}: expected {expected!r}, saw {seen!r}")


def run_all(globs):
    """Run the cases, print TAP, return the exit status."""
    chosen = [(name, function) for name, function in CASES
              if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]
    if not chosen:
        print(f"no test matches {' '.join(globs)}", file=sys.stderr)
        return 2
    counts = {"ok": 0, "not ok": 0, "skip": 0}
    print(f"TAP version 13\n1..{len(chosen)}", flush=True)
    for number, (name, function) in enumerate(chosen, 1):
        started = time.monotonic()
        word, note = _run_one(function)
        counts[word] += 1
        shown = "ok" if word == "skip" else word
        print(f"{shown} {number} {name}{' # SKIP ' + note if word == 'skip' else ''}")
        print(f"# {time.monotonic() - started:.1f} s" + "".join(
            "\n# " + line for line in note.splitlines() if word == "not ok"), flush=True)
    print(f"{counts['ok']} passed, {counts['not ok']} failed, {counts['skip']} skipped")
    return 1 if counts["not ok"] else 0


def _run_one(function):
    try:
        function()
    except Skip as reason:
        return "skip", str(reason)
    except AssertionError as failure:
        return "not ok", str(failure)
    except Exception:
        return "not ok", traceback.format_exc()
    return "ok", ""
