# SPDX-License-Identifier: GPL-2.0-only
"""scripts/in-tree on a real kernel's source: what its maintainers would do with the series.

The cases are steps: each needs those before it.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tap import HERE, SCRIPTS, case, check, equal

from hotmirror import cache, host, in_tree, kernel_build, linux

CONFIGS = HERE / "in-tree.d"
# lib.mk installs with rsync.
NEEDED = kernel_build.NEEDED | {"perl": "perl", "rsync": "rsync"}
ALLOWED = SCRIPTS / "lint.d" / "checkpatch-ignore"
COLLECTION = "tools/testing/selftests"
# Ours, and where it is in the tree.
PLACES = (("test_driver/", in_tree.MODULE + "/"), ("selftests/", in_tree.TESTS + "/"))
TREE = Path("/nonexistent")    # the clone
BUILD = Path("/nonexistent")   # O= of it


@contextmanager
def scratch_tree():
    """A clone of the tree, to spoil."""
    global TREE, BUILD
    host.install_missing(NEEDED)
    origin = os.environ.get("LINUX") or linux.repository("7.3")
    where = Path(os.environ.get("SCRATCH") or cache.root())
    with tempfile.TemporaryDirectory(prefix="in-tree-", dir=where) as path:
        TREE, BUILD = Path(path) / "linux", Path(path) / "build"
        subprocess.run(["git", "clone", "-q", "--shared", origin, TREE], check=True)
        for name, value in (("user.name", "A Tester"), ("user.email", "tester@example.org"), ("gc.auto", "0")):
            git("config", name, value)
        yield


def git(*words):
    return subprocess.run(["git", "-C", TREE, *words], check=True, capture_output=True, text=True).stdout


def make(*words, cwd=None):
    """What a make that succeeds prints on stdout and stderr."""
    done = subprocess.run(["make", "-s", f"-j{host.cpus()}", *map(str, words)], cwd=cwd or TREE, check=False, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    equal(0, done.returncode, f"make {' '.join(map(str, words))}; it ends:\n{done.stdout[-2000:]}")
    return done.stdout


def complaints(output):
    """Lines that a compiler, make or the linker would have somebody read."""
    return [line for line in output.splitlines() if re.search(r"warning|error|undefined|overrid", line, re.I)]


@case
def series_is_made():
    """Two commits on a branch, signed off, and the tree is as clean as before."""
    subprocess.run([SCRIPTS / "in-tree", TREE], check=True, capture_output=True)
    equal("hotmirror", git("symbolic-ref", "--short", "HEAD").strip(), "branch")
    equal("", git("status", "--porcelain", "--ignored"), "changes")
    subjects = git("log", "-2", "--format=%s").splitlines()
    equal(["selftests/hotmirror", "lib/test_hotmirror"], [line.partition(":")[0] for line in subjects], "subjects")
    equal(2, git("log", "-2", "--format=%(trailers:key=Signed-off-by)").count("A Tester <tester@example.org>"), "signed off")


def allowed():
    """[(glob in the tree, type)]"""
    lines = [line.split() for line in ALLOWED.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return [(place + glob.removeprefix(ours), kind) for glob, kind, *_ in lines
            for ours, place in PLACES if glob.startswith(ours)]


@case
def checkpatch_has_nothing_new():
    """--strict says of the patches what it is allowed to say of our files, and nothing else."""
    patches = TREE.parent / "patches"
    git("format-patch", "-q", "-2", "-o", str(patches))
    for patch in sorted(patches.iterdir()):
        said = subprocess.run(["perl", "scripts/checkpatch.pl", "--strict", "--show-types", "--showfile", "--terse",
                               "--no-summary", patch], cwd=TREE, check=False, capture_output=True, text=True).stdout
        found = re.findall(r"^(\S+?):\d+: (?:ERROR|WARNING|CHECK):(\w+): (.*)", said, re.M)
        check(found, f"checkpatch said nothing of {patch.name}")
        new = [hit for hit in found if not any(fnmatch.fnmatch(hit[0], glob) and hit[1] == kind for glob, kind in allowed())]
        equal([], new[:10], f"new complaints about {patch.name}")


def configure(value, config="usual", build=None):
    """A configuration of what the file names, and our module; value "" leaves that to Kconfig."""
    fragment = TREE.parent / "all.config"
    ours = f"CONFIG_TEST_HOTMIRROR={value}\n" if value else "# CONFIG_TEST_HOTMIRROR is not set\n"
    fragment.write_text((CONFIGS / config).read_text() + (ours if value else ""))
    make(f"O={build or BUILD}", f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig")
    check(ours in ((build or BUILD) / ".config").read_text(), f"the configuration has no {ours}")


@case
def module_builds_as_m():
    """At the first commit, with nothing of the second, W=1 has nothing to say."""
    git("checkout", "-q", "HEAD~1")
    configure("m")
    make(f"O={BUILD}", "prepare", "modules_prepare", "headers")
    output = make(f"O={BUILD}", "W=1", f"{in_tree.MODULE}/")
    equal([], complaints(output), "complaints")
    check((BUILD / in_tree.MODULE / "test_hotmirror.o").stat().st_size, "no test_hotmirror.o")
    git("checkout", "-q", "hotmirror")


@case
def module_builds_as_y():
    """As a part of the kernel, too; linking it is for whoever builds a kernel."""
    configure("y")
    equal([], complaints(make(f"O={BUILD}", "W=1", f"{in_tree.MODULE}/")), "complaints")
    objects = subprocess.run(["ar", "t", BUILD / in_tree.MODULE / "built-in.a"], check=True, capture_output=True, text=True)
    check("main.o" in objects.stdout and "core_stub.o" in objects.stdout, objects.stdout)


@case
def module_is_off():
    """It is not there by itself."""
    configure("")


@case
def module_needs_no_more_than_it_says():
    """Built in, with nothing that Kconfig does not demand: what is missing is what tests skip for."""
    build = TREE.parent / "least"
    configure("y", "least", build)
    make(f"O={build}", "prepare")
    equal([], complaints(make(f"O={build}", "W=1", f"{in_tree.MODULE}/")), "complaints")
    shutil.rmtree(build)


def programs():
    return re.findall(r"^TEST_GEN_PROGS [:+]= (\S+)", (TREE / in_tree.TESTS / "Makefile").read_text(), re.M)


def selftests(way, objects, *words):
    """all, install, gen_tar and clean in one way; objects: where the programs must be."""
    prefix = "kselftest-" if way == "top" else ""
    place = () if way == "top" else ("-C", COLLECTION)
    fast = ("USERCFLAGS=-O0", "TARGETS=hotmirror")
    output = make(*place, *words, *fast, f"{prefix}all")
    equal([], [line for line in complaints(output) if "liburing" not in line], "complaints")
    equal([], [name for name in programs() if not (objects / "hotmirror" / name).is_file()], "programs that are not built")
    make(*place, *words, *fast, f"{prefix}install")
    installed = objects / "kselftest_install"
    listed = (installed / "kselftest-list.txt").read_text().split()
    equal([f"hotmirror:{name}" for name in programs()], listed, "kselftest-list.txt")
    equal([], [name for name in (*programs(), "config", "settings") if not (installed / "hotmirror" / name).is_file()],
          "files that are not installed")
    make(*place, *words, *fast, f"{prefix}gen_tar")
    tar = installed / "kselftest-packages" / "kselftest.tar.gz"
    names = {name.removeprefix("./") for name in tarfile.open(tar).getnames()}
    check({"run_kselftest.sh", "hotmirror/hotmirror_race", "kselftest-list.txt"} <= names, f"the tarball has {len(names)} files")
    make(*place, *words, *fast, f"{prefix}clean")
    left = [path.name for path in (objects / "hotmirror").rglob("*") if path.is_file() and not is_source(path)]
    equal([], left, "what clean left")
    shutil.rmtree(installed)


def is_source(path):
    return path.is_relative_to(TREE / in_tree.TESTS) and \
        git("ls-files", str(path.relative_to(TREE))) != ""


@case
def from_the_top_into_an_absolute_directory():
    """make O=/abs kselftest-all, -install, -gen_tar, -clean"""
    selftests("top", BUILD / "kselftest", f"O={BUILD}")


@case
def from_the_top_into_a_relative_directory():
    """make O=../build ..."""
    selftests("top", BUILD / "kselftest", "O=../build")


@case
def from_the_selftests_into_an_absolute_directory():
    """make -C tools/testing/selftests O=/abs ..."""
    selftests("selftests", BUILD / "kselftest", f"O={BUILD}")


@case
def from_the_selftests_into_a_relative_directory():
    """make -C tools/testing/selftests O=../build, which is relative to the top"""
    selftests("selftests", BUILD / "kselftest", "O=../build")


@case
def from_the_top_in_place():
    """make kselftest-all ...; after it the source is as clean as git can tell."""
    make("allnoconfig")
    selftests("top", TREE / COLLECTION)
    equal("", git("status", "--porcelain", "--ignored", in_tree.TESTS), "what is left")


@case
def from_the_selftests_in_place():
    """make -C tools/testing/selftests ..."""
    selftests("selftests", TREE / COLLECTION)
    equal("", git("status", "--porcelain", "--ignored", in_tree.TESTS), "what is left")


# ---- as a part of the kernel ----

# Of each kind of memory, of unplug, of what a module that is built in cannot do, and of the parameters.
SOME = ("hotmirror_abi:* hotmirror_plug:* hotmirror_mirror:* hotmirror_dax:* hotmirror_migrate:* hotmirror_life:* "
        "hotmirror_drain:* hotmirror_sabotage:*")


def script(name, *words):
    """(stdout, exit status) of one of our scripts."""
    done = subprocess.run([SCRIPTS / name, *map(str, words)], check=False, text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)
    check(done.returncode in (0, 1), f"scripts/{name}: {done.stderr[-2000:]}")
    return done.stdout, done.returncode


@case
def kernel_with_it_built_in_passes():
    """It links, boots and has the device with its parameters; nothing is loaded."""
    make("mrproper")
    kernel, out = TREE.parent / "kernel", TREE.parent / "out"
    script("kbuild", TREE, "--set", "TEST_HOTMIRROR=y", "--out", kernel)
    equal([], list(kernel.rglob("test_hotmirror.ko")), "modules")
    script("kselftest", "--kernel", kernel, "--out", out, "--tests", SOME)
    summary = json.loads((out / "summary.json").read_text())
    equal(("pass", "built in"), (summary["verdict"], json.loads((out / "what-was-run.json").read_text())["module"]["file"]),
          f"verdict and module ({summary['cause']})")
    skipped = [test["detail"] for test in summary["tests"] if test["status"] == "skip"]
    equal([], [why for why in skipped if re.search("arena|sabotage|/dev/hotmirror", why)], "reasons to skip")
    log = (out / "kernel.log").read_text()
    check(re.search(r"test_hotmirror: abi \d+, arena of 576 MiB, sabotage allowed", log), "the line of its init is not in the log")


@case
def the_kernels_own_runner_passes():
    """What its install target leaves, run by its run_kselftest.sh in a guest of that kernel."""
    make("-C", COLLECTION, f"O={BUILD}", "TARGETS=hotmirror", "install")
    chosen = sorted({glob.partition(":")[0] for glob in SOME.split()})
    said, status = script("vm", "--kernel", TREE.parent / "kernel", "--module", "--payload",
                          BUILD / "kselftest" / "kselftest_install", "--", "kselftest_install/run_kselftest.sh",
                          *(word for name in chosen for word in ("-t", f"hotmirror:{name}")))
    passed = re.findall(r"^ok \d+ selftests: hotmirror: (\S+)$", said, re.M)
    equal((0, chosen), (status, sorted(passed)), f"status and programs that passed; it ends:\n{said[-2000:]}")
