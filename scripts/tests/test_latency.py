# SPDX-License-Identifier: GPL-2.0-only
"""scripts/bisect --metric on real kernels: two sides that are alike, and two that differ."""

import shutil
import tempfile
from pathlib import Path

from tap import case, check, equal
from test_input import scratch
from test_kernels import GOOD_C, repository

from hotmirror import bisect, build, kept, kernels, slower

SPIN_US = 300
# Every callback comes here before it takes the driver lock.
ENTER = "\thotmirror_gate_invalidate(file, blockable, HOTMIRROR_GATE_INVALIDATE_ENTER);\n"
SCHEDULE = "race.read+munmap@anon:populate.faulted"


def slow_down(driver):
    """Its invalidate callback takes SPIN_US longer."""
    source = driver / "invalidate.c"
    text = source.read_text(encoding="utf-8")
    equal(1, text.count(ENTER), "places for the delay")
    source.write_text("#include <linux/delay.h>\n" + text.replace(ENTER, f"\tudelay({SPIN_US});\n{ENTER}"), encoding="utf-8")


def keep(kernel, place):
    """A packaged kernel as start keeps the good one: what boots, its modules, and ours."""
    shutil.copytree(kernel.modules / "kernel", place / "kernel")
    shutil.copy2(kernel.modules / "modules.builtin", place)
    for name in (".config", "include/config/kernel.release", "Module.symvers", "arch/x86/boot/bzImage"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / ".config").write_text("".join(f"CONFIG_{name}={value}\n" for name, value in kernel.config.items()))
    (place / "include/config/kernel.release").write_text(kernel.release + "\n")
    (place / "Module.symvers").touch()             # nothing is built against it
    shutil.copy2(kernel.image, place / "arch/x86/boot/bzImage")
    shutil.copy2(build.module(kernel), place)


def rule(tests, metric, seconds, rounds):
    return bisect.Rule(tests=tests, metric=metric, slower=2.0, seconds=seconds, rounds=rounds, accel="icount", flavour="full")


@case
def kernel_is_not_slower_than_itself():
    """By a schedule, in rounds that take turns."""
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        verdict, why, figures = slower.compare(
            rule(SCHEDULE, "timeline:invalidate:p99", 5, 2).question(), slower.Side("good", kernels.NEWEST),
            slower.Side("here", kernels.NEWEST), Path(out))
    equal(slower.FASTER, verdict, why)
    equal([2, 2], [len(one["ns"]) for one in figures.values()], "rounds")


@case
def step_is_judged_beside_the_kept_kernel():
    """By a scenario: the good one with the module that was kept, the other with the frozen one, which is slower here."""
    with scratch() as path:
        ends = repository(path, [GOOD_C] * 2)
        bisection = bisect.start(path, bisect.Rule(tests="x"), *ends, trust=True)
        bisection.rule = rule("notifier", "timeline:invalidate:p50", 2, 1)
        keep(kernels.newest(), bisection.place / kept.DIRECTORY)
        slow_down(bisection.place / "judge/test_driver")
        step = bisect.Step(ends[1])
        verdict, why = bisection._measure(kernels.NEWEST, path / "step", step)
    equal(bisect.BAD, verdict, why)
    good, here = (step.figures[side]["ns"][0] for side in ("good", "here"))
    check(here - good >= 0.9 * SPIN_US * 1000, f"{why}: less than the delay of {SPIN_US} us")
