"""What was left out and what is used, as results and files record it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence

import numpy as np

from bias_audit.data.faces import Exclusion, Faces
from bias_audit.groups import intersections
from bias_audit.results.audit import AttributeRecord, CellCount, DataRecord, ExclusionReason
from bias_audit.statistics.clusters import effective_clusters

_EXAMPLES = 5
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def summarise_exclusions(exclusions: Sequence[Exclusion]) -> tuple[ExclusionReason, ...]:
    """Counts by reason and effect, in order of first appearance, with up to five examples."""
    groups: dict[tuple[str, str], list[Exclusion]] = {}
    for exclusion in exclusions:
        groups.setdefault((exclusion.reason, exclusion.effect), []).append(exclusion)
    return tuple(
        ExclusionReason(
            reason=reason,
            effect=effect,
            count=len(entries),
            examples=tuple(f"{entry.reference}: {entry.detail}" for entry in entries[:_EXAMPLES]),
        )
        for (reason, effect), entries in groups.items()
    )


def exclusions_csv(exclusions: Sequence[Exclusion]) -> str:
    """The whole ledger as CSV text; no cell is a formula to a spreadsheet."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["image", "reason", "effect", "detail"])
    for entry in exclusions:
        cells = (entry.reference, entry.reason, entry.effect, entry.detail)
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells])
    return stream.getvalue()


def manifest_sha256(faces: Faces) -> str:
    """SHA-256 over the sorted (image SHA-256, labels) of the images used.

    It does not depend on file names or on order, so two people can compare what they audited.
    """
    table = faces.table
    lines = sorted(
        json.dumps(
            [sha, {a.name: a.levels[code] for a, code in zip(table.attributes, row, strict=True)}],
            sort_keys=True,
        )
        for sha, row in zip(faces.sha256, table.codes, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def images_sha256(faces: Faces) -> str:
    """SHA-256 over the sorted SHA-256 of the images used, whatever their labels are."""
    return hashlib.sha256("\n".join(sorted(faces.sha256)).encode()).hexdigest()


def data_record(faces: Faces, kind: str, *, found_cautions: Sequence[str] = ()) -> DataRecord:
    """The faces an audit rests on, in aggregate.

    Args:
        faces: The images used.
        kind: Name of the source plugin.
        found_cautions: What the images themselves showed, beside the source's own cautions.
    """
    table = faces.table
    names = table.identities
    sizes = np.unique(faces.clusters, return_counts=True)[1]
    used = np.bincount(table.cells, minlength=table.n_cells)
    groups = intersections(table.attributes)
    return DataRecord(
        name=table.name,
        kind=kind,
        attributes=tuple(AttributeRecord(name=a.name, levels=a.levels) for a in table.attributes),
        cells=tuple(
            CellCount(group=group, found=int(found), used=int(count))
            for group, found, count in zip(groups, faces.found, used, strict=True)
        ),
        n_images=len(faces),
        n_identities=None if names is None else len({*names} - {""}),
        n_without_identity=None if names is None else names.count(""),
        n_clusters=len(sizes),
        effective_clusters=effective_clusters(sizes),
        label_origin=table.label_origin,
        licence=table.licence,
        cautions=(*table.cautions, *found_cautions),
        notices=table.notices,
        exclusions=summarise_exclusions(table.exclusions),
        manifest_sha256=manifest_sha256(faces),
        images_sha256=images_sha256(faces),
    )
