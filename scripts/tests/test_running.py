# SPDX-License-Identifier: GPL-2.0-only
"""KERNEL=running, on a machine that may crash: a guest that runs scripts/kselftest itself."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tap import SCRIPTS, case, check, equal

from hotmirror import build, kernels

# Each step prints its status; what the runner says goes to a file that is shown at the end.
STEPS = """
ln -s /payload/linux /usr/src/linux
try() {
    name=$1; shift
    "$@" --kernel running --collection scripts/tests/endings --driver scripts/tests/provoke \\
        --out /tmp/$name >/tmp/$name.out 2>/tmp/$name.err </dev/null
    echo "$name: status $?, $(tail -n 1 /tmp/$name.out)"
    sed "s/^/$name: /" /tmp/$name.err
}
try unasked scripts/kselftest --tests ending:global.first_passes
try sabotage env I_KNOW=1 scripts/kselftest --parameters sabotage=1
try good env I_KNOW=1 scripts/kselftest --tests ending:global.first_passes
try bad env I_KNOW=1 scripts/kselftest --tests 'ending:global.first_passes ending:global.fails ending_left:*'
try warning env I_KNOW=1 scripts/kselftest --tests 'ending:global.warns'
grep -c hotmirror /proc/modules
"""


def guest_says():
    """All steps in one boot; stdout of the guest."""
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as scratch:
        framework = Path(scratch) / "linux/tools/testing/selftests"
        shutil.copytree(kernels.newest().source / "tools/testing/selftests", framework,
                        ignore=shutil.ignore_patterns("mm"))
        (Path(scratch) / "steps").write_text(STEPS)
        payload = [SCRIPTS, build.DRIVER, framework.parents[2], Path(scratch) / "steps"]
        done = subprocess.run([str(SCRIPTS / "vm"), "--timeout", "900",
                               *(word for path in payload for word in ("--payload", str(path))),
                               "--", "sh", "steps"], check=False, capture_output=True, text=True)
    equal(0, done.returncode and not done.stdout, f"the guest: {done.stderr}")
    return done.stdout


@case
def asks_first_then_judges_as_in_a_guest():
    """No consent and sabotage are refused; a pass, a failure and a warning are told apart."""
    said = guest_says()

    def expect(pattern):
        check(re.search(pattern, said, re.M), f"no {pattern!r} in:\n{said}")

    expect(r"^unasked: status 2, $")
    expect(r"^unasked: .*error: KERNEL=running needs your consent.*I_KNOW=1")
    expect(r"^sabotage: status 2, $")
    expect(r"^sabotage: .*sabotage on a real machine is refused")
    expect(r"^good: status 0, 1 passed, 0 failed, 0 skipped$")
    expect(r"^good: .*memmap=")
    expect(r"^bad: status 1, 2 passed, 1 failed, 0 skipped$")
    expect(r"^bad: .*FAIL: ending:global\.fails: .*Expected 1")
    expect(r"^warning: status 1, 0 passed, 1 failed, 0 skipped$")
    expect(r"^warning: .*FAIL: ending:global\.warns: kernel: WARNING")
    equal("0", said.splitlines()[-1], "modules that are still loaded")
