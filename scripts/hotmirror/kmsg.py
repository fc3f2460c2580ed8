# SPDX-License-Identifier: GPL-2.0-only
"""The kernel log oracle: which messages accuse the kernel, and which are expected."""

import fnmatch
import re
from dataclasses import dataclass

from .say import Stop

# As blktests, liburing and livepatch have it, plus what memory unplug can break.
ACCUSING = re.compile(r"""
    kernel\ BUG\ at | WARNING: | BUG: | Oops | Internal\ error
  | general\ protection\ fault
  | possible\ recursive\ locking\ detected | possible\ circular\ locking\ dependency\ detected
  | suspicious\ RCU\ usage | INFO:\ task\ .*\ blocked | rcu:.*stall | soft\ lockup | hard\ LOCKUP
  | KASAN: | KCSAN: | UBSAN: | KFENCE: | ODEBUG: | DEBUG_LOCKS_WARN
  | Bad\ page\ (state|map) | Bad\ rss-counter | refcount_t: | unreferenced\ object
  | FAULT_FLAG_ALLOW_RETRY\ missing | [Oo]ut\ of\ memory:\ Kill | Kernel\ panic
""", re.X)

# Bits of /proc/sys/kernel/tainted that are verdicts.
TAINT = {2: "forced module unload", 4: "machine check", 5: "bad page", 7: "oops", 9: "warning",
         14: "soft lockup"}
NAMES = {4: "M", 5: "B", 7: "D", 9: "W", 14: "L"}


@dataclass(frozen=True)
class Message:
    facility: int
    number: int
    us: int
    text: str

    @property
    def accuses(self):
        """Only the kernel can accuse itself: what user space wrote does not count."""
        return self.facility == 0 and bool(ACCUSING.search(self.text))


def parse(text):
    """A /dev/kmsg record, "priority,number,microseconds,flags;text" plus KEY=value lines."""
    head, _, body = text.partition(";")
    fields = head.split(",")
    if len(fields) < 3 or not all(part.isdigit() for part in fields[:3]):
        return None
    priority, number, us = map(int, fields[:3])
    return Message(priority >> 3, number, us, body.split("\\x0a")[0])


def taint_names(new):
    return ", ".join(f"{NAMES[bit]} ({TAINT[bit]})" for bit in NAMES if new >> bit & 1)


class Allowed:
    """Expected messages: lines of "test glob | regular expression | reason"."""

    def __init__(self, path=None):
        self.rules = []
        for number, line in enumerate(path.read_text().splitlines() if path else (), 1):
            if not line.strip() or line.startswith("#"):
                continue
            parts = [part.strip() for part in line.split(" | ")]
            if len(parts) != 3 or not all(parts):
                raise Stop(f"{path}:{number}: not 'test glob | regular expression | reason'")
            self.rules.append((parts[0], re.compile(parts[1]), parts[2]))

    def reason(self, test, message):
        """Why this message is expected during this test, or None."""
        for glob, pattern, reason in self.rules:
            if fnmatch.fnmatchcase(test, glob) and pattern.search(message.text):
                return reason
        return None
