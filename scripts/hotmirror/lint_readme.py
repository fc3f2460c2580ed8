# SPDX-License-Identifier: GPL-2.0-only
"""A collection's README.md names its programs and tests: the names must be true.

What it names is text between backticks: `program` first in a table row, and patterns
`program:glob` anywhere, both with or without the collection's prefix (`hotmirror_`).
What there is comes from the built programs, as it does for scripts/kselftest.
"""

import fnmatch
import re
from pathlib import Path

from . import collection, host

PREFIX = "hotmirror_"
# In the order of how a row is written: program, pattern, and (states) behind a pattern.
ROW = re.compile(r"^\| `(\w+)` \|", re.M)
CODE = re.compile(r"`([^`\n]+)`")
PATTERN = re.compile(r"(?:TESTS=')?(\w+:[\w.*?\[\]-]+)'?$")
STATES = re.compile(r"`(?:and `)?\w+:[\w.*?-]+` \(([\w, ]+)\)")
STATE_NAME = re.compile(r"^\t\[\w+\] = \{ \"(\w+)\",", re.M)
STATE_TABLE = "cpu/state.c"

LIST = """
    set -e
    mkdir -p "$PWD/.list"
    make="make -j$1 -C $2 KSFT=/payload/kernel/tools/testing/selftests OUTPUT=$PWD/.list"
    $make USERCFLAGS=-O0 all >/dev/null
    for program in $($make -s COLLECTION=c emit_tests); do
        echo "== ${program#c:}"
        "./.list/${program#c:}" -l 2>&1 || :
    done"""


def _listed(b, where, kernel):
    """{program: its tests}; programs without a list of tests are there, too."""
    status, output = b.in_tree(["sh", "-c", LIST, "sh", str(host.cpus()), where], kernel.source)
    if status:
        return None, output
    texts = {}
    for line in output:
        if line.startswith("== "):
            texts[name := line[3:]] = []
        elif texts:
            texts[name].append(line)
    return {name: collection.parse("\n".join(lines))[0] or () for name, lines in texts.items()}, []


def patterns(text):
    """Every pattern of tests, once, in order."""
    found = (PATTERN.match(code) for code in CODE.findall(text))
    return list(dict.fromkeys(match[1] for match in found if match))


def judge(text, programs, states):
    """Complaints on the README's text. programs: {name: tests}; states: those of cells, or None."""
    names = [collection.Program(program).full(test)
             for program, tests in programs.items() for test in tests]
    bad = [f"{pattern} matches no test" for pattern in patterns(text)
           if not any(fnmatch.filter(names, start + pattern) for start in ("", PREFIX))]
    rows = ROW.findall(text)
    bad += [f"{program} is in no row of a table" for program in programs if program not in rows]
    bad += [f"{row} has a row, but is no program" for row in rows if row not in programs]
    if states is not None:
        bad += [f"({state}) is no state of a cell" for group in STATES.findall(text)
                for state in group.split(", ") if state not in states]
    return bad


def readme(b, pick):
    """the tests and programs that a collection's README.md names are there, none is left out"""
    bad = []
    for name in b.named("*/README.md"):
        where = Path(name).parent
        makefile = str(where / "Makefile")
        if makefile not in b.files or "lib.mk" not in b.text(makefile):
            continue
        programs, output = _listed(b, str(where), pick())
        if programs is None:
            return [f"{where} does not build:", *output]
        table = str(where / STATE_TABLE)
        states = STATE_NAME.findall(b.text(table)) if table in b.files else None
        bad += [f"{name}: {line}" for line in judge(b.text(name), programs, states)]
    return bad
