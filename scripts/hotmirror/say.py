# SPDX-License-Identifier: GPL-2.0-only
"""Progress and errors, on stderr; stdout belongs to KTAP."""

import os
import signal
import sys
import time

START = time.monotonic()


class Stop(Exception):
    """Cannot judge: one line that names the thing, one remedy; exit status 2."""

    def __init__(self, what, remedy=""):
        super().__init__(what)
        self.what, self.remedy = what, remedy


def colour(code, text):
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        return f"\033[{code}m{text}\033[0m"
    return text


def _line(text):
    """In one piece: others write lines, too. Past the buffer of sys.stderr, into which nobody may
    write from a signal handler while a line is on its way."""
    data = f"{text}\n".encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(2, data):]


def say(text):
    """One line of progress, with the time since the start."""
    elapsed = colour("2", f"[{time.monotonic() - START:6.1f} s]")
    _line(f"{elapsed} {text}")


def label(name, line):
    """A line of somebody else's stderr, with the name of who wrote it."""
    _line(f"{colour('2', name + ':')} {line.rstrip()}")


def warn(text):
    _line(colour("33", f"hotmirror: warning: {text}"))


def complain(stop):
    remedy = f"; {stop.remedy}" if stop.remedy else ""
    _line(colour("31", f"hotmirror: error: {stop.what}{remedy}"))


def _terminated(number, _):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main(function):
    """Run an entry point; turn every known ending into a line and an exit status."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        sys.exit(function())
    except Stop as stop:
        complain(stop)
        sys.exit(2)
    except KeyboardInterrupt:
        complain(Stop("interrupted"))
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(2)
