# SPDX-License-Identifier: GPL-2.0-only
"""Write a newc cpio archive, the format of an initramfs, without root and without cpio(1)."""

import os
import stat

MAGIC = "070701"


class Archive:
    """Collects entries; parents of a file are added by themselves."""

    def __init__(self):
        self.parts = []
        self.known = set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        raw = name.encode() + b"\0"
        fields = (len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(raw), 0)
        header = (MAGIC + "".join(f"{field:08x}" for field in fields)).encode() + raw
        self.parts.append(_pad(header) + _pad(data))
        self.known.add(name)

    def directory(self, name):
        name = name.strip("/")
        if not name or name in self.known:
            return
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFREG | mode, data)

    def symlink(self, name, target):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, rdev=(major, minor))

    def tree(self, source, target):
        """Everything below the directory source, as target."""
        self.directory(target)
        for path in sorted(source.rglob("*")):
            name = f"{target}/{path.relative_to(source)}"
            if path.is_symlink():
                self.symlink(name, os.readlink(path))
            elif path.is_dir():
                self.directory(name)
            elif path.is_file():
                self.file(name, path.read_bytes(), 0o755 if os.access(path, os.X_OK) else 0o644)

    def bytes(self):
        trailer = Archive()
        trailer._entry("TRAILER!!!", 0)
        return b"".join(self.parts + trailer.parts)


def _pad(data):
    return data + b"\0" * (-len(data) % 4)
