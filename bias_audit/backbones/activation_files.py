"""Activations in files: what this project writes to hand over, and what teams computed elsewhere.

Rows are images, named by the SHA-256 of their files or by file names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError
from safetensors import safe_open

from bias_audit.arrays import Float32Array, IntArray
from bias_audit.backbones.extras import first_line
from bias_audit.backbones.head import LinearHead
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.catalog import first_names
from bias_audit.errors import BackboneError, first_problem
from bias_audit.files import digest, sha256_of
from bias_audit.results.audit import BackboneRecord, LayerRecord

MANIFEST: Final = "activations.json"
IMAGES: Final = "images.txt"
_IMAGE_COLUMNS: Final = ("image", "images", "sha256", "file")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MATRIX: Final = 2

Array = Callable[[], np.ndarray[Any, Any]]


class GivenLayer(BaseModel):
    """A layer in a folder that this project wrote."""

    name: str
    units: str
    """File of shape (n_images, n_units)."""
    shape: OutputShape
    positions: str | None = None
    """File of shape (n_images, n_units, n_positions)."""
    reduced: str = ""
    """How feature maps became positions, in words."""


class GivenHead(BaseModel):
    """The classification layer: files of its weight, its bias and what it receives."""

    name: str
    weight: str
    bias: str
    inputs: str


class ActivationManifest(BaseModel):
    """The `activations.json` of a folder."""

    format: Literal["bias_audit activations 1"] = "bias_audit activations 1"
    backbone: BackboneRecord
    layers: tuple[GivenLayer, ...] = Field(min_length=1)
    head: GivenHead | None = None


@dataclass(frozen=True)
class ActivationTable:
    """Arrays with a row for each image, as they lie in files; see `loading.Given`."""

    record: BackboneRecord
    shapes: dict[str, OutputShape]
    head: LinearHead | None
    fingerprint: str
    arrays: Mapping[tuple[str, str], Array]
    """By layer and "units", "input" or how positions were reduced."""
    images: tuple[str, ...]
    place: Path

    def rows_of(self, images: Sequence[str], labels: Sequence[str]) -> IntArray:
        """Row of each image, by its SHA-256, else by folder and name, else by name alone.

        Raises:
            BackboneError: An image is missing, or a row would stand for several.
        """
        by_name: dict[str, int] = {}
        for row, image in enumerate(self.images):
            key = image if _SHA256.fullmatch(image) else "/".join(Path(image).parts[-2:])
            if key in by_name:
                raise BackboneError(
                    f"{self.place}: expected one row for each image, got several for "
                    f"{image!r}; leave all but one out"
                )
            by_name[key] = row
        found = [
            by_name.get(image, by_name.get(label, by_name.get(label.rpartition("/")[2], -1)))
            for image, label in zip(images, labels, strict=True)
        ]
        rows = np.array(found, dtype=np.int64)
        if (rows < 0).any():
            missing = first_names(
                (label for label, row in zip(labels, found, strict=True) if row < 0), 3
            )
            raise BackboneError(
                f"{self.place}: {int((rows < 0).sum())} of {len(rows)} images have no row "
                f"(such as {missing}); its {len(self.images)} rows are named like "
                f"{first_names(self.images, 2)}; expected the SHA-256 of the image file, "
                "folder/file or the file's name"
            )
        if len(np.unique(rows)) != len(rows):
            raise BackboneError(
                f"{self.place}: some rows stand for several images, whose file names are the "
                "same; name rows by folder/file or by the SHA-256 of the image file"
            )
        return rows

    def values(
        self, layer: str, of: Literal["output", "input"], described: str | None, rows: IntArray
    ) -> Float32Array:
        """Some rows of a layer, float32.

        Raises:
            BackboneError: They are not there, or not finite.
        """
        what = "input" if of == "input" else described or "units"
        if (layer, what) not in self.arrays:
            there = [kind for name, kind in self.arrays if name == layer and kind != "units"]
            raise BackboneError(
                f"{self.place}: layer {layer!r} has no positions by {what}"
                f"{f', but by {there[0]}' if there else ''}; set activations.positions: 0"
            )
        found = np.ascontiguousarray(self.arrays[layer, what]()[rows], dtype=np.float32)
        broken = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        if broken.any():
            raise BackboneError(
                f"{self.place}: layer {layer!r} has values that are not finite for "
                f"{int(broken.sum())} of {len(rows)} images; expected numbers alone"
            )
        return found


def read_activations(
    path: Path, *, images: Path | None, record: BackboneRecord, order: Sequence[str]
) -> ActivationTable:
    """Read the names and shapes of arrays; values are read when they are needed.

    Args:
        path: A folder of .npy files, an .npz, .safetensors or .parquet file.
        images: A text file with the name of each row, where the arrays come without.
        record: What the config says of the backbone; a folder's manifest goes before it.
        order: Names of the layers, earliest first; patterns have * and ?. Empty: all, as listed.

    Raises:
        BackboneError: The files cannot be read, or their shapes do not fit together.
    """
    if not path.exists():
        raise BackboneError(f"{path}: not found; expected a folder of .npy files, or a file")
    manifest = _manifest(path / MANIFEST) if (path / MANIFEST).is_file() else None
    try:
        arrays, names = _arrays(path)
        names = _lines(images) if images is not None else names
    except BackboneError:
        raise
    except Exception as error:  # what readers raise on arbitrary bytes is not bounded
        raise BackboneError(f"{path}: cannot be read ({first_line(error)})") from error
    if names is None:
        raise BackboneError(
            f"{path}: nothing says which row is which image; expected {IMAGES} in the folder, an "
            "array or column `image`, or the key `images` with a text file, one name a line"
        )
    files = [path] if path.is_file() else sorted(path.glob("*.npy"))
    fingerprint = digest(*names, *(sha256_of(file) for file in files))
    if manifest is not None:
        table = _of_manifest(path, manifest, arrays, names, fingerprint)
    else:
        table = _plain(path, record, arrays, names, fingerprint)
    return _ordered(table, order)


def _manifest(path: Path) -> ActivationManifest:
    try:
        return ActivationManifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BackboneError(f"{path}: {first_problem(error)}") from error


def _arrays(path: Path) -> tuple[dict[str, Array], tuple[str, ...] | None]:
    """Functions that read each array, by name, and the names of rows if they are there."""
    if path.is_dir():
        files = sorted(path.glob("*.npy"), key=lambda file: _natural(file.stem))
        lines = _lines(path / IMAGES) if (path / IMAGES).is_file() else None
        return {file.stem: lambda file=file: _npy(file) for file in files}, lines  # type: ignore[misc]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as file:
            found = {name: file.get_tensor(name) for name in sorted(file.keys(), key=_natural)}
            listed = (file.metadata() or {}).get("images")
        if listed is not None:
            found["images"] = np.array(json.loads(listed))
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        found = {name: _column(table[name]) for name in table.column_names}
    else:
        raise BackboneError(
            f"{path}: expected a folder of .npy files, or a file ending in .npz, .safetensors or "
            ".parquet"
        )
    key = next((name for name in _IMAGE_COLUMNS if name in found), None)
    names = None if key is None else tuple(str(each) for each in found.pop(key).tolist())
    return {name: lambda array=array: array for name, array in found.items()}, names  # type: ignore[misc]


def _npy(path: Path) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise BackboneError(f"{path}: cannot be read ({first_line(error)})") from error
    return array


def _column(column: Any) -> np.ndarray[Any, Any]:
    """Names, or lists of one length as the rows of a matrix."""
    values = column.combine_chunks()
    if hasattr(values, "flatten") and hasattr(values.type, "value_type"):
        flat = values.flatten().to_numpy(zero_copy_only=False)
        array: np.ndarray[Any, Any] = flat.reshape(len(values), -1)
        return array
    return np.array(values.to_pylist())


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line)
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(
            f"{path}: cannot be read as a text file of names, one a line"
        ) from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "block10" behind "block9"."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def _plain(
    path: Path,
    record: BackboneRecord,
    arrays: Mapping[str, Array],
    names: tuple[str, ...],
    fingerprint: str,
) -> ActivationTable:
    if not arrays:
        raise BackboneError(f"{path}: found no array of a layer")
    shapes = {}
    for name, read in arrays.items():
        array = read()
        if array.ndim != _MATRIX or len(array) != len(names) or array.dtype.kind != "f":
            raise BackboneError(
                f"{path}: layer {name!r}: expected floating-point numbers of shape "
                f"({len(names)}, n_units), a row for each named image, got {array.dtype} of shape "
                f"{array.shape}"
            )
        shapes[name] = OutputShape("vector", array.shape[1])
    layers = tuple(
        LayerRecord(name=name, n_units=shape.n_units, read="the vector that was handed over")
        for name, shape in shapes.items()
    )
    return ActivationTable(
        record.model_copy(update={"layers": layers}),
        shapes,
        None,
        fingerprint,
        {(name, "units"): read for name, read in arrays.items()},
        names,
        path,
    )


def _of_manifest(
    path: Path,
    manifest: ActivationManifest,
    arrays: Mapping[str, Array],
    names: tuple[str, ...],
    fingerprint: str,
) -> ActivationTable:
    def checked(file: str, *shape: int) -> Array:
        read = arrays.get(file.removesuffix(".npy"))
        got = None if read is None else read()
        fits = got is not None and got.shape[: len(shape)] == shape and got.dtype == np.float32
        if read is None or not fits:
            found = "no such file" if got is None else f"{got.dtype} of shape {got.shape}"
            raise BackboneError(f"{path / file}: expected float32 of shape {shape}, got {found}")
        return read

    found: dict[tuple[str, str], Array] = {}
    for layer in manifest.layers:
        row = (len(names), layer.shape.n_units)
        found[layer.name, "units"] = checked(layer.units, *row)
        if layer.positions is not None:
            found[layer.name, layer.reduced] = checked(layer.positions, *row)
    head = None
    if manifest.head is not None:
        given = manifest.head
        weight, bias = (np.array(checked(file)()) for file in (given.weight, given.bias))
        head = LinearHead(given.name, weight, bias)
        found[given.name, "input"] = checked(given.inputs, len(names), head.n_units)
    shapes = {layer.name: layer.shape for layer in manifest.layers}
    return ActivationTable(manifest.backbone, shapes, head, fingerprint, found, names, path)


def _ordered(table: ActivationTable, order: Sequence[str]) -> ActivationTable:
    """With the layers that are wanted, in their order."""
    known = [layer.name for layer in table.record.layers]
    wanted = [
        name for pattern in order or ["*"] for name in _matching(pattern, known, table.place)
    ]
    layers = {layer.name: layer for layer in table.record.layers}
    record = table.record.model_copy(
        update={"layers": tuple(layers[name] for name in dict.fromkeys(wanted))}
    )
    return ActivationTable(
        record,
        {name: table.shapes[name] for name in dict.fromkeys(wanted)},
        table.head,
        digest(table.fingerprint, *dict.fromkeys(wanted)),
        table.arrays,
        table.images,
        table.place,
    )


def _matching(pattern: str, known: Iterable[str], place: Path) -> list[str]:
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    found = [name for name in known if expression.fullmatch(name)]
    if not found:
        raise BackboneError(
            f"{place}: no layer {pattern!r} among the activations; it has {first_names(known)}"
        )
    return found
