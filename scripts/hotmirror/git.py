# SPDX-License-Identifier: GPL-2.0-only
"""Git trees of kernels: ask them, and refuse those with changes."""

import subprocess

from .say import Stop


def ask(tree, *command, check=True):
    """What git prints, without the white space around it; what it complains of is a Stop, or
    "" without @check."""
    done = subprocess.run(["git", "-C", str(tree), *command], check=False, capture_output=True, text=True,
                          errors="replace")
    if done.returncode and check:
        raise Stop(f"git {command[0]}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
    return done.stdout.strip() if not done.returncode else ""


def need_clean(tree, remedy):
    changed = ask(tree, "status", "--porcelain", "--untracked-files=no")
    if changed:
        raise Stop(f"{tree} has changes: {changed.splitlines()[0].strip()}", remedy)
