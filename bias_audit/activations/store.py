"""Activations on disk, found again by the fingerprint of what they were made from.

One folder per (backbone, preprocessing, images); in it one folder per pass, which holds the
layers that pass recorded. Files grow by whole batches, so an interrupted pass goes on where its
last checkpoint was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from bias_audit.activations.moments import Moments
from bias_audit.files import digest, read_arrays, write_arrays, write_text, writing
from bias_audit.groups import IntArray

Values = npt.NDArray[np.float32]
_STREAMED = 256


@dataclass(frozen=True)
class LayerFile:
    """What is recorded of one layer: one row per image."""

    layer: str
    n_units: int
    grid: tuple[int, int] | None
    """Rows and columns of positions per unit; None for the spatial mean alone."""

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one image's values."""
        return (self.n_units, *(() if self.grid is None else (self.grid[0] * self.grid[1],)))

    @property
    def name(self) -> str:
        """The file's name; layer names may hold characters that file systems refuse."""
        kind = "units" if self.grid is None else f"positions{self.grid[0]}x{self.grid[1]}"
        return f"{digest(self.layer)[:12]}.{kind}.npy"


class RecordingPass:
    """One pass over the images that is being written, or has been."""

    def __init__(self, folder: Path, files: Sequence[LayerFile], n_images: int) -> None:
        """Open a pass, where it was left off if it was begun before.

        Args:
            folder: The pass' own folder.
            files: What to record.
            n_images: Rows of every file.

        Raises:
            OutputError: The disk refuses.
        """
        self.folder = folder
        self.files = tuple(files)
        self.n_images = n_images
        self._open: dict[LayerFile, IO[bytes]] = {}
        state = _read_state(folder)
        self.done: int = state.get("done", 0) if state.get("n_images") == n_images else 0
        if not all(_reaches(folder / file.name, file, n_images, self.done) for file in files):
            self.done = 0  # a file was cut or deleted: the pass begins anew

    @property
    def complete(self) -> bool:
        """Whether every image is recorded."""
        return self.done == self.n_images

    def rows(self, file: LayerFile) -> Values:
        """What is recorded of one layer so far, shape (done, *row), memory-mapped, read-only."""
        shape = (self.done, *file.row)
        path, offset = self.folder / file.name, len(_header(file, self.n_images))
        return np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=shape)

    def begin(self) -> None:
        """Open the files and drop what was written after the last checkpoint."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file in self.files:
                path = self.folder / file.name
                header = _header(file, self.n_images)
                size = len(header) + self.done * _row_bytes(file)
                handle = path.open("r+b" if self.done else "wb")
                self._open[file] = handle
                if self.done:
                    handle.truncate(size)
                    handle.seek(size)
                else:
                    handle.write(header)

    def append(self, file: LayerFile, values: Values) -> None:
        """Write the rows of one batch of one layer; `checkpoint` makes them count."""
        with writing(self.folder):
            self._open[file].write(np.ascontiguousarray(values, dtype=np.float32).tobytes())

    def checkpoint(self, done: int) -> None:
        """Make everything up to image `done` survive an interruption."""
        with writing(self.folder):
            for handle in self._open.values():
                handle.flush()
                os.fsync(handle.fileno())
        self.done = done
        layers = [{"layer": f.layer, "n_units": f.n_units, "grid": f.grid} for f in self.files]
        state = {"n_images": self.n_images, "done": done, "layers": layers}
        write_text(self.folder / "state.json", json.dumps(state))

    def close(self) -> None:
        """Close the files; rows after the last checkpoint are dropped when the pass resumes."""
        for handle in self._open.values():
            handle.close()
        self._open.clear()


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

    def units(self, layer: str) -> Values:
        """Spatial mean per unit, shape (n_images, n_units), memory-mapped, read-only."""
        return _mapped(self._path(layer, positions=False))

    def positions(self, layer: str) -> Values:
        """Feature maps at reduced resolution, shape (n_images, n_units, n_positions)."""
        return _mapped(self._path(layer, positions=True))

    def moments(self, layer: str, *, positions: bool = False) -> Moments:
        """Moments per intersection; made during the pass, or streamed from disk if labels changed.

        Memory is groups x units in both cases.
        """
        path = self._path(layer, positions=positions)
        stored = _read_moments(moments_path(path, self.cells))
        if stored is None:
            everything = _mapped(path)
            stored = stream_moments(everything, self.cells, self.n_cells, piece=_STREAMED)
            write_moments(moments_path(path, self.cells), stored)
        return stored

    def _path(self, layer: str, *, positions: bool) -> Path:
        if (layer, positions) not in self._paths:
            what = "positions of layer" if positions else "layer"
            raise KeyError(f"{what} {layer!r} was not recorded")
        return self._paths[layer, positions]


def recorded_files(folder: Path, n_images: int) -> dict[tuple[str, bool], tuple[LayerFile, Path]]:
    """Files of all complete passes below an activation folder, by layer and kind."""
    found: dict[tuple[str, bool], tuple[LayerFile, Path]] = {}
    for passed in sorted(folder.glob("pass-*")):
        state = _read_state(passed)
        if not state or state["done"] != n_images or state["n_images"] != n_images:
            continue
        for entry in state["layers"]:
            grid = tuple(entry["grid"]) if entry["grid"] else None
            file = LayerFile(entry["layer"], entry["n_units"], grid)
            if _reaches(passed / file.name, file, n_images, n_images):
                found[file.layer, grid is not None] = (file, passed / file.name)
    return found


def stream_moments(values: Values, cells: IntArray, n_cells: int, *, piece: int) -> Moments:
    """Moments of the rows of a file, read `piece` rows at a time."""
    moments = Moments.empty(n_cells, values.shape[1:])
    for first in range(0, len(values), piece):
        rows = slice(first, first + piece)
        moments.update(values[rows], cells[rows])
    return moments


def moments_path(path: Path, cells: IntArray) -> Path:
    """Where the moments of a file are kept, for these labels."""
    return path.with_name(f"{path.name}.moments-{digest(cells.tobytes())[:12]}.npz")


def write_moments(path: Path, moments: Moments) -> None:
    """Keep moments beside the activations they summarise."""
    write_arrays(path, {"count": moments.count, "mean": moments.mean, "m2": moments.m2})


def _reaches(path: Path, file: LayerFile, n_images: int, done: int) -> bool:
    """Whether a file holds the rows of the first `done` images."""
    expected = len(_header(file, n_images)) + done * _row_bytes(file)
    return path.is_file() and path.stat().st_size >= expected


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


def _read_state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _header(file: LayerFile, n_images: int) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (n_images, *file.row)}
    )
    return buffer.getvalue()


def _row_bytes(file: LayerFile) -> int:
    return 4 * int(np.prod(file.row))
