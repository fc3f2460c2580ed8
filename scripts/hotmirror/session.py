# SPDX-License-Identifier: GPL-2.0-only
"""One run from the plan to the verdict: in a guest, or on this machine."""

import hashlib
import json
import shutil
import subprocess
import sys
import time

from . import build, initramfs, kernels, kmsg, running, verdict, vm
from .judge import Judge
from .report import Report, write_files
from .say import Stop, say

ALLOWED = "kmsg-allowed"       # optional file of a collection
HUNG_TASK_SECONDS = 30


def driver_name(directory):
    """test_hotmirror.ko for the directory with obj-m := test_hotmirror.o"""
    for name in ("Kbuild", "Makefile"):
        path = directory / name
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            if line.replace(" ", "").startswith(("obj-m:=", "obj-m+=", "obj-$(CONFIG_TEST_HOTMIRROR)")):
                return line.partition("=")[2].strip().removesuffix(".o") + ".ko"
    return build.MODULE


# Of a guest, before the first step. Grace periods are most of the time of a test that
# plugs and unplugs; expedited ones halve the whole run.
GUEST_SETTINGS = (("/proc/sys/kernel/hung_task_timeout_secs", HUNG_TASK_SECONDS),
                  ("/sys/kernel/rcu_expedited", 1),
                  # Both take pages away from under a test at times of their own.
                  ("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", 86400000),
                  ("/proc/sys/vm/compaction_proactiveness", 0),
                  ("/sys/kernel/debug/clear_warn_once", 1))


def make_plan(tests, programs, module, parameters, base, environment=(), settle=True):
    """The agent's steps. base: where the payload is (/payload in the guest). module: None if it is built in."""
    plan = [("write", path, value) for path, value in GUEST_SETTINGS if settle]
    plan += [("env", *text.partition("=")[::2]) for text in environment]
    if module:
        plan.append(("load", f"{base}/{module.name}", parameters))
    where = f"{base}/selftests/{tests.name}"
    for program in programs:
        plan.append(("run", program.name, where, program.timeout, f"./{program.name}",
                     *program.arguments))
    if module:
        plan.append(("unload", module.name.removesuffix(".ko")))
    return "".join(initramfs.plan_line(*step) for step in plan)


def told(kernel, given):
    """The environment of the programs, NAME=VALUE; what --env says comes last, and counts."""
    return [f"HOTMIRROR_SLOWNESS={kernels.slowness(kernel)}", *given.env]


def commit():
    """What is checked out, or None where that cannot be known."""
    if not shutil.which("git"):
        return None
    done = subprocess.run(["git", "-C", str(build.TOP), "describe", "--always", "--dirty"],
                          check=False, capture_output=True, text=True)
    return done.stdout.strip() or None


def facts_of(kernel, settings, programs, module, parameters, given):
    config = json.dumps(kernel.config, sort_keys=True).encode()
    file = module or kernel.image
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv, "commit": commit(), "accel": None,
        "kernel": {"name": kernel.name, "release": kernel.release, "image": str(kernel.image),
                   "config_sha256": hashlib.sha256(config).hexdigest()},
        "module": {"file": module.name if module else "built in", "parameters": parameters,
                   "sha256": file and hashlib.sha256(file.read_bytes()).hexdigest()},
        "guest": None if kernel.running else {
            "tree": kernel.debian.key(), "cpus": settings.cpus, "mem_mb": settings.mem_mb,
            "append": settings.append},
        "collection": str(given.collection), "tests": given.tests.split(),
        "seed": next((value for name, _, value in (text.partition("=") for text in given.env)
                      if name.endswith("_SEED")), None),
        "programs": {program.name: {"timeout_s": program.timeout,
                                    "tests": program.tests} for program in programs},
    }


def device(kernel, given):
    """(the module's file or None if the kernel has it built in, its parameters)"""
    driver, parameters = given.driver.resolve(), given.parameters
    if parameters is None:
        parameters = "" if kernel.running else build.MODULE_PARAMETERS
    name = driver_name(driver)
    if not build.is_built_in(kernel, name):
        return build.module(kernel, driver, name), parameters
    say(f"{kernel.release} has {name.removesuffix('.ko')} built in: nothing is loaded")
    if driver != build.DRIVER:
        raise Stop(f"--driver {driver}: the kernel has {name.removesuffix('.ko')} built in",
                   f"use one with CONFIG_{build.BUILT_IN}=m or without it")
    if kernel.running and given.parameters:
        raise Stop(f"--parameters {given.parameters}: the module is built in", "put them on this machine's command line: "
                   + build.boot_parameters(given.parameters))
    return None, parameters


def run(kernel, settings, tests, programs, given, out):
    """Build the module, run, judge, write OUT; the exit status."""
    module, parameters = device(kernel, given)
    if not module:
        settings = build.with_parameters(kernel, settings, parameters)
    facts = facts_of(kernel, settings, programs, module, parameters, given)
    rules = given.collection / ALLOWED
    report = Report(out, programs)
    judge = Judge(programs, kmsg.Allowed(rules if rules.exists() else None), report)
    if kernel.running:
        ending, accel = running.run(tests, programs, module, parameters, told(kernel, given), judge.take), "none"
        console = ""
    else:
        ending, accel = _run_guest(kernel, settings, tests, programs, module, parameters, given, out, judge)
        console = (out / "console.log").read_text(errors="replace")
    lost = verdict.lost_guest(ending, settings, console)
    judge.finish(judge.stopped or (lost[1] if lost else ""))
    found = verdict.decide(judge, lost)
    facts["accel"] = accel
    write_files(out, judge, found, ending, facts)
    if ending.booted and not kernel.running:
        say(f"boot to the first record {ending.boot_ms / 1000:.1f} s; results are in {out}")
    report.close(judge, found)
    return found.exit_status


def _run_guest(kernel, settings, tests, programs, module, parameters, given, out, judge):
    plan = make_plan(tests, programs, module, parameters, "/payload", told(kernel, given))
    payload = initramfs.payload(plan, {**({module.name: module} if module else {}),
                                       f"selftests/{tests.name}": tests.installed,
                                       "selftests/kselftest": tests.framework})
    return vm.boot(kernel, settings, payload, out / "console.log", judge.take,
                   lambda: given.first_failure and (judge.failures > 0 or bool(judge.convicted)))
