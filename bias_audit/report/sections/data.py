"""The data section: what faces the numbers rest on, and which were left out."""

from __future__ import annotations

from dataclasses import dataclass

from bias_audit.report.elements import Fact
from bias_audit.report.sections.composition import Composition, composition
from bias_audit.results.audit import DataRecord
from bias_audit.shapes.printed import count, counted, decimal
from bias_audit.shapes.tables import Column, Table
from bias_audit.statistics.clusters import FEW_CLUSTERS


@dataclass(frozen=True)
class DataView:
    """The faces."""

    facts: tuple[Fact, ...]
    composition: Composition
    notices: tuple[str, ...]
    exclusions: Table | None
    """None where every image was used as found."""


def data(record: DataRecord) -> DataView:
    """Put the data section together."""
    found = sum(cell.found for cell in record.cells)
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
    facts = (
        Fact("Dataset", (f"{record.name} (read as {record.kind})",)),
        Fact("Images", (f"{count(record.n_images)} used of {count(found)} usable",)),
        Fact("People", tuple(people)),
        Fact("Kept together", tuple(kept)),
        Fact("Attributes", tuple(f"{a.name}: {', '.join(a.levels)}" for a in record.attributes)),
        Fact("Origin of labels", (record.label_origin,)),
        Fact("Licence", (record.licence,)),
        Fact("Manifest SHA-256", (record.manifest_sha256,), is_code=True),
    )
    return DataView(facts, composition(record), record.notices, _exclusions(record))


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
            Column("reason"),
            Column("effect"),
            Column("entries", numeric=True),
            Column("examples (all are in exclusions.csv)"),
        ),
        rows=rows,
        excerpt=rows[:12],
        excerpt_note="The first reasons; every entry is in exclusions.csv.",
    )
