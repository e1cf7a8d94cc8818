"""Every table of a report in long form: one file each, whatever the audit holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bias_audit.report.exporting.blocks import BLOCK_TABLES, BlockTable, Row
from bias_audit.report.exporting.columns import ESTIMATE, DataTable, Kind
from bias_audit.report.figure_data import estimate_cells, level_names
from bias_audit.report.sections.verdicts import AT_POWER
from bias_audit.results.audit import AuditResult
from bias_audit.results.declared import declarations_of

_ORIGIN: Final[dict[str, Kind]] = {"backbone": "text", "analysis": "text", "block": "text"}


def tables(result: AuditResult) -> tuple[DataTable, ...]:
    """All tables, in the order of the index; one without rows says that there is nothing.

    Raises:
        ValueError: The declarations in the result are damaged.
    """
    return (
        _verdicts(result),
        _scenarios(result),
        _cells(result),
        _exclusions(result),
        _layers(result),
        _analyses(result),
        _findings(result),
        *(_of_blocks(table, result) for table in BLOCK_TABLES),
        _selftest(result),
    )


def index(found: tuple[DataTable, ...]) -> DataTable:
    """What each table holds: its files, rows and columns."""
    return DataTable(
        "index",
        "a table of this folder",
        {"table": "text", "rows": "whole", "one_row_is": "text", "columns": "text"},
        [(t.name, len(t.rows), t.about, ", ".join(t.columns)) for t in found],
    )


def _of_blocks(table: BlockTable, result: AuditResult) -> DataTable:
    def rows() -> Iterator[Row]:
        for name, analyses in result.analysed:
            for analysis in analyses:
                for block in analysis.blocks:
                    if block.block == table.shape:
                        origin = (name, analysis.title, block.title)
                        yield from ((*origin, *row) for row in table.rows(block))

    return DataTable(table.name, table.about, _ORIGIN | table.columns, [*rows()])


def _verdicts(result: AuditResult) -> DataTable:
    rows: list[Row] = []
    for verdict in result.verdicts:
        criterion, deciding = verdict.criterion, verdict.deciding
        lowest, highest = criterion.margin
        group = deciding.group if deciding else None
        rows.append(
            (
                criterion.name,
                verdict.backbone,
                verdict.outcome,
                verdict.reason,
                criterion.quantity,
                criterion.of,
                criterion.target,
                criterion.layer,
                lowest,
                highest,
                deciding.layer if deciding else None,
                level_names(group) if group else None,
                *estimate_cells(deciding.estimate if deciding else None),
                verdict.n_examined,
                verdict.n_pass,
                verdict.n_fail,
                verdict.n_undecided,
                verdict.n_missing,
                verdict.detectable,
                verdict.n_to_decide,
                criterion.rationale,
            )
        )
    columns: dict[str, Kind] = {
        "criterion": "text",
        "backbone": "text",
        "outcome": "text",
        "why": "text",
        "quantity": "text",
        "of": "text",
        "target": "text",
        "layers": "text",
        "at_least": "number",
        "at_most": "number",
        "deciding_layer": "text",
        "deciding_group": "text",
        **ESTIMATE,
        "examined": "whole",
        "within": "whole",
        "beyond": "whole",
        "undecided": "whole",
        "missing": "whole",
        "detectable": "number",
        "images_to_decide": "whole",
        "rationale": "text",
    }
    about = (
        "a criterion on a backbone, and what decides; detectable distance and images to decide "
        f"{AT_POWER}"
    )
    return DataTable("verdicts", about, columns, rows)


def _scenarios(result: AuditResult) -> DataTable:
    names = ("group", "hazard", "metric", "threshold", "mitigation", "review_trigger")
    rows = [
        (number, *(getattr(scenario, name) for name in names), "; ".join(scenario.criteria))
        for number, scenario in enumerate(declarations_of(result).scenarios, start=1)
    ]
    columns: dict[str, Kind] = {"scenario": "whole", **dict.fromkeys(names, "text")}
    about = "a bias scenario as the config declares it"
    return DataTable("scenarios", about, columns | {"criteria": "text"}, rows)


def _cells(result: AuditResult) -> DataTable:
    rows = [(level_names(cell.group), cell.found, cell.used) for cell in result.data.cells]
    columns: dict[str, Kind] = {"group": "text", "found": "whole", "used": "whole"}
    return DataTable("images", "an intersection: usable images found, and used", columns, rows)


def _exclusions(result: AuditResult) -> DataTable:
    rows = [(entry.reason, entry.effect, entry.count) for entry in result.data.exclusions]
    columns: dict[str, Kind] = {"reason": "text", "effect": "text", "images": "whole"}
    about = "a reason for which images were left out or treated specially"
    return DataTable("exclusions", about, columns, rows)


def _layers(result: AuditResult) -> DataTable:
    rows = [
        (subject.backbone.name, place, layer.name, layer.n_units)
        for subject in result.subjects
        for place, layer in enumerate(subject.backbone.layers)
    ]
    columns: dict[str, Kind] = {
        "backbone": "text",
        "depth": "whole",
        "layer": "text",
        "units": "whole",
    }
    return DataTable("layers", "a layer audited, depth counted from the input", columns, rows)


def _analyses(result: AuditResult) -> DataTable:
    rows = [
        (name, a.kind, a.title, a.status, a.error, a.families, a.seconds)
        for name, analyses in result.analysed
        for a in analyses
    ]
    columns: dict[str, Kind] = {
        "backbone": "text",
        "kind": "text",
        "analysis": "text",
        "status": "text",
        "error": "text",
        "families": "whole",
        "seconds": "number",
    }
    about = "an analysis of a backbone: done or failed, and its families of tests"
    return DataTable("analyses", about, columns, rows)


def _findings(result: AuditResult) -> DataTable:
    rows = [
        (name, analysis.title, finding.text, finding.weight)
        for name, analyses in result.analysed
        for analysis in analyses
        for finding in analysis.findings
    ]
    columns: dict[str, Kind] = {
        "backbone": "text",
        "analysis": "text",
        "finding": "text",
        "weight": "number",
    }
    about = "a sentence of the summary; weight 0: undecided"
    return DataTable("findings", about, columns, rows)


def _selftest(result: AuditResult) -> DataTable:
    found = result.selftest.rows if result.selftest else ()
    rows = [
        (
            row.check,
            row.condition,
            row.expected,
            row.outcome,
            row.trials,
            *estimate_cells(row.estimate),
        )
        for row in found
    ]
    columns: dict[str, Kind] = {
        "check": "text",
        "simulated": "text",
        "expected": "text",
        "outcome": "text",
        "trials": "whole",
        **ESTIMATE,
    }
    return DataTable("selftest", "a check of the audit's own code", columns, rows)
