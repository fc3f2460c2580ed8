# SPDX-License-Identifier: GPL-2.0-only
"""The guest's Debian 13 tree, its disk image, and the kernel sources that come with it."""

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import cache, host
from .say import Stop, say, warn

HERE = Path(__file__).resolve().parent.parent
PARTS = HERE / "guest.d"
SUITE = "trixie"
SUITES = (SUITE, f"{SUITE}-updates", f"{SUITE}-backports")
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


def packages():
    lines = (PARTS / "packages").read_text(encoding="utf-8").splitlines()
    return [line for line in map(str.strip, lines) if line and not line.startswith("#")]


def tree_key():
    return cache.digest("tree 1", SUITES, EXCLUDED, packages(), PARTS / "customize.sh")


def _source_arguments(directory):
    """The MIRROR argument: this machine's own mirror, or mmdebstrap's default plus backports."""
    mirror = host.debian_mirror()
    if mirror:
        sources = directory / "sources"
        sources.write_text("".join(f"deb {mirror} {suite} main\n" for suite in SUITES))
        return [str(sources)], []
    hook = (f"--setup-hook=sed -n 's/ {SUITE} / {SUITE}-backports /p' \"$1\"/etc/apt/sources.list"
            " >\"$1\"/etc/apt/sources.list.d/backports.list")
    return [], [hook]


def _make_tree(aside):
    cache.need_space(5, "the guest's Debian tree")
    host.install_missing()
    say("building the guest's Debian tree: two kernels, gcc, bpftrace (2 to 3 minutes, once)")
    with tempfile.TemporaryDirectory(prefix="hotmirror-") as scratch:
        mirror, hooks = _source_arguments(Path(scratch))
        command = ["mmdebstrap", "--mode=root", "--variant=apt", "--architectures=amd64",
                   "--include=" + ",".join(packages()), *host.proxy_options(), *hooks,
                   *(f"--dpkgopt=path-exclude={path}" for path in EXCLUDED),
                   f"--customize-hook={PARTS / 'customize.sh'} \"$1\"",
                   SUITE, str(aside), *mirror]
        host.as_root(command, "building the guest's Debian tree", {"INITRD": "No"}, cwd="/")


def tree():
    """The Debian tree (a directory owned by root, never changed once it is there)."""
    path = cache.entry("tree", tree_key(), _make_tree)
    age = (time.time() - path.stat().st_mtime) / 86400
    if age > OLD_DAYS:
        warn(f"the guest is {age:.0f} days old, newer kernels may exist; `make clean-cache` renews it")
    return path


def kernel_releases():
    """Packaged kernels in the tree, newest first."""
    found = [p.name for p in (tree() / "usr/lib/modules").iterdir() if (p / "kernel").is_dir()]
    return sorted(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)[:3]], reverse=True)


def image():
    """The tree as a read-only erofs image."""
    base = tree()

    def make(aside):
        say("packing the guest's disk image")
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

    return cache.entry("image", f"{tree_key()}-{cache.digest(LEFT_OUT)}.erofs", make)


def _source_package(version):
    debs = sorted((tree() / "sources").glob(f"linux-source-{version}_*.deb"))
    if not debs:
        raise Stop(f"the guest has no linux-source-{version}", "renew it: make clean-cache")
    return debs[-1]


def _unpack(deb, version, aside, patterns=()):
    """The source in a package, or what of it is named by @patterns."""
    inside = f"linux-source-{version}"
    aside.mkdir()
    chosen = ["--wildcards", "--no-wildcards-match-slash", *(f"{inside}/{part}" for part in patterns)]
    stages = [["dpkg-deb", "--fsys-tarfile", str(deb)],
              ["tar", "-xO", f"./usr/src/{inside}.tar.xz"],
              ["xz", "-dc", "-T0"],
              ["tar", "-x", "-C", str(aside), "--strip-components=1", *(chosen if patterns else ())]]
    _pipeline(stages, f"unpacking {deb.name}")


def source(version):
    """Directory of the unpacked parts of linux-source-VERSION (7.3), from the tree's package."""
    deb = _source_package(version)

    def make(aside):
        say(f"unpacking the kselftest framework of linux-source-{version}")
        _unpack(deb, version, aside, SOURCE_PARTS)

    key = cache.digest("source 2", deb.name, SOURCE_PARTS)
    return cache.entry("source", f"{version}-{key}", make)


def whole_source(version):
    """Directory of the whole linux-source-VERSION, to build kernels from."""
    deb = _source_package(version)

    def make(aside):
        cache.need_space(3, f"linux-source-{version}")
        say(f"unpacking linux-source-{version} (a minute, once)")
        _unpack(deb, version, aside)

    return cache.entry("linux", f"{version}-{cache.digest('linux 1', deb.name)}", make)


def repository(version):
    """A git repository whose first commit (tag v-base) is the whole linux-source-VERSION."""
    source_tree = whole_source(version)

    def make(aside):
        cache.need_space(4, f"a git repository of linux-source-{version}")
        say(f"making a git repository of linux-source-{version} (two minutes, once)")
        shutil.copytree(source_tree, aside, symlinks=True)
        who = ["-c", "user.name=hotmirror", "-c", "user.email=hotmirror@localhost", "-c", "gc.auto=0"]
        for command in (["init", "-q"], ["add", "-A", "-f"], [*who, "commit", "-q", "-m", f"linux-source-{version}"],
                        ["tag", "v-base"]):
            host.run(["git", "-C", aside, *command], "making a git repository")

    return cache.entry("repository", source_tree.name.removeprefix("linux-"), make)


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


def in_tree(command, doing, binds=(), directory="/"):
    """Run a command inside the tree, with host directories bound to mount points of it.

    binds: [(host directory, place below /payload, "rw" or "ro")]. The mounts live in a
    mount namespace of their own and end with the command.
    """
    host.install_missing()
    base = tree()
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
    wrapped = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(script),
               "sh", str(base), directory, *map(str, command)]
    return host.as_root(wrapped, doing)
