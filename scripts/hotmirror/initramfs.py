# SPDX-License-Identifier: GPL-2.0-only
"""The guest's first file system: init, its modules, and the payload of a run."""

from . import cache, cpio, guest, modules
from .say import say

# Those that a kernel has built in are left out.
MODULES = ("virtio_pci", "virtio_console", "virtio_blk", "erofs", "overlay")
SOURCES = ("init.c", "agent.c", "agent-run.c", "agent-stream.c", "agent.h")
CFLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s")


def programs(debian):
    """Directory with init and agent, static, built in the tree of a guest."""
    files = [guest.PARTS / name for name in SOURCES]

    def make(aside):
        say("building the guest's init and agent")
        aside.mkdir()
        binds = [(guest.PARTS, "src", "ro"), (aside, "out", "rw")]
        agent = [name for name in SOURCES if name.startswith("agent") and name.endswith(".c")]
        for program, sources in (("init", ["init.c"]), ("agent", agent)):
            debian.in_tree(["gcc", *CFLAGS, "-o", f"/payload/out/{program}", *sources],
                          f"building the guest's {program}", binds, "/payload/src")

    return cache.entry("agent", cache.digest(debian.key(), CFLAGS, *files), make)


def base(kernel):
    """The part that only depends on the kernel, cached."""
    where = programs(kernel.debian)

    def make(aside):
        say(f"making the initramfs for {kernel.release}")
        archive = cpio.Archive()
        archive.device("dev/console", 5, 1)
        archive.file("init", (where / "init").read_bytes(), 0o755)
        archive.file("payload/agent", (where / "agent").read_bytes(), 0o755)
        found = modules.collect(kernel.modules, MODULES)
        for name, image in found:
            archive.file(f"modules/{name}.ko", image)
        listing = "".join(f"/modules/{name}.ko\n" for name, _ in found)
        archive.file("modules.list", listing.encode())
        archive.directory("root")
        aside.write_bytes(archive.bytes())

    key = cache.digest("initramfs 1", where.name, kernel.identity, MODULES)
    return cache.entry("initramfs", key, make)


def payload(plan, trees):
    """The part of this run: the plan, and {place below /payload: host directory or file}."""
    archive = cpio.Archive()
    archive.file("payload/plan", plan.encode())
    for place, source in trees.items():
        if source.is_dir():
            archive.tree(source, f"payload/{place}")
        else:
            archive.file(f"payload/{place}", source.read_bytes(), 0o755)
    return archive.bytes()


def plan_line(*fields):
    """One step of the agent's plan; a tab or newline cannot be passed."""
    texts = [str(item) for item in fields]
    bad = next((text for text in texts if "\t" in text or "\n" in text), None)
    if bad is not None:
        from .say import Stop
        raise Stop(f"an argument with a tab or newline cannot reach the guest: {bad!r}",
                   "put it into a script in the payload")
    return "\t".join(texts) + "\n"
