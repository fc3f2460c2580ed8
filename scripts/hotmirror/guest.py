# SPDX-License-Identifier: GPL-2.0-only
"""The guests' Debian trees, their disk images, and the kernel sources that come with them."""

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import cache, host
from .say import Stop, say, warn

HERE = Path(__file__).resolve().parent.parent
PARTS = HERE / "guest.d"
OLD_DAYS = 30

# Left out of the tree: nobody reads it in a guest.
EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
            "/usr/share/bash-completion/*", "/usr/share/lintian/*", "/usr/share/zsh/*")

# In the tree, but not in the image of it.
LEFT_OUT = ("boot", "sources", "var/cache", "var/lib/apt")

# Of a kernel source: the kselftest framework, the checkers, and what they include.
SOURCE_PARTS = ("tools/testing/selftests/*.mk", "tools/testing/selftests/*.h",
                "tools/testing/selftests/*.sh", "tools/testing/selftests/kselftest",
                "tools/testing/selftests/mm", "tools/include", "tools/scripts",
                "lib/test_hmm*", "mm/gup_test.h", "scripts", "include/uapi", "Makefile", "COPYING",
                "Documentation/dev-tools/checkpatch.rst")
# What 6.2 renamed.
OLD_SOURCE_PARTS = tuple(part.replace("selftests/mm", "selftests/vm") for part in SOURCE_PARTS)


@dataclass(frozen=True)
class Guest:
    """A Debian release: its tree with packaged kernels, and what is made of that.

    kind: how its entries in the cache begin; the trees of one release never drive those of
    another out of the cache.
    """
    suite: str
    version: int
    suites: tuple
    security: bool             # suites has one of the security archive, the last
    listing: str               # files of guest.d
    customize: str
    kind: str
    what: str
    source_parts: tuple = SOURCE_PARTS

    def packages(self):
        lines = (PARTS / self.listing).read_text(encoding="utf-8").splitlines()
        return [line for line in map(str.strip, lines) if line and not line.startswith("#")]

    def key(self):
        return cache.digest("tree 1", self.suites, EXCLUDED, self.packages(), PARTS / self.customize)

    def _mirrors(self):
        """[(mirror, suite)] by this machine's own mirrors, or nothing if it has none."""
        mirrors = {suite: host.debian_mirror() for suite in self.suites}
        if self.security:
            mirrors[self.suites[-1]] = host.debian_mirror("debian-security")
        return [(mirror, suite) for suite, mirror in mirrors.items() if mirror]

    def _source_arguments(self, directory):
        """The MIRROR argument: this machine's own mirrors, or mmdebstrap's default and backports."""
        mirrors = self._mirrors()
        if mirrors and mirrors[0][1] == self.suite:
            sources = directory / "sources"
            sources.write_text("".join(f"deb {mirror} {suite} main\n" for mirror, suite in mirrors))
            return [str(sources)], []
        if f"{self.suite}-backports" not in self.suites:
            return [], []
        hook = (f"--setup-hook=sed -n 's/ {self.suite} / {self.suite}-backports /p' \"$1\"/etc/apt/sources.list"
                " >\"$1\"/etc/apt/sources.list.d/backports.list")
        return [], [hook]

    def _make_tree(self, aside):
        cache.need_space(5, "the guest's Debian tree")
        host.install_missing()
        say(f"building the guest's tree of Debian {self.version}: {self.what}, gcc, bpftrace "
            "(2 to 3 minutes, once)")
        with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch:
            mirror, hooks = self._source_arguments(Path(scratch))
            command = ["mmdebstrap", "--mode=root", "--variant=apt", "--architectures=amd64",
                       "--include=" + ",".join(self.packages()), *host.proxy_options(), *hooks,
                       *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDED),
                       f"--customize-hook={PARTS / self.customize} \"$1\"",
                       self.suite, str(aside), *mirror]
            host.as_root(command, "building the guest's Debian tree", {"INITRD": "No"}, cwd="/")

    def tree(self):
        """The Debian tree (a directory owned by root, never changed once it is there)."""
        path = cache.entry(f"{self.kind}tree", self.key(), self._make_tree)
        age = (time.time() - path.stat().st_mtime) / 86400
        if age > OLD_DAYS:
            warn(f"the guest is {age:.0f} days old, newer kernels may exist; `make clean-cache` renews it")
        return path

    def kernel_releases(self):
        """Packaged kernels in the tree, newest first."""
        found = [p.name for p in (self.tree() / "usr/lib/modules").iterdir() if (p / "kernel").is_dir()]
        return sorted(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)[:3]], reverse=True)

    def image(self):
        """The tree as a read-only erofs image."""
        base = self.tree()

        def make(aside):
            say("packing the guest's disk image")
            _pack(base, aside)

        return cache.entry(f"{self.kind}image", f"{self.key()}-{cache.digest(LEFT_OUT)}.erofs", make)

    def source(self, version):
        """Directory of the unpacked parts of linux-source-VERSION (7.3), from the tree's package."""
        return _unpacked(self.source_package(version), version, self.source_parts)

    def source_package(self, version):
        debs = sorted((self.tree() / "sources").glob(f"linux-source-{version}_*.deb"))
        if not debs:
            raise Stop(f"the guest of Debian {self.version} has no linux-source-{version}",
                       "renew it: make clean-cache")
        return debs[-1]

    def in_tree(self, command, doing, binds=(), directory="/"):
        """Run a command inside the tree, with host directories bound to mount points of it.

        binds: [(host directory, place below /payload, "rw" or "ro")]. The mounts live in a
        mount namespace of their own and end with the command.
        """
        host.install_missing()
        return host.as_root(_in_tree(self.tree(), command, binds, directory), doing)


# Most of all: two kernels, and whatever has no kernel of its own is built in it.
DEBIAN_13 = Guest("trixie", 13, ("trixie", "trixie-updates", "trixie-backports"), False,
                  "packages", "customize.sh", "", "two kernels")
# Made only when its kernel is asked for.
DEBIAN_12 = Guest("bookworm", 12, ("bookworm", "bookworm-updates", "bookworm-security"), True,
                  "packages-bookworm", "customize-bookworm.sh", "bookworm-", "kernel 6.1",
                  OLD_SOURCE_PARTS)
GUESTS = {guest.suite: guest for guest in (DEBIAN_13, DEBIAN_12)}


def _pack(base, aside):
    names = [path.relative_to(base) for part in LEFT_OUT for path in base.glob(part)]
    options = [f"--exclude-path={name}" for name in names]
    command = [host.find("mkfs.erofs"), "--quiet", "-zlz4", *options, aside, base]
    with tempfile.NamedTemporaryFile(prefix="hotmirror-") as output:
        prefix = host.root_prefix("packing the guest's disk image")
        status = subprocess.run([*prefix, *map(str, command)], check=False,
                                stdout=output, stderr=output).returncode
        if status:
            tail = Path(output.name).read_bytes()[-300:].decode(errors="replace").strip()
            raise Stop(f"mkfs.erofs ended with status {status}: {tail}", host.remedy_of(tail))


def unpack(deb, version, aside, parts=()):
    """The source in a package, or what of it @parts name."""
    inside = f"linux-source-{version}"
    aside.mkdir()
    chosen = ["--wildcards", "--no-wildcards-match-slash", *(f"{inside}/{part}" for part in parts)]
    stages = [["dpkg-deb", "--fsys-tarfile", str(deb)],
              ["tar", "-xO", f"./usr/src/{inside}.tar.xz"],
              ["xz", "-dc", "-T0"],
              ["tar", "-x", "-C", str(aside), "--strip-components=1", *(chosen if parts else ())]]
    _pipeline(stages, f"unpacking {deb.name}")


def _unpacked(deb, version, parts):
    def make(aside):
        say(f"unpacking the kselftest framework of linux-source-{version}")
        unpack(deb, version, aside, parts)

    key = cache.digest("source 2", deb.name, parts)
    return cache.entry("source", f"{version}-{key}", make)


def _pipeline(stages, doing):
    """cmd | cmd | ...; the last stage may be done before the first (SIGPIPE is no error)."""
    running, feed = [], subprocess.DEVNULL
    for stage in stages:
        last = stage is stages[-1]
        process = subprocess.Popen(stage, stdin=feed, stderr=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL if last else subprocess.PIPE)
        if running:
            running[-1].stdout.close()
        feed = process.stdout
        running.append(process)
    error = running[-1].communicate()[1].decode(errors="replace").strip()
    for process in running:
        process.wait()
    if running[-1].returncode:
        raise Stop(f"{doing}: {error.splitlines()[-1] if error else 'failed'}", host.remedy_of(error))


def _in_tree(base, command, binds, directory):
    """The command as a command of the host's."""
    script = ['mount -t tmpfs tmpfs "$1/payload"', 'mount -t tmpfs tmpfs "$1/tmp"',
              'mount --rbind /proc "$1/proc" 2>/dev/null || :', 'mount --rbind /dev "$1/dev"']
    for source_dir, place, mode in binds:
        script += [f"mkdir -p \"$1/payload/{place}\"",
                   f"mount --bind '{source_dir}' \"$1/payload/{place}\""]
        if mode == "ro":
            script.append(f"mount -o remount,bind,ro \"$1/payload/{place}\"")
    script.append('base=$1; directory=$2; shift 2; exec chroot "$base" /usr/bin/env -i '
                  'PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/tmp '
                  'sh -ec \'cd "$1"; shift; exec "$@"\' sh "$directory" "$@"')
    return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(script),
            "sh", str(base), directory, *map(str, command)]
