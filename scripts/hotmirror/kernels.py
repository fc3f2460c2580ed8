# SPDX-License-Identifier: GPL-2.0-only
"""KERNEL=: which kernel is tested, and where its image, modules and headers are."""

import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import cache, guest
from .say import Stop

NEWEST, STABLE, OLDSTABLE, RUNNING = "trixie-backports", "trixie", "bookworm", "running"
NAMES = f"{NEWEST}, {STABLE}, {OLDSTABLE}, {RUNNING}"
# Names a kernel source that tests are built with, instead of the tree's own (a bisection's is frozen).
FRAMEWORK = "HOTMIRROR_FRAMEWORK"
REQUIRED = ("HMM_MIRROR", "ZONE_DEVICE", "MODULES")
# What makes each memory access and each lock dear.
SLOW = ("KASAN", "PROVE_LOCKING")
GUEST_NEEDS = ("BLK_DEV_INITRD", "TMPFS", "DEVTMPFS", "VIRTIO_CONSOLE", "VIRTIO_PCI", "INOTIFY_USER")


@dataclass
class Kernel:
    name: str                  # as the user said it
    release: str
    image: Path = None         # what QEMU boots
    modules: Path = None       # where its own modules are
    headers: Path = None       # KDIR of the module build
    in_tree: bool = False      # headers is a path inside the guest's tree
    source: Path = None        # kernel source with tools/testing/selftests
    config: dict = field(default_factory=dict)
    debian: guest.Guest = guest.DEBIAN_13   # whose tree builds what runs on it, and is run

    @property
    def running(self):
        return self.name == RUNNING

    @property
    def identity(self):
        """What a build against it depends on; a rebuilt vmlinux refuses older modules (BTF)."""
        if self.in_tree:
            return f"{self.debian.key()} {self.headers}"
        files = [self.headers / name for name in ("Module.symvers", "vmlinux", ".config")]
        stamps = [path.stat().st_mtime_ns for path in [*files, self.image] if path and path.exists()]
        return f"{self.headers} {self.release} {stamps}"


def slowness(kernel):
    """How often the usual limit of a program such a kernel gets: debug ones take several times as long."""
    return 8 if any(kernel.config.get(option) == "y" for option in SLOW) else 1


def read_config(path):
    """{"HMM_MIRROR": "y", ...} of a .config."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.M))


def require_options(kernel, names):
    for name in names:
        if name not in kernel.config:
            raise Stop(f"KERNEL={kernel.name}: its configuration lacks CONFIG_{name}",
                       f"enable CONFIG_{name} and build it again")


def version_of(release):
    return ".".join(re.findall(r"\d+", release)[:2])


def _packaged(name, debian, release):
    base = debian.tree()
    config = read_config(base / f"boot/config-{release}")
    kernel = Kernel(name, release, image=base / f"boot/vmlinuz-{release}",
                    modules=base / f"usr/lib/modules/{release}",
                    headers=Path(f"/usr/src/linux-headers-{release}"), in_tree=True,
                    source=debian.source(version_of(release)), config=config, debian=debian)
    require_options(kernel, REQUIRED)
    return kernel


def newest():
    return _packaged(NEWEST, guest.DEBIAN_13, guest.DEBIAN_13.kernel_releases()[0])


def stable():
    return _packaged(STABLE, guest.DEBIAN_13, guest.DEBIAN_13.kernel_releases()[-1])


def oldstable():
    return _packaged(OLDSTABLE, guest.DEBIAN_12, guest.DEBIAN_12.kernel_releases()[0])


PACKAGED = {NEWEST: newest, STABLE: stable, OLDSTABLE: oldstable}
OLD_VERSION = "6.1"            # of OLDSTABLE; those of the other guest are looked up


def _of_version(version):
    """The packaged kernel of a version such as 6.12; None if there is none."""
    if version == OLD_VERSION:
        return oldstable()
    return next((make() for make, release in zip((newest, stable), guest.DEBIAN_13.kernel_releases())
                 if version_of(release) == version), None)


def _first(paths):
    return next((path for path in paths if path.exists()), None)


def _release(path):
    release = path / "include/config/kernel.release"
    if not release.exists():
        raise Stop(f"KERNEL={path} is not built: no include/config/kernel.release",
                   "build it (make), or name a built kernel tree")
    return release.read_text().strip()


def _with_selftests(*candidates):
    """The first source directory that has the kselftest framework, or the packaged one's."""
    if os.environ.get(FRAMEWORK):
        return Path(os.environ[FRAMEWORK])
    for source in candidates:
        if (source / "tools/testing/selftests/lib.mk").exists():
            return source.resolve()
    return guest.DEBIAN_13.source(version_of(guest.DEBIAN_13.kernel_releases()[0]))


def built_tree(name):
    """A kernel tree (or O= directory) that the user built."""
    path = Path(name).expanduser()
    if not path.exists():
        raise Stop(f"KERNEL={name}: there is no such file or directory, and no kernel of that name",
                   f"use {NAMES} or the path of a built kernel tree")
    if not path.is_dir():
        raise Stop(f"KERNEL={name} is not a directory", "name the top of a built kernel tree")
    path = path.resolve()
    if not (path / ".config").exists():
        raise Stop(f"KERNEL={name} is not a configured kernel tree: no .config",
                   "name the top of a built kernel tree (the O= directory if there is one)")
    kernel = Kernel(name, "", headers=path, modules=path, config=read_config(path / ".config"))
    require_options(kernel, REQUIRED + GUEST_NEEDS)
    kernel.release = _release(path)
    kernel.image = _first([path / "arch/x86/boot/bzImage", path / "vmlinux"])
    if not kernel.image:
        raise Stop(f"KERNEL={name} is not built: no arch/x86/boot/bzImage and no vmlinux",
                   "build it (make), or name a built kernel tree")
    if not (path / "Module.symvers").exists():
        raise Stop(f"KERNEL={name}: no Module.symvers, a module cannot be built against it",
                   "build its modules, too (make modules)")
    kernel.source = _with_selftests(path, path / "source")
    cache.used(path)
    return kernel


def running():
    """This very machine."""
    release = platform.release()
    headers = Path(f"/lib/modules/{release}/build")
    if not headers.exists():
        raise Stop(f"KERNEL=running: no headers of {release} ({headers} is missing)",
                   "install the package linux-headers-$(uname -r), or build that kernel's tree here")
    headers = headers.resolve()
    kernel = Kernel(RUNNING, release, headers=headers, modules=headers)
    config = _first([headers / ".config", Path(f"/boot/config-{release}")])
    if config:
        kernel.config = read_config(config)
        require_options(kernel, REQUIRED)
    kernel.source = _with_selftests(headers, headers / "source",
                                    Path("/usr/src/linux"), Path(f"/usr/src/linux-{release}"))
    return kernel


def choose(name):
    if name in PACKAGED:
        return PACKAGED[name]()
    if name == RUNNING:
        return running()
    packaged = _of_version(name) if re.fullmatch(r"\d+\.\d+", name) else None
    return packaged or built_tree(name)
