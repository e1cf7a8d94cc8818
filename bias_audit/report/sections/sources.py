"""What numbers rest on: the faces, and all that a second person needs to repeat the audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import yaml

from bias_audit.durations import duration, written_date
from bias_audit.report.grid import arranged
from bias_audit.report.page import (
    Code,
    Counted,
    CountRow,
    Fact,
    Facts,
    Fold,
    Form,
    Only,
    Prose,
    Section,
    Tabled,
    bullets,
    maybe,
    number_columns,
    parts,
    text_columns,
)
from bias_audit.results.audit import AttributeRecord, AuditResult, CellCount, DataRecord, StageCost
from bias_audit.shapes.printed import count, counted, decimal, listed_all, size
from bias_audit.shapes.tables import Table
from bias_audit.statistics.clusters import FEW_CLUSTERS

_MOST_COLUMNS: Final = 14
_MOST_PRINTED_ROWS: Final = 40
_FEW: Final = 5
"""People of whom a data sheet gives no number."""


def data(record: DataRecord, answers: tuple[str, ...], cautions: tuple[str, ...]) -> Section:
    """What faces the numbers rest on, and which were left out."""
    groups = counted_groups(record)
    labels = "; ".join(cell.group.label for cell in record.cells if cell.used == 0)
    empty = f"Groups without images, which no analysis can speak about: {labels}."
    too_long = (
        "The table is too long to print; it is in the HTML report, and its numbers are in "
        "audit.json."
    )
    return Section(
        "data",
        "Data",
        parts(
            (Prose(" ".join(cautions), "box caution", "Caution."),) if cautions else (),
            Facts(_facts(record)),
            _labels(record),
            Section(
                "images",
                "Images in each group",
                parts(
                    Prose(_summary(record.cells)),
                    Only("screen", (groups,)),
                    Only(
                        "paper",
                        (Prose(too_long, "note"),)
                        if len(groups.rows) > _MOST_PRINTED_ROWS
                        else (groups,),
                    ),
                    (Prose(empty, "note"),) if labels else (),
                ),
            ),
            (Section("notices", "Data-loading notes", bullets(record.notices)),)
            if record.notices
            else (),
            Section(
                "exclusions",
                "Exclusions",
                maybe(
                    _exclusions(record), otherwise="No image was excluded or treated specially."
                ),
            ),
        ),
        answers=answers,
    )


def _facts(record: DataRecord) -> tuple[Fact, ...]:
    found = record.n_usable or sum(cell.found for cell in record.cells)
    identities = (
        "not annotated in the source"
        if record.n_identities is None
        else counted(record.n_identities, "annotated person")
    )
    people = [identities.replace("persons", "people")]
    if record.n_without_identity:
        people.append(f"{counted(record.n_without_identity, 'image')} without an identity")
    clusters = counted(record.n_clusters, "cluster")
    kept = [f"{clusters}: images known to be of one person, or near duplicates, share one"]
    if record.effective_clusters is not None:
        few = record.effective_clusters < FEW_CLUSTERS
        kept.append(
            f"effective number of clusters: {decimal(record.effective_clusters, 1)}"
            + (f", fewer than {FEW_CLUSTERS}, so intervals are wide" if few else "")
        )
    return (
        Fact("Dataset", (f"{record.name} (read as {record.kind})",)),
        Fact("Images", (f"{count(record.n_images)} used of {count(found)} found",)),
        Fact("People", tuple(people)),
        Fact("Kept together", tuple(kept)),
        Fact("Origin of labels", (record.label_origin,)),
        Fact("Licence", (record.licence,)),
        Fact("Manifest SHA-256", (record.manifest_sha256,), is_code=True),
    )


def _labels(record: DataRecord) -> Section:
    """What each attribute's labels are: a data sheet."""
    rows = tuple(_sheet(each) for each in record.attributes)
    columns = text_columns(
        "attribute",
        "levels (images used)",
        "a label is",
        "images in several groups",
        "prefer not to say",
        "no answer",
        "annotators who disagree",
    )
    finer = tuple(
        Prose(f"As {level} count: {', '.join(options)}.", "note", f"{each.name}.")
        for each in record.attributes
        for level, options in each.options.items()
    )
    several = [each.name for each in record.attributes if each.several]
    contested = {each.name: each.contested for each in record.attributes if each.contested}
    return Section(
        "labels",
        "What the labels are",
        parts(
            Tabled(Table("Data sheet of the labels", columns, rows, n_headers=1)),
            (Prose(several_answers(several)),) if several else (),
            (Prose(one_annotator(contested)),) if contested else (),
            (Only("screen", (Fold("Finer answers, and what they count as", finer),)),)
            if finer
            else (),
        ),
    )


def _sheet(attribute: AttributeRecord) -> tuple[str, ...]:
    form: str = attribute.form or "not stated"
    form += f", on the {attribute.scale} scale" if attribute.scale else ""
    form += ", in a meaningful order" if attribute.is_ordered else ""
    return (
        attribute.name,
        ", ".join(_sized(attribute)),
        form,
        "none" if not attribute.several else _few_or(attribute.several),
        _unanswered(attribute.withheld, attribute.when_withheld),
        _unanswered(attribute.missing, attribute.when_missing),
        "not known"
        if attribute.disagreement is None
        else f"{100 * attribute.disagreement:.1f} % of labels",
    )


def _sized(attribute: AttributeRecord) -> Sequence[str]:
    """Levels with their images, each counted once."""
    if not attribute.images:
        return attribute.levels
    sizes = zip(attribute.levels, attribute.images, strict=True)
    return [f"{level} ({count(n)})" for level, n in sizes]


def _few_or(n: int) -> str:
    """A count of people, if it is not of so few that it would be about them."""
    return f"fewer than {_FEW}" if n < _FEW else count(n)


def _unanswered(n: int, effect: str) -> str:
    return f"{_few_or(n)}: {effect}" if n else "none"


def several_answers(attributes: Sequence[str]) -> str:
    """How a face with several answers for some attributes counts."""
    names = " and ".join(attributes)
    return (
        f"A face may have several answers for {names}. It then counts once in each of its groups, "
        "and so do groups overlap: it is compared with faces outside of a group, but never counts "
        "as outside of a group that it is in, and a prediction is right if it names any of its "
        "answers. An intersection has the faces that gave all of its answers. Over all faces, and "
        "in groups of other attributes, such a face weighs as much as the answers that it gave. "
        "Intervals are computed between people, so that several answers of one person are no "
        "more evidence than one, and folds never divide them. Counts of images and people count "
        "each once."
    )


def one_annotator(contested: Mapping[str, int]) -> str:
    """What a label is where annotators disagree; images whose annotators do, by attribute."""
    counts = listed_all([f"{name} (on {_few_or(n)} images)" for name, n in contested.items()])
    return (
        f"Annotators disagree on {counts}. What probes read is compared with the label that one "
        "annotator, drawn at random for each face, gave. This is the same quantity whether a face "
        "has one annotator or many, and how annotators vary is part of its interval. It is lower "
        "than agreement with the majority, because no probe can predict where a single annotator "
        "differs from the others. All else (counts, groups, maps, confusions, calibration, votes "
        "of backbones, erasure) uses the label that most annotators gave. Images on which they "
        "are tied are left out; where annotators are few, the others are clearer than usual."
    )


def _exclusions(record: DataRecord) -> Table | None:
    if not record.exclusions:
        return None
    rows = tuple(
        (entry.reason, entry.effect, count(entry.count), "\n".join(entry.examples))
        for entry in record.exclusions
    )
    return Table(
        caption="Images left out, or treated specially",
        columns=(
            *text_columns("reason", "effect"),
            *number_columns("entries"),
            *text_columns("examples (all are in exclusions.csv)"),
        ),
        rows=rows,
        excerpt=rows[:12],
        excerpt_note="The first reasons; every entry is in exclusions.csv.",
    )


def counted_groups(data: DataRecord) -> Counted:
    """Arrange the counts as the intersection sheet arranges maps, with totals.

    Raises:
        ValueError: No group is declared.
    """
    if not data.cells:
        raise ValueError("data.cells: expected every declared group, got none")
    grid = arranged([cell.group for cell in data.cells])
    sampled = any(cell.used != cell.found for cell in data.cells)
    names = " and ".join(attribute.name for attribute in data.attributes)
    shown = "Images used / images found" if sampled else "Images, all of them used"
    if grid is None or len(grid.columns.levels) > _MOST_COLUMNS:
        rows = tuple(
            CountRow((cell.group.label,), (_cell(cell, sampled=True),), count(cell.used))
            for cell in data.cells
        )
        return Counted(f"{shown}, by {names}", ("group",), ("images",), rows)
    overlaps = any(attribute.several for attribute in data.attributes)
    if overlaps:  # sums would count an image once for each of its answers
        shown += "; an image with several answers is in several groups, so there are no totals"
    found = []
    for of_block in grid.block_levels:
        for row in grid.row_levels:
            inside = [data.cells[grid.places[of_block, row, c]] for c in grid.columns.levels]
            found.append(
                CountRow(
                    (*of_block, *row),
                    tuple(_cell(cell, sampled=sampled) for cell in inside),
                    "not added" if overlaps else _total(inside, sampled=sampled),
                )
            )
    below = []
    for column in grid.columns.levels:
        inside = [cell for cell in data.cells if (grid.columns.name, column) in cell.group.levels]
        below.append((_total(inside, sampled=sampled), False))
    n_names = len(grid.blocks) + len(grid.rows)
    if n_names and not overlaps:
        found.append(
            CountRow(("all",) * n_names, tuple(below), _total(data.cells, sampled=sampled))
        )
    return Counted(
        f"{shown}, by {names}",
        tuple(a.name for a in (*grid.blocks, *grid.rows)),
        grid.columns.levels,
        tuple(found),
    )


def _total(cells: Sequence[CellCount], *, sampled: bool) -> str:
    return _text(sum(each.used for each in cells), sum(each.found for each in cells), sampled)


def _cell(cell: CellCount, *, sampled: bool) -> tuple[str, bool]:
    return _text(cell.used, cell.found, sampled), cell.used == 0


def _text(used: int, found: int, sampled: bool) -> str:  # noqa: FBT001
    if found == 0:
        return "none"
    return f"{count(used)} / {count(found)}" if sampled else count(used)


def _summary(cells: Sequence[CellCount]) -> str:
    used = sorted(cell.used for cell in cells)
    empty = sum(n == 0 for n in used)
    gaps = f"{counted(empty, 'group')} without images" if empty else "none without images"
    middle = used[len(used) // 2]
    return (
        f"{counted(len(cells), 'declared group')}, {gaps}; the smallest has "
        f"{counted(used[0], 'image')}, the median group {count(middle)}, the largest "
        f"{count(used[-1])}."
    )


def provenance(result: AuditResult, answers: tuple[str, ...]) -> Section:
    """What a second person needs to repeat the audit."""
    record, spent = result.provenance, _cost(result)
    config = yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True)
    n_lines = len(config.splitlines())
    facts = (
        Fact("Command", (record.command,), is_code=True),
        Fact("Started", (written_date(record.started),)),
        Fact("Duration", (duration(record.seconds),)),
        Fact("Seed", (str(record.seed),)),
        Fact("Hardware", ("; ".join(map(": ".join, record.hardware.items())),)),
        Fact("Versions", ("; ".join(map(" ".join, record.versions.items())),)),
        *(
            (Fact("Extensions", tuple(map(": ".join, record.extensions.items()))),)
            if record.extensions
            else ()
        ),
        Fact("SHA-256 of the config", (record.config_sha256,), is_code=True),
        Fact("SHA-256 of faces and labels", (result.data.manifest_sha256,), is_code=True),
    )
    signature = Form(
        "Signature, for those who print this page; the PDF has it behind its cover",
        (("Responsible person, signature, date", ""),),
    )
    return Section(
        "provenance",
        "Provenance",
        parts(
            Prose(
                "With these settings, the same faces and the same weights, a second person can "
                "repeat the audit. Results are aggregates over groups of images; no face is "
                "shown. Only the exclusion ledger names single images, by file name."
            ),
            Only(
                "paper", (Prose(f"The config is in the embedded audit.json, in {n_lines} lines."),)
            ),
            Facts(facts),
            (Only("screen", (Tabled(spent, is_folded=True),)),) if spent else (),
            Only(
                "screen",
                (
                    Fold("Config", (Code(config, "config"),)),
                    Section("sign", "For a person to complete", (signature,)),
                ),
            ),
        ),
        answers=answers,
    )


def _cost(result: AuditResult) -> Table | None:
    """What each stage took; None where an earlier release recorded nothing."""
    named = [("all backbones", result.provenance.costs)]
    named += [(subject.backbone.name, subject.costs) for subject in result.subjects]
    rows = tuple(_stage(stage, of) for of, stages in named for stage in stages)
    columns = (
        *text_columns("stage", "of"),
        *number_columns("seconds", "images", "images/s"),
        *text_columns("on disk", "from cache"),
    )
    return Table("What each stage took", columns, rows, n_headers=2) if rows else None


def _stage(cost: StageCost, of: str) -> tuple[str, ...]:
    works = cost.images and not cost.reused and cost.seconds > 0
    return (
        cost.stage,
        of,
        f"{cost.seconds:,.1f}",
        "" if cost.images is None else count(cost.images),
        f"{cost.images / cost.seconds:.1f}" if works and cost.images else "",
        "" if cost.bytes is None else size(cost.bytes),
        "yes" if cost.reused else "no",
    )
