# SPDX-License-Identifier: GPL-2.0-only
"""docs/mutation.md: its table, out of what scripts/mutate kept."""

import json
from dataclasses import dataclass, field

from . import build, mutants
from .report import write_json
from .say import Stop, warn

PAGE = build.TOP / "docs/mutation.md"
KNOWN = build.TOP / "docs/mutation.json"         # what the page is made of: {flavour: as mutants.json}
MARK = "<!-- scripts/mutate --table makes what follows. -->\n"
NOT_RUN = "not run"


@dataclass
class Run:
    """What is known of one flavour, of all shards."""
    flavour: str
    kernel: str = ""
    results: dict = field(default_factory=dict)


def _read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def known():
    """[Run] of the page."""
    return _joined((KNOWN, found) for found in _read(KNOWN).values()) if KNOWN.exists() else []


def load(paths):
    """[Run], one of each flavour, of files mutants.json or the directories (OUT) that hold them."""
    def each():
        for path in paths:
            path = path / mutants.KEPT if path.is_dir() else path
            try:
                yield path, _read(path)
            except (OSError, ValueError) as error:
                raise nothing_of_ours(path, error) from error
    return _joined(each())


def begin_with_known(flavour, out):
    """An OUT that has nothing yet gets what the page knows."""
    for run in known():
        if run.flavour == flavour and not (out / mutants.KEPT).exists():
            write_json(out / mutants.KEPT, mutants.kept(flavour, run.kernel, run.results))


def nothing_of_ours(path, error):
    return Stop(f"{path} is nothing that scripts/mutate kept: {error}", "name the --out of a run")


def _joined(founds):
    runs = {}
    for path, found in founds:
        try:
            run = runs.setdefault(found["flavour"], Run(found["flavour"], found["kernel"]))
            results = [mutants.Result(**one) for one in found["results"]]
        except (KeyError, TypeError) as error:
            raise nothing_of_ours(path, error) from error
        if run.kernel != found["kernel"]:
            raise Stop(f"{path} is of another kernel than the rest of the {run.flavour} runs",
                       "a table is of one kernel: run them again, or leave it out")
        run.results |= {one.name: one for one in results}
    return list(runs.values())


def score(results):
    """{"the suite": "50 of 54 killed, 93 %", ...} of those that were judged."""
    judged = [one for one in results if one.verdict in mutants.COUNTED]
    based = [one for one in judged if one.baseline in mutants.COUNTED]
    found = {"this suite": [one.verdict for one in judged], "upstream's hmm-tests": [one.baseline for one in based]}
    return {name: _share(verdicts) for name, verdicts in found.items() if verdicts}


def _share(verdicts):
    killed = verdicts.count(mutants.KILLED)
    return f"{killed} of {len(verdicts)} killed, {100 * killed / len(verdicts):.0f} %"


def _cell(result):
    """What a run made of a mutant: who killed it, or the verdict."""
    if not result:
        return NOT_RUN
    if result.verdict == mutants.KILLED:
        return f"`{result.by}`" if ":" in result.by and " " not in result.by else result.by
    return f"**{result.verdict}**" if result.verdict == mutants.SURVIVED else result.verdict


def _row(cells):
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def section(runs, known):
    """The scores, then a row a mutant, by file; two columns a run that had the baseline."""
    lines = []
    for run in runs:
        unknown = sorted(set(run.results) - {one.name for one in known})
        if unknown:
            warn(f"left out, there is no such mutant any more: {', '.join(unknown)}")
        counted = [run.results[one.name] for one in known if one.name in run.results]
        words = [f"{name} {said}" for name, said in score(counted).items()]
        times = [one.seconds for one in counted if one.verdict in mutants.COUNTED]
        words += [f"{sum(times) / len(times):.0f} s a mutant on average, build and suite"] if times else []
        newest = [one.judge for one in run.results.values()][-1:]
        earlier = sum(one.judge not in newest for one in counted if one.verdict in mutants.COUNTED)
        lines.append(f"{run.flavour} kernel {run.kernel}: {'; '.join(words) or NOT_RUN}."
                     + (f" Tests were added after {earlier} of the verdicts." if earlier else ""))
    heads, columns = [], []
    for run in runs or [Run("fast", "")]:
        heads.append(f"killed by ({run.flavour})")
        columns.append(lambda name, run=run: _cell(run.results.get(name)))
        if any(one.baseline for one in run.results.values()):
            heads.append(f"hmm-tests ({run.flavour})")
            columns.append(lambda name, run=run: run.results[name].baseline if name in run.results else NOT_RUN)
    table = [_row(["mutant", "file", "what goes wrong", *heads]), "|---" * (3 + len(heads)) + "|"]
    for one in sorted(known, key=lambda one: (one.path, one.name)):
        table.append(_row([one.name, one.path, one.fault, *(column(one.name) for column in columns)]))
    return "\n".join([*lines, *([""] if lines else []), *table]) + "\n"


def write(runs):
    """Bring the page and what it is made of up to date."""
    text = PAGE.read_text(encoding="utf-8")
    if MARK not in text:
        raise Stop(f"{PAGE} has no line {MARK.strip()}", "the table follows it")
    write_json(KNOWN, {run.flavour: mutants.kept(run.flavour, run.kernel, run.results) for run in runs})
    PAGE.write_text(text.partition(MARK)[0] + MARK + "\n" + section(runs, mutants.known()), encoding="utf-8")
