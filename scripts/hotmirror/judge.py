# SPDX-License-Identifier: GPL-2.0-only
"""Follow a run record by record: which test got which result, and what the kernel said.

The plan is known before; what it holds and nobody reported is "missing". A result
is final when its line arrives: the agent reports every kernel message before the
program output that was written after it.
"""

from dataclasses import dataclass, field

from . import kmsg, ktap
from .ktap import FAIL, MISSING, PASS, PROGRESS, SKIP
from .stream import unescape
from .vm import signal_name

KERNEL = "kernel"              # owner of messages that belong to no program
# Details by which results.py tells whose fault it is.
RUNNING_WHEN = "running when: "
ENOUGH = "ended after the first failure"
UNREPORTED = "the program did not report it"
EXIT_TEST = "exit"             # stands for the program, if that failed and no test did
CANNOT_BE_KILLED = "cannot be killed"
TWICE, UNPLANNED = BROKEN_REPORTS = ("reported twice", "reported, but not planned")


@dataclass
class Test:
    name: str                  # full: program:test
    status: str
    detail: str = ""
    ms: int = 0
    notes: list = field(default_factory=list)
    log: list = field(default_factory=list)      # kernel messages while it ran


@dataclass
class ProgramRun:
    program: object
    output: ktap.Output = field(default_factory=ktap.Output)
    tests: dict = field(default_factory=dict)    # by name within the program, in order
    raw: list = field(default_factory=list)
    last_ms: int = 0
    ending: tuple = None       # ("code", 0), ("signal", 9), ("timeout", 0), ("stuck", pid)
    complaint: str = ""        # what is wrong with the program beside its tests

    def __post_init__(self):
        self.planned = None if self.program.tests is None else frozenset(self.program.tests)

    def is_planned(self, name):
        return self.planned is None or name in self.planned

    def missing(self):
        if self.program.tests is not None:
            return [name for name in self.program.tests if name not in self.tests]
        if self.output.plan is None:
            return [] if self.tests else ["(no plan)"]
        return [f"test {n}" for n in range(len(self.tests) + 1, self.output.plan + 1)]


class Judge:
    """Takes records; tells a listener about programs and tests as they are final.

    listener: started(run), tested(run, test), progress(run, text), finished(run)
    """

    def __init__(self, programs, allowed, listener):
        self.runs = {program.name: ProgramRun(program) for program in programs}
        self.allowed, self.listener = allowed, listener
        self.current = None
        self.boot_release, self.taint = "", 0
        self.boot_taint = None
        self.module_failed = self.stopped = self.lost = ""
        self.notes, self.excused = [], []
        self.log = []              # kernel messages since the last result
        self.accused = []          # of these, the ones that count
        self.failures = 0          # tests that are failed or missing, so far
        self.convicted = ""        # a test that has no result yet, and will have failed
        self.kernel_tests = []     # complaints that belong to no test
        self.complained = False    # since the taint was read last
        self.kernel_log = []       # all of it

    def take(self, record):
        handler = getattr(self, "on_" + record.tag, None)
        if handler:
            handler(record)

    # the guest

    def on_boot(self, record):
        self.boot_release, taint = record.text.rsplit(" ", 1)
        self.taint = self.boot_taint = int(taint)

    def on_note(self, record):
        self.notes.append(record.text)

    def on_lost(self, record):
        self.lost = record.text

    def on_stop(self, record):
        self.stopped = record.text

    def on_load(self, record):
        state, path = record.text.split(" ", 1)
        if state != "ok":
            self.module_failed = path.rsplit("/", 1)[-1]
        self._kernel_test(f"loading {path.rsplit('/', 1)[-1]}")

    def on_unload(self, record):
        name, _, state = record.text.partition(": ")
        detail = "" if state == "ok" else f"module {name} cannot be unloaded: {state}"
        self._kernel_test(f"unloading {name}", detail)

    # the kernel log

    def on_kmsg(self, record):
        message = kmsg.parse(record.text)
        if not message:
            return
        self.kernel_log.append(message)
        if message.text.startswith(("hotmirror-agent:", "hotmirror-selftest:")):
            return
        self.log.append(message)
        if message.accuses:
            self.accused.append(message)
            self._convict(message)

    def _convict(self, message):
        """What the kernel complains of now fails the test that runs, however that goes on."""
        name = self.current.output.running if self.current else None
        if name and not self.allowed.reason(self.current.program.full(name), message):
            self.convicted = self.convicted or self.current.program.full(name)

    def on_plan(self, _):
        """What the kernel said before the first step is not ours; it is noted, not judged."""
        self.notes += [f"at boot: {message.text}" for message in self.accused]
        self.log, self.accused = [], []

    def _verdict_of_log(self, name):
        """Messages since the last result, and the first one that accuses the kernel."""
        log, accused = self.log, self.accused
        self.log, self.accused = [], []
        self.complained = self.complained or bool(accused)
        for message in list(accused):
            reason = self.allowed.reason(name, message)
            if reason:
                accused.remove(message)
                self.excused.append((name, message.text, reason))
        return log, accused[0].text if accused else ""

    def _kernel_test(self, what, detail=""):
        log, accused = self._verdict_of_log(f"{KERNEL}:{what}")
        if accused or detail:
            test = Test(f"{KERNEL}:{what}", FAIL, detail or f"kernel: {accused}", log=log)
            self.kernel_tests.append(test)
            self.listener.tested(None, test)

    def on_taint(self, record):
        new = int(record.text) & ~self.taint
        self.taint |= int(record.text)
        names = kmsg.taint_names(new)
        explained, self.complained = self.complained or self.accused, False
        # A taint without a message that explains it: the log did not tell all.
        if names and not explained:
            owner = self.current.program.name if self.current else KERNEL
            self._kernel_test(f"taint during {owner}", f"the kernel is newly tainted: {names}")

    # programs

    def on_start(self, record):
        self.current = run = self.runs[record.text]
        run.last_ms = record.ms
        self._kernel_test(f"before {run.program.name}")
        self.listener.started(run)

    def on_out(self, record):
        run = self.current
        if not run:
            return
        line = unescape(record.text).decode("utf-8", "replace")
        run.raw.append(line)
        if line.startswith(PROGRESS):
            self.listener.progress(run, line.removeprefix(PROGRESS))
        result = run.output.feed(line)
        if result:
            self._result(run, result, record.ms)

    def on_stack(self, record):
        if self.current:
            self.current.raw.append("stack: " + record.text)

    def _result(self, run, result, ms):
        log, accused = self._verdict_of_log(run.program.full(result.name))
        test = Test(run.program.full(result.name), result.status, result.detail,
                    ms - run.last_ms, result.notes, log)
        run.last_ms = ms
        if accused:
            test.status = FAIL
            test.detail = f"kernel: {accused}" + (f"; {result.detail}" if result.detail else "")
        if result.name in run.tests:
            test.status, test.detail = FAIL, TWICE
        elif not run.is_planned(result.name):
            test.status, test.detail = FAIL, UNPLANNED
        run.tests[result.name] = test
        self.failures += test.status == FAIL
        self.listener.tested(run, test)

    def on_exit(self, record):
        run = self.current
        kind, number = record.text.rsplit(" ", 2)[1:]
        run.ending = (kind, int(number))
        if run.output.skip_all is not None and run.ending in (("code", 4), ("code", 0)):
            self._skip_rest(run)
        self._interrupted(run)
        run.complaint = self._complaint(run)
        log, accused = self._verdict_of_log(run.program.full("kernel_log"))
        if accused:
            self._add(run, "kernel_log", FAIL, f"kernel: {accused}", log)
        if run.complaint and not any(t.status == FAIL for t in run.tests.values()):
            self._add(run, EXIT_TEST, FAIL, run.complaint)
        self._missing(run, run.complaint or UNREPORTED)
        self.current = None
        self.listener.finished(run)

    def _add(self, run, name, status, detail, log=()):
        test = Test(run.program.full(name), status, detail, log=list(log))
        run.tests[name] = test
        self.failures += status in (FAIL, MISSING)
        self.listener.tested(run, test)

    def _skip_rest(self, run):
        for name in run.missing() if run.program.tests is not None else ["(all)"]:
            self._add(run, name, SKIP, run.output.skip_all)

    def _interrupted(self, run):
        """The test that was under way when its program ended by force."""
        name, (kind, number) = run.output.running, run.ending
        if not name or name in run.tests or kind == "code":
            return
        how = {"timeout": f"still running when the {run.program.timeout} s of its program were over",
               "stuck": CANNOT_BE_KILLED,
               "signal": f"its program was killed by {signal_name(number)}"}[kind]
        log, accused = self._verdict_of_log(run.program.full(name))
        self._add(run, name, FAIL, f"kernel: {accused}; {how}" if accused else how, log)

    def _complaint(self, run):
        kind, number = run.ending
        if kind == "signal":
            return f"{run.program.name} was killed by {signal_name(number)}"
        if kind == "timeout":
            return f"{run.program.name} was ended after {run.program.timeout} s"
        if kind == "stuck":
            return f"{run.program.name} {CANNOT_BE_KILLED}"
        if run.output.bail:
            return f"{run.program.name} gave up: {run.output.bail}"
        failed = any(test.status == FAIL for test in run.tests.values())
        if number and not failed and run.output.skip_all is None:
            return f"{run.program.name} ended with status {number} though no test failed"
        return ""

    def _missing(self, run, why):
        for name in run.missing():
            self._add(run, name, MISSING, why)

    def finish(self, why):
        """The stream is over; what was planned and did not report is missing because of why."""
        if self.current:
            name = self.current.output.running
            if name and name not in self.current.tests:
                log, accused = self._verdict_of_log(self.current.program.full(name))
                status, detail = (FAIL, f"kernel: {accused}; {why}") if accused and why == ENOUGH else \
                                 (MISSING, f"{RUNNING_WHEN}{why}")
                self._add(self.current, name, status, detail, log)
        for run in self.runs.values():
            if run.ending is None:
                begun = run is self.current
                if not begun:
                    self.listener.started(run)
                self._missing(run, why or "it was not run")
                self.listener.finished(run)
        self.current = None
        self._kernel_test("after the last program")

    def _all_tests(self):
        return [test for run in self.runs.values() for test in run.tests.values()] + self.kernel_tests

    @property
    def tests(self):
        return self._all_tests()

    def passed_nothing(self):
        return not any(test.status in (PASS, FAIL, ktap.XFAIL) for test in self.tests)
