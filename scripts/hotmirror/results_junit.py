# SPDX-License-Identifier: GPL-2.0-only
"""Results as JUnit XML: a testsuite per program, and one for the run as a whole."""

import re
from xml.etree import ElementTree

from . import ktap
from .results import excerpt

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")    # in XML 1.0, even as &#...;
RUN, VERDICT = "run", "verdict"
# {verdict of the run: element}
OF_RUN = {"pass": "", "fail": "failure", "unknown": "error"}
# {status of a test: (element, what its type is called)}; XFAIL proves nothing, so it is skipped.
OF_TEST = {ktap.PASS: ("", ""), ktap.FAIL: ("failure", "fail"), ktap.MISSING: ("error", "missing"),
           ktap.SKIP: ("skipped", "skip"), ktap.XFAIL: ("skipped", "xfail")}
COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def clean(text):
    return ILLEGAL.sub("", str(text))


def _seconds(ms):
    return f"{ms / 1000:.3f}"


def _add(parent, tag, text="", **attributes):
    made = ElementTree.SubElement(parent, tag, {name: clean(value) for name, value in attributes.items()})
    made.text = clean(text) or None
    return made


def _case(suite, test):
    case = _add(suite, "testcase", classname=test.program, name=test.short, time=_seconds(test.ms))
    tag, kind = OF_TEST[test.status]
    if tag == "skipped":
        _add(case, tag, type=kind, message=("XFAIL: " if kind == "xfail" else "") + test.detail)
    elif tag:
        _add(case, tag, test.detail, type=kind, message=test.detail)
    if test.log:
        _add(case, "system-out", excerpt(test.log))


def _count(suite, ms):
    suite.set("tests", str(len(suite.findall("testcase"))))
    for attribute, tag in COUNTED.items():
        suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", _seconds(ms))


def _suite(root, name, results):
    suite = _add(root, "testsuite", name=name)
    if "started" in results.properties:
        suite.set("timestamp", clean(results.properties["started"][:19]))
    listed = _add(suite, "properties")
    for key, value in results.properties.items():
        _add(listed, "property", name=key, value=value)
    return suite


def _run(root, results):
    """What no single test tells: whether the run as a whole can be believed."""
    suite = _suite(root, RUN, results)
    case = _add(suite, "testcase", classname=RUN, name=VERDICT, time=_seconds(0))
    if OF_RUN[results.verdict]:
        _add(case, OF_RUN[results.verdict], results.cause, type=results.verdict, message=results.cause)
    _count(suite, 0)


def document(results):
    root = ElementTree.Element("testsuites", {"name": "hotmirror"})
    _run(root, results)
    programs = {}
    for test in results.tests:
        programs.setdefault(test.program, []).append(test)
    for name, tests in programs.items():
        suite = _suite(root, name, results)
        for test in tests:
            _case(suite, test)
        _count(suite, sum(test.ms for test in tests))
    for attribute in ("tests", *COUNTED):
        root.set(attribute, str(sum(int(suite.get(attribute)) for suite in root)))
    root.set("time", _seconds(sum(test.ms for test in results.tests)))
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, "utf-8", xml_declaration=True).decode() + "\n"
