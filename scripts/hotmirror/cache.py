# SPDX-License-Identifier: GPL-2.0-only
"""The cache: content-keyed entries, built aside and renamed, one builder at a time."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import time
from pathlib import Path

from .say import Stop, say

# How many of a kind stay, at least; more only while they were used in the last day.
KEEP = {"module": 12, "tests": 12, "host": 4, "agent": 4, "initramfs": 8, "tree": 2, "image": 2, "source": 6,
        "lint": 400, "bookworm-tree": 2, "bookworm-image": 2}
DAY = 86400
UNUSED_DAYS = 14               # after which prune() takes anything


def root():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "hotmirror"


def digest(*parts):
    """Short hash of texts, byte strings and files (name and content) or whole directories.

    Not of what Python compiled there: a judge that was frozen compiles itself when it first runs.
    """
    state = hashlib.sha256()

    def feed(part):
        if isinstance(part, Path) and part.is_dir():
            for path in sorted(p for p in part.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
                feed(str(path.relative_to(part)))
                feed(path)
            return
        if isinstance(part, Path):
            data = part.read_bytes() + (b"x" if os.access(part, os.X_OK) else b"-")
        else:
            data = part if isinstance(part, bytes) else str(part).encode()
        state.update(f"{len(data)}:".encode() + data)

    for part in parts:
        feed(part)
    return state.hexdigest()[:16]


@contextlib.contextmanager
def cannot(doing, path):
    """Turn what the file system refuses into one line with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Stop(f"no space left while {doing} {path}",
                       "free some (the cache needs 4 GB) or set XDG_CACHE_HOME elsewhere") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Stop(f"no permission for {doing} {path}",
                       "make it writable or set XDG_CACHE_HOME elsewhere") from error
        raise


@contextlib.contextmanager
def lock(name, where=None):
    """One builder of an entry at a time; the second one says what it waits for. Leaves no file."""
    path = (where or root()) / f".lock-{name}"
    with _locked(path, lambda: say(f"waiting for another run that makes {name}")):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path, waits=None):
    """The file, locked; without waits() None where another run has it.

    Who had it removed it at the end: whoever waited for that file holds no lock, and begins again.
    """
    while True:
        with cannot("creating the cache", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = open(path, "w", encoding="utf-8")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                handle.close()
                return None
            waits()
            fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        handle.close()


def need_space(gigabytes, what):
    with cannot("creating the cache", root()):
        root().mkdir(parents=True, exist_ok=True)
    for days in (UNUSED_DAYS, 1):
        if shutil.disk_usage(root()).free < gigabytes * 1e9:
            prune(days)
    free = shutil.disk_usage(root()).free
    if free < gigabytes * 1e9:
        raise Stop(f"{what} needs {gigabytes} GB, {root()} has {free / 1e9:.1f} GB free",
                   "free some space or set XDG_CACHE_HOME elsewhere")


def used(path):
    """Remember that an entry was used, if it is one."""
    if path.parent == root():
        with contextlib.suppress(PermissionError):
            os.utime(path)


def _useless(path, days):
    """Unused for so long; a day is enough for what a killed run left, and for a kernel whose source is gone.

    Never a Debian tree: its age is that of its packages, and it comes by the network.
    """
    age = (time.time() - path.lstat().st_mtime) / DAY
    left = path.name.startswith((".new-", ".lock-")) or \
        (path.name.startswith("kernel-") and not (path / "source").exists())
    return age > 1 if left else age > days and not re.search(r"(^|-)tree-", path.name)


def prune(days=UNUSED_DAYS):
    """Remove what nobody used for so many days, and what killed runs left; the names. Never what is locked."""
    gone = []
    for path in sorted(root().iterdir()) if root().exists() else ():
        with contextlib.suppress(FileNotFoundError):
            name = path.name.removeprefix(".lock-").removeprefix(".new-")
            handle = _useless(path, days) and _locked(root() / f".lock-{name}")
            if handle:
                with handle:
                    remove(path)
                    (root() / f".lock-{name}").unlink(missing_ok=True)
                gone.append(path.name)
    if gone:
        say(f"removed {len(gone)} entries of {root()} that were not used any more")
    return gone


def remove(path):
    """Delete a file or a tree; what sudo made (builds inside the guest's tree) needs it again."""
    from .host import as_root, is_root
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except PermissionError:
        if is_root():
            raise
        as_root(["rm", "-rf", "--one-file-system", str(path)], f"removing {path}")


def entry(kind, key, make):
    """The cache entry KIND-KEY; make(path) creates it aside if it is not there.

    A failed or interrupted make leaves nothing; what an earlier, killed run left
    is removed first. Entries are never changed once they have their name.
    """
    path = root() / f"{kind}-{key}"
    if path.exists():
        _touch(kind, path)
        return path
    with lock(f"{kind}-{key}"):
        if path.exists():
            return path
        aside = root() / f".new-{kind}-{key}"
        remove(aside)
        try:
            with cannot("writing", path):
                make(aside)
                os.rename(aside, path)
        except BaseException:
            remove(aside)
            raise
    _forget_old(kind)
    return path


def _touch(kind, path):
    """Remember the use; the age of a tree is that of its packages."""
    if not kind.endswith("tree"):
        with contextlib.suppress(PermissionError):
            os.utime(path)


def _forget_old(kind):
    """Drop what nobody used for a while, one run at a time."""
    with lock(f"old-{kind}"):
        found = sorted(root().glob(f"{kind}-*"), key=lambda p: p.stat().st_mtime, reverse=True)
        for path in found[KEEP.get(kind, len(found)):]:
            if time.time() - path.stat().st_mtime > DAY:
                remove(path)
