# SPDX-License-Identifier: GPL-2.0-only
"""The machine we run on: its programs, its apt configuration, root when it is needed."""

import os
import re
import shutil
import subprocess
import sys

from .say import Stop, say, warn

# program that proves the package is there -> Debian and Ubuntu package
NEEDED = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mkfs.erofs": "erofs-utils",
    "xz": "xz-utils",
    "dpkg-deb": "dpkg",
    "mount": "mount",
    "unshare": "util-linux",
}


class Failed(Stop):
    """A command that ended with a status other than 0. lines: all that it printed."""

    def __init__(self, what, remedy, lines):
        super().__init__(what, remedy)
        self.lines = lines


def is_root():
    return os.geteuid() == 0


def find(program):
    """Path of a program or, named by its whole path, of any file; sbin is searched even where
    a user's PATH lacks it."""
    if program.startswith("/"):
        return program if os.path.exists(program) else None
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(command, doing, **options):
    """Run to the end; a failure is a Stop (Failed), and the last lines of the output are on stderr."""
    options.setdefault("stdin", subprocess.DEVNULL)
    try:
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False, **options)
    except FileNotFoundError as error:
        raise Stop(f"{doing}: {command[0]} is not installed") from error
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        print("\n".join("    " + line for line in lines[-15:]), file=sys.stderr)
        raise Failed(f"{doing} failed (status {done.returncode})", remedy_of("\n".join(lines[-15:])), lines)
    return done.stdout.decode(errors="replace")


def remedy_of(output):
    """A known cause in a tool's last words, as a remedy."""
    if re.search(r"Temporary failure resolving|Could not resolve|Could not connect|"
                 r"Connection timed out|Network is unreachable|Failed to fetch|"
                 r"failed to download|Unable to connect", output, re.I):
        return "check the network and the apt sources of this machine, then run it again"
    if re.search(r"No space left", output):
        return "free some space or set XDG_CACHE_HOME elsewhere, then run it again"
    return "see the lines above"


def root_prefix(doing):
    if is_root():
        return []
    if not shutil.which("sudo"):
        raise Stop(f"{doing} needs root, and there is no sudo", "run it as root")
    if subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True).returncode:
        if not sys.stdin.isatty():
            raise Stop(f"{doing} needs root, and sudo asks for a password",
                       "run it as root, or from a terminal")
        say(f"{doing} needs root; sudo may ask for your password")
        if subprocess.run(["sudo", "-v"], check=False).returncode:
            raise Stop(f"{doing} needs root, and sudo refused", "run it as root")
    return ["sudo"]


def as_root(command, doing, environment=None, **options):
    pairs = [f"{key}={value}" for key, value in (environment or {}).items()]
    return run([*root_prefix(doing), "env", *pairs, *command], doing, **options)


def install_missing(needed=None):
    """Install what this machine lacks; says what, needs apt and root."""
    if any(not find(program) for program in (needed or NEEDED)):
        from . import cache
        with cache.lock("packages"):
            _install(needed or NEEDED)


def _install(needed):
    packages = sorted({package for program, package in needed.items() if not find(program)})
    if not packages:
        return
    doing = "installing " + " ".join(packages)
    if not find("apt-get"):
        raise Stop(f"{doing}: this machine has no apt-get",
                   "install them by its own package manager")
    say(doing + " (apt)")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    as_root(["apt-get", "-qq", "update"], "apt-get update", quiet)
    as_root(["apt-get", "-qq", "-y", "--no-install-recommends", "install", *packages], doing, quiet)
    missing = [program for program in needed if not find(program)]
    if missing:
        raise Stop(f"{doing} did not bring {' '.join(missing)}", "install it by hand")


def debian_mirror(archive="debian"):
    """The mirror of an archive that this machine uses itself, or None (Ubuntu: mmdebstrap's default)."""
    try:
        listing = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)"],
                                 check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return None
    for line in listing.splitlines():
        uri, _, component = line.partition(" ")
        if component == "main" and uri.rstrip("/").endswith("/" + archive):
            return uri.rstrip("/")
    return None


def proxy_options():
    """The machine's apt proxies, as mmdebstrap options."""
    try:
        dump = subprocess.run(["apt-config", "dump"], check=False, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return []
    lines = [line for line in dump.splitlines()
             if re.match(r"Acquire::(http|https|ftp)::(.*::)?Proxy\b", line)]
    return [f"--aptopt={line}" for line in lines]


def cpus():
    return len(os.sched_getaffinity(0))


def available_mb():
    with open("/proc/meminfo", encoding="ascii") as info:
        return int(re.search(r"MemAvailable:\s+(\d+)", info.read()).group(1)) // 1024


def check_memory(guest_mb):
    """QEMU would be killed half-way; say so before."""
    available = available_mb()
    if available < 1024:
        warn(f"only {available} MB of memory are available; the guest may use up to {guest_mb} MB")
