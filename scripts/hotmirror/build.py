# SPDX-License-Identifier: GPL-2.0-only
"""Build the module and the test collections against a kernel, cached by content."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from . import cache, host, kernel_build, vm
from .say import Stop, say

TOP = Path(__file__).resolve().parent.parent.parent
DRIVER = TOP / "test_driver"
MODULE = "test_hotmirror.ko"
UAPI = ("test_hotmirror_uapi.h", "test_hotmirror_gate_uapi.h",
        "test_hotmirror_sabotage_uapi.h", "test_hotmirror_uring_uapi.h",
        "test_hotmirror_hmm_uapi.h", "test_hotmirror_dmirror_uapi.h")
ARENA = f"arena={vm.ARENA_MB}M@{vm.ARENA_AT_MB}M"
MODULE_PARAMETERS = f"{ARENA} sabotage=1"
BUILT_IN = "TEST_HOTMIRROR"    # its option, in a tree that scripts/in-tree made
PRODUCT = re.compile(r"(\.(o|a|ko|mod|mod\.c|order|symvers|pyc)|~)$")


def sources(directory):
    """Files that a build of the directory depends on; products of an in-place build are not."""
    return [p for p in sorted(directory.rglob("*"))
            if p.is_file() and not p.name.startswith(".") and not PRODUCT.search(p.name)
            and "__pycache__" not in p.parts and p.open("rb").read(4) != b"\x7fELF"]


class Snapshot:
    """Files as they are now: the key and the copy are of the same bytes, whoever edits meanwhile."""

    def __init__(self, files):
        """files: [(path, place relative to the copy's root)]"""
        self.files = {str(place): (path.read_bytes(), path.stat().st_mode & 0o777)
                      for path, place in files}

    def key(self):
        return cache.digest(*(part for place, (data, mode) in self.files.items()
                              for part in (place, data, mode & 0o100)))

    def write(self, target):
        for place, (data, mode) in self.files.items():
            path = target / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(mode)


def _make(kernel, arguments, doing, binds, directory):
    """make in the guest's tree for a packaged kernel, here for one that was built here."""
    jobs = f"-j{host.cpus()}"
    if kernel.in_tree:
        return kernel.debian.in_tree(["make", jobs, *arguments], doing, binds, f"/payload/{directory}")
    places = {place: str(path) for path, place, _ in binds}
    local = [re.sub(r"/payload/(\w+)", lambda m: places[m.group(1)], text) for text in arguments]
    where = Path(places[directory.split("/")[0]])
    return host.run(["make", jobs, *_cached_compiler(), *local], doing, cwd=where,
                    env={**os.environ, "CCACHE_BASEDIR": str(where.parent), "CCACHE_NOHASHDIR": "1"})


def _cached_compiler():
    """For make: a mutant, or the next commit of a bisection, has most objects of the module in common with the last."""
    return [kernel_build.CACHED_COMPILER] if shutil.which("ccache") and not os.environ.get("LLVM") else []


def module(kernel, directory=DRIVER, name=MODULE, options=()):
    """Path of a module built against the kernel. options: more arguments for make."""
    files = [(path, path.relative_to(directory)) for path in sources(directory)]
    if not any(path.name in ("Makefile", "Kbuild") for path, _ in files):
        raise Stop(f"{directory} holds no module source")
    snapshot = Snapshot(files)

    def make(aside):
        doing = f"building {name} for {kernel.release}"
        say(doing)
        snapshot.write(aside / "driver")
        try:
            _make(kernel, ["-C", "/payload/driver", f"KDIR={kernel.headers}", *options],
                  doing, [(aside / "driver", "driver", "rw")], "driver")
        except host.Failed as failed:
            # The cause of a run has the compiler's first word: a bisection skips a commit for it.
            raise Stop(f"{failed.what}: {kernel_build.first_error(failed.lines)}", failed.remedy) from failed
        if not (aside / "driver" / name).exists():
            raise Stop(f"{doing} made no {name}")

    key = cache.digest(kernel.identity, name, *options, snapshot.key())
    return cache.entry("module", key, make) / "driver" / name


def is_built_in(kernel, name=MODULE):
    """Has the kernel the module in itself? Then its parameters go on the kernel's command line."""
    return name == MODULE and kernel.config.get(BUILT_IN) == "y"


def boot_parameters(parameters):
    return " ".join(f"{MODULE.removesuffix('.ko')}.{text}" for text in parameters.split())


def with_parameters(kernel, settings, parameters=MODULE_PARAMETERS):
    """Settings of a guest: the parameters of a module that is built in are the kernel's."""
    if not is_built_in(kernel):
        return settings
    return replace(settings, append=f"{settings.append} {boot_parameters(parameters)}".strip())
