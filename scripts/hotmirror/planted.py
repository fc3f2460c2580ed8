# SPDX-License-Identifier: GPL-2.0-only
"""A git history with one planted regression, to prove scripts/bisect on.

42 commits over the packaged source, most of them harmless edits of a file each. One plants
the fault. One shortly before it does not compile, one shortly after does not boot; each is
mended by the next. The first is where git bisect begins.
"""

import subprocess
from dataclasses import dataclass

from . import git, linux
from .say import Stop, say

VERSION = "7.3"
COMMITS, UNBUILDABLE, PLANTED, UNBOOTABLE = 42, 21, 23, 25
# Edited harmlessly, in this order; nothing that much else includes.
FILES = """
    mm/hmm.c kernel/fork.c mm/memory.c lib/xarray.c mm/rmap.c fs/eventpoll.c mm/gup.c kernel/exit.c
    mm/mprotect.c fs/exec.c mm/mremap.c block/bio.c mm/ksm.c kernel/signal.c mm/folio.c lib/maple_tree.c
    mm/vmscan.c kernel/futex/waitwake.c mm/huge_memory.c fs/pipe.c mm/khugepaged.c mm/oom_kill.c
    mm/mmap.c kernel/kthread.c mm/madvise.c lib/rbtree.c mm/mlock.c fs/read_write.c mm/util.c
    kernel/params.c mm/truncate.c drivers/dax/super.c mm/shmem.c drivers/dax/bus.c mm/compaction.c
    fs/namei.c mm/mempolicy.c kernel/panic.c mm/readahead.c lib/vsprintf.c mm/filemap.c kernel/module/main.c
""".split()


@dataclass
class Fault:
    what: str
    path: str
    old: str
    new: str
    tests: str                 # what shows it
    repeat: int = 20
    options: tuple = ()        # of scripts/bisect start, beside these


FAULTS = {
    "walk": Fault("HMM goes on with its walk after a fault that gave up mmap_lock, without asking whether the "
                  "range was invalidated meanwhile", "mm/hmm.c",
                  "\t\t\tif (ret == HMM_FAULT_UNLOCKED) {\n"
                  "\t\t\t\tif (fatal_signal_pending(current))\n"
                  "\t\t\t\t\treturn -EINTR;\n"
                  "\t\t\t\treturn -EBUSY;\n"
                  "\t\t\t}\n",
                  "\t\t\tif (ret == HMM_FAULT_UNLOCKED) {\n"
                  "\t\t\t\tif (fatal_signal_pending(current))\n"
                  "\t\t\t\t\treturn -EINTR;\n"
                  "\t\t\t\tret = -EBUSY;\n"
                  "\t\t\t}\n",
                  "hotmirror_hmm_asleep:*", repeat=1),
    "migrate": Fault("migrate_vma_collect() takes pages out of the page table and tells no notifier",
                     "mm/migrate_device.c",
                     "\tmmu_notifier_invalidate_range_start(&range);\n\n"
                     "\twalk_page_range_vma(migrate->vma, migrate->start, migrate->end,\n"
                     "\t\t\t&migrate_vma_walk_ops, migrate);\n\n"
                     "\tmmu_notifier_invalidate_range_end(&range);\n",
                     "\twalk_page_range_vma(migrate->vma, migrate->start, migrate->end,\n"
                     "\t\t\t&migrate_vma_walk_ops, migrate);\n\n",
                     "race.to_dev+read2@anon:migrate.begin"),
    "drain": Fault("memunmap_pages() does not wait for the last reference", "mm/memremap.c",
                   "\twait_for_completion(&pgmap->done);\n\n", "", "hotmirror_drain:*", repeat=1),
    # Nothing fails by it: only a latency tells.
    "slow": Fault("an invalidation waits for a grace period of RCU before it calls the mirrors back", "mm/mmu_notifier.c",
                  "\tif (subscriptions->has_itree) {\n"
                  "\t\tret = mn_itree_invalidate(subscriptions, range);\n",
                  "\tif (subscriptions->has_itree) {\n"
                  "\t\tif (mmu_notifier_range_blockable(range))\n"
                  "\t\t\tsynchronize_rcu_expedited();\n"
                  "\t\tret = mn_itree_invalidate(subscriptions, range);\n",
                  "notifier", options=("--metric", "timeline:invalidate:p50", "--slower", "5", "--rounds", "1", "--seconds", "5")),
}
# Compiles nowhere; panics before there is a console to speak of.
BROKEN = ("mm/mincore.c", "\nint hotmirror_does_not_compile = ;\n")
DEAD = ("mm/page_counter.c",
        "\nstatic int __init hotmirror_does_not_boot(void)\n{\n\tpanic(\"this commit does not boot\");\n}\n"
        "early_initcall(hotmirror_does_not_boot);\n")


def _read(repository, path):
    return subprocess.run(["git", "-C", str(repository), "show", f"{linux.BASE}:{path}"], check=True,
                          capture_output=True).stdout.decode()


class History:
    """A stream for git fast-import: nothing is checked out for it."""

    def __init__(self, repository, branch):
        self.repository, self.branch, self.texts, self.stream = repository, branch, {}, []

    def text(self, path):
        if path not in self.texts:
            self.texts[path] = _read(self.repository, path)
        return self.texts[path]

    def commit(self, number, subject, path, text):
        self.texts[path] = text
        data, words = text.encode(), f"{subject}\n".encode()
        when = 1565078400 + number * 3600
        head = f"commit refs/heads/{self.branch}\ncommitter hotmirror <hotmirror@localhost> {when} +0000\n"
        start = f"from refs/tags/{linux.BASE}^{{commit}}\n" if number == 1 else ""
        self.stream += [head.encode(), b"data %d\n" % len(words), words, start.encode(),
                        b"M 100644 inline %s\n" % path.encode(), b"data %d\n" % len(data), data, b"\n"]

    def write(self):
        done = subprocess.run(["git", "-C", str(self.repository), "fast-import", "--quiet", "--force"],
                              input=b"".join(self.stream), check=False, capture_output=True)
        if done.returncode:
            raise Stop(f"git fast-import: {done.stderr.decode(errors='replace').strip().splitlines()[0]}")


def _edit(history, number, fault):
    """(subject, path, new text) of the commit with that number."""
    mended = {UNBUILDABLE + 1: BROKEN, UNBOOTABLE + 1: DEAD}
    if number == PLANTED:
        text = history.text(fault.path)
        if text.count(fault.old) != 1:
            raise Stop(f"{fault.path} of {VERSION} has no place for the planted fault", "see scripts/hotmirror/planted.py")
        return "mm: simplify", fault.path, text.replace(fault.old, fault.new)
    if number in (UNBUILDABLE, UNBOOTABLE):
        path, more = BROKEN if number == UNBUILDABLE else DEAD
        return f"{path}: say more", path, history.text(path) + more
    if number in mended:
        path, more = mended[number]
        return f"{path}: say less", path, history.text(path).removesuffix(more)
    path = FILES[number % len(FILES)]
    return f"{path}: a comment", path, history.text(path) + f"\n/* history: commit {number} */\n"


def neighbours(repository, branch):
    """{commit that cannot be judged: what must be said of it}."""
    return {_commit(repository, branch, number): said
            for number, said in ((UNBUILDABLE, "does not build"), (UNBOOTABLE, "did not boot"))}


def _commit(repository, branch, number):
    return git.ask(repository, "rev-parse", f"{branch}~{COMMITS - number}")


def make(name):
    """(repository, branch, hash of the planted commit)."""
    fault, repository, branch = FAULTS[name], linux.repository(VERSION), f"planted-{name}"
    history = History(repository, branch)
    for number in range(1, COMMITS + 1):
        history.commit(number, *_edit(history, number, fault))
    history.write()
    found = _commit(repository, branch, PLANTED)
    say(f"{branch}: {COMMITS} commits, {found[:12]} is the planted one: {fault.what}")
    return repository, branch, found
