# SPDX-License-Identifier: GPL-2.0-only
"""Programs that list plain names, thousands of them: which ones run, and how they are told.

-l of such a program prints "# NAMES" and a line "name<TAB>tier" each. The selection
goes to it as globs, tier and shard, and the plan is computed here by the same rule:

    the names that match one of the globs (all without one), in the order of -l;
    of these the ones of the tier; of these number I - 1, I - 1 + N, I - 1 + 2N, ...
    (counted from 0) for shard I/N.

"# NAMES S" is that of a program with few names that take up to S seconds each. It is in
one shard as a whole, and is told of none.
"""

import fnmatch
import re
from dataclasses import dataclass, replace

from .say import Stop

HEADER = "# NAMES"
DEFAULT, ALL = "default", "all"
SHORT, PROGRAM = "race.", "hotmirror_race:"    # TESTS='race.read+munmap@anon:*'
# What TESTS may leave out before the first word of a name.
PROGRAMS = {SHORT: PROGRAM, "explore.": "hotmirror_explore:", "control.": "hotmirror_race_control:"}
STARTUP_SECONDS, SECONDS_EACH = 120, 0.25      # of the limit of a program; the slowest class on a busy machine


@dataclass(frozen=True)
class Choice:
    """What is asked for beside globs."""
    races: str = ""            # DEFAULT: tier 1; ALL: every tier; "": tier 1 unless globs name them
    shard: tuple = None        # (I, N)
    repeat: int = 1

    def tier_1_only(self, globs):
        return self.races == DEFAULT or not self.races and not globs

    def _tier(self, globs):
        """Said where the program would take another by itself."""
        return ("--tier", "1") if self.tier_1_only(globs) else () if globs else ("--tier", "0")

    def arguments(self, globs, sharded=True):
        return (*(word for glob in globs for word in ("-g", glob)),
                *self._tier(globs),
                *(("--shard", "{}/{}".format(*self.shard)) if self.shard and sharded else ()),
                *(("--repeat", str(self.repeat)) if self.repeat > 1 else ()))

    def part(self, things):
        """The shard's part of a list."""
        return things[self.shard[0] - 1::self.shard[1]] if self.shard else things


def parse(text):
    """(names, tiers) of what -l printed, in its order."""
    names, tiers = [], []
    for line in text.splitlines()[1:]:
        name, tab, tier = line.partition("\t")
        if not name or not tab or not tier.isdigit():
            raise Stop(f"a list of names has the line {line!r}, which is not name<TAB>tier")
        names.append(name)
        tiers.append(int(tier))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Stop(f"a list of names has {twice} twice")
    return tuple(names), tuple(tiers)


def seconds_each(text):
    """S of the header "# NAMES S"; None without one."""
    match = re.match(HEADER + r"(?: ([1-9]\d{0,3}))?(?:\n|$)", text)
    if not match:
        raise Stop(f"a list of names begins with {text.partition(chr(10))[0]!r}, which is not {HEADER} [SECONDS]")
    return int(match[1]) if match[1] else None


def shard(text):
    """(I, N) of "I/N"; None of nothing."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise Stop(f"--shard {text} is not a shard", "use I/N with I from 1 to N, for example 1/2")
    return int(match[1]), int(match[2])


def choice(races, shard_text, repeat):
    """The Choice of texts from options or make's variables."""
    if races not in ("", DEFAULT, ALL):
        raise Stop(f"RACES={races} is unknown", f"use {DEFAULT} or {ALL}")
    if repeat and not (repeat.isdigit() and 1 <= int(repeat) <= 1000000):
        raise Stop(f"REPEAT={repeat} is not a number of times", "use 1 to 1000000")
    return Choice(races, shard(shard_text), int(repeat or 1))


def spellings(glob):
    """A glob over full names for what TESTS says: the short form, and | as schedules are written."""
    full = next((program + glob for short, program in PROGRAMS.items() if glob.startswith(short)), glob)
    return {full, full.replace("|", "+")}


def _after(glob, char):
    """What is left of a glob once it has matched one character, each way."""
    while glob[:1] == "*":
        yield glob
        glob = glob[1:]
    token = re.match(r"\[!?\]?[^]]*\]|.", glob)
    if token and fnmatch.fnmatchcase(char, token[0]):
        yield glob[token.end():]


def residuals(glob, start):
    """Globs over what follows start: one of them matches it just where glob matches the whole."""
    states = {glob}
    for char in start:
        states = {rest for state in states for rest in _after(state, char)}
    return sorted(states)


def pick(program, globs, given, used, knows):
    """The program with what is chosen of it, or None. globs: {spelling: what the user wrote}.

    knows(program, name): is that a name, too? Of schedules with many gates or sides there
    are too many for a list.
    """
    chosen, passed = list(zip(program.tests, program.tiers)), []
    more = [name for name in _whole_names(program, globs) if knows(program, name)]
    used.update(asked for glob, asked in globs.items() if glob.removeprefix(program.prefix + ":") in more)
    if globs:
        chosen, passed = _matching(chosen, program.prefix + ":", globs, used)
    if given.tier_1_only(globs):
        chosen = [(name, tier) for name, tier in chosen if tier == 1]
    chosen = (given.part(chosen) if program.is_long else chosen) + [(name, 0) for name in more]
    passed += more
    if not chosen:
        return None
    limit = STARTUP_SECONDS + round((program.seconds_each or SECONDS_EACH) * len(chosen) * given.repeat)
    return replace(program, tests=tuple(name for name, _ in chosen),
                   tiers=tuple(tier for _, tier in chosen),
                   arguments=given.arguments(passed, program.is_long), timeout=max(program.timeout, limit))


def _whole_names(program, globs):
    """What the globs name without a wildcard and -l does not."""
    start, listed = program.prefix + ":", frozenset(program.tests)
    return [name for glob in globs if glob.startswith(start + SHORT) and not re.search(r"[*?[|]", glob)
            for name in [glob.removeprefix(start)] if name not in listed]


def _matching(listed, start, globs, used):
    """(what is listed and matches, the globs over bare names that say so)."""
    rules = {rest: (re.compile(fnmatch.translate(rest)).match, asked)
             for glob, asked in globs.items() for rest in residuals(glob, start)}
    hits = {rest: [pair for pair in listed if match(pair[0])] for rest, (match, _) in rules.items()}
    hits = {rest: found for rest, found in hits.items() if found}
    used.update(rules[rest][1] for rest in hits)
    if "*" in hits:
        return listed, ["*"]
    any_of = {pair for found in hits.values() for pair in found}
    return [pair for pair in listed if pair in any_of], list(hits)
