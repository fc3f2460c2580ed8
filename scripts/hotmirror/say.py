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
    """In one piece: others write lines, too."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


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


_interruption = None


def _interrupt(number, _):
    """Ctrl-C reaches our children, too: it comes without a word, other signals with their name."""
    global _interruption
    _interruption = KeyboardInterrupt(*([] if number == signal.SIGINT else [signal.Signals(number).name]))
    raise _interruption


def check_interrupted():
    """Who waits for long asks now and then: Python drops what a handler raises inside a callback
    of its own (a weak reference, a destructor)."""
    if _interruption:
        raise _interruption


def main(function):
    """Run an entry point; turn every known ending into a line and an exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if number != signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
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
