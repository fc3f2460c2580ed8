# SPDX-License-Identifier: GPL-2.0-only
"""scripts/observe: bad input, bad machines, workloads that fail, Ctrl-C, files cut off."""

import json
import os
import re
import signal
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tap import SCRIPTS, case, check, equal
from test_input import refused, scratch

from hotmirror import build, observe, transfer

VARIABLES = ("SCENARIO", "SCRIPTS", "DURATION", "OUT", "KERNEL", "HOTMIRROR_BPFTRACE")
START_LIMIT = 300

# On a machine with root, BTF and bpftrace, that is in a guest; nothing is loaded into it.
STEPS = """
here=$PWD
try() {
    name=$1; shift
    "$@" >/tmp/$name.out 2>/tmp/$name.err </dev/null
    echo "$name: status $?"
    sed "s/^/$name: /" /tmp/$name.err
}
observe() { name=$1; shift; try $name scripts/observe --out /tmp/$name.d "$@"; }
mkdir /tmp/none /tmp/old /tmp/broken
for program in python3 env; do ln -s $(command -v $program) /tmp/none/; done
printf '#!/bin/sh\\necho bpftrace v0.14.0\\n' >/tmp/old/bpftrace
printf '#!/bin/sh\\nexec /nonexistent\\n' >/tmp/broken/bpftrace
chmod 755 /tmp/old/bpftrace /tmp/broken/bpftrace
chmod 711 /payload
try not_root setpriv --reuid=65534 --regid=65534 --clear-groups scripts/observe --out /tmp/nr -- true
try no_bpftrace env PATH=/tmp/none scripts/observe --out /tmp/nb -- env
try old_bpftrace env PATH=/tmp/old:$PATH scripts/observe --out /tmp/ob -- true
try broken_bpftrace env PATH=/tmp/broken:$PATH scripts/observe --out /tmp/bb -- true
try no_btf unshare --mount python3 -c '
import ctypes, os
assert not ctypes.CDLL(None).mount(b"none", b"/sys/kernel/btf", b"tmpfs", 0, None)
os.execv("scripts/observe", ["scripts/observe", "--out", "/tmp/nf", "--", "true"])'
observe no_command -- no_such_command
observe no_scripts --scripts device_events -- true
observe fails --scripts fault_latency -- sh -c 'echo some words; exit 3'
grep -c DONE /tmp/fails.d/raw/fault_latency.json | sed 's/^/fails: streams with an end: /'
sed -n 's/^ "status"/fails: &/p' /tmp/fails.d/raw/session.json
mkdir /tmp/bt /tmp/wide.d
cat >/tmp/bt/wide.bt <<END
// OPTIONAL kfunc:do_mmap: nothing at all; it has nine arguments
// OPTIONAL kfunc:handle_mm_fault: no fault
// OPTIONAL kfunc:no_such_function: nothing either
BEGIN { printf("READY wide\\n"); }
kfunc:do_mma*p, kfunc:handle_mm_fault, kfunc:no_such_functio* { @n = count(); }
END { printf("DONE wide\\n"); }
END
try wide env BPF_PATH=/tmp/bt scripts/observe.d/observe.sh /tmp/wide.d wide -- true
sed 's/^/wide: /' /tmp/wide.d/facts
mkfifo /tmp/going
(read -r word </tmp/going; kill -INT $(cat /tmp/observer)) &
sh -c 'echo $$ >/tmp/observer; exec env --default-signal=INT "$@"' sh scripts/observe --out /tmp/int.d \\
    --scripts fault_latency -- sh -c 'echo going >/tmp/going; exec sleep 1000' 2>/tmp/int.err
echo "interrupted: status $?"
grep -c DONE /tmp/int.d/raw/fault_latency.json | sed 's/^/interrupted: streams with an end: /'
grep note /tmp/int.d/raw/session.json | sed 's/^/interrupted: /'
grep -lx 'bpftrace\\|sleep' /proc/[0-9]*/comm | sed 's/^/left: /'
"""


def run(*options, environment=None, prefix=()):
    """scripts/observe without make's variables, OUT being a directory that goes away."""
    keep = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    with scratch() as out:
        return subprocess.run([*prefix, str(SCRIPTS / "observe"), *options], check=False, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL,
                              env={**keep, "OUT": str(out / "o"), **(environment or {})})


@case
def unknown_names():
    """Scenario, script and duration: refused before anything is built, with what there is."""
    refused(run("no_such"), "SCENARIO=no_such is unknown", "pingpong, unplug, uffd, notifier, a schedule")
    refused(run(environment={"SCENARIO": "nor_this"}), "SCENARIO=nor_this is unknown")
    refused(run("uffd", "--scripts", "fault* nothing"), "SCRIPTS: nothing is no script", "notifier_latency")
    for duration in ("0", "-1", "soon", "99999"):
        refused(run("uffd", "--duration", duration), f"DURATION={duration} is not a number of seconds", "1 to 3600")
    refused(run("race.read+nothing@anon:populate.begin"), "matches no test")
    refused(run("hotmirror_abi:nothing"), "matches no test")
    refused(run("hotmirror_*:*life*"), "is unknown")
    refused(run("hotmirror_gate_rules:*", "--kernel", "/no/such/tree"), "/no/such/tree")


@case
def arguments_that_contradict():
    refused(run("uffd", "--", "true"), "a command comes alone", "--help")
    refused(run("--"), "a command comes alone")
    refused(run("--kernel", "running"), "a scenario needs a guest", "-- command")
    refused(run("--frobnicate"), "frobnicate", "--help")


@case
def out_that_is_not_ours():
    with scratch() as path:
        (path / "precious").write_text("data")
        refused(run("--out", str(path), "uffd"), "holds files that are not ours")
        equal("data", (path / "precious").read_text(), "the file in OUT")


@case
def help_has_every_scenario_and_script():
    """Each with words, and the table that is read is the one that the program has."""
    shown = run("--help").stdout
    known = {**observe.scenarios(), **observe.scripts()}
    check(len(observe.scenarios()) >= 4 and len(observe.scripts()) >= 3, f"found only {list(known)}")
    for name, one in known.items():
        check(re.search(rf"^  {name} +\w.*", shown, re.M), f"{name} is not in:\n{shown}")
        check(one.text, f"{name} has no words")
    source = observe.SCENARIOS.read_text()
    equal(len(re.findall(r",\s+run_\w+ }", source)), len(observe.scenarios()), "rows of the table")


@case
def scripts_by_glob_prefix_and_default():
    names = [one.name for one in observe.choose_scripts("*_latency.bt dev", ())]
    equal(["fault_latency", "notifier_latency", "device_events"], names, "scripts")
    equal(["fault_latency"], [one.name for one in observe.choose_scripts("", ("fault_latency", "not_there"))], "default")


@case
def transfer_cut_anywhere_is_noticed():
    """A tar of three files and its manifest, cut off at every 64th byte."""
    with scratch() as path:
        files = {"a.json": b"x" * 700, "empty": b"", "b.json": b"line\n" * 400}
        manifest = "".join(f"{len(data)} {name}\n" for name, data in files.items())
        with tarfile.open(path / "whole.tar", "w") as tar:
            for name, data in [*files.items(), ("manifest", manifest.encode())]:
                (path / name).write_bytes(data)
                tar.add(path / name, name)
        whole = (path / "whole.tar").read_bytes()
        last = whole.index(manifest.encode()) + len(manifest)
        for length in range(0, last, 64):
            (path / "cut.tar").write_bytes(whole[:length])
            check(received(path / "cut.tar")[0], f"{length} of {len(whole)} bytes are taken for all")
        equal(("", files), received(path / "whole.tar"), "the whole tar")
        at = whole.index(b"line\nline")
        (path / "cut.tar").write_bytes(whole[:at + 50])
        why, found = received(path / "cut.tar")
        check("cut off" in why, why)
        equal((b"x" * 700, b"line\n" * 10), (found["a.json"], found["b.json"]), "what came before the cut")


def received(tar):
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as scratch_directory:
        into = Path(scratch_directory)
        why = transfer.unpack(tar, into)
        return why, {path.name: path.read_bytes() for path in into.iterdir() if path.name != "manifest"}


@case
def live_machine():
    """In a guest: each way a machine can be unfit, a command that fails, Ctrl-C."""
    with scratch() as path:
        (path / "steps").write_text(STEPS)
        payload = [SCRIPTS, build.TOP / "bpf", build.TOP / "test_driver", path / "steps"]
        done = subprocess.run([str(SCRIPTS / "vm"), "--timeout", "600",
                               *(word for item in payload for word in ("--payload", str(item))),
                               "--", "bash", "steps"], check=False, capture_output=True, text=True)
    said = done.stdout
    check(said, f"the guest: {done.stderr}")

    def expect(pattern):
        check(re.search(pattern, said, re.M), f"no {pattern!r} in:\n{said}{done.stderr[-2000:]}")

    for name, words in (("not_root", "observing needs root.*sudo"), ("no_bpftrace", "no bpftrace; install it"),
                        ("old_bpftrace", r"version 0\.14; the scripts need 0\.17"),
                        ("broken_bpftrace", "--version does not work"), ("no_btf", "no BTF .*CONFIG_DEBUG_INFO_BTF"),
                        ("no_command", "no_such_command: there is no such command"), ("no_scripts", "device_events.bt ended before it was READY: .*tracepoint not found|needs hotmirror:")):
        expect(rf"^{name}: status 2$")
        expect(rf"^{name}: hotmirror: error: .*{words}")
        equal(1, len(re.findall(rf"^{name}: hotmirror: error:", said, re.M)), f"error lines of {name}")
    expect(r"^fails: status 1$")
    expect(r"^fails: .*the workload ended with status 3: some words")
    expect(r"^fails: streams with an end: 1$")
    expect(r'^fails:  "status": 3')
    expect(r"^wide: status 0$")
    equal(["do_mmap: nothing at all; it has nine arguments", "no_such_function: nothing either"],
          re.findall(r"^wide: missing\twide\t(.*)", said, re.M), "functions that no probe can be on")
    expect(r"^interrupted: status 1$")
    expect(r"^interrupted: streams with an end: 1$")
    expect(r"^interrupted: .*interrupted")
    check("left:" not in said, f"processes are left:\n{said}")


# bpftrace 0.23 loses an event where two CPUs are the first in a bucket of hist() at once, and says so
# (map_update_elem: EEXIST; its issue 4068, mended by 4074). Such a session is inconclusive, as it
# should be: another one is judged.
TWO_WERE_FIRST, SESSIONS = "helper_error: File exists", 3


def observed(out):
    """make observe of a scenario in which several threads fault."""
    keep = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    for _ in range(SESSIONS):
        done = subprocess.run(["make", "-s", "-C", str(build.TOP), "observe", "SCENARIO=uffd", "SCRIPTS=fault_lat",
                               "DURATION=6", f"OUT={out}"], check=False, env=keep, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
        if not done.returncode or TWO_WERE_FIRST not in done.stderr:
            break
    return done


@case
def scenario_from_make_to_the_files():
    """What the scenario did, what the driver counted and what the script saw agree; nothing is in doubt."""
    with scratch() as path:
        done = observed(path / "o")
        equal(0, done.returncode, f"exit status of\n{done.stderr}")
        raw = path / "o/raw"
        session = json.loads((raw / "session.json").read_text())
        did = json.loads((raw / "workload.json").read_text())
        doubts = json.loads((path / "o/summary.json").read_text())["reasons"]
        waits = [json.loads(line)["data"]["@uffd_ns"] for line in (raw / "fault_latency.json").open()
                 if '"@uffd_ns"' in line]
    equal(("uffd", 0, "", []), (session["scenario"], session["status"], session["note"],
                                doubts), "the session")
    check(6e9 <= session["end_ns"] - session["begin_ns"] <= 60e9, f"a span of {session}")
    check(set(session["threads"].values()) == {"main", "device-reader"}, session["threads"])
    faults = sum(count for name, count in did["did"].items() if name.startswith("faults_"))
    seen = sum(bucket["count"] for bucket in waits[0]["remote"])
    equal((faults, faults), (did["driver"]["faults"], seen), "faults of the driver, waits that the script saw")


@case
def interrupted_scenario():
    """Ctrl-C while a guest is observed: its workload ends, what was seen comes out."""
    with scratch() as path:
        out = path / "o"
        keep = {key: value for key, value in os.environ.items() if key not in VARIABLES}
        observer = subprocess.Popen([str(SCRIPTS / "observe"), "--scripts", "fault_latency", "--duration", "600",
                                     "--out", str(out), "uffd"], env=keep, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said = []
        for line in observer.stderr:
            said.append(line)
            if "observed for 5 s" in line:
                observer.send_signal(signal.SIGINT)
        status = observer.wait(START_LIMIT)
        equal(1, status, f"exit status of\n{''.join(said)}")
        session = json.loads((out / "raw/session.json").read_text())
        did = json.loads((out / "raw/workload.json").read_text())
        check("interrupted" in session["note"], session["note"])
        check(session["scripts"][0]["ended"], "the script has no end")
        check(did["interrupted"] and did["ns"] < 500e9, f"the workload: {did}")
