# SPDX-License-Identifier: GPL-2.0-only
"""KERNEL=running: the same plan on this very machine. It may crash it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import build, guest, host, initramfs
from .say import Stop, say
from .stream import Parser
from .vm import Ending

REMEDY = f"boot with memmap={build.vm.ARENA_MB}M$<address> and load the module with arena="


def agree(kernel, parameters):
    """Say what will happen; go on only with a typed yes or I_KNOW=1."""
    if "sabotage" in (parameters or ""):
        raise Stop("sabotage on a real machine is refused", "leave it out of --parameters")
    print(f"""
KERNEL=running runs on THIS machine ({os.uname().nodename}, Linux {kernel.release}), not in a guest:
  - builds the tests here, and the module against {kernel.headers}
  - loads the module (the kernel is tainted until reboot), runs the tests as root, unloads it
  - a bug in the kernel or in the module can hang or crash this machine: save your work
Sabotage (the negative controls) is refused here. No memory is reserved: tests of dax and
coherent device memory skip; to have them, {REMEDY}.
""", file=sys.stderr)
    if os.environ.get("I_KNOW") == "1":
        return
    if not sys.stdin.isatty():
        raise Stop("KERNEL=running needs your consent, and stdin is no terminal",
                   "set I_KNOW=1 if you mean it")
    print("Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise Stop("nothing was done")


def _agent(directory):
    """The guest's agent, built on this machine."""
    sources = [guest.PARTS / name for name in initramfs.SOURCES if name.startswith("agent")]
    host.install_missing({"gcc": "gcc", "make": "make"})
    host.run(["gcc", "-O2", "-o", str(directory / "agent"),
              *[str(path) for path in sources if path.suffix == ".c"]], "building the agent")
    return directory / "agent"


def run(tests, programs, module, parameters, environment, on_record):
    """Load, run, unload, as root; an Ending like a guest's."""
    from .session import make_plan
    ending, parser = Ending(), Parser()
    with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch:
        base = Path(scratch)
        base.chmod(0o755)
        shutil.copytree(tests.installed, base / "selftests" / tests.name)
        shutil.copytree(tests.framework, base / "selftests/kselftest")
        if module:
            shutil.copy2(module, base / module.name)
        plan = base / "plan"
        plan.write_text(make_plan(tests, programs, module, parameters, scratch, environment,
                                  settle=False))
        command = [*host.root_prefix("loading a module"), str(_agent(base)), "--running", str(plan)]
        started = time.monotonic()
        say("running on this machine")
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            while data := os.read(process.stdout.fileno(), 1 << 16):
                for record in parser.feed(data):
                    ending.booted = ending.booted or record.tag == "boot"
                    ending.bye = ending.bye or record.tag == "bye"
                    on_record(record)
            ending.status = process.wait()
    parser.finish()
    ending.damage, ending.records = parser.damage, parser.count
    ending.boot_ms = 0 if ending.booted else round((time.monotonic() - started) * 1000)
    return ending
