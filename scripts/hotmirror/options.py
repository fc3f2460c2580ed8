# SPDX-License-Identifier: GPL-2.0-only
"""Options that every script with a guest has; defaults come from make's variables."""

import argparse
import os
from pathlib import Path

from . import host, kernels, vm
from .say import Stop


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Stop(f"{self.prog}: {message}", f"see {self.prog} --help")


def parser(doc, usage=None):
    made = Parser(description=doc, usage=usage, formatter_class=argparse.RawDescriptionHelpFormatter)
    environment = os.environ.get
    group = made.add_argument_group("the guest")
    group.add_argument("--kernel", metavar="K", default=environment("KERNEL") or kernels.NEWEST,
                       help=f"{kernels.NEWEST} (default: newest packaged), {kernels.STABLE}, {kernels.OLDSTABLE}, "
                            "a packaged version (6.1), or the path of a built kernel tree")
    group.add_argument("--accel", default=environment("ACCEL") or "auto",
                       help="auto (default: KVM if a guest really boots with it), kvm, tcg, icount (tcg, "
                            "and the guest measures instructions, 1 ns each)")
    group.add_argument("--cpus", metavar="N", default=environment("CPUS") or "",
                       help="processors of the guest (default: this machine's, 2 to 4)")
    group.add_argument("--mem", metavar="SIZE", default=environment("MEM") or f"{vm.DEFAULT_MEM_MB}M",
                       help=f"memory of the guest (default {vm.DEFAULT_MEM_MB}M, at least {vm.MIN_MEM_MB}M)")
    group.add_argument("--append", metavar="TEXT", default="", help="more kernel parameters")
    group.add_argument("--boot-limit", metavar="S", type=float, default=vm.BOOT_LIMIT,
                       help=f"give up a guest that does not boot in S seconds (default {vm.BOOT_LIMIT})")
    group.add_argument("--silence-limit", metavar="S", type=float, default=vm.SILENCE_LIMIT,
                       help=f"give up a guest that says nothing for S seconds (default {vm.SILENCE_LIMIT})")
    group.add_argument("--boot-image", metavar="FILE", type=Path,
                       help="boot FILE instead of the kernel's own image")
    return made


def settings(options):
    if options.cpus and not (options.cpus.isdigit() and 1 <= int(options.cpus) <= 64):
        raise Stop(f"CPUS={options.cpus} is not a number of processors", "use 1 to 64")
    if options.accel not in vm.ACCELS:
        raise Stop(f"ACCEL={options.accel} is unknown", f"use {', '.join(vm.ACCELS)}")
    if options.boot_image and not options.boot_image.is_file():
        raise Stop(f"--boot-image {options.boot_image}: there is no such file")
    return vm.Settings(accel=options.accel, mem_mb=vm.parse_mem(options.mem), append=options.append,
                       cpus=int(options.cpus) if options.cpus else min(4, max(2, host.cpus())),
                       boot_limit=options.boot_limit, silence_limit=options.silence_limit,
                       image=options.boot_image)
