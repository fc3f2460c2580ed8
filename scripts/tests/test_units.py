# SPDX-License-Identifier: GPL-2.0-only
"""Parsers, cache and judge on recorded and broken text; no guest."""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from tap import SCRIPTS, Skip, case, check, equal

from hotmirror import build, cache, collection, cpio, kernels, kmsg, ktap, report, session, stream, test_hmm, vm, verdict
from hotmirror.collection import Program
from hotmirror.judge import Judge
from hotmirror.say import Stop

LIST = """\
# FIXTURE            VARIANT                   TEST
global                                         one
                                               two
--------------------------------------------------------------------------------
dev                  private                   read
                     a_name_of_a_variant_that_is_long write
                     dax
--------------------------------------------------------------------------------
a_fixture_with_a_name_longer_than_its_column                           alone
"""


class Quiet:
    def started(self, run):
        pass

    tested = finished = lambda self, run, test=None: None


def lines(*records):
    return "".join(f"{number} {number * 10} {text}\n"
                   for number, text in enumerate(records, 1)).encode()


def judged(programs, data, ending=None, console=""):
    """Judge a recorded stream; (judge, verdict)."""
    parser, judge = stream.Parser(), Judge(programs, kmsg.Allowed(), Quiet())
    for record in parser.feed(data):
        judge.take(record)
    parser.finish()
    ending = ending or vm.Ending(booted=True, bye=b" bye " in data, status=0, damage=parser.damage,
                                 records=parser.count)
    lost = verdict.lost_guest(ending, vm.Settings(), console)
    judge.finish(judge.stopped or (lost[1] if lost else ""))
    return judge, verdict.decide(judge, lost)


GOOD = ("boot 7.3 0", "plan begin", "load ok /payload/m.ko", "taint 4096", "start prog",
        "out TAP version 13", "out 1..2", "out ok 1 a", "out ok 2 b", "exit prog code 0", "taint 4096",
        "unload m: ok", "bye -")
PROG = Program("prog", ("a", "b"))


def statuses(judge):
    return {test.name: test.status for test in judge.tests}


@case
def harness_list_is_read():
    """Variants and tests share lines; long names push the columns."""
    equal(("global.one", "global.two", "dev.private.read", "dev.private.write",
           "dev.a_name_of_a_variant_that_is_long.read", "dev.a_name_of_a_variant_that_is_long.write",
           "dev.dax.read", "dev.dax.write", "a_fixture_with_a_name_longer_than_its_column.alone"),
          collection.parse_list(LIST), "names")


@case
def result_lines_are_read():
    for line, expected in {
            "ok 1 a.b": ("a.b", "pass", ""), "not ok 2 - c": ("c", "fail", ""),
            "ok 3 d # SKIP no memory": ("d", "skip", "no memory"), "ok 4 e # XFAIL known": ("e", "xfail", "known"),
            "not ok 5 f # TIMEOUT 3 seconds": ("f", "fail", "timeout 3 seconds"),
            "ok 6 g # SKIP": ("g", "skip", ""), "ok 7": ("test 7", "pass", "")}.items():
        result = ktap.parse_result(line)
        equal(expected, (result.name, result.status, result.detail), line)
    equal("fail", ktap.parse_result("ok 8 h # XPASS").status, "an unexpected pass")
    for line in ("ok", "not okay 1 x", "# ok 1 x", "okay 1"):
        equal(None, ktap.parse_result(line), line)


@case
def whole_stream_passes():
    judge, found = judged([PROG], lines(*GOOD))
    equal("pass", found.word, f"verdict ({found.cause})")
    equal({"prog:a": "pass", "prog:b": "pass"}, statuses(judge), "statuses")


@case
def stream_cut_anywhere_is_never_a_pass():
    """Every prefix of a good stream, to the byte: no pass, and no finished test is lost."""
    data = lines(*GOOD)
    for length in range(len(data)):
        judge, found = judged([PROG], data[:length])
        check(found.word != "pass", f"pass after {length} of {len(data)} bytes")
        check(found.cause, f"no cause after {length} bytes")
        if b"ok 1 a\n" in data[:length]:
            equal("pass", statuses(judge)["prog:a"], f"prog:a after {length} bytes")


@case
def stream_without_a_record_is_never_a_pass():
    """Each record lost on its own."""
    whole = lines(*GOOD).splitlines(keepends=True)
    for lost in range(len(whole)):
        _, found = judged([PROG], b"".join(whole[:lost] + whole[lost + 1:]))
        check(found.word != "pass", f"pass without record {lost + 1}")


@case
def garbage_in_the_stream_is_damage():
    parser = stream.Parser()
    parser.feed(b"1 10 boot x 0\n\xff\xfe\n")
    check(parser.damage and "record 2" in parser.damage, f"damage: {parser.damage}")


@case
def escapes_come_back():
    equal(b"a\\b\x00\xc3\xa9", stream.unescape("a\\x5cb\\x00\u00e9"), "bytes")


@case
def complaint_belongs_to_the_next_result():
    """The agent reports a kernel message before the output that followed it."""
    records = list(GOOD)
    records.insert(8, "kmsg 4,100,5,-;WARNING: CPU: 0 at x")
    judge, found = judged([PROG], lines(*records))
    equal(({"prog:a": "pass", "prog:b": "fail"}, "fail"), (statuses(judge), found.word), "verdict")


@case
def complaint_after_the_last_result_is_not_lost():
    for place in (9, 10, 11, 12):
        records = list(GOOD)
        records.insert(place, "kmsg 4,100,5,-;BUG: Bad page state in process x")
        judge, found = judged([PROG], lines(*records))
        equal("fail", found.word, f"verdict with a complaint as record {place + 1}")
        check("Bad page state" in found.cause, found.cause)


@case
def user_space_cannot_accuse_the_kernel():
    records = list(GOOD)
    records.insert(8, "kmsg 12,100,5,-;WARNING: written by a program")
    equal("pass", judged([PROG], lines(*records))[1].word, "verdict")


@case
def complaint_at_boot_is_noted_not_judged():
    records = list(GOOD)
    records.insert(1, "kmsg 4,100,5,-;WARNING: CPU: 0 at some_driver")
    judge, found = judged([PROG], lines(*records))
    equal("pass", found.word, f"verdict ({found.cause})")
    check(any("some_driver" in note for note in judge.notes), f"notes: {judge.notes}")


@case
def taint_without_a_message_fails():
    records = list(GOOD)
    records[10] = f"taint {4096 | 1 << 9}"
    judge, found = judged([PROG], lines(*records))
    equal("fail", found.word, "verdict")
    check("tainted: W" in found.cause, found.cause)


@case
def overrun_kernel_log_is_unknown():
    records = list(GOOD)
    records.insert(7, "lost kernel log records were overwritten before they were read")
    equal("unknown", judged([PROG], lines(*records))[1].word, "verdict")


@case
def every_accusation_accuses():
    for text in ("kernel BUG at mm/hmm.c:1!", "WARNING: CPU: 0 PID: 1 at x", "Oops: 0002 [#1]",
                 "general protection fault: 0000", "INFO: task a:1 blocked for more than 30 seconds.",
                 "rcu: INFO: rcu_preempt detected stalls on CPUs", "BUG: KASAN: use-after-free in x",
                 "UBSAN: shift-out-of-bounds", "refcount_t: underflow", "Bad page map in process a",
                 "watchdog: BUG: soft lockup - CPU#0", "BUG: Bad rss-counter state mm:1",
                 "Out of memory: Killed process 1 (a)", "Memory cgroup out of memory: Killed process 1",
                 "WARNING: possible circular locking dependency detected",
                 "kmemleak: 1 new suspected memory leaks unreferenced object 0x1"):
        check(kmsg.Message(0, 1, 1, text).accuses, f"not accused: {text}")
    for text in ("test_hotmirror: loaded", "debug: nothing", "Warning: unable to open an initial console"):
        check(not kmsg.Message(0, 1, 1, text).accuses, f"accused: {text}")


@case
def program_reporting_twice_fails():
    records = list(GOOD)
    records[8] = "out ok 2 a"
    judge, found = judged([PROG], lines(*records))
    equal("fail", found.word, "verdict")
    equal({"prog:a": "fail", "prog:b": "missing"}, statuses(judge), "statuses")


@case
def result_that_nobody_planned_fails():
    records = list(GOOD)
    records.insert(9, "out ok 3 c")
    judge, found = judged([PROG], lines(*records))
    equal("fail", found.word, "verdict")
    equal({"prog:a": "pass", "prog:b": "pass", "prog:c": "fail"}, statuses(judge), "statuses")


@case
def plan_of_nothing_is_no_skip():
    """A program that was to run tests and selected none has not skipped them."""
    for plan, expected in (("1..0", "missing"), ("1..0 # SKIP no module", "skip")):
        records = [*GOOD[:6], f"out {plan}", *GOOD[9:]]
        judge, _ = judged([PROG], lines(*records))
        equal({"prog:a": expected, "prog:b": expected},
              {name: status for name, status in statuses(judge).items() if name != "prog:exit"}, plan)


@case
def figures_do_not_explain_a_failure():
    """The note of facts has any words; the one behind it says why."""
    output = ktap.Output()
    for line in ("# race: class=anon outcome=error", "# page 0: neither"):
        output.feed(line)
    equal("page 0: neither", output.feed("not ok 1 race.a").detail, "detail")


@case
def globs_pick_by_full_name():
    programs = [PROG, Program("script.sh")]
    picked = collection.select(programs, ["prog:b"])
    equal([("prog", ("-r", "b"))], [(p.name, p.arguments) for p in picked], "one test")
    equal(["prog", "script.sh"], [p.name for p in collection.select(programs, ["*"])], "all")
    equal((), collection.select(programs, ["prog:*"])[0].arguments, "arguments of a whole program")
    try:
        collection.select(programs, ["prog:a", "nothing:*", "prog:c"])
    except Stop as stop:
        check("nothing:* prog:c matches no test" in stop.what, stop.what)
    else:
        raise AssertionError("globs without a match were accepted")


@case
def failed_build_leaves_nothing_in_the_cache():
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as scratch:
        saved = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = scratch

        def half(aside):
            aside.mkdir()
            (aside / "half").write_text("made")
            raise Stop("provoked")

        try:
            for _ in range(2):
                try:
                    cache.entry("thing", "key", half)
                except Stop:
                    pass
            left = [p.name for p in cache.root().iterdir() if not p.name.startswith(".lock-")]
            equal([], left, "what is left")
            made = cache.entry("thing", "key", lambda aside: aside.write_text("whole"))
            equal("whole", made.read_text(), "the next build")
        finally:
            if saved is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = saved


@case
def module_that_is_built_in_is_not_loaded():
    """Its parameters are the kernel's, and the plan has neither load nor unload."""
    kernel = kernels.Kernel("tree", "7.3")
    tests = collection.Collection("hotmirror", Path("/i"), Path("/f"), [PROG])
    loaded = session.make_plan(tests, [PROG], Path("/m/test_hotmirror.ko"), "arena=1", "/payload")
    equal(["load", "run", "unload"], [line.split()[0] for line in loaded.splitlines() if not line.startswith("write")], "plan")
    equal("quiet", build.with_parameters(kernel, vm.Settings(append="quiet")).append, "parameters of one that is not")
    kernel.config["TEST_HOTMIRROR"] = "m"
    check(not build.is_built_in(kernel), "a module is taken for built in")
    kernel.config["TEST_HOTMIRROR"] = "y"
    equal("quiet test_hotmirror.arena=1M@2M test_hotmirror.sabotage=1",
          build.with_parameters(kernel, vm.Settings(append="quiet"), "arena=1M@2M sabotage=1").append, "parameters")
    check("load" not in session.make_plan(tests, [PROG], None, "", "/payload").split(), "it is loaded, or unloaded")


@case
def programs_are_told_how_slow_the_kernel_is():
    """Who gives a program more time says so to its tests; --env has the last word."""
    given = SimpleNamespace(env=["HOTMIRROR_REPLUG=9"])
    for config, slowness in ({}, 1), ({"KASAN": "y"}, 8), ({"PROVE_LOCKING": "y"}, 8):
        equal([f"HOTMIRROR_SLOWNESS={slowness}", "HOTMIRROR_REPLUG=9"],
              session.told(kernels.Kernel("tree", "7.3", config=config), given), f"environment with {config}")


@case
def archive_is_what_cpio_reads():
    if not shutil.which("cpio"):
        raise Skip("no cpio to compare with")
    archive = cpio.Archive()
    archive.file("a/b/file", b"text\n", 0o755)
    archive.symlink("a/link", "b/file")
    listing = subprocess.run(["cpio", "-itv"], input=archive.bytes(), check=True,
                             capture_output=True).stdout.decode()
    check("a/b/file" in listing and "a/link -> b/file" in listing, listing)


@case
def closing_line_counts_what_is_missing_as_failed():
    totals = {"pass": 1, "fail": 2, "skip": 3, "xfail": 4, "missing": 5}
    equal("1 passed, 7 failed, 7 skipped", report.closing(totals), "closing line")


@case
def summary_names_are_kept():
    """The contract that other tools read."""
    judge, found = judged([PROG], lines(*GOOD))
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        report.write_files(Path(out), judge, found, vm.Ending(boot_ms=5),
                           {"accel": "tcg", "kernel": {"release": "7.3"}})
        summary = json.loads((Path(out) / "summary.json").read_text())
    for name in ("verdict", "cause", "kernel", "accel", "boot_ms", "counts", "tests"):
        check(name in summary, f"no {name}")
    equal({"name", "status", "ms", "detail"}, set(summary["tests"][0]), "members of a test")


@case
def fault_goes_into_no_other_text():
    """A benchmark of a fault that was not put in would praise whoever misses it."""
    def text(*bodies):
        return "".join(f"static int {name}(void)\n{{\n{body}}}\n"
                       for name, body in zip(test_hmm.POPULATE, bodies, strict=True))

    unlocked = "\t\tmutex_lock(&dmirror->mutex);\n\t\tbreak;\n"
    equal(text(unlocked, unlocked), test_hmm.broken(text(test_hmm.RETRY, test_hmm.RETRY), "SKIP_RETRY"),
          "text with the fault")
    for other in ("", text("", test_hmm.RETRY), text(test_hmm.RETRY, test_hmm.RETRY * 2)):
        try:
            test_hmm.broken(other, "SKIP_RETRY")
        except Stop as stop:
            check("SKIP_RETRY" in stop.what, stop.what)
        else:
            check(False, f"no complaint about {other!r}")


@case
def guest_has_two_nodes():
    """Whatever MEM is: both have memory, and the reserved ranges are of node 0."""
    hole_mb = 2048      # q35 puts what is beyond 2 GiB at 4 GiB and up
    pmem = [sum(map(int, pair)) for pair in re.findall(r"memmap=(\d+)M!(\d+)M", vm.SCRATCH_PMEM)]
    for mem in (vm.MIN_MEM_MB, vm.DEFAULT_MEM_MB, 16384):
        for cpus in (1, 4):
            options = vm.nodes(vm.Settings(cpus=cpus, mem_mb=mem))
            sizes = [int(size) for size in re.findall(r"size=(\d+)M", " ".join(options))]
            equal((2, mem), (len(sizes), sum(sizes)), "nodes and their memory")
            check(min(sizes) > 0, f"{sizes}: a node without memory")
            check(max([vm.ARENA_AT_MB + vm.ARENA_MB, *pmem]) <= sizes[0] + hole_mb, f"{sizes}: beyond node 0")
            equal([f"0-{cpus - 1}"], re.findall(r"cpus=(\S+)", " ".join(options)), "nodes with CPUs")


SAYS = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from hotmirror.say import say
signal.signal(signal.SIGUSR1, lambda number, frame: say("told"))
say("x" * (1 << 20))
"""


@case
def signal_handler_may_say_something():
    """Even while a line is being written: here it waits for a reader, in pipe_write()."""
    keep = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    talker = subprocess.Popen([sys.executable, "-c", SAYS, SCRIPTS], env=keep, stderr=subprocess.PIPE)
    with talker:
        select.select([talker.stderr], [], [], 60)
        limit = time.monotonic() + 60
        while " S " not in Path(f"/proc/{talker.pid}/stat").read_text() and time.monotonic() < limit:
            os.sched_yield()
        talker.send_signal(signal.SIGUSR1)
        said = talker.stderr.read().decode()
    equal((0, 1 << 20), (talker.returncode, said.count("x")), f"status and what was said: {said[-300:]}")
    check("] told\n" in said, said[-300:])
