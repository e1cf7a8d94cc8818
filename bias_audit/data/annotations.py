"""From what a source lists to a checked table: known labels, files inside the folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from bias_audit.data.faces import (
    Disagreement,
    Exclusion,
    FaceTable,
    ImageReference,
    NoUsableImageError,
)
from bias_audit.data.identities import read_identities
from bias_audit.data.labels import LevelReader
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_MAX_INTERSECTIONS = 10_000


@dataclass(frozen=True)
class Annotation:
    """One face as its source lists it, the labels not yet checked."""

    name: str
    """The file or row, as the source names it."""
    reference: ImageReference
    labels: tuple[str, ...]
    """One per attribute."""
    identity: str = ""
    """Who is shown, as written there; empty where the source does not say."""
    split: str = ""


@dataclass(frozen=True)
class Description:
    """What a source says about all its faces."""

    name: str
    label_origin: str
    licence: str
    cautions: tuple[str, ...] = ()
    has_identities: bool = False
    has_splits: bool = False
    disagreement: Mapping[str, Disagreement] = field(default_factory=dict)
    """Of annotators, by attribute."""


def face_table(
    entries: Iterable[Annotation | Exclusion],
    attributes: Sequence[Attribute],
    description: Description,
    *,
    notices: Sequence[str] = (),
    binned: Collection[str] = (),
) -> FaceTable:
    """Check every label against the declared levels and build the table.

    Args:
        entries: What the source lists; what it had to leave out comes as exclusions.
        attributes: In the order of each annotation's labels.
        description: Of the source.
        notices: What was repaired on reading.
        binned: Attributes whose labels are numbers, put into bins on reading.

    Raises:
        NoUsableImageError: No entry is usable.
        DataError: There are too many intersections to report on.
    """
    _refuse_too_many(attributes)
    kept: list[Annotation] = []
    codes: list[list[int]] = []
    exclusions: list[Exclusion] = []
    entries = list(entries)
    readers = [LevelReader(a.name, a.levels, binned=a.name in binned) for a in attributes]
    counts = [
        Counter(entry.labels[place] for entry in entries if isinstance(entry, Annotation))
        for place in range(len(attributes))
    ]
    levels = [{level: i for i, level in enumerate(a.levels)} for a in attributes]
    for entry in entries:
        problem = (
            entry
            if isinstance(entry, Exclusion)
            else _label_problem(entry, attributes, readers, counts)
        )
        if problem is not None:
            exclusions.append(problem)
        elif isinstance(entry, Annotation):
            kept.append(entry)
            codes.append([known[label] for known, label in zip(levels, entry.labels, strict=True)])
    if not kept:
        raise NoUsableImageError(_nothing_usable(description.name, exclusions), exclusions)
    identities: tuple[str, ...] | None = None
    noticed: tuple[str, ...] = ()
    if description.has_identities:
        identities, noticed = read_identities([entry.identity for entry in kept])
    splits = tuple(entry.split for entry in kept)
    return FaceTable(
        name=description.name,
        attributes=tuple(attributes),
        references=tuple(entry.reference for entry in kept),
        codes=np.array(codes, dtype=np.int64).reshape(len(kept), len(attributes)),
        identities=identities,
        splits=splits if description.has_splits else None,
        label_origin=description.label_origin,
        licence=description.licence,
        cautions=description.cautions,
        notices=(*notices, *noticed),
        exclusions=tuple(exclusions),
        disagreement=description.disagreement,
    )


def _refuse_too_many(attributes: Sequence[Attribute]) -> None:
    counts = [len(attribute.levels) for attribute in attributes]
    n_cells = math.prod(counts)
    if n_cells > _MAX_INTERSECTIONS:
        raise DataError(
            f"attributes: {' x '.join(map(str, counts))} levels make {n_cells} intersections, "
            f"expected at most {_MAX_INTERSECTIONS}; declare fewer attributes or levels"
        )


def _label_problem(
    entry: Annotation,
    attributes: Sequence[Attribute],
    readers: Sequence[LevelReader],
    counts: Sequence[Counter[str]],
) -> Exclusion | None:
    for attribute, label, reader, own in zip(
        attributes, entry.labels, readers, counts, strict=True
    ):
        if not label:
            detail = f"{attribute.name}: expected a label, got an empty field"
            return Exclusion(entry.name, "empty field", detail)
        if label not in attribute.levels:
            return Exclusion(entry.name, *reader.problem(label, own[label]))
    return None


def _nothing_usable(name: str, exclusions: Sequence[Exclusion]) -> str:
    if not exclusions:
        return f"{name}: expected annotated images, found none listed"
    counts = Counter(exclusion.reason for exclusion in exclusions)
    summary = ", ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    first = exclusions[0]
    return (
        f"{name}: expected annotated images, but none of the {len(exclusions)} listed is usable "
        f"({summary}); the first: {first.reference}: {first.detail}"
    )
