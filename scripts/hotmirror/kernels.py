# SPDX-License-Identifier: GPL-2.0-only
"""KERNEL=: which kernel is tested, and where its image, modules and headers are."""

import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path

from . import guest
from .say import Stop

NEWEST, STABLE, RUNNING = "trixie-backports", "trixie", "running"
# Names a kernel source that tests are built with, instead of the tree's own (a bisection's is frozen).
FRAMEWORK = "HOTMIRROR_FRAMEWORK"
REQUIRED = ("HMM_MIRROR", "ZONE_DEVICE", "MODULES")
GUEST_NEEDS = ("BLK_DEV_INITRD", "TMPFS", "DEVTMPFS", "VIRTIO_CONSOLE", "VIRTIO_PCI")


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

    @property
    def running(self):
        return self.name == RUNNING

    @property
    def identity(self):
        """What a build against it depends on; a rebuilt vmlinux refuses older modules (BTF)."""
        if self.in_tree:
            return f"{guest.tree_key()} {self.headers}"
        files = [self.headers / name for name in ("Module.symvers", "vmlinux", ".config")]
        stamps = [path.stat().st_mtime_ns for path in [*files, self.image] if path and path.exists()]
        return f"{self.headers} {self.release} {stamps}"


def read_config(path):
    """{"HMM_MIRROR": "y", ...} of a .config."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"^CONFIG_(\w+)=(.*)$", text, re.M))


def require_options(kernel, names):
    for name in names:
        if name not in kernel.config:
            raise Stop(f"KERNEL={kernel.name}: its configuration lacks CONFIG_{name}",
                       f"enable CONFIG_{name} and build it again")


def _packaged(name, release):
    base = guest.tree()
    version = ".".join(re.findall(r"\d+", release)[:2])
    config = read_config(base / f"boot/config-{release}")
    kernel = Kernel(name, release, image=base / f"boot/vmlinuz-{release}",
                    modules=base / f"usr/lib/modules/{release}",
                    headers=Path(f"/usr/src/linux-headers-{release}"), in_tree=True,
                    source=guest.source(version), config=config)
    require_options(kernel, REQUIRED)
    return kernel


def newest():
    return _packaged(NEWEST, guest.kernel_releases()[0])


def stable():
    return _packaged(STABLE, guest.kernel_releases()[-1])


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
    return guest.source(".".join(re.findall(r"\d+", guest.kernel_releases()[0])[:2]))


def built_tree(name):
    """A kernel tree (or O= directory) that the user built."""
    path = Path(name).expanduser()
    if not path.exists():
        raise Stop(f"KERNEL={name}: there is no such file or directory, and no kernel of that name",
                   f"use {NEWEST}, {STABLE}, {RUNNING} or the path of a built kernel tree")
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
    if name == NEWEST:
        return newest()
    if name == STABLE:
        return stable()
    if name == "bookworm":
        raise Stop("KERNEL=bookworm (6.1) is not supported yet",
                   f"use {NEWEST}, {STABLE} or the path of a built kernel tree")
    if name == RUNNING:
        return running()
    return built_tree(name)
