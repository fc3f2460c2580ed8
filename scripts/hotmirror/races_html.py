# SPDX-License-Identifier: GPL-2.0-only
"""OUT/races.html: a heat map of pairs and memories, rates, failures. No script, no other file."""

from html import escape

from . import races

STEPS = 5                      # shades of how many schedules were reachable
STYLE = """
:root { color-scheme: light dark; --page: #fcfcfb; --ink: #1b1f24; --soft: #5d6670; --line: #d9dde1; --none: #eceef0;
  --s1: #d8e9f3; --s2: #b3d3e8; --s3: #86b8d9; --s4: #5399c4; --s5: #2877a8; --deep: #ffffff;
  --bad: #b3261e; --bad-ink: #ffffff; --known: #f0b429; --known-ink: #2b2000; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e4e7ea; --soft: #98a2ac; --line: #333a41; --none: #22272b;
  --s1: #16303f; --s2: #1c455c; --s3: #235d7d; --s4: #2d7ba5; --s5: #4aa3d1; --deep: #06131b;
  --bad: #e5534b; --bad-ink: #1c0503; --known: #c98f12; --known-ink: #1c1300; } }
body { background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 110rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .55rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); } th:first-child, .words td, .waits td:last-child, .waits th:last-child { text-align: left; }
.wide { overflow: auto; max-height: 85vh; border: 1px solid var(--line); }
.map th { position: sticky; top: 0; background: var(--page); z-index: 1; } .map th:first-child { left: 0; position: sticky; white-space: nowrap; }
.map thead th:first-child { z-index: 2; } .map td { min-width: 3.2rem; text-align: center; border: 1px solid var(--page); }
.map tr.first td, .map tr.first th { border-top: 2px solid var(--line); }
.absent { color: var(--line); } .never { background: var(--none); color: var(--soft); }
.s1 { background: var(--s1); } .s2 { background: var(--s2); } .s3 { background: var(--s3); }
.s4 { background: var(--s4); color: var(--deep); } .s5 { background: var(--s5); color: var(--deep); }
.known { background: var(--known); color: var(--known-ink); } .bad { background: var(--bad); color: var(--bad-ink); font-weight: 700; }
.legend span { display: inline-block; padding: .1rem .6rem; margin-right: .4rem; }
code { font: 13px/1.4 ui-monospace, monospace; } .soft { color: var(--soft); }
"""


def _rows(rows, first="td"):
    return "".join("<tr>" + "".join(f"<{first if not i else 'td'}>{escape(str(value))}</{first if not i else 'td'}>"
                                    for i, value in enumerate(row)) + "</tr>\n" for row in rows)


def _table(heads, rows, kind=""):
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{_rows(rows)}</tbody></table>\n'


def _shade(cell, most):
    """Class and text of a cell of the map."""
    if cell.failed:
        return "bad", f"✗ {cell.failed}"
    if cell.xfail:
        return "known", f"x {cell.xfail}"
    if not cell.reachable:
        return "never", "–"
    return f"s{min(STEPS, 1 + STEPS * (cell.reachable - 1) // max(1, most))}", str(cell.reachable)


def _tip(pair, memory, cell):
    numbers = ", ".join(f"{getattr(cell, name)} {name}" for name in races.COLUMNS)
    why = "".join(f"\n{count} did not: {reason}" for reason, count in cell.why.most_common(3))
    return escape(f"{pair}@{memory}\n{numbers}{why}", quote=True)


def _cell(pair, memory, cell, most):
    if not cell:
        return '<td class="absent">·</td>'
    kind, text = _shade(cell, most)
    return f'<td class="{kind}" title="{_tip(pair, memory, cell)}">{text}</td>'


def heat_map(run):
    """Rows are pairs, columns are memories."""
    cells = races.grouped(run.results, lambda result: (result.pair, result.memory))
    pairs = list(dict.fromkeys(pair for pair, _ in cells))
    memories = list(dict.fromkeys(memory for _, memory in cells))
    most = max(cell.reachable for cell in cells.values())
    head = "".join(f"<th>{escape(memory)}</th>" for memory in memories)
    rows, last = [], None
    for pair in pairs:
        side, last, before = pair.partition("+")[0], pair.partition("+")[0], last
        rows.append(f'<tr{"" if side == before else " class=first"}><th>{escape(pair)}</th>' + "".join(
            _cell(pair, memory, cells.get((pair, memory)), most) for memory in memories) + "</tr>\n")
    return (f'<div class="wide"><table class="map"><thead><tr><th>pair</th>{head}</tr></thead>'
            f'<tbody>\n{"".join(rows)}</tbody></table></div>\n')


LEGEND = ('<p class="legend"><span class="s1">few</span><span class="s3">some</span><span class="s5">many reachable</span>'
          '<span class="known">x expected failure (kernel bug)</span><span class="bad">✗ failed</span>'
          '<span class="never">– none reachable, or skipped</span><span class="absent">· no such schedule in this run</span>'
          'A number is how many schedules were reachable; point at a cell for all figures and reasons.</p>\n')


def _failures(run):
    failed = run.failures()
    if not failed:
        return "<p>None.</p>\n"
    return "<ul>\n" + "".join(
        f"<li><code>{escape(result.name)}</code>: {escape(result.detail or result.status)}<br>"
        f"<code>{escape(run.replay(result))}</code></li>\n" for result in failed) + "</ul>\n"


def page(run):
    everything = races.total(run)
    sums = ", ".join(f"{getattr(everything, name)} {name}" for name in races.COLUMNS)
    why = [[count, reason or "no reason given"] for reason, count in everything.why.most_common()]
    return "".join((
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>hotmirror: schedules</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n',
        f"<h1>Schedules on {escape(run.facts['kernel'])}</h1>\n<p>{escape(sums)}.</p>\n",
        f'<table class="words"><tbody>{_rows(run.facts.items(), "th")}</tbody></table>\n',
        f"<h2>Failures</h2>\n{_failures(run)}",
        f"<h2>Pairs and memories</h2>\n{LEGEND}{heat_map(run)}",
        "<h2>Rates</h2>\n<p class=soft>Reachable schedules, and the time from result to result in a guest.</p>\n",
        _table(races.RATE_COLUMNS, races.by_class(run)),
        "<h2>What B was blocked at</h2>\n",
        _table(races.WAIT_COLUMNS, races.by_wait(run), "waits") if everything.blocked else "<p>Nothing.</p>\n",
        "<h2>Gates</h2>\n", _table(["gate", *races.COLUMNS], races.by_gate(run)),
        "<h2>Why schedules did not run</h2>\n",
        _table(["schedules", "reason"], why, "words") if why else "<p>All ran.</p>\n",
        "</body></html>\n"))
