"""Activations on disk, found again by the fingerprint of what they were made from.

One folder per (backbone, preprocessing, images); in it one folder per pass, which holds the
layers that pass recorded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bias_audit.activations.moments import Moments
from bias_audit.activations.recording import (
    LayerFile,
    RecordedFile,
    RecordingPass,
    Values,
    recorded_files,
    recorded_in,
)
from bias_audit.arrays import IntArray
from bias_audit.data.faces import Faces
from bias_audit.files import digest, read_arrays, write_arrays, write_text

_STREAMED = 256


@dataclass(frozen=True)
class StoredActivations:
    """Finished activations of one backbone on one set of images."""

    folder: Path
    fingerprint: str
    n_images: int
    layers: tuple[str, ...]
    """In order of depth."""
    cells: IntArray
    """Intersection of each image, shape (n_images,)."""
    n_cells: int
    _paths: dict[tuple[str, bool], Path] = field(repr=False)
    """File by layer and whether it has positions."""
    _head_inputs: Path | None = field(default=None, repr=False)
    reduced: str = ""
    """How feature maps were reduced to positions, in words; empty without positions."""

    def units(self, layer: str) -> Values:
        """Spatial mean per unit, shape (n_images, n_units), memory-mapped, read-only."""
        return _mapped(self._path(layer, positions=False))

    def positions(self, layer: str) -> Values:
        """Feature maps at reduced resolution, shape (n_images, n_units, n_positions)."""
        return _mapped(self._path(layer, positions=True))

    @property
    def head_inputs(self) -> Values | None:
        """What the classification layer receives, shape (n_images, n_units); None: not recorded.

        It is no layer of the audit, whose probes do not see it.
        """
        return None if self._head_inputs is None else _mapped(self._head_inputs)

    @property
    def size(self) -> int:
        """Bytes of all files on disk."""
        paths = [*self._paths.values(), *([self._head_inputs] if self._head_inputs else [])]
        return sum(path.stat().st_size for path in paths)

    def moments(self, layer: str, *, positions: bool = False) -> Moments:
        """Moments per intersection; made during the pass, or streamed from disk if labels changed.

        Memory is groups x units in both cases.
        """
        path = self._path(layer, positions=positions)
        kept = moments_path(path, self.cells, self.n_cells)
        stored = read_arrays(kept)
        if stored is not None:
            return Moments(stored["count"], stored["mean"], stored["m2"])
        moments = stream_moments(_mapped(path), self.cells, self.n_cells, piece=_STREAMED)
        write_moments(kept, moments)
        return moments

    def _path(self, layer: str, *, positions: bool) -> Path:
        if (layer, positions) not in self._paths:
            what = "positions of layer" if positions else "layer"
            raise KeyError(f"{what} {layer!r} was not recorded")
        return self._paths[layer, positions]


def stream_moments(values: Values, cells: IntArray, n_cells: int, *, piece: int) -> Moments:
    """Moments of the rows of a file, read `piece` rows at a time."""
    moments = Moments.empty(n_cells, values.shape[1:])
    for first in range(0, len(values), piece):
        rows = slice(first, first + piece)
        moments.update(values[rows], cells[rows])
    return moments


def moments_path(path: Path, cells: IntArray, n_cells: int) -> Path:
    """Where the moments of a file are kept, for these labels and this many intersections."""
    labels = digest(str(n_cells), cells.tobytes())[:12]
    return path.with_name(f"{path.name}.moments-{labels}.npz")


def write_moments(path: Path, moments: Moments) -> None:
    """Keep moments beside the activations they summarise."""
    write_arrays(path, {"count": moments.count, "mean": moments.mean, "m2": moments.m2})


def free_bytes(folder: Path) -> int:
    """Free space where a folder is or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _mapped(path: Path) -> Values:
    array: Values = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


Rows = tuple[int, Mapping[LayerFile, Values]]
"""Index of the first image of a batch, and the rows of the batch by file."""
_NAME = "images.txt"


@dataclass(frozen=True)
class Donor:
    """Stored activations of the same backbone, of some of the same images."""

    folder: Path
    rows: IntArray
    """Row in the donor's files of each image wanted; -1 where it has none, (n_images,)."""
    files: dict[LayerFile, RecordedFile]

    @property
    def lacks(self) -> IntArray:
        """Places of the images that it does not have."""
        return np.flatnonzero(self.rows < 0)

    def values(self, file: LayerFile) -> Values:
        """All of its rows of one file, memory-mapped, read-only."""
        return _mapped(self.files[file].path)

    def rest(self, folder: Path) -> Donor:
        """Another one, of just the images that this one lacks, in their order."""
        rows = np.full(len(self.rows), -1, dtype=np.int64)
        rows[self.lacks] = np.arange(len(self.lacks))
        return Donor(folder, rows, recorded_in(folder, len(self.lacks)))


def borrowed_rows(
    donors: Sequence[Donor], recording: RecordingPass, *, start: int, piece: int
) -> Iterator[Rows]:
    """The rows of a recording from index `start` on, `piece` images at a time.

    For every image at least one of the donors has a row.
    """
    values = {(id(d), file): d.values(file) for d in donors for file in recording.files}
    for first in range(start, recording.n_images, piece):
        batch = {}
        for file in recording.files:
            size = min(piece, recording.n_images - first)
            rows = np.empty((size, *file.row), dtype=np.float32)
            for donor in donors:
                places = donor.rows[first : first + size]
                rows[places >= 0] = values[id(donor), file][places[places >= 0]]
            batch[file] = rows
        yield first, batch


def name_images(folder: Path, maker: str, images: Sequence[str]) -> None:
    """Write down which images (SHA-256, in the order of rows) a folder is about, for donors."""
    if not (folder / _NAME).exists():
        write_text(folder / _NAME, "\n".join([maker, *images]) + "\n")


def donor_of(
    folder: Path, maker: str, images: Sequence[str], wanted: Sequence[LayerFile]
) -> Donor | None:
    """The stored activations, beside `folder`, that cover most of the images; None without any.

    Files are checked against their checksums, so what is damaged is not taken. `maker` is the
    digest of the backbone and of the software; `wanted` has to be there of each image.
    """
    candidates = []
    for listed in folder.parent.glob(f"*/{_NAME}"):
        if listed.parent == folder:
            continue
        try:
            with listed.open(encoding="utf-8") as lines:
                is_same_maker = lines.readline().strip() == maker
                there = lines.read().split() if is_same_maker else []
        except (OSError, UnicodeDecodeError):
            there = []
        files = recorded_files(listed.parent, len(there))
        places = {sha: row for row, sha in enumerate(there)}
        rows = np.array([places.get(sha, -1) for sha in images], dtype=np.int64)
        if (rows >= 0).any() and all(file in files for file in wanted):
            candidates.append(Donor(listed.parent, rows, files))
    for donor in sorted(candidates, key=lambda donor: len(donor.lacks)):
        if all(donor.files[file].intact() for file in wanted):
            return donor
    return None


def subset(faces: Faces, places: IntArray) -> Faces:
    """Some of the images, in their order."""
    return replace(
        faces,
        table=faces.table.only(places),
        clusters=faces.clusters[places],
        sha256=tuple(faces.sha256[place] for place in places),
    )
