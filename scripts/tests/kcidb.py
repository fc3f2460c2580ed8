# SPDX-License-Identifier: GPL-2.0-only
"""What is wrong with a KCIDB report, judged by results/kcidb-5.3.json."""

import json
import re

from tap import HERE

DESCRIBED = json.loads((HERE / "results" / "kcidb-5.3.json").read_text(encoding="utf-8"))
IS = {"string": str, "number": (int, float), "integer": int, "boolean": bool, "object": dict}
# {list of a report: what its objects refer to, in which list}
REFERS = {"builds": ("checkout_id", "checkouts"), "tests": ("build_id", "builds")}


def _kind(where, value, kind):
    is_flag = isinstance(value, bool)
    if not isinstance(value, IS[kind["is"]]) or is_flag != (kind["is"] == "boolean"):
        return [f"{where} is {value!r}, no {kind['is']}"]
    bad = []
    if "like" in kind and not re.fullmatch(kind["like"], value, re.S):
        bad.append(f"{where} is {value[:80]!r}, not like {kind['like']}")
    if "longest" in kind and len(value) > kind["longest"]:
        bad.append(f"{where} has {len(value)} characters, not {kind['longest']}")
    if "least" in kind and not kind["least"] <= value <= kind["most"]:
        bad.append(f"{where} is {value}, not {kind['least']} to {kind['most']}")
    return bad


def _object(where, value, described):
    if not isinstance(value, dict):
        return [f"{where} is {value!r}, no object"]
    bad = [f"{where} has no {name}" for name in described["needs"] if name not in value]
    for name, item in value.items():
        if name in described["has"]:
            bad += _value(f"{where}.{name}", item, described["has"][name])
        else:
            bad.append(f"{where} has {name}, which is not known")
    return bad


def _value(where, value, kind):
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{where} is {value!r}, no list"]
        return [line for n, item in enumerate(value) for line in _value(f"{where}[{n}]", item, kind[0])]
    if kind in DESCRIBED["objects"]:
        return _object(where, value, DESCRIBED["objects"][kind])
    return _kind(where, value, DESCRIBED["kinds"][kind])


def _nulls(where, value):
    if value is None:
        return [f"{where} is null"]
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [line for name, item in inside for line in _nulls(f"{where}.{name}", item)]


def _references(report):
    """Within one report every id is there once, and what is referred to is there, too."""
    ids = {name: [item.get("id") for item in report.get(name, [])] for name in ("checkouts", "builds", "tests")}
    bad = [f"{name} has an id twice" for name, some in ids.items() if len(set(some)) < len(some)]
    return bad + [f"{name}: {item.get(key)} is not in {there}" for name, (key, there) in REFERS.items()
                  for item in report.get(name, []) if item.get(key) not in ids[there]]


def complaints(report):
    bad = _nulls("report", report) + _value("report", report, "report")
    return bad or _references(report)
