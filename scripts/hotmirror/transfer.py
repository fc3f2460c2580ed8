# SPDX-License-Identifier: GPL-2.0-only
"""Files out of a guest while it runs: a tar through a virtio port (see vm.FILES_PORT)."""

import socket
import tarfile
import threading
from pathlib import Path

from .say import Stop

MANIFEST = "manifest"          # the last member: "SIZE NAME" of each of the others


class Receiver:
    """Listens at a socket; what comes goes to a file until the guest is gone."""

    def __init__(self, directory):
        self.socket, self.tar = f"{directory}/files", Path(directory) / "files.tar"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.socket)
        self.listener.listen(1)
        self.connection = None
        self.tar.touch()
        # A daemon: where QEMU never connects, nobody waits for it.
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        try:
            self.connection = self.listener.accept()[0]
        except OSError:
            return
        with open(self.tar, "wb") as tar:
            while data := self.connection.recv(1 << 16):
                tar.write(data)

    def tell(self, line):
        """A line to whoever reads the port in the guest."""
        if self.connection:
            self.connection.sendall(line.encode() + b"\n")

    def close(self):
        """The guest is gone: take what is left in the socket."""
        if not self.connection:
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(30)
        self.listener.close()


def unpack(tar, directory):
    """Regular files of the tar into the directory; "" or why the transfer is not whole.

    Of a file that is cut off, what came is kept.
    """
    found, why = {}, ""
    with open(tar, "rb") as raw:
        try:
            with tarfile.open(tar) as archive:
                for member in filter(tarfile.TarInfo.isfile, archive):
                    name = Path(member.name).name
                    raw.seek(member.offset_data)
                    data = raw.read(member.size)
                    (directory / name).write_bytes(data)
                    found[name] = len(data)
                    if len(data) < member.size:
                        return f"{name} is cut off after {len(data)} of {member.size} bytes"
        except (tarfile.TarError, EOFError) as error:
            why = f": {error}"
        except OSError as error:
            raise Stop(f"{directory} cannot be written: {error.strerror}") from error
    if not found:
        return "nothing came out of the guest"
    if MANIFEST not in found:
        return f"what came out of the guest is cut off{why}"
    return _compare(directory / MANIFEST, found)


def _compare(manifest, found):
    lines = manifest.read_text().splitlines()
    manifest.unlink()
    for size, _, name in (line.strip().partition(" ") for line in lines):
        if name != MANIFEST and found.get(name) != int(size):
            return f"{name} has {found.get(name, 'no')} of {size} bytes"
    return ""
