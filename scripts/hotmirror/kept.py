# SPDX-License-Identifier: GPL-2.0-only
"""A built kernel that is kept while its tree and its build directory go on to other commits.

It can be booted and observed, not built against: its module is kept with it.
"""

import shutil

from . import build, cache, host, kernel_build, kernels
from .say import say

DIRECTORY = "good"
IMAGE = "vmlinux"
# What KERNEL= looks at, but for the image.
NEEDED = (".config", "include/config/kernel.release", "Module.symvers", "modules.builtin")


def keep(job, place):
    """Build the job's tree and the frozen module, copy what runs to place/good; a hash of it."""
    kernel_build.build(job)
    target = place / DIRECTORY
    with cache.cannot("keeping the good kernel in", target):
        for name in NEEDED:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(job.directory / name, target / name)
        # BTF stays: it is loaded with the kernel.
        host.run(["objcopy", "--strip-debug", job.directory / IMAGE, target / IMAGE], "keeping the good kernel")
        module = build.module(kernels.choose(str(job.directory)), place / "judge/test_driver")
        shutil.copy2(module, target / build.MODULE)
    say(f"the good kernel is kept in {target}")
    return cache.digest(target)
