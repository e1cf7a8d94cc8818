"""Criteria as JUnit XML, for servers that show tests.

PASS is a test that passed, FAIL one that failed. INCONCLUSIVE is skipped: neither was shown, and
a server must not count it as either. An analysis that could not be computed is an error. The
elements and attributes are those that both the schema of Ant's tasks (windyroad/JUnit-Schema) and
that of Jenkins' xUnit plugin (junit-10.xsd) know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.etree import ElementTree as ET

from bias_audit.report.sections.verdicts import AT_POWER, VerdictView, verdicts
from bias_audit.results.audit import TOGETHER, AnalysisResult, AuditResult

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPACE: Final = re.compile(r"\s+")


def junit(result: AuditResult) -> bytes:
    """One suite for each backbone: a test for each criterion, and one for each failed analysis.

    What is asked of all backbones together has a suite of its own, if it has any test.
    """
    rows = verdicts(result).rows
    root = ET.Element("testsuites")
    weights = {s.backbone.name: s.backbone.weights_sha256 for s in result.subjects}
    for number, (name, analyses) in enumerate(result.analysed):
        own = [row for row in rows if row.backbone == name]
        failed = [analysis for analysis in analyses if analysis.status == "failed"]
        if name == TOGETHER and not own and not failed:
            continue
        known = {"weights_sha256": weights[name]} if name in weights else {}
        root.append(_suite(result, _Suite(number, name, known, own, failed)))
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root) + b"\n"


@dataclass(frozen=True)
class _Suite:
    number: int
    name: str
    known: dict[str, str]
    rows: list[VerdictView]
    failed: list[AnalysisResult]


def _suite(result: AuditResult, about: _Suite) -> ET.Element:
    rows, failed, name = about.rows, about.failed, _token(about.name)
    outcomes = [row.outcome for row in rows]
    seconds = sum(analysis.seconds for analysis in failed)
    suite = ET.Element(
        "testsuite",
        {
            "id": str(about.number),
            "package": _token(result.name),
            "name": name,
            "timestamp": _moment(result.provenance.started),
            "hostname": "localhost",  # required; reports name no machine
            "tests": str(len(rows) + len(failed)),
            "failures": str(outcomes.count("FAIL")),
            "errors": str(len(failed)),
            "skipped": str(outcomes.count("INCONCLUSIVE")),
            "time": f"{seconds:.1f}",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in _properties(result, about.known).items():
        ET.SubElement(properties, "property", {"name": key, "value": _clean(value)})
    of = f"{_token(result.name)}.{name}"
    suite.extend(_criterion(row, of) for row in rows)
    suite.extend(_failed(analysis, of) for analysis in failed)
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")
    return suite


def _properties(result: AuditResult, known: dict[str, str]) -> dict[str, str]:
    provenance = result.provenance
    return {
        "tool": f"bias-audit {provenance.versions.get('bias-audit', 'unknown')}",
        "config_sha256": provenance.config_sha256,
        **known,
        "manifest_sha256": result.data.manifest_sha256,
        "seed": str(provenance.seed),
    }


def _criterion(row: VerdictView, of: str) -> ET.Element:
    case = ET.Element("testcase", {"name": _token(row.name), "classname": of, "time": "0"})
    message = f"{row.outcome}: {row.claim}; measured {row.measured}"
    detail = "\n".join(
        text for text in (row.claim, row.measured, row.where, row.reason, row.rationale) if text
    )
    if row.outcome == "FAIL":
        kind = {"message": _token(message), "type": "FAIL"}
        ET.SubElement(case, "failure", kind).text = _clean(detail)
    elif row.outcome == "INCONCLUSIVE":
        told = f"{message}; to decide {AT_POWER}: {row.n_to_decide}"
        ET.SubElement(case, "skipped", {"message": _token(told)})
    return case


def _failed(analysis: AnalysisResult, of: str) -> ET.Element:
    error = analysis.error or "no reason was recorded"
    case = ET.Element(
        "testcase",
        {
            "name": _token(f"analysis {analysis.title}"),
            "classname": of,
            "time": f"{analysis.seconds:.1f}",
        },
    )
    kind = {"message": _token(error), "type": "not computed"}
    ET.SubElement(case, "error", kind).text = _clean(error)
    return case


def _moment(started: str) -> str:
    """In UTC, without saying so: the schema allows no zone."""
    return datetime.fromisoformat(started).replace(tzinfo=None).isoformat(timespec="seconds")


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _token(text: str) -> str:
    """On one line, as the schema wants names."""
    return _SPACE.sub(" ", _clean(text)).strip()
