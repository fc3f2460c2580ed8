# SPDX-License-Identifier: GPL-2.0-only
"""Build the module and the test collections against a kernel, cached by content."""

import re
import shutil
from pathlib import Path

from . import cache, guest, host, vm
from .say import Stop, say

TOP = Path(__file__).resolve().parent.parent.parent
DRIVER = TOP / "test_driver"
MODULE = "test_hotmirror.ko"
UAPI = "test_hotmirror_uapi.h"
ARENA = f"arena={vm.ARENA_MB}M@{vm.ARENA_AT_MB}M"
MODULE_PARAMETERS = f"{ARENA} sabotage=1"
SOURCE_FILES = re.compile(r"(\.[chS]|Kbuild|Kconfig|Makefile|\.mk|\.sh|\.bt|settings|config)$")


def sources(directory):
    """Files that a build of the directory depends on; products of an in-place build are not."""
    skip = re.compile(r"\.mod\.c$")
    return [p for p in sorted(directory.rglob("*"))
            if p.is_file() and not skip.search(p.name) and not p.name.startswith(".")
            and (SOURCE_FILES.search(p.name) or p.read_bytes()[:2] == b"#!")]


def copy(files, origin, target):
    for path in files:
        place = target / path.relative_to(origin)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)


def _make(kernel, arguments, doing, binds, directory):
    """make in the guest's tree for a packaged kernel, here for one that was built here."""
    jobs = f"-j{host.cpus()}"
    if kernel.in_tree:
        return guest.in_tree(["make", jobs, *arguments], doing, binds, f"/payload/{directory}")
    places = {place: str(path) for path, place, _ in binds}
    local = [re.sub(r"/payload/(\w+)", lambda m: places[m.group(1)], text) for text in arguments]
    return host.run(["make", jobs, *local], doing, cwd=places[directory.split("/")[0]])


def module(kernel, directory=DRIVER, name=MODULE, options=()):
    """Path of a module built against the kernel. options: more arguments for make."""
    files = sources(directory)
    if not any(path.name in ("Makefile", "Kbuild") for path in files):
        raise Stop(f"{directory} holds no module source")

    def make(aside):
        say(f"building {name} for {kernel.release}")
        copy(files, directory, aside / "driver")
        headers = str(kernel.headers)
        _make(kernel, ["-C", "/payload/driver", f"KDIR={headers}", *options],
              f"building {name} for {kernel.release}", [(aside / "driver", "driver", "rw")], "driver")
        if not (aside / "driver" / name).exists():
            raise Stop(f"building {name} for {kernel.release} made no {name}")

    key = cache.digest(kernel.identity, name, *options, *labelled(files, directory))
    return cache.entry("module", key, make) / "driver" / name


def labelled(files, origin):
    """Names and contents, for a digest."""
    return [part for path in files for part in (str(path.relative_to(origin)), path)]
