# SPDX-License-Identifier: GPL-2.0-only
"""Every way in which a run can end, provoked in a real guest and judged by scripts/kselftest."""

import json
import os
import re
import select
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tap import HERE, SCRIPTS, case, check, equal

FIRST, LAST = "ending:global.first_passes", "ending:global.last_passes"


@dataclass
class Run:
    status: int
    stdout: str
    stderr: str
    summary: dict
    kept: dict = field(default_factory=dict)     # file name -> text, below OUT

    def test(self, name):
        found = [test for test in self.summary["tests"] if test["name"] == name]
        equal(1, len(found), f"number of reports of {name}")
        return found[0]


def command(out, tests, *options, parameters=""):
    return [str(SCRIPTS / "kselftest"), "--collection", str(HERE / "endings"),
            "--driver", str(HERE / "provoke"), "--parameters", parameters,
            "--out", out, "--tests", " ".join(tests), *options]


def collect(process, stdout, stderr, out):
    path = Path(out)
    summary = json.loads((path / "summary.json").read_text())
    kept = {str(p.relative_to(path)): p.read_text(errors="replace")
            for p in path.rglob("*") if p.is_file()}
    return Run(process.returncode, stdout, stderr, summary, kept)


def kselftest(tests, *options, parameters=""):
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        done = subprocess.run(command(out, tests, *options, parameters=parameters),
                              check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        check((Path(out) / "summary.json").exists(), f"no summary.json; stderr:\n{done.stderr}")
        return collect(done, done.stdout, done.stderr, out)


def judged(run, verdict, status, cause):
    """The verdict, the exit status, and a cause that a person understands."""
    equal(verdict, run.summary["verdict"], f"verdict (cause: {run.summary['cause']!r})")
    equal(status, run.status, "exit status")
    check(re.search(cause, run.summary["cause"]),
          f"cause {run.summary['cause']!r} does not say {cause!r}")
    last = run.stdout.splitlines()[-1]
    check(re.fullmatch(r"\d+ passed, \d+ failed, \d+ skipped", last), f"closing line: {last!r}")
    return run


def reported(run, **statuses):
    """What each test got: names without their program, global. is left out."""
    for name, status in statuses.items():
        full = f"ending:limited.{name}" if name == "hangs" else f"ending:global.{name}"
        equal(status, run.test(full)["status"], f"status of {name}")


def around(name):
    return [FIRST, name if ":" in name else f"ending:global.{name}", LAST]


@case
def all_pass():
    """The positive control: without a provocation the same path says pass."""
    run = judged(kselftest([FIRST, LAST]), "pass", 0, r"^$")
    reported(run, first_passes="pass", last_passes="pass")
    equal("2 passed, 0 failed, 0 skipped", run.stdout.splitlines()[-1], "closing line")
    equal({"pass": 2, "fail": 0, "skip": 0, "xfail": 0, "missing": 0}, run.summary["counts"], "counts")
    check(run.summary["boot_ms"] > 0, "boot_ms is not measured")
    check("Linux version" in run.kept["console.log"], "the console was not kept")
    equal(["KTAP version 1", "1..1"], run.stdout.splitlines()[:2], "start of stdout")
    for line in run.stdout.splitlines()[2:-1]:
        check(re.match(r"\s*(KTAP version|1\.\.\d|(not )?ok \d|#)", line), f"not KTAP: {line!r}")
    equal(run.stdout, run.kept["results.ktap"], "results.ktap")


@case
def failing_test():
    run = judged(kselftest(around("fails")), "fail", 1, r"global\.fails: .*Expected 1 \(1\) == 2 \(2\)")
    reported(run, first_passes="pass", fails="fail", last_passes="pass")


@case
def test_killed_by_a_signal():
    run = judged(kselftest(around("segfaults")), "fail", 1, r"global\.segfaults: .*signal 11")
    reported(run, first_passes="pass", segfaults="fail", last_passes="pass")


@case
def program_killed_by_a_signal():
    run = judged(kselftest(around("kills_its_program")), "fail", 1,
                 r"kills_its_program: its program was killed by SIGKILL.*1 planned test did not report")
    reported(run, first_passes="pass", kills_its_program="fail", last_passes="missing")


@case
def test_that_hangs():
    run = judged(kselftest(around("ending:limited.hangs")), "fail", 1, r"limited\.hangs: .*timeout")
    reported(run, first_passes="pass", hangs="fail", last_passes="pass")


@case
def program_that_hangs():
    """Past the limit of settings; where everything stood is kept."""
    name = "hangs_past_the_limit_of_the_program"
    run = judged(kselftest(around(name)), "fail", 1, name + r": still running when the 12 s")
    reported(run, first_passes="pass", **{name: "fail"}, last_passes="missing")
    check(re.search(r"stack: .*pause", run.kept["programs/ending.log"]), "no stacks were kept")


@case
def kernel_oops():
    run = judged(kselftest([*around("oopses"), "ending_left:*"]), "fail", 1,
                 r"global\.oopses: kernel: (BUG|Oops).*stopped: kernel oops during ending")
    reported(run, first_passes="pass", oopses="fail", last_passes="pass")
    equal("missing", run.test("ending_left:(no plan)")["status"], "status of what follows an oops")
    check("provoke_oops" in run.kept["kmsg/ending:global.oopses.log"], "the oops is not kept")


@case
def kernel_panic():
    run = judged(kselftest(around("panics")), "fail", 1, r"Kernel panic - not syncing: provoked panic")
    reported(run, first_passes="pass", panics="missing", last_passes="missing")


@case
def guest_that_freezes():
    """Every CPU spins with interrupts off: only silence tells."""
    run = judged(kselftest(around("freezes"), "--silence-limit", "15"), "fail", 1,
                 r"the guest hangs: no sign of life for 15 s")
    reported(run, first_passes="pass", freezes="missing", last_passes="missing")


def spinning_image(image):
    """A kernel image whose first protected-mode instruction jumps to itself."""
    data = bytearray(image.read_bytes())
    start = (data[0x1f1] or 4) * 512 + 512
    data[start:start + 2] = data[start + 512:start + 514] = b"\xeb\xfe"
    return bytes(data)


@case
def guest_that_never_boots():
    from hotmirror import kernels
    with tempfile.NamedTemporaryFile(prefix="hotmirror-test-") as image:
        image.write(spinning_image(kernels.newest().image))
        image.flush()
        run = judged(kselftest([FIRST, LAST], "--boot-image", image.name, "--boot-limit", "10"),
                     "unknown", 2, r"the guest did not boot within 10 s")
    reported(run, first_passes="missing", last_passes="missing")


@case
def guest_that_panics_while_it_boots():
    run = judged(kselftest([FIRST, LAST], "--append", "rdinit=/nothing root=/dev/none"),
                 "unknown", 2, r"the guest did not boot: Kernel panic - not syncing")
    reported(run, first_passes="missing")


def descendants(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        for child in map(int, children.read().split()):
            yield child
            yield from descendants(child)


def qemu_of(pid):
    for child in descendants(pid):
        if os.readlink(f"/proc/{child}/exe").rsplit("/", 1)[-1].startswith("qemu-system"):
            return child
    raise AssertionError("no QEMU runs")


def interfere(act):
    """Run a test that waits for ever; call act(runner, QEMU) when the first result is there."""
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        process = subprocess.Popen(command(out, around("waits")), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        lines, qemu = [], None
        for line in process.stdout:
            lines.append(line)
            if "ok 1 global.first_passes" in line:
                qemu = os.pidfd_open(qemu_of(process.pid))
                act(process, qemu)
        process.wait()
        gone = bool(select.select([qemu], [], [], 30)[0])
        os.close(qemu)
        check(gone, "QEMU is still there")
        return collect(process, "".join(lines), "", out) if process.returncode >= 0 else None


@case
def qemu_killed():
    """From outside, as soon as the first result is there."""
    run = interfere(lambda runner, qemu: signal.pidfd_send_signal(qemu, signal.SIGKILL))
    judged(run, "unknown", 2, r"QEMU was killed by SIGKILL")
    reported(run, first_passes="pass", waits="missing", last_passes="missing")


@case
def runner_interrupted():
    """It takes its guest along and keeps what it has."""
    run = interfere(lambda runner, qemu: runner.terminate())
    judged(run, "unknown", 2, r"interrupted")
    reported(run, first_passes="pass", waits="missing")


@case
def runner_killed():
    """It can say nothing any more, but leaves no QEMU behind."""
    equal(None, interfere(lambda runner, qemu: runner.kill()), "a summary of a killed runner")


@case
def stream_cut_off():
    """The results port is taken from the agent; the guest powers off without a word."""
    run = judged(kselftest(around("cuts_the_stream")), "unknown", 2,
                 r"result stream (was cut off after record \d+|is damaged: record \d+ is cut off)")
    reported(run, first_passes="pass", cuts_the_stream="missing", last_passes="missing")


@case
def kernel_warning_while_every_test_passes():
    run = judged(kselftest(around("warns")), "fail", 1, r"global\.warns: kernel: WARNING: .*provoke")
    reported(run, first_passes="pass", warns="fail", last_passes="pass")
    check("    ok" not in run.stdout.split("global.warns")[0].splitlines()[-1], "stdout says ok")


@case
def first_failure_is_a_complaint():
    """The test has failed, whatever it still waits for."""
    run = judged(kselftest(around("warns_and_hangs"), "--first-failure"), "fail", 1,
                 r"global\.warns_and_hangs: kernel: WARNING: .*provoke.*; ended after the first failure")
    reported(run, first_passes="pass", warns_and_hangs="fail", last_passes="missing")


@case
def kernel_warning_that_is_expected():
    """By the collection's kmsg-allowed, with its reason in the summary."""
    run = judged(kselftest(around("warns_as_expected")), "pass", 0, r"^$")
    reported(run, first_passes="pass", warns_as_expected="pass", last_passes="pass")
    excused = run.summary["excused"]
    check(excused and excused[0]["reason"] == "the test asks the module for it", f"excused: {excused}")


@case
def out_of_memory():
    run = judged(kselftest(around("runs_out_of_memory")), "fail", 1,
                 r"runs_out_of_memory: kernel: .*[Oo]ut of memory")
    reported(run, first_passes="pass", runs_out_of_memory="fail", last_passes="pass")


@case
def module_that_fails_to_load():
    run = judged(kselftest([FIRST, LAST], parameters="refuse=1"), "unknown", 2,
                 r"module hotmirror_provoke.ko does not load: .*No such device")
    reported(run, first_passes="missing", last_passes="missing")


@case
def nothing_but_skips():
    run = judged(kselftest(["ending:global.skips"]), "unknown", 2,
                 r"nothing was tested: every test was skipped \(there is nothing to do\)")
    equal("0 passed, 0 failed, 1 skipped", run.stdout.splitlines()[-1], "closing line")


@case
def fewer_tests_than_planned():
    run = judged(kselftest(["ending_short:*"]), "fail", 1, r"1 planned test did not report")
    equal("pass", run.test("ending_short:two")["status"], "status of two")
    equal("missing", run.test("ending_short:test 3")["status"], "status of the third")


@case
def failing_status_without_a_failing_test():
    run = judged(kselftest(["ending_status:*"]), "fail", 1, r"ended with status 1 though no test failed")
    equal("pass", run.test("ending_status:one")["status"], "status of one")


@case
def processes_left_behind():
    """They are ended; what runs after them is not disturbed."""
    run = judged(kselftest(["ending_left:*", FIRST]), "pass", 0, r"^$")
    equal("pass", run.test("ending_left:one")["status"], "status of one")
