"""One pass over the images on disk: written in whole batches, sealed with checksums at its end.

Files grow by whole batches, so an interrupted pass continues from its last checkpoint.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from bias_audit.backbones.pooling import Reduction
from bias_audit.files import digest, sha256_of, warn_of_damage, write_text, writing

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LayerFile:
    """What is recorded of one layer: one row per image."""

    layer: str
    n_units: int
    grid: tuple[int, int] | None
    """Rows and columns of positions per unit; None for the spatial mean alone."""
    of: Literal["output", "input"] = "output"
    """Whether it is what the layer returns, or what it receives."""
    reduction: Reduction | None = None
    """From feature maps to the positions of the grid."""

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of one image's values."""
        return (self.n_units, *(() if self.grid is None else (self.grid[0] * self.grid[1],)))

    @property
    def row_bytes(self) -> int:
        """Size of one image's values on disk."""
        return 4 * math.prod(self.row)

    @property
    def name(self) -> str:
        """The file's name; layer names may have characters that file systems refuse."""
        kind = "units"
        if self.grid is not None and self.reduction is not None:
            how = "aligned-" if self.reduction.is_aligned else ""
            kind = f"{how}{self.reduction.by}{self.grid[0]}x{self.grid[1]}"
        kind = "inputs" if self.of == "input" else kind
        return f"{digest(self.layer)[:12]}.{kind}.npy"


class _Entry(BaseModel):
    """One file of a pass, in its state.json."""

    layer: str
    n_units: int = Field(ge=1)
    grid: tuple[int, int] | None
    of: Literal["output", "input"] = "output"
    reduction: Reduction | None = None
    sha256: str = ""
    """Of the whole file; empty until the pass is complete."""


class _State(BaseModel):
    """How far a pass is: its state.json."""

    n_images: int = Field(ge=1)
    done: int = Field(ge=0)
    layers: tuple[_Entry, ...]


@dataclass(frozen=True)
class RecordedFile:
    """A file of a complete pass."""

    path: Path
    sha256: str
    """As it was when the pass was complete."""

    def intact(self) -> bool:
        """Whether the file still has what was recorded; reads the whole file."""
        try:
            return sha256_of(self.path) == self.sha256
        except OSError:
            return False

    def discard(self) -> None:
        """Delete the file and the moments made from it, so that it is recorded again."""
        with writing(self.path):
            for moments in self.path.parent.glob(f"{self.path.name}.moments-*"):
                moments.unlink()
            self.path.unlink(missing_ok=True)


class RecordingPass:
    """One pass over the images that is being written, or has been."""

    def __init__(self, folder: Path, files: Sequence[LayerFile], n_images: int) -> None:
        """Open a pass in its own folder, where it was left off if it was begun before."""
        self.folder = folder
        self.files = tuple(files)
        self.n_images = n_images
        self._open: dict[LayerFile, IO[bytes]] = {}
        state = _read_state(folder)
        # A complete pass is opened again only because a file of it is damaged or gone.
        going_on = state is not None and state.n_images == n_images and state.done < n_images
        self.done: int = state.done if state is not None and going_on else 0
        if not all(_reaches(folder / file.name, file, n_images, self.done) for file in files):
            self.done = 0  # a file was cut or deleted: the pass begins again

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
                size = len(header) + self.done * file.row_bytes
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
        """Make everything up to image `done` survive an interruption; the last one seals it."""
        with writing(self.folder):
            for handle in self._open.values():
                handle.flush()
                os.fsync(handle.fileno())
            complete = done == self.n_images
            entries = tuple(
                _Entry(
                    **asdict(file), sha256=sha256_of(self.folder / file.name) if complete else ""
                )
                for file in self.files
            )
        self.done = done
        state = _State(n_images=self.n_images, done=done, layers=entries)
        write_text(self.folder / "state.json", state.model_dump_json())

    def close(self) -> None:
        """Close the files; rows after the last checkpoint are dropped when the pass resumes."""
        for handle in self._open.values():
            handle.close()
        self._open.clear()


def recorded_files(folder: Path, n_images: int) -> dict[LayerFile, RecordedFile]:
    """Files of all complete passes below an activation folder."""
    found: dict[LayerFile, RecordedFile] = {}
    for passed in sorted(folder.glob("pass-*")):
        found |= recorded_in(passed, n_images)
    return found


def recorded_in(passed: Path, n_images: int) -> dict[LayerFile, RecordedFile]:
    """Files of one pass; none if it is not complete."""
    state = _read_state(passed)
    if state is None or state.done != n_images or state.n_images != n_images:
        return {}
    found = {}
    for entry in state.layers:
        file = LayerFile(entry.layer, entry.n_units, entry.grid, entry.of, entry.reduction)
        path = passed / file.name
        if entry.sha256 and _reaches(path, file, n_images, n_images):
            found[file] = RecordedFile(path, entry.sha256)
        elif entry.sha256 and path.is_file():
            warn_of_damage(path, "it is shorter than what was recorded")
    return found


def _reaches(path: Path, file: LayerFile, n_images: int, done: int) -> bool:
    """Whether a file has the rows of the first `done` images."""
    expected = len(_header(file, n_images)) + done * file.row_bytes
    return path.is_file() and path.stat().st_size >= expected


def _read_state(folder: Path) -> _State | None:
    path = folder / "state.json"
    try:
        return _State.model_validate_json(path.read_bytes())
    except OSError:
        return None
    except ValidationError as error:
        warn_of_damage(path, error)
        return None


def _header(file: LayerFile, n_images: int) -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": (n_images, *file.row)}
    )
    return buffer.getvalue()
