from __future__ import annotations

from xml.etree import ElementTree as ET

import junitparser
import pytest

from bias_audit.report.exporting.writing import junit
from bias_audit.results.audit import AuditResult
from tests.report.synthetic import criteria_of, make_audit

SUITE = {
    "id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "skipped",
    "time",
}  # fmt: skip
"""Attributes that both schemas know; Ant's needs all but `skipped`."""


@pytest.fixture(scope="module")
def result() -> AuditResult:
    made = make_audit(backbones=("one", "two"), failed=True, criteria=criteria_of("age"))
    return made.result


def cases(xml: bytes) -> dict[tuple[str, str], junitparser.TestCase]:
    parsed = junitparser.JUnitXml.fromstring(xml)
    return {(suite.name, case.name): case for suite in parsed for case in suite}


def test_each_verdict_is_what_servers_make_of_it(result: AuditResult) -> None:
    found = cases(junit(result))
    kinds = {"PASS": [], "FAIL": [junitparser.Failure], "INCONCLUSIVE": [junitparser.Skipped]}
    seen = set()
    for verdict in result.verdicts:
        case = found[verdict.backbone, verdict.criterion.name]
        assert [type(entry) for entry in case.result] == kinds[verdict.outcome]
        assert case.classname == f"demonstration.{verdict.backbone}"
        seen.add(verdict.outcome)
    assert seen == set(kinds)


def test_a_failure_tells_its_numbers(result: AuditResult) -> None:
    verdict = next(v for v in result.verdicts if v.outcome == "FAIL")
    case = cases(junit(result))[verdict.backbone, verdict.criterion.name]
    estimate = verdict.deciding.estimate if verdict.deciding else None
    assert estimate is not None
    number = f"{estimate.value:.2f} [{estimate.lower:.2f}, {estimate.upper:.2f}]"
    assert number in case.result[0].message
    assert number in case.result[0].text
    assert verdict.criterion.rationale in case.result[0].text


def test_an_analysis_that_failed_is_an_error(result: AuditResult) -> None:
    found = cases(junit(result))
    for name in ("one", "two"):
        (error,) = found[name, "analysis Topographic maps"].result
        assert isinstance(error, junitparser.Error)
        assert "expected one of 8 layers" in error.message


def test_sums_are_those_of_the_cases(result: AuditResult) -> None:
    for suite in junitparser.JUnitXml.fromstring(junit(result)):
        kinds = [type(entry) for case in suite for entry in case.result]
        assert suite.tests == len([*suite]) == 5
        assert suite.failures == kinds.count(junitparser.Failure)
        assert suite.skipped == kinds.count(junitparser.Skipped)
        assert suite.errors == kinds.count(junitparser.Error) == 1


def test_elements_stand_in_the_order_of_the_schema(result: AuditResult) -> None:
    root = ET.fromstring(junit(result))
    assert root.tag == "testsuites"
    for place, suite in enumerate(root):
        assert set(suite.attrib) == SUITE
        assert suite.attrib["id"] == str(place)
        assert suite.attrib["timestamp"] == "2026-11-21T06:06:43"
        tags = [child.tag for child in suite]
        assert tags == ["properties", *["testcase"] * 5, "system-out", "system-err"]
        for case in suite.iter("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert len(case) <= 1
            for entry in case:
                wanted = {"message"} if entry.tag == "skipped" else {"message", "type"}
                assert set(entry.attrib) == wanted


def test_names_that_xml_cannot_hold_do_no_harm(result: AuditResult) -> None:
    verdict = result.verdicts[0]
    name = '<a>&"\x00\x0b\ud83d\n  ]]> \N{ARABIC LETTER ALEF}' + "x" * 30
    criterion = verdict.criterion.model_copy(update={"name": name})
    hostile = result.model_copy(
        update={"verdicts": (verdict.model_copy(update={"criterion": criterion}),)}
    )
    (found,) = [n for _, n in cases(junit(hostile)) if not n.startswith("analysis")]
    assert found.startswith('<a>&"\N{REPLACEMENT CHARACTER}')
    assert "]]> \N{ARABIC LETTER ALEF}" in found


def test_an_audit_without_criteria_has_no_tests() -> None:
    (suite,) = junitparser.JUnitXml.fromstring(junit(make_audit().result))
    assert suite.tests == 0
