# SPDX-License-Identifier: GPL-2.0-only
"""Kernel modules of a packaged or self-built kernel: find, order by dependency, unpack."""

import gzip
import lzma
import re
import shutil
import subprocess
from pathlib import Path

from .say import Stop

SUFFIX = re.compile(r"\.ko(\.(xz|gz|zst))?$")


def module_name(path):
    return SUFFIX.sub("", Path(path).name).replace("-", "_")


def index_modules(directory):
    """Name -> file of every module below a directory."""
    return {module_name(p): p for p in directory.rglob("*.ko*") if SUFFIX.search(p.name)}


def built_in(directory):
    """Names of what is linked into the kernel, by modules.builtin (empty without that file)."""
    listing = directory / "modules.builtin"
    if not listing.exists():
        return set()
    return {module_name(line) for line in listing.read_text().split()}


def unpack(path):
    """The plain ELF image of a module file."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix == ".zst":
        if not shutil.which("zstd"):
            raise Stop(f"{path} is compressed by zstd", "install the package zstd")
        return subprocess.run(["zstd", "-dcq", str(path)], check=True, stdout=subprocess.PIPE).stdout
    return path.read_bytes()


def modinfo(image, key):
    """Values of a key in a module's .modinfo section."""
    return [value.decode() for value in re.findall(rb"\0" + key + rb"=([^\0]*)\0", b"\0" + image)]


def dependencies(image):
    """Module names in the depends= line."""
    names = ",".join(modinfo(image, b"depends")).split(",")
    return [name.replace("-", "_") for name in names if name]


def soft_dependencies(image, index):
    """What should be loaded before: a module, or (crc32c) whichever one provides an alias.

    The generic provider is taken: it loads on every processor.
    """
    found = []
    for line in modinfo(image, b"softdep"):
        pre = re.search(r"pre:((?: +[^: ]+(?!\S*:))+)", line)
        for name in pre.group(1).split() if pre else []:
            name = name.replace("-", "_")
            found += [n for n in (name, f"{name}_generic") if n in index][:1]
    return found


def collect(directory, wanted):
    """[(name, image)] of the wanted modules and all they need, in loading order.

    What is built in is left out; what is neither built in nor there is an error
    that names the module.
    """
    index, builtin, done = index_modules(directory), built_in(directory), {}

    def add(name, needed_by):
        if name in done or name in builtin:
            return
        if name not in index:
            raise Stop(f"the kernel of {directory} has no module {name} (needed by {needed_by})",
                       "build it in or as a module, or choose another KERNEL=")
        image = unpack(index[name])
        for dependency in dependencies(image) + soft_dependencies(image, index):
            add(dependency, name)
        done[name] = image

    for name in wanted:
        add(name, "the guest's initramfs")
    return list(done.items())
