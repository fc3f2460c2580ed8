# SPDX-License-Identifier: GPL-2.0-only
"""What hotmirror_race says about its schedules is true: words, reproducers, the docs."""

import fnmatch
import functools
import json
import re
import shutil
import subprocess

from tap import HERE, case, check, equal
from test_input import kselftest, scratch

from hotmirror import build, kernels, schedules

# One of each kind of operation, memory and gate, with the exit status of its reproducer
# and what is sabotaged; whether a kernel without private memory can run it.
REPLAYS = (
    ("read+munmap@anon:populate.begin", 0, "", True),
    ("write+mremap@anon:populate.locked", 0, "", True),
    ("prefetch+dontneed@thp:populate.faulted", 0, "", True),
    ("munmap+read@anon:invalidate.enter", 0, "", True),
    ("mprotect_ro+write@anon:invalidate.between", 0, "", False),
    ("atomic+cpu_write@anon:exclusive.converted", 0, "", False),
    ("snapshot+mprotect_none@anon:snapshot.walked", 0, "", True),
    ("pin+munmap@anon:pin.begin", 0, "", True),
    ("to_dev+cpu_write@anon:migrate.collected", 0, "", True),
    ("cpu_read+read@private:to_ram.collected", 0, "", False),
    ("to_sys+cpu_read@coherent:migrate.copied", 0, "", True),
    ("read+disable@dax:dax.fault", 0, "", True),
    ("unplug+read@dax_pmd:unplug.disabled", 0, "", True),
    ("unplug+read@private:evict.collected", 0, "", False),
    ("prefetch+unplug@private_large:populate.checked", 0, "", False),
    ("read+munmap@anon-missing:uffd.missing", 0, "", True),
    ("write+cpu_read@anon-wp:uffd.wp", 0, "", True),
    ("read+cpu_write@hole:fault.enter", 0, "", True),
    ("fault_hmm+munmap@hole:populate.faulted", 0, "", True),
    ("read+munmap+cpu_write@anon:populate.begin", 0, "", True),
    ("dontneed+read@anon:invalidate.enter,B=access.begin", 0, "", True),
    ("read+munmap@anon:core.hmm_range_fault", 0, "", True),
    ("read+fork_child@file_cow:populate.faulted", 0, "", True),
    ("read+exit@anon:populate.begin", 0, "", True),
    ("read+move_pages@anon:populate.begin", 0, "", True),
    ("move_pages+write@thp:invalidate.cleared", 0, "", True),
    ("move_pages+read@hugetlb:invalidate.enter", 0, "", True),
    ("read+truncate@memfd:populate.faulted", 0, "", True),
    ("read+uffd_copy@shmem-missing:uffd.missing", 0, "", True),
    # SKIP_RETRY leaves a stale entry, EVICT_NO_COPY brings home zeroes.
    ("prefetch+munmap@anon:populate.faulted", 1, "0x2", True),
    ("read+unplug@coherent:populate.begin", 1, "0x80", True),
)
# Operations and memories that have no C text, and why.
NO_TEXT = {word: "needs ksmd, and a machine that is set up for it" for word in ("ksm",)} | {
    word: "userfaultfd's protection against reads is younger than most headers"
    for word in ("rwp_on", "rwp_off", "anon-rwp")}
# Gates that no enumerated schedule has.
NAMED_ONLY = set()
LINT = ["cc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(build.DRIVER)]
NAME = re.compile(r"(?<![\w.+])(?:race\.)?[a-z*][\w*]*(?:[+|][\w*]+)+@[\w*-]+:[\w.,=*]+")


@functools.cache
def race():
    return schedules.Schedules()


def parts(name):
    """(A, B, memory, gate) of a name that is one gate deep."""
    return re.fullmatch(r"race\.(\w+)\+(\w+)@([\w-]+):(\S+)", name).groups()


def cover():
    """Names that have every operation on both sides, every memory and every gate."""
    seen, chosen = set(), []
    for name in race().names:
        words = set(zip(("A", "B", "memory", "gate"), parts(name)))
        if not words <= seen:
            seen |= words
            chosen.append(name)
    return chosen


@case
def tables_have_names_and_words():
    """Every operation, memory and gate is in a schedule, and none in a schedule is unknown."""
    sides, memories, gates = set(), set(), set()
    for name in race().names:
        one, other, memory, gate = parts(name)
        sides |= {one, other}
        memories.add(memory)
        gates.add(gate)
    for option, used in (("operations", sides), ("memories", memories), ("gates", gates | NAMED_ONLY)):
        rows = race().rows(option)
        check(all(len(row) == 2 for row in rows), f"{option}: a row without words")
        equal(sorted(row[0] for row in rows), sorted(used), option)


@case
def every_schedule_is_explained():
    """In words and as a picture, no wider than 100 columns; what is held is known of every gate."""
    kinds = [dict(race().rows(option)) for option in ("operations", "operations", "memories", "gates")]
    for name in cover():
        said = race().answer("--explain", name)
        flat = " ".join(said.split())
        for part, words in zip(parts(name), kinds):
            check(words[part] in flat, f"{name}: the words of {part} are not there:\n{said}")
        check("see the module" not in said, f"{name}: nobody says what is held there")
        check(max(map(len, said.splitlines())) <= 100, f"{name}: a line is too wide")
        for line in ("orchestrator", "# " + parts(name)[3][:20], "look and judge"):
            check(line in said, f"{name}: no {line!r} in the picture:\n{said}")


@case
def three_sides_and_two_gates_are_explained():
    said = race().answer("--explain", "read+munmap+cpu_write@anon:populate.begin,B=invalidate.enter")
    for line in ("C: cpu_write", "arm B's gate", "populate.begin, then invalidate.enter are opened", "of A, B and C"):
        check(line in said, f"no {line!r}:\n{said}")


@case
def bad_names_are_refused():
    """With what there is, or the reason."""
    for name, *says in (("rad+munmap@anon:populate.begin", "no operation 'rad'", "read", "unplug"),
                        ("read+munmap@anno:populate.begin", "no memory 'anno'", "anon", "dax_pmd"),
                        ("read+munmap@anon:populate", "no gate 'populate'", "populate.begin"),
                        ("read@anon:populate.begin", "two operations"), ("read+munmap@anon", "looks like"),
                        ("read+read+read+read@anon:populate.begin", "more than 3"), ("", "looks like"),
                        ("read+write@anon:populate.begin", "one device"),
                        ("read+munmap@anon:migrate.begin", "does not pass that gate"),
                        ("atomic+munmap@dax:exclusive.begin", "only anonymous memory"),
                        ("x" * 300 + "+munmap@anon:populate.begin", "too long")):
        for option in ("--explain", "--reproducer"):
            said = race().ask(option, name)
            equal((2, ""), (said.returncode, said.stdout), f"{option} {name[:40]}")
            for words in says:
                check(words in said.stderr, f"{option} {name[:40]}: {said.stderr!r} does not say {words!r}")


@case
def every_word_has_a_reproducer():
    """One that compiles without a warning."""
    for name in cover():
        said = race().ask("--reproducer", name)
        if any(word in NO_TEXT for word in parts(name)):
            check(said.returncode == 2 and "no C text" in said.stderr, f"{name}: has a text after all")
            continue
        equal(0, said.returncode, f"{name}: {said.stderr.strip()}: exit status")
        done = subprocess.run([*LINT, "-x", "c", "-"], check=False, input=said.stdout, capture_output=True, text=True)
        equal("", done.stderr, f"{name}: what the compiler says")
    check(set(NO_TEXT) <= {row[0] for row in race().rows("operations") + race().rows("memories")}, "NO_TEXT names nothing")


def collect(directory):
    """The reproducers as a collection."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(HERE / "replays", directory)
    lines = []
    for number, (name, status, sabotage, _) in enumerate(REPLAYS):
        (directory / f"replay_{number}.c").write_text(race().answer("--reproducer", name))
        lines.append(f"replay_{number} race.{name}{'-sabotaged' if sabotage else ''} {status} {sabotage}".rstrip())
    (directory / "cases").write_text("\n".join(lines) + "\n")


def replay(kernel, can):
    """All of them in a guest: those that the kernel can run end as they should, the others say so."""
    directory = build.TOP / "out/replays"
    collect(directory)
    with scratch() as out:
        run = kselftest("--collection", str(directory), "--kernel", kernel, "--out", str(out))
        summary = json.loads((out / "summary.json").read_text())
        log = (out / "programs/replays.sh.log").read_text()
    ended = {test["name"]: test["status"] for test in summary["tests"]}
    wanted = {f"replays:race.{name}{'-sabotaged' if sabotage else ''}": "pass" if can(everywhere) else "skip"
              for name, _, sabotage, everywhere in REPLAYS}
    equal(wanted, ended, f"results (exit status {run.returncode}, {summary['cause']})")
    for line in ("2 device entries are stale", "no order makes that of it"):
        check(line in log, f"no line {line!r} of a sabotaged one")
    for test in summary["tests"]:
        check(test["status"] != "skip" or test["detail"].startswith(("replay_", "not")), f"reason: {test}")


@case
def reproducers_on_the_newest_kernel():
    replay(kernels.NEWEST, lambda everywhere: True)


@case
def reproducers_on_stable():
    replay(kernels.STABLE, lambda everywhere: everywhere)


@case
def docs_have_the_tables():
    """Operations, memories, gates and wait points as the program has them."""
    text = schedules.DOCS.read_text()
    equal(["blocked", "operations", "memories", "gates"], [name for name, _ in schedules.TABLE.findall(text)], "tables")
    for (name, block), (_, wanted) in zip(schedules.TABLE.findall(text),
                                          schedules.TABLE.findall(schedules.in_docs(race(), text))):
        equal(wanted, block, f"docs/races.md, {name} (scripts/schedules --docs renews it)")


@case
def names_in_the_docs_are_schedules():
    """Whatever looks like one: a name is explained, a glob matches."""
    for path in sorted([build.TOP / "README.md", *build.TOP.glob("docs/*.md"), *build.TOP.glob("*/README.md")]):
        for name in NAME.findall(path.read_text()):
            if "*" in name:
                glob = "race." + name.replace("|", "+").removeprefix("race.")
                check(fnmatch.filter(race().names, glob), f"{path.name}: {name} matches nothing")
            else:
                said = race().ask("--explain", name.replace("|", "+"))
                equal(0, said.returncode, f"{path.name}: {name}: {said.stderr.strip()}: exit status")
