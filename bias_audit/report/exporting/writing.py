"""From a run folder to the files of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bias_audit.errors import OutputError
from bias_audit.files import write_derived
from bias_audit.report.damage import damage_named
from bias_audit.report.exporting.bill_of_materials import bill_of_materials
from bias_audit.report.exporting.junit import junit
from bias_audit.report.exporting.model_card import model_card
from bias_audit.report.exporting.tables import DataTable, as_csv, as_parquet, index, tables
from bias_audit.results.audit import AuditResult
from bias_audit.results.store import read_audit

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
