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


def say(text):
    """One line of progress, with the time since the start."""
    elapsed = colour("2", f"[{time.monotonic() - START:6.1f} s]")
    print(f"{elapsed} {text}", file=sys.stderr, flush=True)


def warn(text):
    print(colour("33", f"hotmirror: warning: {text}"), file=sys.stderr, flush=True)


def complain(stop):
    remedy = f"; {stop.remedy}" if stop.remedy else ""
    print(colour("31", f"hotmirror: error: {stop.what}{remedy}"), file=sys.stderr, flush=True)


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
