# SPDX-License-Identifier: GPL-2.0-only
"""The agent's result stream: numbered lines, see guest.d/agent.h."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    number: int
    ms: int
    tag: str
    text: str


def unescape(text):
    """Bytes of a record's text (it is ASCII beside UTF-8 program output)."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m.group(1), 16)]),
                  text.encode("utf-8", "surrogateescape"))


class Parser:
    """Feed it bytes, take records; .damage says why the stream cannot be trusted.

    A gap in the numbers, a line that is not a record and a last line without an
    end are damage. What came before stays valid.
    """

    def __init__(self):
        self.rest = b""
        self.count = 0
        self.damage = None

    def feed(self, data):
        if self.damage:
            return []
        *lines, self.rest = (self.rest + data).split(b"\n")
        records = []
        for line in lines:
            record = self._record(line)
            if not record:
                break
            records.append(record)
        return records

    def _record(self, line):
        parts = line.decode("utf-8", "surrogateescape").split(" ", 3)
        if len(parts) != 4 or not parts[0].isdigit() or not parts[1].isdigit():
            self.damage = f"record {self.count + 1} is not readable"
            return None
        if int(parts[0]) != self.count + 1:
            self.damage = f"record {self.count + 1} is missing"
            return None
        self.count += 1
        return Record(self.count, int(parts[1]), parts[2], parts[3])

    def finish(self):
        """The stream is at its end."""
        if self.rest and not self.damage:
            self.damage = f"record {self.count + 1} is cut off"
