# SPDX-License-Identifier: GPL-2.0-only
"""Upstream's module, lib/test_hmm.c of the kernel's own source: as it is, or with one fault.

For benchmarks only. A fault is what a sabotage mode of test_hotmirror does, put into the
text before it is built.
"""

import re
import shutil
import tempfile
from pathlib import Path

from . import build, kernels
from .say import Stop

MAKEFILE = Path(__file__).resolve().parent.parent / "bench.d/test_hmm.mk"
MODULE = "test_hmm.ko"

RETRY = """\
		mutex_lock(&dmirror->mutex);
		if (mmu_interval_read_retry(range->notifier,
					    range->notifier_seq)) {
			mutex_unlock(&dmirror->mutex);
			continue;
		}
		break;
"""
UPDATE = "\tdmirror_do_update(dmirror, range->start, range->end);\n"
POPULATE = ("dmirror_range_fault", "dmirror_range_fault_unlocked")
INVALIDATE = ("dmirror_interval_invalidate",)

# Fault -> functions that have it, what is there, what comes to its place.
FAULTS = {
    "SKIP_RETRY": (POPULATE, RETRY, """\
		mutex_lock(&dmirror->mutex);
		break;
"""),
    "CHECK_UNLOCKED": (POPULATE, RETRY, """\
		if (mmu_interval_read_retry(range->notifier,
					    range->notifier_seq))
			continue;
		mutex_lock(&dmirror->mutex);
		break;
"""),
    "STALE_SEQ": (POPULATE, RETRY, RETRY.replace("\t\tbreak;\n", """\
		mutex_unlock(&dmirror->mutex);
		mutex_lock(&dmirror->mutex);
		break;
""")),
    "SKIP_INVALIDATE": (INVALIDATE, UPDATE, ""),
    # dmirror_do_update() takes the end for the last byte: it clears a page too much.
    "CLEAR_SHORT": (INVALIDATE, UPDATE, UPDATE.replace("range->end", "range->end - 2 * PAGE_SIZE")),
    "IGNORE_END": (INVALIDATE, UPDATE, UPDATE.replace("range->end", "ULONG_MAX")),
    # The control: no sabotage mode, but what every test of a device read must notice.
    "READ_ZEROES": (("dmirror_do_read",), "\t\tmemcpy_from_page(ptr, page, 0, PAGE_SIZE);\n",
                    "\t\tmemset(ptr, 0, PAGE_SIZE);\n"),
}
CONTROL = "READ_ZEROES"


def broken(text, fault):
    """The module's text with the fault put in; Stop if it is not the text that we know."""
    functions, old, new = FAULTS[fault]
    for name in functions:
        body = re.search(rf"^static [^;{{}}]*\b{name}\([^;{{}}]*\)\n{{\n.*?^}}\n", text, re.M | re.S)
        if not body or body[0].count(old) != 1:
            raise Stop(f"{fault} cannot be put into test_hmm.c: {name}() is not what we know",
                       "adapt FAULTS in scripts/hotmirror/test_hmm.py to this kernel")
        text = text[:body.start()] + body[0].replace(old, new) + text[body.end():]
    return text


def module(kernel, fault=None):
    """Path of test_hmm.ko for this kernel."""
    source = kernel.source / "lib/test_hmm.c"
    if "DEVICE_PRIVATE" not in kernel.config:
        raise Stop(f"{kernel.release} has no CONFIG_DEVICE_PRIVATE: {MODULE} has no device there",
                   f"use KERNEL={kernels.NEWEST} or a kernel with it")
    if not source.exists():
        raise Stop(f"there is no {source}", "name a kernel with its source")
    with tempfile.TemporaryDirectory(prefix="hotmirror-test_hmm-") as scratch:
        for path in source.parent.glob("test_hmm*.[ch]"):
            shutil.copy(path, scratch)
        if fault:
            text = broken(source.read_text(encoding="utf-8"), fault)
            (Path(scratch) / source.name).write_text(text, encoding="utf-8")
        shutil.copy(MAKEFILE, Path(scratch) / "Makefile")
        return build.module(kernel, Path(scratch), MODULE)
