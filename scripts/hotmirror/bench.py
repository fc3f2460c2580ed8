# SPDX-License-Identifier: GPL-2.0-only
"""Running a benchmark in a guest; what bench-hmm measured: ratios, targets, table, chart."""

import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from . import host
from .say import Stop
from .session import commit

__all__ = ["Results", "commit", "run_in_guest"]

SCRIPTS = Path(__file__).resolve().parent.parent
GUEST_OPTIONS = ("kernel", "accel", "cpus", "mem", "append", "boot_limit", "silence_limit")

OURS, THEIRS, NONE = "hotmirror", "test_hmm", "none"
PAGE = 4096
MIB = 1 << 20

# step of hotmirror_bench -> what the table calls it, factor to reach (None: no target)
ROWS = {
    "read_cold": ("device read, cold", 2),
    "read_warm": ("device read, warm", 1),
    "write_cold": ("device write, cold", 2),
    "write_warm": ("device write, warm", 1),
    "snapshot": ("snapshot", 2),
    "to_dev_4k": ("to the device, 4 KiB pages (*)", None),
    "to_dev_read_4k": ("to the device and read there, 4 KiB", 1),
    "to_sys_4k": ("back, 4 KiB pages", 1),
    "to_dev_2m": ("to the device, 2 MiB pages (*)", None),
    "to_dev_read_2m": ("to the device and read there, 2 MiB", 1),
    "to_sys_2m": ("back, 2 MiB pages", 1),
    "mprotect": ("mprotect, mirrored: whole call", None),
    "munmap": ("munmap, mirrored: whole call", None),
}
# What the mirror adds to a call: its time less that of the same call without a mirror.
ADDED = {
    "mprotect": ("invalidation by mprotect (**)", 2),
    "munmap": ("invalidation by munmap (**)", 2),
}
NOTES = """\
(*)  test_hmm's ioctl also enters the pages into its device page table and reads them back
     to the caller; the next row has ours do the same work (migrate, then a device read).
(**) the median of the whole call less that of the same call on memory that nobody mirrors;
     a ratio of 100 says that nothing of ours was left to measure."""
GROWTH = {"growth_read_cold": "device read, cold", "growth_snapshot": "snapshot",
          "growth_invalidate": "invalidate callback for munmap"}
MAX_BYTES_PER_PAGE = 10
NOT_BEHIND = 0.95              # a ratio this close to 1 is level, given the spread


@dataclass
class Row:
    key: str
    name: str
    workers: int
    mib: int
    theirs_ms: float
    ours_ms: float
    ratio: float
    best_ratio: float          # of the fastest of each: what a busy machine disturbs least
    theirs_range_ms: tuple
    ours_range_ms: tuple
    target: int


def _ms(values):
    return [value / 1e6 for value in values]


def run_in_guest(given, tsv, limit, *arguments):
    """scripts/vm with our module and these arguments, stdout to a file; the exit status."""
    guest = [f"--{name.replace('_', '-')}={getattr(given, name)}" for name in GUEST_OPTIONS]
    command = [sys.executable, SCRIPTS / "vm", *guest, "--timeout", limit, "--module", *arguments]
    with open(tsv, "w", encoding="utf-8") as samples:
        status = subprocess.run(list(map(str, command)), check=False, stdin=subprocess.DEVNULL,
                                stdout=samples).returncode
    if status == 2:
        raise Stop("the benchmark could not run", "see the lines above")
    return status


MAX_RATIO = 100                # what is lost in the noise of the call around it


def _ratio(theirs, ours):
    theirs = max(theirs, 0)
    return theirs / ours if ours * MAX_RATIO > theirs else MAX_RATIO


class Results:
    """The samples of one run, by (step, device, workers, MiB)."""

    def __init__(self, path, facts):
        self.facts, self.samples = facts, defaultdict(list)
        try:
            for line in path.read_text(encoding="utf-8").splitlines():
                step, device, workers, mib, _, value = line.split("\t")
                self.samples[step, device, int(workers), int(mib)].append(int(value))
        except (OSError, ValueError) as error:
            raise Stop(f"{path} holds no samples: {error}") from error
        if not self.samples:
            raise Stop(f"{path} holds no samples", "run the benchmark again")
        self.rows = [row for name in ("1", "2") for row in self._rows(int(name))]

    def _rows(self, workers):
        for step, (name, target) in ROWS.items():
            yield from self._row(step, name, target, workers)
            if step in ADDED:
                yield from self._row(step, *ADDED[step], workers, less=True)

    def _row(self, step, name, target, workers, less=False):
        for key in [key for key in self.samples if key[:3] == (step, OURS, workers)]:
            mib = key[3]
            theirs, ours = (_ms(self.samples[step, device, workers, mib]) for device in (THEIRS, OURS))
            if not theirs:
                continue
            base = _ms(self.samples[step, NONE, workers, mib]) if less else [0]
            theirs, ours = ([value - median(base) for value in values] for values in (theirs, ours))
            yield Row(step + ("_added" if less else ""), name, workers, mib, median(theirs), median(ours),
                      _ratio(median(theirs), median(ours)), _ratio(min(theirs), min(ours)), (min(theirs), max(theirs)), (min(ours), max(ours)), target)

    # ---- growth and memory ----

    def growth(self):
        """[(name, [(MiB, ms, ms per MiB)])], of our module."""
        found = []
        for step, name in GROWTH.items():
            sizes = sorted(key[3] for key in self.samples if key[:2] == (step, OURS))
            line = []
            for mib in sizes:
                ms = median(_ms(self.samples[step, OURS, 1, mib]))
                line.append((mib, ms, ms / mib))
            found += [(name, line)] if line else []
        return found

    def page_bytes(self):
        """{device: (bytes of slab for a mirrored page, lowest, highest)}."""
        found = {}
        for step, device, workers, mib in self.samples:
            if step == "slab":    # of half the memory
                values = [value / (mib / 2 * MIB / PAGE) for value in self.samples[step, device, workers, mib]]
                found[device] = (median(values), min(values), max(values))
        return found

    # ---- targets ----

    def targets(self):
        """[(text, met, figures)]."""
        found = [self._target("2x or more on " + what, keys, 2) for what, keys in (
            ("cold device read and write", ("read_cold", "write_cold")),
            ("snapshot", ("snapshot",)),
            ("invalidation of populated ranges", ("mprotect_added", "munmap_added")))]
        found += [self._target("not behind on " + what, keys, NOT_BEHIND) for what, keys in (
            ("warm access", ("read_warm", "write_warm")),
            ("migration", ("to_dev_read_4k", "to_sys_4k", "to_dev_read_2m", "to_sys_2m")))]
        found = [target for target in found if target[2]]      # what was measured
        weight = self.page_bytes().get(OURS)
        if weight:
            found.append((f"at most {MAX_BYTES_PER_PAGE} bytes for a mirrored 4 KiB page",
                          weight[0] <= MAX_BYTES_PER_PAGE, f"{weight[0]:.2f}"))
        for name, line in self.growth():
            # of each further MiB: the first call of a kind costs something by itself
            steps = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(line)]
            low, high = min(steps), max(steps)
            found.append((f"{name} grows linearly from {line[0][0]} to {line[-1][0]} MiB",
                          low > 0 and high <= 1.5 * low,
                          f"{low * 1000:.1f} to {high * 1000:.1f} us for each further MiB"))
        return found

    def _target(self, text, keys, factor):
        rows = [row for row in self.rows if row.key in keys]
        figures = ", ".join(f"{row.ratio:.2f}" for row in rows)
        return text, bool(rows) and all(row.ratio >= factor for row in rows), figures

    # ---- output ----

    def show(self):
        print("| operation | processes | MiB | test_hmm ms | ours ms | ratio | ratio of the fastest | test_hmm range | our range |")
        print("|---|---|---|---|---|---|---|---|---|")
        for r in self.rows:
            print(f"| {r.name} | {r.workers} | {r.mib} | {r.theirs_ms:.2f} | {r.ours_ms:.2f} | "
                  f"**{r.ratio:.2f}** | {r.best_ratio:.2f} | {r.theirs_range_ms[0]:.2f} to {r.theirs_range_ms[1]:.2f} | "
                  f"{r.ours_range_ms[0]:.2f} to {r.ours_range_ms[1]:.2f} |")
        print("\n" + NOTES)
        for name, line in self.growth():
            print(f"\n| ours: {name} | median ms | us a MiB |\n|---|---|---|")
            for mib, ms, cost in line:
                print(f"| {mib} MiB | {ms:.2f} | {cost * 1000:.1f} |")
        print("\n| slab memory for a mirrored 4 KiB page | median bytes | range |\n|---|---|---|")
        for device, (middle, low, high) in self.page_bytes().items():
            print(f"| {'no mirror' if device == NONE else device} | {middle:.2f} | {low:.2f} to {high:.2f} |")
        print()
        for text, met, figures in self.targets():
            print(f"{'holds' if met else 'FALLS SHORT'}: {text} ({figures})")

    def write_json(self, path):
        samples = [{"step": step, "device": device, "workers": workers, "mib": mib, "values": values}
                   for (step, device, workers, mib), values in self.samples.items()]
        data = {**self.facts, "unit": "ns (slab: bytes)", "rows": [asdict(row) for row in self.rows],
                "growth": {name: line for name, line in self.growth()},
                "slab_bytes_per_page": self.page_bytes(),
                "targets": [{"text": text, "met": met, "figures": figures}
                            for text, met, figures in self.targets()],
                "samples": samples}
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def draw(self, path):
        """Bars: how many times as fast as test_hmm, for 1 and 2 processes."""
        if not self.rows:
            return
        names = list(dict.fromkeys(row.name for row in self.rows))
        lines = []
        for name in names:
            ratios = {row.workers: row.ratio for row in self.rows if row.name == name}
            lines.append(f'"{name.split(" (*")[0]}" {ratios.get(1, "NaN")} {ratios.get(2, "NaN")}')
        with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch:
            data = Path(scratch) / "data"
            data.write_text("\n".join(lines) + "\n", encoding="utf-8")
            facts = f"{self.facts.get('kernel', '')} {self.facts.get('accel', '')}".strip()
            host.run(["gnuplot", "-e", f"data='{data}'; out='{path}'; facts='{facts}'",
                      Path(__file__).resolve().parent.parent / "bench.d/chart.gp"], "drawing the chart")
