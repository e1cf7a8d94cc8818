"""From what a source lists to a checked table: known labels, files inside the folder."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from bias_audit.arrays import IntArray
from bias_audit.data.answers import NO_ANSWER, NOT_SAID, SEVERAL, AnswerReader
from bias_audit.data.boxes import box_of
from bias_audit.data.faces import (
    Disagreement,
    Exclusion,
    FaceTable,
    ImageReference,
    NoUsableImageError,
)
from bias_audit.data.finding import NO_PATH, ImageFinder
from bias_audit.data.identities import read_identities
from bias_audit.data.labels import LevelReader
from bias_audit.data.rows import PLACE, SPLIT, Row
from bias_audit.data.texts import FREQUENT, one_line, reference_of
from bias_audit.errors import DataError, some
from bias_audit.groups import Attribute
from bias_audit.results.audit import AttributeRecord

_MAX_INTERSECTIONS = 10_000


@dataclass(frozen=True)
class Annotation:
    """One face as its source lists it, the labels not yet checked."""

    name: str
    """The file or row, as the source names it."""
    reference: ImageReference
    labels: tuple[str, ...]
    """One per attribute; several levels of one are joined by `answers.SEVERAL`."""
    identity: str | None = None
    """Who is shown, as written there, empty where a row does not say; None: no row does."""
    split: str | None = None
    """The source's own; None: it has none."""
    drawn: Mapping[str, str] = field(default_factory=dict)
    """Levels that one annotator gave, drawn several times and joined by `answers.SEVERAL`, by
    attribute with several annotators."""


def listed(
    rows: Iterable[Row | Exclusion],
    images: Mapping[str, ImageReference],
    finder: ImageFinder,
    attributes: Iterable[str],
    *,
    path_column: str,
    identity_column: str | None = None,
) -> Iterator[Annotation | Exclusion]:
    """Each row of a label file with its image, or why it cannot be used.

    `images` are those that the file holds itself, by what stands in the column of the path.
    """
    names = tuple(attributes)

    def found_in(row: Row) -> ImageReference | Exclusion:
        path = row[path_column]
        found = images.get(path) or finder.find(path)
        return found if isinstance(found, Exclusion) else replace(found, box=box_of(row))

    def of_person(left_out: Exclusion, row: Row) -> Exclusion:
        found = found_in(row)
        image = None if isinstance(found, Exclusion) else found
        identity = row[identity_column] if identity_column else ""
        return replace(left_out, row=None, identity=identity, image=image)

    for row in rows:
        if isinstance(row, Exclusion):
            yield row if row.row is None else of_person(row, row.row)
            continue
        found = found_in(row)
        if isinstance(found, Exclusion):
            is_named = found.reference != NO_PATH
            yield of_person(found if is_named else replace(found, reference=row[PLACE]), row)
            continue
        yield Annotation(
            reference_of(row[path_column]),
            found,
            tuple(row[name] for name in names),
            identity=row[identity_column] if identity_column else None,
            split=row.get(SPLIT),
            drawn={name: row[_DRAWN + name] for name in names if _DRAWN + name in row},
        )


def face_table(
    entries: Iterable[Annotation | Exclusion],
    attributes: Sequence[Attribute],
    *,
    name: str,
    label_origin: str,
    licence: str,
    cautions: tuple[str, ...] = (),
    notices: Sequence[str] = (),
    disagreement: Mapping[str, Disagreement] = MappingProxyType({}),
    binned: Collection[str] = (),
    answers: Mapping[str, AnswerReader] = MappingProxyType({}),
) -> FaceTable:
    """Check every label against the declared levels and build the table.

    Labels of `binned` attributes are numbers, put into bins on reading; `answers` are what read
    those of other attributes, by name. A face with several levels has a row for each combination.

    Raises:
        NoUsableImageError: No entry is usable.
        DataError: There are too many intersections to report on.
    """
    n_levels = [len(attribute.levels) for attribute in attributes]
    if math.prod(n_levels) > _MAX_INTERSECTIONS:
        raise DataError(
            f"attributes: {' x '.join(map(str, n_levels))} levels make {math.prod(n_levels)} "
            f"intersections, expected at most {_MAX_INTERSECTIONS}; declare fewer attributes or "
            "levels"
        )
    entries = list(entries)
    readers = [
        answers.get(a.name) or LevelReader(a.name, a.levels, binned=a.name in binned)
        for a in attributes
    ]
    written = [entry.labels for entry in entries if isinstance(entry, Annotation)]
    counts = [Counter(column) for column in zip(*written, strict=True)]
    kept: list[Annotation] = []
    exclusions: list[Exclusion] = []
    for entry in entries:
        if isinstance(entry, Exclusion):
            exclusions.append(entry)
            continue
        columns = zip(entry.labels, readers, counts, strict=True)
        wrong = (
            (label, reader, own)
            for label, reader, own in columns
            if any(level not in reader.levels for level in label.split(SEVERAL))
        )
        if first := next(wrong, None):
            label, reader, own = first
            who, problem = entry.identity or "", reader.problem(label, own[label])
            exclusions.append(Exclusion(entry.name, *problem, identity=who, image=entry.reference))
        else:
            kept.append(entry)
    if not kept:
        raise NoUsableImageError(_nothing_usable(name, exclusions), exclusions)
    identities: tuple[str, ...] | None = None
    noticed: tuple[str, ...] = ()
    if kept[0].identity is not None:
        identities, noticed = read_identities([entry.identity or "" for entry in kept])
    codes = [_combinations(entry.labels, attributes) for entry in kept]
    pictures = np.repeat(np.arange(len(kept), dtype=np.int64), [len(own) for own in codes])
    table_codes = np.array(list(itertools.chain(*codes)), dtype=np.int64).reshape(
        len(pictures), len(attributes)
    )
    splits = None if kept[0].split is None else tuple(entry.split or "" for entry in kept)
    return FaceTable(
        name=name,
        attributes=tuple(attributes),
        references=tuple(kept[place].reference for place in pictures),
        codes=table_codes,
        identities=identities and tuple(identities[place] for place in pictures),
        splits=splits and tuple(splits[place] for place in pictures),
        label_origin=label_origin,
        licence=licence,
        cautions=cautions,
        notices=(*notices, *noticed),
        exclusions=tuple(exclusions),
        disagreement=disagreement,
        label_sets=_label_sets([kept[place] for place in pictures], attributes, table_codes),
        pictures=pictures if len(pictures) > len(kept) else None,
        answers=tuple(
            _answered(a, answers.get(a.name), own, a.name in binned)
            for a, own in zip(attributes, counts, strict=True)
        ),
    )


def _combinations(labels: Sequence[str], attributes: Sequence[Attribute]) -> list[tuple[int, ...]]:
    """Codes of every combination of a face's levels, the first of each first."""
    own = [
        [attribute.levels.index(level) for level in label.split(SEVERAL)]
        for attribute, label in zip(attributes, labels, strict=True)
    ]
    return list(itertools.product(*own))


def _label_sets(
    rows: Sequence[Annotation], attributes: Sequence[Attribute], codes: IntArray
) -> IntArray | None:
    """The codes, (n_rows, n_attributes), with those of one annotator; None if no label differs."""
    sets = np.repeat(codes[None], LABEL_SETS, axis=0)
    for place, attribute in enumerate(attributes):
        for row, annotation in enumerate(rows):
            if drawn := annotation.drawn.get(attribute.name):
                sets[:, row, place] = [attribute.levels.index(x) for x in drawn.split(SEVERAL)]
    return None if (sets == codes).all() else sets


def _answered(
    attribute: Attribute,
    reader: AnswerReader | None,
    counts: Counter[str],
    is_binned: bool,  # noqa: FBT001
) -> AttributeRecord:
    if reader is not None:
        return reader.record(counts[NOT_SAID], counts[""] + counts[NO_ANSWER])
    return AttributeRecord(
        name=attribute.name,
        levels=attribute.levels,
        form="number in bins" if is_binned else "one level",
        is_ordered=is_binned,
    )


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


_NO_VOTE: Final = ("", NO_ANSWER)
LABEL_SETS: Final = 6
"""Times that one annotator of each face is drawn: one, two, three or six annotators evenly."""
_DRAWN: Final = "drawn" + SEVERAL
"""Key of what was drawn from the annotators of an attribute, before its name."""
_ALL: Final = "all"
_FEWEST: Final = 50
"""Images of a level from which on it has a rate of its own."""


def with_votes_counted(
    rows: Iterable[Row | Exclusion],
    annotators: Mapping[str, Sequence[str]],
    attributes: Mapping[str, Sequence[str]],
    path_column: str,
) -> tuple[list[Row | Exclusion], dict[str, Disagreement], list[str]]:
    """The rows with the label that most annotators gave, their disagreement, and notices.

    Votes of one column are joined by `SEVERAL`. An empty field is no vote, nor is what is no
    level; a row that has only such votes, or in which annotators are tied, is an exclusion, and
    without any vote the label is empty.

    The disagreement is how often an annotator differs from the most frequent label. Rows that are
    tied count as well: half of two annotators who disagree differ from either. A level of any
    attribute has a rate of its own from 50 images on; rows with fewer than two votes say nothing.

    One vote of each row is also drawn `LABEL_SETS` times, with a fixed seed: all votes of a row in
    a random order, over and over, so that each counts about as often as the others.

    `annotators` are columns, and `attributes` levels, by attribute.
    """
    result: list[Row | Exclusion] = []
    known: list[tuple[Row, Mapping[str, Counter[str]]]] = []
    dropped = {name: Counter[str]() for name in annotators}
    rng = np.random.default_rng(0)
    for row in rows:
        if isinstance(row, Exclusion):
            result.append(row)
            continue
        written = {
            name: Counter(v for c in own for v in row[c].split(SEVERAL) if v not in _NO_VOTE)
            for name, own in annotators.items()
        }
        votes = {
            name: Counter({label: n for label, n in own.items() if label in attributes[name]})
            for name, own in written.items()
        }
        for name, own in written.items():
            dropped[name].update(own - votes[name])
        if unknown := [name for name, own in written.items() if own and not votes[name]]:
            levels = some(attributes[unknown[-1]])
            detail = f"{unknown[-1]}: expected one of {levels} from an annotator, got none"
            result.append(Exclusion(row[PLACE], "unknown label", detail, row=row))
            continue
        labels = {name: _majority(own) for name, own in votes.items()}
        for name in votes:
            if labels[name] == "" and NO_ANSWER in attributes[name]:
                labels[name] = NO_ANSWER
        labelled = row | {name: label or "" for name, label in labels.items()}
        labelled |= {_DRAWN + name: _drawn(own, rng) for name, own in votes.items()}
        known.append((labelled, votes))
        tied = next((name for name, label in labels.items() if label is None), None)
        if tied is None:
            result.append(labelled)
        else:
            said = ", ".join(f"{n} x {one_line(each)}" for each, n in votes[tied].most_common())
            detail = f"{tied}: expected one level with most votes, got {said}"
            place = reference_of(row[path_column])
            result.append(Exclusion(place, "annotators tied", detail, row=row))
    notices = []
    for name, values in dropped.items():
        if values:
            named = [f"{one_line(v)} ({n})" for v, n in values.most_common() if n >= FREQUENT]
            which = f": {some(named)}" if named else ""
            notices.append(
                f"{name}: {values.total()} votes of annotators were not counted, for "
                f"values that are not levels{which}"
            )
    disagreement = {
        name: found for name in annotators if (found := _disagreement(name, known, attributes))
    }
    notices += [
        f"{name}: an annotator gives another level than most in {100 * found.overall:.1f} % of "
        f"labels, over {sum(votes[name].total() > 1 for _, votes in known)} images"
        for name, found in disagreement.items()
    ]
    return result, disagreement, notices


def _disagreement(
    name: str,
    known: Sequence[tuple[Row, Mapping[str, Counter[str]]]],
    attributes: Mapping[str, Sequence[str]],
) -> Disagreement | None:
    """How often votes for an attribute are not for the most frequent label; None without votes."""
    rates = [
        (labelled, 1 - max(votes[name].values()) / votes[name].total())
        for labelled, votes in known
        if votes[name].total() > 1
    ]
    if not rates:
        return None
    by_level = {}
    for attribute, levels in attributes.items():
        for level in levels:
            own = [rate for labelled, rate in rates if labelled[attribute] == level]
            if len(own) >= _FEWEST:
                by_level[attribute, level] = float(np.mean(own))
    return Disagreement(float(np.mean([rate for _, rate in rates])), by_level)


def _majority(votes: Counter[str]) -> str | None:
    """The label with most votes, empty without any; None where several have as many."""
    (label, n), *second = votes.most_common(2) or [("", 0)]
    return None if second and second[0][1] == n else label


def _drawn(votes: Counter[str], rng: np.random.Generator) -> str:
    """One vote after the other in a random order, `LABEL_SETS` of them; empty without any."""
    ordered = rng.permutation(sorted(votes.elements())).tolist()
    return SEVERAL.join(itertools.islice(itertools.cycle(ordered), LABEL_SETS))


def declared_disagreement(
    declared: Mapping[str, float | Mapping[str, float]],
) -> tuple[dict[str, Disagreement], list[str]]:
    """The rates that a config states, and a notice of each attribute.

    An attribute has one rate, or rates by "all" and "attribute=level".
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
