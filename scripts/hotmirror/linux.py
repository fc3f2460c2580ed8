# SPDX-License-Identifier: GPL-2.0-only
"""Whole kernel sources of the packages, to build kernels from and to bisect."""

import shutil
from pathlib import Path

from . import cache, guest, host
from .say import Stop, say

BASE = "v-base"                # the tag of a repository's first commit
VERSIONS = {"7.3": guest.DEBIAN_13, "6.12": guest.DEBIAN_13, "6.1": guest.DEBIAN_12}


def is_version(name):
    """7.3, unless a directory is called that."""
    return not Path(name).exists() and name.replace(".", "").isdigit()


def _package(version):
    if version not in VERSIONS:
        raise Stop(f"there is no packaged source of {version}", f"use {', '.join(VERSIONS)}, or a source tree")
    return VERSIONS[version].source_package(version)


def source(version):
    """Directory of the whole linux-source-VERSION."""
    deb = _package(version)

    def make(aside):
        cache.need_space(3, f"linux-source-{version}")
        say(f"unpacking linux-source-{version} (a minute, once)")
        guest.unpack(deb, version, aside)

    return cache.entry("linux", f"{version}-{cache.digest('linux 1', deb.name)}", make)


def repository(version):
    """A git repository whose first commit (BASE) is the whole linux-source-VERSION."""
    tree = source(version)

    def make(aside):
        cache.need_space(4, f"a git repository of linux-source-{version}")
        say(f"making a git repository of linux-source-{version} (two minutes, once)")
        shutil.copytree(tree, aside, symlinks=True)
        who = ["-c", "user.name=hotmirror", "-c", "user.email=hotmirror@localhost", "-c", "gc.auto=0"]
        for command in (["init", "-q"], ["add", "-A", "-f"], [*who, "commit", "-q", "-m", f"linux-source-{version}"],
                        ["tag", BASE]):
            host.run(["git", "-C", aside, *command], "making a git repository")

    return cache.entry("repository", tree.name.removeprefix("linux-"), make)
