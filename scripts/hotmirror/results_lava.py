# SPDX-License-Identifier: GPL-2.0-only
"""A LAVA job for a QEMU device: what it downloads, boots and runs."""

import json
from dataclasses import dataclass

from . import build
from .say import Stop

TEST = build.TOP / "scripts" / "results.d" / "lava.sh"
COMPRESSIONS = {".gz": "gz", ".tgz": "gz", ".xz": "xz", ".zst": "zstd", ".bz2": "bz2"}
SCHEMES = ("https://", "http://", "file://")
KSELFTEST = "/opt/kselftest"
MEMORY_MB, CPUS = 5632, 2
# What the module's coherent and dax memory is made of; see README.md.
MEMMAP, PARAMETERS = "576M$4544M", "arena=576M@4544M sabotage=1"
LIMIT_SECONDS = 600            # of a program; a machine without KVM needs more than settings has
MINUTES = {"job": 90, "deploy": 20, "boot": 10, "test": 60}


@dataclass(frozen=True)
class Job:
    """URLs of a kernel, an ext4 root file system, its modules and `make gen_tar`'s tarball."""
    kernel: str
    rootfs: str
    modules: str
    tarball: str
    initrd: str = ""
    name: str = "hotmirror kselftest"
    root: str = "/dev/vda"
    append: str = ""

    def check(self):
        for what in ("kernel", "rootfs", "modules", "tarball", "initrd"):
            url = getattr(self, what)
            if not url.startswith(SCHEMES) and (url or what != "initrd"):
                raise Stop(f"--{what} {url} is not a URL", f"use {', '.join(SCHEMES)}")
        for what in ("root", "append"):
            if set(getattr(self, what)) & set("'\"\n"):
                raise Stop(f"--{what} {getattr(self, what)!r} has quotes or lines", "QEMU's command line has its own")


class Yaml:
    """Lines of YAML: block mappings and lists, scalars as JSON spells them."""

    def __init__(self):
        self.lines = []

    def put(self, depth, key, value=None):
        shown = "" if value is None else " " + json.dumps(value)
        self.lines.append("  " * depth + key + ":" + shown)

    def block(self, depth, text):
        """A literal block as the item of a list."""
        self.lines.append("  " * depth + "- |")
        self.lines += ["  " * (depth + 2) + line if line else "" for line in text.splitlines()]

    def url(self, depth, key, url, **more):
        self.put(depth, key)
        self.put(depth + 1, "url", url)
        compression = next((word for end, word in COMPRESSIONS.items() if url.endswith(end)), "")
        for name, value in (({"compression": compression} if compression else {}) | more).items():
            self.put(depth + 1, name, value)


def _head(yaml, job):
    yaml.lines += [
        "# A LAVA job for device type qemu: the hotmirror kselftests from an installed tarball.",
        "# Made by scripts/results lava. Every test is a lava-test-case, named by its path;",
        "# scripts/results name PATH tells what that is in TESTS of make kselftest."]
    for key, value in (("device_type", "qemu"), ("job_name", job.name), ("visibility", "public"),
                       ("priority", "medium")):
        yaml.put(0, key, value)
    yaml.put(0, "timeouts")
    for what, minutes in (("job", MINUTES["job"]), ("action", MINUTES["deploy"]), ("connection", 5)):
        yaml.put(1, what)
        yaml.put(2, "minutes", minutes)
    yaml.put(0, "context")
    for key, value in (("arch", "x86_64"), ("memory", MEMORY_MB), ("extra_options", ["-smp", str(CPUS)])):
        yaml.put(1, key, value)


def _action(yaml, what, **values):
    yaml.lines.append(f"- {what}:")
    yaml.put(2, "timeout")
    yaml.put(3, "minutes", MINUTES[what])
    for key, value in values.items():
        yaml.put(2, key, value)


def _deploy(yaml, job):
    _action(yaml, "deploy", to="tmpfs", os="debian")
    yaml.put(2, "images")
    command_line = f"console=ttyS0,115200 root={job.root} rw memmap={MEMMAP} {job.append}".rstrip()
    yaml.url(3, "kernel", job.kernel, image_arg=f"-kernel {{kernel}} -append '{command_line}'")
    if job.initrd:
        yaml.url(3, "initrd", job.initrd, image_arg="-initrd {initrd}")
    yaml.url(3, "rootfs", job.rootfs, format="ext4", image_arg="-drive file={rootfs},if=virtio,format=raw")
    yaml.put(4, "overlays")
    yaml.put(5, "lava", True)
    yaml.url(5, "modules", job.modules, format="tar", path="/")
    yaml.url(5, "kselftest", job.tarball, format="tar", path=f"{KSELFTEST}/")


def _test(yaml):
    _action(yaml, "test")
    yaml.lines += ["    definitions:", "    - from: inline", "      name: hotmirror", "      path: inline/hotmirror.yaml"]
    yaml.put(3, "repository")
    yaml.put(4, "metadata")
    for key, value in (("format", "Lava-Test Test Definition 1.0"), ("name", "hotmirror"),
                       ("description", "races of an HMM mirror with the unplug of device memory")):
        yaml.put(5, key, value)
    yaml.put(4, "params")
    for key, value in (("KSELFTEST", KSELFTEST), ("PARAMETERS", PARAMETERS), ("PROGRAMS", "*"),
                       ("LIMIT", str(LIMIT_SECONDS))):
        yaml.put(5, key, value)
    yaml.put(4, "run")
    yaml.put(5, "steps")
    yaml.block(5, TEST.read_text(encoding="utf-8"))


def document(job):
    job.check()
    yaml = Yaml()
    _head(yaml, job)
    yaml.put(0, "actions")
    _deploy(yaml, job)
    _action(yaml, "boot", method="qemu", media="tmpfs", prompts=["root@", "# $"])
    yaml.put(2, "auto_login")
    yaml.put(3, "login_prompt", "login:")
    yaml.put(3, "username", "root")
    _test(yaml)
    return "\n".join(yaml.lines) + "\n"
