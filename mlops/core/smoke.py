"""Smoke test results: the checks, their JUnit XML and their table."""

from xml.etree import ElementTree

import msgspec

REQUEST_PREFIX = "smoke-"
"""Requests whose id starts with this are tests: they are answered, and are in no window and no snapshot."""


class Check(msgspec.Struct, frozen=True):
    """One check of a running service; ``seconds`` is how long it took."""

    name: str
    passed: bool
    detail: str
    seconds: float


def junit(suite: str, checks: list[Check]) -> bytes:
    """Write checks as JUnit XML, which CI systems show."""
    failed, total = len(failures(checks)), f"{sum(check.seconds for check in checks):.3f}"
    root = ElementTree.Element("testsuites")
    node = ElementTree.SubElement(
        root, "testsuite", name=suite, tests=str(len(checks)), failures=str(failed), errors="0", time=total
    )
    for check in checks:
        case = ElementTree.SubElement(node, "testcase", classname=suite, name=check.name, time=f"{check.seconds:.3f}")
        if not check.passed:
            ElementTree.SubElement(case, "failure", message=check.detail)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def failures(checks: list[Check]) -> list[str]:
    """The checks that failed, each with what went wrong."""
    return [f"{check.name}: {check.detail}" for check in checks if not check.passed]


def rows(checks: list[Check]) -> list[dict[str, str]]:
    """The checks as rows of a table artifact."""
    return [
        {
            "check": check.name,
            "result": "passed" if check.passed else "FAILED",
            "detail": check.detail,
            "milliseconds": f"{check.seconds * 1000:.1f}",
        }
        for check in checks
    ]
