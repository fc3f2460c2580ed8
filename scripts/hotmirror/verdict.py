# SPDX-License-Identifier: GPL-2.0-only
"""From what was seen to pass, fail or unknown, with the cause in words."""

import re
from collections import Counter
from dataclasses import dataclass

from . import ktap, vm
from .judge import ENOUGH

EXIT = {"pass": 0, "fail": 1, "unknown": 2}
PANIC, HANG = "Kernel panic - not syncing: ", "the guest hangs: "


@dataclass
class Verdict:
    word: str
    cause: str = ""

    @property
    def exit_status(self):
        return EXIT[self.word]


def panic_line(console):
    """The panic that the console shows, without its time stamp."""
    found = re.search(f"{PANIC}.*", console)
    return found.group(0).strip() if found else ""


def last_words(console):
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("hotmirror-")]
    return (own or lines or ["nothing at all"])[-1][:200]


def lost_guest(ending, settings, console):
    """Why the guest is gone although its plan was not at its end: (word, cause) or None."""
    panic = panic_line(console)
    if ending.gave_up == "interrupt":
        return "unknown", "interrupted"
    if ending.gave_up == "enough":
        return "fail", ENOUGH
    if ending.status is not None and ending.status < 0:
        return "unknown", f"QEMU was killed by {vm.signal_name(-ending.status)}"
    if not ending.booted:
        if panic:
            return "unknown", f"the guest did not boot: {panic}"
        limit = f" within {settings.boot_limit:.0f} s" if ending.gave_up else ""
        return "unknown", f"the guest did not boot{limit}; its console ends: {last_words(console)}"
    if panic:
        return "fail", panic
    if ending.gave_up:
        return "fail", (f"{HANG}no sign of life for {settings.silence_limit:.0f} s; "
                        f"its console ends: {last_words(console)}")
    if ending.damage:
        return "unknown", f"the result stream is damaged: {ending.damage}"
    if ending.status:
        return "unknown", f"QEMU ended with status {ending.status}"
    if not ending.bye:
        return "unknown", f"the result stream was cut off after record {ending.records}"
    return None


def accuses_kernel(why):
    """Is the kernel to blame for the end of the guest?"""
    return why.startswith((PANIC, HANG))


def counts(tests):
    tally = Counter(test.status for test in tests)
    return {name: tally.get(name, 0)
            for name in (ktap.PASS, ktap.FAIL, ktap.SKIP, ktap.XFAIL, ktap.MISSING)}


def failures(tests):
    """One line for what failed, the first failure in words."""
    failed = [test for test in tests if test.status == ktap.FAIL]
    if not failed:
        return ""
    first = f"{failed[0].name}: {failed[0].detail or 'failed'}"
    return first if len(failed) == 1 else f"{len(failed)} tests failed, the first is {first}"


def decide(judge, lost):
    """The verdict. A failure that was seen stays one, whatever happened to the guest later."""
    tests = judge.tests
    failed = failures(tests)
    causes = [failed] if failed else []
    word = "fail" if failed else "pass"
    if judge.module_failed:
        causes.append(f"module {judge.module_failed} does not load: {judge.stopped or 'see the kernel log'}")
    elif judge.stopped:
        causes.append(f"stopped: {judge.stopped}")
        word = "fail"
    if lost:
        causes.append(lost[1])
        word = "fail" if "fail" in (word, lost[0]) else "unknown"
    if word == "pass" and (judge.module_failed or judge.lost):
        word = "unknown"
        causes += [f"the kernel log is incomplete: {judge.lost}"] if judge.lost else []
    missing = counts(tests)[ktap.MISSING]
    if missing:
        some = "1 planned test" if missing == 1 else f"{missing} planned tests"
        causes.append(f"{some} did not report")
        word = "fail" if word == "pass" else word
    if word == "pass" and judge.passed_nothing():
        skipped = next((test.detail for test in tests if test.status == ktap.SKIP), "")
        causes.append(f"nothing was tested: every test was skipped ({skipped})" if skipped
                      else "nothing was tested: no test ran")
        word = "unknown"
    return Verdict(word, "; ".join(causes))
