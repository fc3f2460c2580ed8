# SPDX-License-Identifier: GPL-2.0-only
"""Bad input and bad machines: one clear line on stderr, status 2, nothing half-made left."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tap import HERE, SCRIPTS, Skip, case, check, equal

from hotmirror import host

ENDINGS = ["--collection", str(HERE / "endings"), "--driver", str(HERE / "provoke"),
           "--parameters", ""]


def kselftest(*options, environment=None, prefix=(), cwd=None):
    """Run it without make's variables; OUT is a directory that goes away, unless given."""
    keep = {key: value for key, value in os.environ.items()
            if key not in ("KERNEL", "TESTS", "ACCEL", "CPUS", "MEM", "RACES", "REPEAT", "SHARD", "I_KNOW")}
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as out:
        os.chmod(out, 0o777)
        return subprocess.run([*prefix, str(SCRIPTS / "kselftest"), *options], check=False, text=True,
                              capture_output=True, stdin=subprocess.DEVNULL, cwd=cwd,
                              env={**keep, "OUT": out + "/out", **(environment or {})})


def refused(run, *words):
    """Status 2, nothing on stdout, exactly one error line, and it names the thing and a remedy."""
    errors = [line for line in run.stderr.splitlines() if line.startswith("hotmirror: error:")]
    equal(2, run.returncode, f"exit status (stderr: {run.stderr!r})")
    equal("", run.stdout, "stdout")
    equal(1, len(errors), f"error lines in {run.stderr!r}")
    check("Traceback" not in run.stderr, run.stderr)
    for word in words:
        check(re.search(word, errors[0]), f"{errors[0]!r} does not say {word!r}")


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="hotmirror-test-") as path:
        yield Path(path)


def left_in(cache):
    """What a failed run left in a cache, locks aside."""
    base = cache / "hotmirror"
    return [p.name for p in base.iterdir() if not p.name.startswith(".lock-")] if base.exists() else []


GOOD_CONFIG = "".join(f"CONFIG_{name}=y\n" for name in (
    "HMM_MIRROR", "ZONE_DEVICE", "MODULES", "BLK_DEV_INITRD", "TMPFS", "DEVTMPFS",
    "VIRTIO_CONSOLE", "VIRTIO_PCI", "INOTIFY_USER"))


def kernel_tree(path, config=GOOD_CONFIG, release="7.3.0-test", image=True, symvers=True):
    """The files of a built kernel tree that are looked at before anything is built."""
    if config is not None:
        (path / ".config").write_text(config)
    if release:
        (path / "include/config").mkdir(parents=True)
        (path / "include/config/kernel.release").write_text(release + "\n")
    if image:
        (path / "arch/x86/boot").mkdir(parents=True)
        (path / "arch/x86/boot/bzImage").write_bytes(b"not a kernel")
    if symvers:
        (path / "Module.symvers").write_text("")
    return str(path)


@case
def kernel_that_does_not_exist():
    refused(kselftest("--kernel", "/no/such/tree"), "/no/such/tree", "trixie-backports, trixie")


@case
def kernel_that_is_a_file():
    refused(kselftest("--kernel", "/etc/passwd"), "/etc/passwd is not a directory", "built kernel tree")


@case
def kernel_tree_without_a_configuration():
    with scratch() as path:
        refused(kselftest("--kernel", str(path)), r"no \.config")


@case
def kernel_tree_that_is_not_built():
    with scratch() as path:
        refused(kselftest("--kernel", kernel_tree(path, release=None)), "is not built", "build it")


@case
def kernel_tree_without_an_image():
    with scratch() as path:
        refused(kselftest("--kernel", kernel_tree(path, image=False)), "no arch/x86/boot/bzImage")


@case
def kernel_tree_without_module_symvers():
    with scratch() as path:
        refused(kselftest("--kernel", kernel_tree(path, symvers=False)), r"no Module\.symvers")


@case
def kernel_without_hmm_mirror():
    with scratch() as path:
        config = GOOD_CONFIG.replace("CONFIG_HMM_MIRROR=y", "# CONFIG_HMM_MIRROR is not set")
        refused(kselftest("--kernel", kernel_tree(path, config)), "lacks CONFIG_HMM_MIRROR", "enable")


@case
def kernel_without_zone_device():
    with scratch() as path:
        config = GOOD_CONFIG.replace("CONFIG_ZONE_DEVICE=y\n", "")
        refused(kselftest("--kernel", kernel_tree(path, config)), "lacks CONFIG_ZONE_DEVICE", "enable")


@case
def driver_beside_one_that_is_built_in():
    """The kernel's own would be tested, not the one that was named."""
    with scratch() as path:
        for name in ("kernel", "driver"):
            (path / name).mkdir()
        (path / "driver/Kbuild").write_text("obj-m := test_hotmirror.o\n")
        kernel = kernel_tree(path / "kernel", GOOD_CONFIG + "CONFIG_TEST_HOTMIRROR=y\n")
        refused(kselftest("--collection", str(HERE / "endings"), "--driver", str(path / "driver"), "--kernel", kernel),
                "the kernel has test_hotmirror built in", "CONFIG_TEST_HOTMIRROR=m")


@case
def kernel_of_a_version_that_is_not_packaged():
    refused(kselftest("--kernel", "6.2"), "KERNEL=6.2: .* no kernel of that name", "trixie, bookworm")


@case
def kernel_from_makes_variable():
    refused(kselftest(environment={"KERNEL": "/no/such/tree"}), "/no/such/tree")


@case
def running_without_consent():
    """Either there are no headers here, or consent is missing: nothing is loaded in both cases."""
    before = loaded_modules()
    refused(kselftest("--kernel", "running"), "KERNEL=running", "linux-headers|I_KNOW=1")
    equal(before, loaded_modules(), "loaded modules")


def loaded_modules():
    path = Path("/proc/modules")
    return sorted(line.split()[0] for line in path.read_text().splitlines()) if path.exists() else []


@case
def glob_that_matches_nothing():
    with scratch() as out:
        refused(kselftest(*ENDINGS, "--tests", "ending:global.first_passes no_such:*", "--out", str(out / "o")),
                r"TESTS: no_such:\* matches no test", "--list")
        summary = json.loads((out / "o/summary.json").read_text())
    equal("unknown", summary["verdict"], "verdict")
    check("matches no test" in summary["cause"], f"cause: {summary['cause']!r}")


@case
def variables_out_of_range():
    for options, words in ((["--accel", "warp"], "ACCEL=warp"), (["--cpus", "none"], "CPUS=none"),
                           (["--cpus", "0"], "CPUS=0"), (["--mem", "lots"], "MEM=lots"),
                           (["--mem", "1G"], "MEM=1G is too small.*at least")):
        refused(kselftest(*options), words)


@case
def unknown_option():
    refused(kselftest("--frobnicate"), "frobnicate", "--help")


@case
def collection_that_is_none():
    with scratch() as path:
        refused(kselftest("--collection", str(path)), "not a kselftest collection")


@case
def tests_that_do_not_compile():
    with scratch() as path:
        (path / "Makefile").write_text("TEST_GEN_PROGS := bad\ninclude $(KSFT)/lib.mk\n")
        (path / "bad.c").write_text("int main(void) { return nonsense; }\n")
        run = kselftest("--collection", str(path))
        refused(run, "building the tests of")
        check("nonsense" in run.stderr, "the compiler's words are lost")


@case
def module_that_does_not_compile():
    with scratch() as path:
        (path / "Kbuild").write_text("obj-m := bad.o\n")
        (path / "Makefile").write_text((HERE / "provoke/Makefile").read_text())
        (path / "bad.c").write_text("#error provoked\n")
        run = kselftest("--collection", str(HERE / "endings"), "--driver", str(path))
        refused(run, r"building bad.ko for .* failed \(status 2\): \S*bad\.c:1:2: error: #error provoked")


@case
def out_that_is_not_ours():
    with scratch() as path:
        (path / "precious").write_text("data")
        refused(kselftest(*ENDINGS, "--out", str(path)), "holds files that are not ours")
        equal("data", (path / "precious").read_text(), "the file in OUT")
        refused(kselftest(*ENDINGS, "--out", str(path / "precious")), "is not a directory")


@case
def broken_allow_file():
    with scratch() as path:
        for name in ("Makefile", "ending.c", "ending_short.sh", "ending_status.sh", "ending_left.sh"):
            (path / name).write_bytes((HERE / "endings" / name).read_bytes())
            (path / name).chmod(0o755)
        (path / "told.h").write_bytes((HERE / "told.h").read_bytes())
        (path / "kmsg-allowed").write_text("everything is fine\n")
        refused(kselftest("--collection", str(path), *ENDINGS[2:], "--out", str(path / "o")),
                r"kmsg-allowed:1: not 'test glob")


def need_root():
    if os.geteuid():
        raise Skip("only root can take the network or the space away")


@case
def no_network_and_an_empty_cache():
    need_root()
    with scratch() as path:
        run = kselftest(environment={"XDG_CACHE_HOME": str(path)}, prefix=["unshare", "--net"])
        refused(run, "building the guest's Debian tree failed", "check the network")
        equal([], left_in(path), "left in the cache")


@case
def no_space_for_the_cache():
    need_root()
    with scratch() as path:
        mounted = ["unshare", "--mount", "sh", "-ec",
                   f'mount -t tmpfs -o size=64m tmpfs {path}; status=0; "$@" || status=$?; '
                   f'ls -A {path}/hotmirror >&2; exit $status', "sh"]
        run = kselftest(environment={"XDG_CACHE_HOME": str(path)}, prefix=mounted)
        refused(run, r"needs 5 GB, .* free", "XDG_CACHE_HOME")
        check(".new-" not in run.stderr, f"half-made: {run.stderr!r}")


@case
def space_that_ends_half_way():
    """The build of the tests fills the cache: what it made so far is removed."""
    need_root()
    from hotmirror import cache
    with scratch() as path:
        script = (f'mount -t tmpfs -o size=2m tmpfs {path}; mkdir {path}/hotmirror; '
                  f'for entry in {cache.root()}/*; do case ${{entry##*/}} in tests-*) ;; '
                  f'*) ln -s "$entry" {path}/hotmirror/;; esac; done; head -c 2040k /dev/zero >{path}/filler; '
                  f'status=0; "$@" || status=$?; ls -A {path}/hotmirror >&2; exit $status')
        run = kselftest(*ENDINGS, environment={"XDG_CACHE_HOME": str(path)},
                        prefix=["unshare", "--mount", "sh", "-ec", script, "sh"])
        refused(run, "No space left|no space left|building the tests", "free some")
        check(".new-" not in run.stderr, f"half-made: {run.stderr!r}")


@case
def cache_without_permission():
    need_root()
    with scratch() as path:
        path.chmod(0o755)
        run = kselftest(environment={"XDG_CACHE_HOME": str(path)},
                        prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        if "can't open file" in run.stderr or "Permission denied: '/" in run.stderr:
            raise Skip("this checkout cannot be read by another user")
        refused(run, "no permission for creating the cache", "XDG_CACHE_HOME")


@case
def no_root_and_no_sudo():
    need_root()
    with scratch() as path:
        (path / "cache").mkdir()
        (path / "bin").mkdir()
        path.chmod(0o755)
        os.chown(path / "cache", 65534, 65534)
        for program in ("python3", "env", *host.NEEDED):
            link(path / "bin", program)
        run = kselftest(environment={"XDG_CACHE_HOME": str(path / "cache"), "PATH": str(path / "bin")},
                        prefix=["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
        if "can't open file" in run.stderr or "Permission denied: '/" in run.stderr:
            raise Skip("this checkout cannot be read by another user")
        refused(run, "needs root, and there is no sudo", "run it as root")
        equal([], left_in(path / "cache"), "left in the cache")


def link(directory, program):
    """Make one program of the system's findable, and no other."""
    found = shutil.which(program, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if not found and program in ("python3", "env"):
        raise Skip(f"no {program} of the system's own")
    if found:
        (directory / program).symlink_to(found)


@case
def missing_package_and_no_apt():
    with scratch() as path:
        (path / "bin").mkdir()
        for program in ("python3", "env"):
            link(path / "bin", program)
        run = kselftest(environment={"XDG_CACHE_HOME": str(path), "PATH": str(path / "bin")})
        refused(run, "installing .*mmdebstrap.*no apt-get", "package manager")
        equal([], left_in(path), "left in the cache")
