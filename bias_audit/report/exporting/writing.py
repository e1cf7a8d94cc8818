"""From a run folder to the files of other tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from bias_audit.errors import OutputError
from bias_audit.files import write_derived
from bias_audit.report.exporting.bill_of_materials import bill_of_materials
from bias_audit.report.exporting.model_card import model_card
from bias_audit.report.exporting.tables import DataTable, as_csv, as_parquet, index, tables
from bias_audit.report.page import damage_named
from bias_audit.report.sections.verdicts import AT_POWER, VerdictView, verdicts
from bias_audit.results.audit import TOGETHER, AnalysisResult, AuditResult
from bias_audit.results.store import read_audit

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPACE: Final = re.compile(r"\s+")


def junit(result: AuditResult) -> bytes:
    """One suite for each backbone: a test for each criterion, and one for each failed analysis.

    Questions about all backbones together have a suite of their own, if there are any. PASS is a
    test that passed, FAIL one that failed. INCONCLUSIVE is skipped: neither was shown, and a
    server must not count it as either. An analysis that could not be computed is an error. The
    elements and attributes are those that both the schema of Ant's tasks (windyroad/JUnit-Schema)
    and that of Jenkins' xUnit plugin (junit-10.xsd) know.
    """
    rows, provenance = verdicts(result).rows, result.provenance
    weights = {s.backbone.name: s.backbone.weights_sha256 for s in result.subjects}
    package = _token(result.name)
    root = ET.Element("testsuites")
    for number, (name, analyses) in enumerate(result.analysed):
        own = [row for row in rows if row.backbone == name]
        failed = [analysis for analysis in analyses if analysis.status == "failed"]
        if name == TOGETHER and not own and not failed:
            continue
        outcomes = [row.outcome for row in own]
        started = datetime.fromisoformat(provenance.started).replace(tzinfo=None)
        attributes = {
            "id": str(number),
            "package": package,
            "name": _token(name),
            "timestamp": started.isoformat(timespec="seconds"),  # the schema allows no zone
            "hostname": "localhost",  # required; reports name no machine
            "tests": str(len(own) + len(failed)),
            "failures": str(outcomes.count("FAIL")),
            "errors": str(len(failed)),
            "skipped": str(outcomes.count("INCONCLUSIVE")),
            "time": f"{sum(analysis.seconds for analysis in failed):.1f}",
        }
        suite = ET.SubElement(root, "testsuite", attributes)
        known = {
            "tool": f"bias-audit {provenance.versions.get('bias-audit', 'unknown')}",
            "config_sha256": provenance.config_sha256,
            **({"weights_sha256": weights[name]} if name in weights else {}),
            "manifest_sha256": result.data.manifest_sha256,
            "seed": str(provenance.seed),
        }
        properties = ET.SubElement(suite, "properties")
        for key, value in known.items():
            ET.SubElement(properties, "property", {"name": key, "value": _clean(value)})
        for row in own:
            _add_criterion(suite, row, f"{package}.{_token(name)}")
        for analysis in failed:
            _add_failed(suite, analysis, f"{package}.{_token(name)}")
        ET.SubElement(suite, "system-out")
        ET.SubElement(suite, "system-err")
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root) + b"\n"


def _add_criterion(suite: ET.Element, row: VerdictView, of: str) -> None:
    about = {"name": _token(row.name), "classname": of, "time": "0"}
    case = ET.SubElement(suite, "testcase", about)
    message = f"{row.outcome}: {row.claim}; measured {row.measured}"
    if row.outcome == "FAIL":
        details = (row.claim, row.measured, row.where, row.reason, row.rationale)
        kind = {"message": _token(message), "type": "FAIL"}
        failure = ET.SubElement(case, "failure", kind)
        failure.text = _clean("\n".join(text for text in details if text))
    elif row.outcome == "INCONCLUSIVE":
        needed = f"{message}; to decide {AT_POWER}: {row.n_to_decide}"
        ET.SubElement(case, "skipped", {"message": _token(needed)})


def _add_failed(suite: ET.Element, analysis: AnalysisResult, of: str) -> None:
    name, seconds = _token(f"analysis {analysis.title}"), f"{analysis.seconds:.1f}"
    case = ET.SubElement(suite, "testcase", {"name": name, "classname": of, "time": seconds})
    error = analysis.error or "no reason was recorded"
    kind = {"message": _token(error), "type": "not computed"}
    ET.SubElement(case, "error", kind).text = _clean(error)


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _token(text: str) -> str:
    """On one line, as the schema wants names."""
    return _SPACE.sub(" ", _clean(text)).strip()


FOLDER: Final = "exports"
"""Below the run folder, if no other is named."""

Files = Iterator[tuple[str, bytes]]
"""Paths below the folder, with what to write there."""


def write_exports(
    result: AuditResult, folder: Path, formats: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write an audit in the formats of other tools.

    Args:
        result: What the audit found.
        folder: Where to; made if it is not there.
        formats: Keys of `FORMATS`; empty: all.

    Returns:
        The files and folders written, directly below the folder.

    Raises:
        OutputError: A format is unknown, or the disk refuses.
        ValueError: Parts of the result do not belong together.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise OutputError(f"expected formats among {', '.join(FORMATS)}, got {', '.join(unknown)}")
    written: list[Path] = []
    for name in dict.fromkeys(formats or FORMATS):
        for place, content in FORMATS[name](result):
            write_derived(folder / place, content)
            written.append(folder / Path(place).parts[0])
    for card in folder.glob("model-cards/backbone-*/README.md"):  # of an earlier audit there
        number = card.parent.name.removeprefix("backbone-")
        if number.isdecimal() and int(number) >= len(result.subjects):
            card.unlink()
    return tuple(dict.fromkeys(written))


def export_run(
    run_folder: Path, *, to: Path | None = None, formats: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Write the exports of a finished run; see `write_exports`.

    Args:
        run_folder: With `audit.json`; nothing else in the folder is read.
        to: Where to; default: `exports/` in the run folder.
        formats: Keys of `FORMATS`; empty: all.

    Raises:
        OutputError: The run is missing, damaged or of another schema version; a format is
            unknown; or the disk refuses.
    """
    with damage_named(run_folder):
        return write_exports(read_audit(run_folder), to or run_folder / FOLDER, formats)


def _junit(result: AuditResult) -> Files:
    yield "junit.xml", junit(result)


def _tables(ending: str, encoded: Callable[[DataTable], bytes], result: AuditResult) -> Files:
    found = tables(result)
    for table in (index(found), *found):
        yield f"tables/{table.name}.{ending}", encoded(table)


def _cyclonedx(result: AuditResult) -> Files:
    yield "bom.cdx.json", bill_of_materials(result)


def _model_cards(result: AuditResult) -> Files:
    for number, subject in enumerate(result.subjects):
        yield f"model-cards/backbone-{number}/README.md", model_card(result, subject)


FORMATS: Final[dict[str, Callable[[AuditResult], Files]]] = {
    "junit": _junit,
    "csv": partial(_tables, "csv", as_csv),
    "parquet": partial(_tables, "parquet", as_parquet),
    "cyclonedx": _cyclonedx,
    "model-card": _model_cards,
}
"""By the name that a user gives."""
