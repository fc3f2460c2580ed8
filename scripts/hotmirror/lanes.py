# SPDX-License-Identifier: GPL-2.0-only
"""Commands that run side by side: who said what, and an end for all of them."""

import contextlib
import signal
import subprocess
import threading
from concurrent.futures import wait

from . import host
from .say import label

NEED_MB = 6 << 10              # two guests, of which each touches 1 to 2 GiB, and what builds for them
END_SECONDS = 15               # a guest is ended within ten
LOOK_SECONDS = 1
INTERRUPTED = (130, -signal.SIGINT)

_running, _ended, _lock = set(), threading.Event(), threading.Lock()


def default_jobs():
    return 2 if host.cpus() > 1 and host.available_mb() >= NEED_MB else 1


def run(command, name, output=None, take=None, cwd=None):
    """A command to its end, its status. Its stdout goes to a file, or each line to take();
    each line of its stderr to ours, with the name."""
    with _lock:
        if _ended.is_set():
            return 130
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE if take else output,
                                   stderr=subprocess.PIPE, text=True, errors="replace")
        _running.add(process)
    with process:
        labels = threading.Thread(target=lambda: [label(name, line) for line in process.stderr])
        labels.start()
        for line in process.stdout if take else ():
            take(line)
        labels.join()
    with _lock:
        _running.discard(process)
        if process.returncode in INTERRUPTED:       # it may have been told before we are
            _ended.set()
    return process.returncode


def result(future):
    """What came of it. A signal that comes just before a wait begins does not end the wait:
    Python has noted it, and acts when it runs again, which therefore it does now and then."""
    while not wait([future], LOOK_SECONDS).done:
        pass
    return future.result()


def end_all(asked=False):
    """Nothing new begins, and what runs is asked to end, then made to."""
    with _lock:
        _ended.set()
        running = list(_running)
    for process in running if not asked else ():
        process.terminate()
    for process in running:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


@contextlib.contextmanager
def ended_with(pool):
    """An interruption ends what runs in the pool, too."""
    try:
        yield
    except BaseException as error:
        # Ctrl-C reaches all of them; twice would disturb them at putting their files in order.
        end_all(asked=isinstance(error, KeyboardInterrupt) and not error.args)
        pool.shutdown(cancel_futures=True)
        raise
