"""Activations on disk, found again by the fingerprint of what they were made from.

One folder per (backbone, preprocessing, images); in it one folder per pass, which holds the
layers that pass recorded.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bias_audit.activations.moments import Moments
from bias_audit.activations.recording import Values
from bias_audit.arrays import IntArray
from bias_audit.files import digest, read_arrays, write_arrays

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
    """File by layer and whether it holds positions."""
    _head_inputs: Path | None = field(default=None, repr=False)

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
        stored = _read_moments(kept)
        if stored is None:
            everything = _mapped(path)
            stored = stream_moments(everything, self.cells, self.n_cells, piece=_STREAMED)
            write_moments(kept, stored)
        return stored

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


def _read_moments(path: Path) -> Moments | None:
    stored = read_arrays(path)
    return None if stored is None else Moments(stored["count"], stored["mean"], stored["m2"])


def free_bytes(folder: Path) -> int:
    """Free space where a folder is or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _mapped(path: Path) -> Values:
    array: Values = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
