# SPDX-License-Identifier: GPL-2.0-only
"""Chart.js, which draws the charts of report.html: from Debian's package libjs-chart.js."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from . import cache, host
from .say import Stop, say

PACKAGE = "libjs-chart.js"
PLACE = "usr/share/javascript/chart.js/chart.min.js"
REMEDY = f"install package {PACKAGE} and run scripts/report again"
LIMIT_SECONDS = 60


def _download(aside):
    """Into the cache, without root and without installing it; apt checks the signature."""
    if not host.find("apt-get") or not host.find("dpkg-deb"):
        raise Stop("there is no Chart.js on this machine, and no apt", REMEDY)
    say(f"fetching {PACKAGE} for the charts (apt, 200 kB)")
    with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch:
        try:
            done = subprocess.run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", PACKAGE], cwd=scratch,
                                  check=False, capture_output=True, timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise Stop(f"fetching {PACKAGE} took more than {LIMIT_SECONDS} s", REMEDY) from error
        found = list(Path(scratch).glob("*.deb"))
        if done.returncode or not found:
            raise Stop(f"apt could not fetch {PACKAGE}", REMEDY)
        host.run(["dpkg-deb", "-x", found[0], Path(scratch) / "x"], f"unpacking {PACKAGE}")
        inside = Path(scratch) / "x" / PLACE
        if not inside.is_file():
            raise Stop(f"{PACKAGE} has no {PLACE}", REMEDY)
        shutil.copyfile(inside, aside)


def text():
    """The library; Stop if there is no way to get it."""
    installed = Path("/") / PLACE
    path = installed if installed.is_file() else cache.entry("chart", cache.digest(PACKAGE, PLACE), _download)
    return path.read_text(encoding="utf-8")
