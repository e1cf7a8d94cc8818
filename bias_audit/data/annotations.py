"""From what a source lists to a checked table: known labels, files inside the folder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from bias_audit.data.duplicates import read_identities
from bias_audit.data.faces import (
    Disagreement,
    Exclusion,
    FaceTable,
    ImageReference,
    NoUsableImageError,
)
from bias_audit.data.labels import LevelReader
from bias_audit.data.rows import PLACE, Row
from bias_audit.data.texts import FREQUENT, one_line, reference_of, some
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


_ALL: Final = "all"
_FEWEST: Final = 50
"""Images of a level from which on it has a rate of its own."""


def with_declared_votes(
    rows: Iterable[Row | Exclusion],
    annotators: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Sequence[str]],
) -> tuple[list[Row | Exclusion], list[str]]:
    """The rows without votes for what is no level, and a notice of each attribute that had some.

    Args:
        rows: Of the label file, labels as declared.
        annotators: Columns of the annotators, by attribute.
        attributes: Levels of all attributes.

    Returns:
        The rows, such votes empty; a row left without any vote is an exclusion.
    """
    dropped = {name: Counter[str]() for name in annotators}
    result = [
        row if isinstance(row, Exclusion) else _cleaned(row, annotators, attributes, dropped)
        for row in rows
    ]
    notices = []
    for name, values in dropped.items():
        if values:
            named = [f"{one_line(v)} ({n})" for v, n in values.most_common() if n >= FREQUENT]
            which = f": {some(named)}" if named else ""
            notices.append(
                f"{name}: {values.total()} votes of annotators for what is no level were not "
                f"counted{which}"
            )
    return result, notices


def _cleaned(
    row: Row,
    annotators: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Sequence[str]],
    dropped: Mapping[str, Counter[str]],
) -> Row | Exclusion:
    problem = None
    for name, columns in annotators.items():
        votes = {column: row[column] for column in columns if row[column]}
        bad = {column: vote for column, vote in votes.items() if vote not in attributes[name]}
        dropped[name].update(bad.values())
        row = row | dict.fromkeys(bad, "")
        if bad and len(bad) == len(votes):
            levels = some(attributes[name])
            detail = f"{name}: expected one of {levels} from an annotator, got none"
            problem = Exclusion(row[PLACE], "unknown label", detail)
    return problem or row


def voted(
    rows: Iterable[Row | Exclusion], annotators: Mapping[str, Sequence[str]], path_column: str
) -> list[Row | Exclusion]:
    """The rows with the label that most annotators gave; a row where they are tied is left out.

    An empty field is no vote; without any vote the label is empty.

    Args:
        rows: Of the label file.
        annotators: Columns of the annotators, by attribute.
        path_column: Names a row in the ledger.
    """
    return [
        row if isinstance(row, Exclusion) else _voted(row, annotators, path_column) for row in rows
    ]


def _voted(row: Row, annotators: Mapping[str, Sequence[str]], path_column: str) -> Row | Exclusion:
    for name, columns in annotators.items():
        votes = _votes(row, columns)
        if _is_tied(votes):
            said = ", ".join(f"{n} x {one_line(label)}" for label, n in votes.most_common())
            detail = f"{name}: expected one level with most votes, got {said}"
            return Exclusion(reference_of(row[path_column]), "annotators tied", detail)
    return {**row, **_majority(row, annotators)}


def _votes(row: Row, columns: Sequence[str]) -> Counter[str]:
    return Counter(row[column] for column in columns if row[column])


def _is_tied(votes: Counter[str]) -> bool:
    first, *second = [n for _, n in votes.most_common(2)] or [0]
    return second == [first]


def _majority(row: Row, annotators: Mapping[str, Sequence[str]]) -> Row:
    """The label of each attribute; empty where there is none."""
    votes = {name: _votes(row, columns) for name, columns in annotators.items()}
    return {
        name: "" if _is_tied(own) or not own else own.most_common(1)[0][0]
        for name, own in votes.items()
    }


def measured_disagreement(
    rows: Iterable[Row | Exclusion],
    annotators: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Sequence[str]],
) -> tuple[dict[str, Disagreement], list[str]]:
    """How often an annotator differs from the most frequent label, and a notice of each attribute.

    Rows that are tied count as well: half of two annotators who disagree differ from either.
    A level of any attribute has a rate of its own from 50 images on; rows with fewer than two
    votes say nothing.

    Args:
        rows: Of the label file, before `voted`.
        annotators: Columns of the annotators, by attribute.
        attributes: Levels of all attributes.
    """
    known = [row for row in rows if isinstance(row, dict)]
    found, notices = {}, []
    for name, columns in annotators.items():
        votes = [(row, _votes(row, columns)) for row in known]
        rates = [
            ({**row, **_majority(row, annotators)}, 1 - max(own.values()) / own.total())
            for row, own in votes
            if own.total() > 1
        ]
        if not rates:
            continue
        by_level = {
            (attribute, level): float(np.mean(own))
            for attribute, levels in attributes.items()
            for level in levels
            if len(own := [rate for row, rate in rates if row[attribute] == level]) >= _FEWEST
        }
        found[name] = Disagreement(float(np.mean([rate for _, rate in rates])), by_level)
        notices.append(
            f"{name}: an annotator gives another level than most in "
            f"{100 * found[name].overall:.1f} % of labels, over {len(rates)} images"
        )
    return found, notices


def declared_disagreement(
    declared: Mapping[str, float | Mapping[str, float]],
) -> tuple[dict[str, Disagreement], list[str]]:
    """The rates that a config states, and a notice of each attribute.

    Args:
        declared: By attribute a rate, or rates by "all" and "attribute=level".
    """
    found = {}
    for name, rates in declared.items():
        own = rates if isinstance(rates, Mapping) else {_ALL: rates}
        by_level = {level_of(key): rate for key, rate in own.items() if key != _ALL}
        found[name] = Disagreement(own[_ALL], by_level)
    notices = [
        f"{name}: another annotator is declared to give another level in "
        f"{100 * each.overall:.1f} % of labels"
        for name, each in found.items()
    ]
    return found, notices


def level_of(key: str) -> tuple[str, str]:
    """Attribute and level of a key such as "race=Black"."""
    name, _, level = key.partition("=")
    return name, level


def undeclared(
    declared: Mapping[str, float | Mapping[str, float]], attributes: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Why the rates of a config do not fit its attributes."""
    known = {f"{name}={level}" for name, levels in attributes.items() for level in levels}
    for name, rates in declared.items():
        if name not in attributes:
            yield f"expected one of the attributes {', '.join(attributes)}, got {name!r}"
        if not isinstance(rates, Mapping):
            continue
        if _ALL not in rates:
            yield f"{name}: expected a rate for {_ALL} beside those of groups"
        for key in rates:
            if key not in known | {_ALL}:
                yield f"{name}: expected all or attribute=level, such as {min(known)}, got {key!r}"
