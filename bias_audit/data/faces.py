"""The table of faces every source produces."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from bias_audit.arrays import IntArray
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

    @property
    def label(self) -> str:
        """The file's name below its folder, and the row, for a ledger."""
        name = f"{self.file.parent.name}/{self.file.name}"
        return name if self.row is None else f"{name} row {self.row}"


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
    """Annotated faces, one row each; rows of all arrays correspond."""

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

    def __len__(self) -> int:
        return len(self.references)

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
            identities=identities,
            splits=splits,
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


@dataclass(frozen=True)
class Faces:
    """The images an audit analyses: scanned, without exact duplicates, drawn and clustered."""

    table: FaceTable
    """Only the images used, in a fixed order."""
    found: IntArray
    """Usable images per intersection before drawing, shape (n_cells,)."""
    clusters: IntArray
    """Images with the same number (one person, or near duplicates) share a fold, (n_images,)."""
    sha256: tuple[str, ...]
    """Of each image's bytes."""

    def __len__(self) -> int:
        return len(self.table)

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
        images_sha256=hashlib.sha256("\n".join(sorted(faces.sha256)).encode()).hexdigest(),
    )
