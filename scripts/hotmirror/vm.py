# SPDX-License-Identifier: GPL-2.0-only
"""Boot a guest with QEMU, read its result stream, and say how it ended."""

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import cache, host, initramfs
from .say import Stop, say
from .stream import Parser

ACCELS = ("auto", "kvm", "tcg", "icount")
PORT = "hotmirror.results"
FILES_PORT = "hotmirror.files"
# 576 MiB at 4544 MiB: the first 64 MiB share a 128 MiB section with RAM (claim S9).
ARENA_MB, ARENA_AT_MB = 576, 4544
# Legacy pmem that a test may make real device-dax of, for small pages and for PMDs. Apart,
# so that they stay two; each has 2 MiB and more for its label (selftests/lib/devdax.h).
SCRATCH_PMEM = "memmap=20M!5184M memmap=20M!5248M hotmirror.scratch_pmem"
# Two nodes, so that pages can be moved from one to the other. All CPUs, the arena, the scratch
# pmem and the first 3328 MiB of RAM (up to 5376 MiB: QEMU leaves out 2 to 4 GiB) are of node 0, so
# what does not ask for a node is placed as if there were one. No automatic balancing: it
# would invalidate at random. Not numa=fake=2: it makes one node of RAM with these holes.
NODE_0_MB = 3328
NO_BALANCING = "numa_balancing=disable"
# With a thread per CPU, QEMU 7.2 now and then keeps a stale translation of code that
# another CPU is patching: one boot in 40 died of an int3 in sched_clock_cpu(). One
# thread for all CPUs measured no slower on two cores.
TCG = "tcg,thread=single"
# The guest's clock goes by its instructions, 1 ns each: what the machine does besides, and
# how long an instruction takes, is not in what a guest measures.
ICOUNT = ["-icount", "shift=0"]
MIN_MEM_MB, DEFAULT_MEM_MB = 4096, 5632
PRCTL, PR_SET_PDEATHSIG = ctypes.CDLL(None).prctl, 1
BOOT_LIMIT, SILENCE_LIMIT, PROBE_LIMIT = 180, 90, 20


@dataclass
class Settings:
    accel: str = "auto"
    cpus: int = 2
    mem_mb: int = DEFAULT_MEM_MB
    append: str = ""
    boot_limit: float = BOOT_LIMIT
    silence_limit: float = SILENCE_LIMIT
    image: Path = None         # boot this instead of the kernel's own image
    files: str = ""            # a socket that somebody listens at, for FILES_PORT


@dataclass
class Ending:
    """What is known when QEMU is gone."""
    booted: bool = False
    bye: bool = False          # the plan came to its end
    boot_ms: int = 0           # from the start of QEMU to the agent's first record
    first_test_ms: int = 0     # from the start of QEMU to the start of the first program
    status: int = None         # of QEMU; negative: killed by that signal
    gave_up: str = ""          # why we killed it: "boot" or "silence" (a limit), "interrupt", "enough"
    damage: str = None         # why the stream cannot be trusted
    records: int = 0


def parse_mem(text):
    """4096, 4096M or 5G in MiB."""
    units = {"M": 1, "G": 1024}
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in units else (text, "M")
    if not number.isdigit():
        raise Stop(f"MEM={text} is not a size", "use for example MEM=5632M or MEM=6G")
    size = int(number) * units[unit]
    if size < MIN_MEM_MB:
        raise Stop(f"MEM={text} is too small: {ARENA_MB} MiB at {ARENA_AT_MB} MiB are reserved "
                   "for device memory", f"use at least {MIN_MEM_MB}M")
    return size


def nodes(settings):
    """What tells QEMU of them; firmware tells the kernel."""
    sizes = NODE_0_MB, settings.mem_mb - NODE_0_MB
    cpus = f",cpus=0-{settings.cpus - 1}", ""
    return [option for node in (0, 1) for option in (
        "-object", f"memory-backend-ram,id=node{node},size={sizes[node]}M",
        "-numa", f"node,nodeid={node},memdev=node{node}{cpus[node]}")]


def _command(kernel, settings, accel, initrd, console, sock):
    # no_timer_check: a busy host may let the kernel miss the ticks that it tests the timer by.
    # secretmem.enable: memfd_secret() is off by default before 6.5.
    append = (f"console=ttyS0 panic=-1 no_timer_check secretmem.enable=1 "
              f"memmap={ARENA_MB}M${ARENA_AT_MB}M {SCRATCH_PMEM} "
              f"{NO_BALANCING} {settings.append}").strip()
    files = ["-chardev", f"socket,id=files,path={settings.files}",
             "-device", f"virtserialport,chardev=files,name={FILES_PORT}"] if settings.files else []
    processor = "host" if accel == "kvm" else "max,-erms,-fsrm"
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none", "-machine", "q35", "-cpu", processor,
            "-accel", "kvm" if accel == "kvm" else TCG,
            "-smp", str(settings.cpus), "-m", f"{settings.mem_mb}M", *nodes(settings),
            "-kernel", str(settings.image or kernel.image), "-initrd", str(initrd),
            "-append", append, "-serial", f"file:{console}",
            "-drive", f"if=none,id=root,file={kernel.debian.image()},format=raw,readonly=on",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=results,path={sock}",
            "-device", f"virtserialport,chardev=results,name={PORT}", *files,
            *(ICOUNT if accel == "icount" else [])]


def _die_with_parent():
    """Not even SIGKILL to the runner leaves a QEMU behind."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)


class Session:
    """One boot. run() returns an Ending; every record goes to the callback at once.

    enough() says whether the caller has heard all that it wants to know.
    """

    def __init__(self, kernel, settings, accel, payload, console, on_record, enough=lambda: False):
        self.kernel, self.settings, self.accel = kernel, settings, accel
        self.payload, self.console, self.on_record, self.enough = payload, console, on_record, enough
        self.ending, self.parser = Ending(), Parser()
        self.process = self.connection = None

    def run(self):
        with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch, \
             cache.cannot("preparing the guest in", scratch):
            initrd = Path(scratch) / "initrd"
            initrd.write_bytes(initramfs.base(self.kernel).read_bytes() + self.payload)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"{scratch}/results")
                listener.listen(1)
                self._start(initrd, f"{scratch}/results", scratch)
                try:
                    self._watch(listener)
                except KeyboardInterrupt:
                    self.ending.gave_up = "interrupt"
                finally:
                    self._stop()
            self._qemu_complaint(Path(scratch) / "qemu.log")
        return self.ending

    def _start(self, initrd, sock, scratch):
        command = _command(self.kernel, self.settings, self.accel, initrd, self.console, sock)
        Path(self.console).write_bytes(b"")
        self.started = self.heard = time.monotonic()
        with open(f"{scratch}/qemu.log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            preexec_fn=_die_with_parent)

    def _watch(self, listener):
        """Until the stream is closed and QEMU is gone, or a limit is over."""
        waiting = selectors.DefaultSelector()
        waiting.register(listener, selectors.EVENT_READ)
        pidfd = os.pidfd_open(self.process.pid)
        waiting.register(pidfd, selectors.EVENT_READ)
        try:
            while self.process.poll() is None and not self._over_limit():
                for key, _ in waiting.select(1.0):
                    if key.fileobj is listener:
                        self.connection = listener.accept()[0]
                        waiting.unregister(listener)
                        waiting.register(self.connection, selectors.EVENT_READ)
                    elif key.fileobj is self.connection and not self._receive():
                        waiting.unregister(self.connection)
        finally:
            waiting.close()
            os.close(pidfd)

    def _receive(self):
        data = self.connection.recv(1 << 16)
        for record in self.parser.feed(data):
            self._take(record)
        return bool(data)

    def _take(self, record):
        self.heard = time.monotonic()
        since_start = round((self.heard - self.started) * 1000)
        if record.tag == "boot":
            self.ending.booted = True
            self.ending.boot_ms = since_start
        if record.tag == "start" and not self.ending.first_test_ms:
            self.ending.first_test_ms = since_start
        if record.tag == "bye":
            self.ending.bye = True
        self.on_record(record)

    def _over_limit(self):
        if self.enough():
            self.ending.gave_up = "enough"
            return True
        limit = self.settings.silence_limit if self.ending.booted else self.settings.boot_limit
        if time.monotonic() - self.heard < limit:
            return False
        self.ending.gave_up = "silence" if self.ending.booted else "boot"
        return True

    def _stop(self):
        """End QEMU if it still runs, take what is left in the socket."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        elif not self.ending.gave_up:
            self.ending.status = self.process.returncode
        if self.connection:
            while self._receive():
                pass
            self.connection.close()
        self.parser.finish()
        self.ending.damage = self.parser.damage
        self.ending.records = self.parser.count

    def _qemu_complaint(self, log):
        """QEMU that could not even start says why on stderr: a set-up error."""
        if self.ending.booted or not self.ending.status or self.ending.status < 0:
            return
        lines = [line for line in log.read_text(errors="replace").splitlines() if "warning:" not in line]
        said = lines[-1] if lines else f"exit status {self.ending.status}"
        raise Stop(f"QEMU did not start the guest: {said}", "see the options of scripts/vm --help")


def signal_name(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _probe(kernel):
    """Does a guest really boot under KVM? Opening /dev/kvm proves nothing."""
    say(f"trying KVM (at most {PROBE_LIMIT} s, once per boot of this machine)")
    settings = Settings(cpus=1, boot_limit=PROBE_LIMIT, silence_limit=PROBE_LIMIT)
    with tempfile.NamedTemporaryFile(prefix="hotmirror-") as console:
        session = Session(kernel, settings, "kvm", initramfs.payload("", {}), console.name,
                          lambda record: None)
        try:
            ending = session.run()
        except Stop as stop:
            return False, stop.what
    if ending.bye:
        return True, f"a guest booted in {ending.boot_ms / 1000:.1f} s"
    return False, f"no guest came up within {PROBE_LIMIT} s"


def choose_accel(wanted, kernel):
    """("kvm", "tcg" or "icount", why)."""
    if wanted != "auto":
        return wanted, "asked for"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        missing = "no /dev/kvm" if not os.path.exists("/dev/kvm") else "no permission for /dev/kvm"
        return "tcg", missing
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    memory = cache.root() / "kvm-probe.json"
    with cache.lock("kvm-probe"):
        known = json.loads(memory.read_text()) if memory.exists() else {}
        if known.get("boot") != boot:
            works, why = _probe(kernel)
            known = {"boot": boot, "works": works, "why": why}
            memory.write_text(json.dumps(known) + "\n")
    if known["works"]:
        return "kvm", known["why"]
    return "tcg", f"KVM is unusable here: {known['why']}"


def boot(kernel, settings, payload, console, on_record, enough=lambda: False):
    """Choose the acceleration, boot, return (Ending, what choose_accel() chose).

    An interruption ends the guest and is an ending like others: what was heard stays.
    """
    host.install_missing()
    host.check_memory(settings.mem_mb)
    accel, why = choose_accel(settings.accel, kernel)
    say(f"booting {kernel.release} with {accel.upper()} ({why}), "
        f"{settings.cpus} CPUs, {settings.mem_mb} MiB")
    session = Session(kernel, settings, accel, payload, console, on_record, enough)
    return session.run(), accel
