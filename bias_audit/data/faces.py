"""The table of faces every source produces."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from bias_audit.arrays import BoolArray, IntArray
from bias_audit.config.schema import Strict
from bias_audit.errors import DataError
from bias_audit.groups import Attribute, Group, intersection_codes, intersections
from bias_audit.results.audit import AttributeRecord, CellCount, DataRecord, ExclusionReason
from bias_audit.statistics.clusters import effective_clusters


@dataclass(frozen=True)
class ImageReference:
    """Where one image's bytes are."""

    file: Path
    """An image file, or a parquet file with images as bytes."""
    row: int | None = None
    """Row of the parquet file; None for an image file."""
    column: str | None = None
    """Column of the parquet file with the bytes (a struct's field as "image.bytes")."""
    white: int = 0
    """Value of white of most images of the data set, where the file is deeper than 8 bits, darker
    than most and does not say what its white is; 0: the image's own."""
    box: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the part of the upright image that is used; None: all."""

    @property
    def label(self) -> str:
        """The file's name below its folder, and the row, for a ledger."""
        name = f"{self.file.parent.name}/{self.file.name}"
        name += "" if self.row is None else f" row {self.row}"
        return name if self.box is None else f"{name} at {self.box[0]}, {self.box[1]}"


@dataclass(frozen=True)
class Exclusion:
    """One entry of the exclusion ledger."""

    reference: str
    """The file or row, as the source names it."""
    reason: str
    """A short class to count by: "malformed name", "unknown label", "corrupt image", ..."""
    detail: str
    """What was expected and what came."""
    effect: str = "left out"
    row: dict[str, str] | None = None
    """The row of labels that it is about; as what follows to forget people, never written."""
    identity: str = ""
    """Who is shown, as the source writes it."""
    image: ImageReference | None = None


@dataclass(frozen=True)
class Disagreement:
    """How often another annotator would give another level of an attribute."""

    overall: float
    """Rate over all images, in [0, 1)."""
    by_level: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Rate among images of a level, by attribute and level, where it is known."""


class NoUsableImageError(DataError):
    """A source lists no image that can be used; carries the ledger, which says why."""

    def __init__(self, message: str, exclusions: Sequence[Exclusion]) -> None:
        """Keep the ledger beside the message."""
        self.exclusions = tuple(exclusions)
        super().__init__(message)


@dataclass(frozen=True)
class FaceTable:
    """Annotated faces, one row each; rows of all arrays correspond.

    A face with several answers, such as two ancestries, has a row for each combination of them:
    the rows of one image follow each other, and share its reference and identity.
    """

    name: str
    attributes: tuple[Attribute, ...]
    references: tuple[ImageReference, ...]
    codes: IntArray
    """Level index, shape (n_images, n_attributes)."""
    identities: tuple[str, ...] | None
    """Who is shown, in one form each, where the source says (else ""); a person shares a fold."""
    splits: tuple[str, ...] | None
    """The source's own split, where it has one; never used as a fold."""
    label_origin: str
    licence: str
    cautions: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    disagreement: Mapping[str, Disagreement] = field(default_factory=dict)
    """Of annotators, by attribute, where it is known."""
    label_sets: IntArray | None = None
    """Level index by one annotator of each face, drawn at random several times, where the
    annotators of some face disagree; shape (n_sets, n_rows, n_attributes)."""
    pictures: IntArray | None = None
    """Number of the image of each row, ascending, where some image has several rows; shape
    (n_rows,). None: every row is an image of its own."""
    answers: tuple[AttributeRecord, ...] = ()
    """How the answers for each attribute were read; empty where a source does not say."""

    def __len__(self) -> int:
        return len(self.references)

    @property
    def label_bytes(self) -> bytes:
        """All labels, for a digest."""
        return self.codes.tobytes() + (
            b"" if self.label_sets is None else self.label_sets.tobytes()
        )

    @property
    def n_images(self) -> int:
        """Images, each counted once."""
        return self.n_shown(np.ones(len(self), dtype=np.bool_))

    def n_shown(self, rows: BoolArray) -> int:
        """Images among some of the rows, shape (n_rows,), each counted once."""
        return images_among(rows, self.pictures)

    @property
    def once(self) -> FaceTable:
        """The first row of every image."""
        if self.pictures is None:
            return self
        first = np.unique(self.pictures, return_index=True)[1]
        return replace(self.only(first), pictures=None)

    @property
    def all_answers(self) -> list[tuple[frozenset[int], ...]]:
        """Of every image, the codes that it has of each attribute."""
        if self.pictures is None:
            return [tuple(frozenset((code,)) for code in own) for own in self.codes.tolist()]
        starts = np.unique(self.pictures, return_index=True)[1][1:]
        return [tuple(map(frozenset, own.T.tolist())) for own in np.split(self.codes, starts)]

    def only(self, rows: IntArray) -> FaceTable:
        """The table of some of the faces, in the order given."""
        identities, splits = (
            values and tuple(values[row] for row in rows)
            for values in (self.identities, self.splits)
        )
        return replace(
            self,
            references=tuple(self.references[row] for row in rows),
            codes=self.codes[rows],
            label_sets=None if self.label_sets is None else self.label_sets[:, rows],
            identities=identities,
            splits=splits,
            pictures=None if self.pictures is None else self.pictures[rows],
        )

    @property
    def cells(self) -> IntArray:
        """Intersection index per image, shape (n_images,), as `groups.intersections` orders."""
        return intersection_codes(self.codes, self.attributes)

    def disagreement_within(self, group: Group, name: str) -> float:
        """How often annotators disagree on an attribute within a group; 0 where not known.

        The largest of the rates known for the levels of the group, else that of all images.
        """
        if (rates := self.disagreement.get(name)) is None:
            return 0.0
        known = [rate for level, rate in rates.by_level.items() if level in group.levels]
        return max(known, default=rates.overall)

    @property
    def n_cells(self) -> int:
        """Declared intersections, empty ones included."""
        return math.prod(len(attribute.levels) for attribute in self.attributes)


def images_among(rows: BoolArray, pictures: IntArray | None) -> int:
    """Images among some rows, each once; rows and the images of these have shape (n_rows,)."""
    return int(rows.sum()) if pictures is None else len(np.unique(pictures[rows]))


@dataclass(frozen=True)
class Faces:
    """The images an audit analyses: scanned, without exact duplicates, drawn and clustered."""

    table: FaceTable
    """Only the images used, in a fixed order; one with several answers has several rows."""
    found: IntArray
    """Usable images per intersection before drawing, shape (n_cells,)."""
    clusters: IntArray
    """Rows with the same number (one person, or near duplicates) share a fold, (n_rows,)."""
    sha256: tuple[str, ...]
    """Of the bytes of each row's image."""
    n_found: int | None = None
    """Usable images before drawing, where some have several rows."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def once(self) -> Faces:
        """The first row of every image."""
        if self.table.pictures is None:
            return self
        first = np.unique(self.table.pictures, return_index=True)[1]
        return replace(
            self,
            table=self.table.once,
            clusters=self.clusters[first],
            sha256=tuple(self.sha256[row] for row in first),
        )

    @property
    def n_usable(self) -> int:
        """Usable images before drawing, each counted once."""
        return int(self.found.sum()) if self.n_found is None else self.n_found

    @property
    def pixels(self) -> tuple[str, ...]:
        """What decides the pixels of each image: its SHA-256, and the white that it shares."""
        return tuple(
            f"{sha256} {reference.white}" if reference.white else sha256
            for sha256, reference in zip(self.sha256, self.table.references, strict=True)
        )


P = TypeVar("P", bound=Strict)


@dataclass(frozen=True)
class FaceSource(Generic[P]):
    """A kind of face dataset."""

    title: str
    params_type: type[P]
    read: Callable[[P], FaceTable]
    """Reads labels and references, opens no image; raises DataError when nothing can be read."""
    declares: Callable[[P], tuple[Attribute, ...]] | None = None
    """The attributes that `read` gives, where they are known without reading anything."""


SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp"))
"""Of image files that a source finds by itself."""
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


def data_record(faces: Faces, kind: str, *, found_cautions: Sequence[str] = ()) -> DataRecord:
    """The faces an audit rests on, in aggregate.

    `found_cautions` are what the images themselves showed, beside the source's own cautions.
    """
    table = faces.table
    names = table.identities
    sizes = np.unique(faces.clusters, return_counts=True)[1]
    used = np.bincount(table.cells, minlength=table.n_cells)
    groups = intersections(table.attributes)
    return DataRecord(
        name=table.name,
        kind=kind,
        attributes=tuple(_attribute_records(faces)),
        cells=tuple(
            CellCount(group=group, found=int(found), used=int(count))
            for group, found, count in zip(groups, faces.found, used, strict=True)
        ),
        n_images=table.n_images,
        n_usable=faces.n_usable,
        n_identities=None if names is None else len({*names} - {""}),
        n_without_identity=None if names is None else table.n_shown(np.array(names) == ""),
        n_clusters=len(sizes),
        effective_clusters=effective_clusters(sizes),
        label_origin=table.label_origin,
        licence=table.licence,
        cautions=(*table.cautions, *found_cautions),
        notices=table.notices,
        exclusions=summarise_exclusions(table.exclusions),
        manifest_sha256=manifest_sha256(faces),
        images_sha256=hashlib.sha256("\n".join(sorted({*faces.sha256})).encode()).hexdigest(),
    )


def _attribute_records(faces: Faces) -> Iterator[AttributeRecord]:
    """What the source says of its answers, with the faces used that have several."""
    table = faces.table
    known = {record.name: record for record in table.answers}
    differs = np.zeros_like(table.codes, dtype=np.bool_)
    if table.label_sets is not None:
        differs = (table.label_sets != table.codes).any(axis=0)
    for attribute, codes, own in zip(table.attributes, table.codes.T, differs.T, strict=True):
        plain = AttributeRecord(name=attribute.name, levels=attribute.levels)
        record = known.get(attribute.name, plain)
        images = tuple(table.n_shown(codes == place) for place in range(len(attribute.levels)))
        several = None
        if table.pictures is not None and record.form == "several levels":
            pairs = np.unique(np.stack([table.pictures, codes]), axis=1)[0]
            several = int((np.unique(pairs, return_counts=True)[1] > 1).sum())
        rates = table.disagreement.get(attribute.name)
        disagreement = None if rates is None else rates.overall
        found = {"images": images, "several": several, "disagreement": disagreement}
        yield record.model_copy(update={**found, "contested": table.n_shown(own) or None})
