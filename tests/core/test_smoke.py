"""Smoke test results as JUnit XML and as a table."""

from xml.etree import ElementTree

from mlops.core.smoke import Check, failures, junit, rows

CHECKS = [Check("ready", True, "version 1", 0.01), Check('golden "1" & co', False, "answered '0', expected '1'", 0.25)]


def test_junit_counts_and_names_the_failures() -> None:
    suite = ElementTree.fromstring(junit("iris-uat", CHECKS))[0]  # noqa: S314 - our own output
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("2", "1", "0.260")
    failed = suite[1]
    assert failed.get("name") == 'golden "1" & co'
    assert failed[0].get("message") == "answered '0', expected '1'"
    assert len(suite[0]) == 0


def test_rows_say_what_failed() -> None:
    assert [row["result"] for row in rows(CHECKS)] == ["passed", "FAILED"]
    assert rows(CHECKS)[1]["milliseconds"] == "250.0"


def test_what_failed_is_told_with_its_detail() -> None:
    assert failures(CHECKS) == ["golden \"1\" & co: answered '0', expected '1'"]
    assert failures(CHECKS[:1]) == []
