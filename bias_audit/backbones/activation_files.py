"""Activations in files: what this project writes to hand over, and what teams computed elsewhere.

Rows are images, named by the SHA-256 of their files or by file names.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError
from safetensors import safe_open

from bias_audit.arrays import Float32Array, IntArray
from bias_audit.backbones.extras import first_line
from bias_audit.backbones.head import LinearHead
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.catalog import first_names
from bias_audit.contents import other_content
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
        """Row of each image: by its SHA-256, folder and name, name, or name without ending.

        Raises:
            BackboneError: An image is missing, or a row would stand for several.
        """
        by_name: dict[str, int] = {}
        for row, image in enumerate(self.images):
            key = "/".join(re.split(r"[/\\]", image)[-2:])
            key = image.lower() if _SHA256.fullmatch(image.lower()) else key
            if key in by_name:
                raise BackboneError(
                    f"{self.place}: expected one row for each image, got several for "
                    f"{image!r}; leave all but one out"
                )
            by_name[key] = row
        found = [
            next((by_name[key] for key in _called(image, label) if key in by_name), -1)
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
        with np.errstate(over="ignore"):  # too large for float32: not finite, which is said
            found = np.ascontiguousarray(self.arrays[layer, what]()[rows], dtype=np.float32)
        broken = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        if broken.any():
            raise BackboneError(
                f"{self.place}: layer {layer!r} has values that are not finite in float32, such "
                f"as for {first_names((self.images[row] for row in rows[broken]), 2)}; leave "
                "these images out of the audit, or mend the values"
            )
        return found


def _called(image: str, label: str) -> tuple[str, ...]:
    """What may name an image's row, the most certain first."""
    name = label.rpartition("/")[2]
    return image, label, name, name.rpartition(".")[0]


def read_activations(
    path: Path, *, images: Path | None, record: BackboneRecord, order: Sequence[str]
) -> ActivationTable:
    """Read the names and shapes of arrays; values are read when they are needed.

    Args:
        path: A folder of .npy files, or a .npy, .npz, .safetensors or .parquet file.
        images: A text file or CSV with the name of each row, where the arrays come without.
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
        raise BackboneError(f"{path}: {_unreadable(path, error)}") from error
    if names is None:
        raise BackboneError(
            f"{path}: nothing says which row is which image; expected {IMAGES} in the folder, an "
            "array or column `image`, or the key `images` with a file of names"
        )
    files = [path] if path.is_file() else [*sorted(path.glob("*.npy")), *path.glob(MANIFEST)]
    given = {each.name: each for each in manifest.layers} if manifest else dict.fromkeys(arrays)
    known = [name for pattern in order or ["*"] for name in _matching(pattern, given, path)]
    wanted = list(dict.fromkeys(known))
    fingerprint = digest(*names, *(sha256_of(file) for file in files), *wanted)
    if manifest is not None:
        layers = [each for name in wanted if (each := given[name])]
        shapes, found, head = _of_manifest(path, manifest, layers, arrays, len(names))
        record, read = manifest.backbone, ""
    else:
        shapes, found, head = _plain(path, wanted, arrays, len(names)), {}, None
        found = {(name, "units"): arrays[name] for name in wanted}
        read = "the vector that was handed over"
    own = tuple(
        LayerRecord(name=name, n_units=shape.n_units, read=read or shape.read)
        for name, shape in shapes.items()
    )
    record = record.model_copy(update={"layers": own})
    return ActivationTable(record, shapes, head, fingerprint, found, names, path)


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
    if path.suffix == ".npy":
        return {path.stem: lambda: _npy(path)}, None
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:  # NumPy has no bfloat16
            keys = sorted(file.keys(), key=_natural)
            tensors = {name: file.get_tensor(name) for name in keys}
            listed = (file.metadata() or {}).get("images")
        found = {
            name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
            for name, tensor in tensors.items()
        }
        if listed is not None:
            found["images"] = np.array(_listed(path, listed))
    elif path.suffix == ".parquet":
        table = pq.read_table(path)
        found = {name: _column(path, name, table[name]) for name in table.column_names}
    else:
        raise BackboneError(
            f"{path}: expected a folder of .npy files, or a file ending in .npy, .npz, "
            ".safetensors or .parquet"
        )
    key = next((name for name in _IMAGE_COLUMNS if name in found), None)
    names = None if key is None else tuple(map(_text, found.pop(key).tolist()))
    return {name: lambda array=array: array for name, array in found.items()}, names  # type: ignore[misc]


def _npy(path: Path) -> np.ndarray[Any, Any]:
    try:
        array: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # what a reader raises on arbitrary bytes is not bounded
        raise BackboneError(f"{path}: {_unreadable(path, error)}") from error
    return array


def _unreadable(path: Path, error: Exception) -> str:
    """Why a file cannot be read, by what it holds."""
    if path.is_file() and (found := other_content(path, b"PK", b"PAR1", b"\x93NUMPY")):
        return f"expected arrays, got {found}"
    if "object" in str(error).lower():  # what NumPy says of both kinds of files
        return "expected numbers and text, got Python objects, and to open those could run code"
    return f"cannot be read ({first_line(error)}); it is damaged or was not copied whole"


def _listed(path: Path, text: str) -> list[Any]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list):
        raise BackboneError(f"{path}: expected a JSON list of names as the metadata `images`")
    return names


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _column(path: Path, name: str, column: Any) -> np.ndarray[Any, Any]:
    """Names, or lists of one length as the rows of a matrix."""
    values = column.combine_chunks()
    if not hasattr(values, "flatten") or not hasattr(values.type, "value_type"):
        return np.array(values.to_pylist())
    lengths = pc.list_value_length(values).unique().to_pylist()
    if len(lengths) != 1 or lengths[0] is None:
        got = first_names(["no list" if each is None else str(each) for each in lengths])
        raise BackboneError(
            f"{path}: column {name!r}: expected a list of the same length in every row, got {got}"
        )
    flat = values.flatten().to_numpy(zero_copy_only=False)
    array: np.ndarray[Any, Any] = flat.reshape(len(values), lengths[0])
    return array


def _lines(path: Path) -> tuple[str, ...]:
    """Names in a text file, one a line, or in the column of a CSV."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(
            f"{path}: cannot be read as a text file of names, one a line"
        ) from error
    if path.suffix != ".csv":
        return tuple(line.strip() for line in text.splitlines() if line.strip())
    rows = csv.DictReader(text.splitlines())
    key = next((name for name in _IMAGE_COLUMNS if name in (rows.fieldnames or ())), None)
    if key is None:
        raise BackboneError(
            f"{path}: expected a column `image`, got {first_names(rows.fieldnames or ['none'])}"
        )
    return tuple(row[key] or "" for row in rows)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts "block10" behind "block9"."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def _plain(
    path: Path, wanted: Sequence[str], arrays: Mapping[str, Array], n_images: int
) -> dict[str, OutputShape]:
    shapes = {}
    for name in wanted:
        array = arrays[name]()
        if array.ndim != _MATRIX or len(array) != n_images or array.dtype.kind != "f":
            more = "; take the mean over places or tokens first" if array.ndim > _MATRIX else ""
            raise BackboneError(
                f"{path}: layer {name!r}: expected floating-point numbers of shape "
                f"({n_images}, n_units), a row for each named image, got {array.dtype} of shape "
                f"{array.shape}{more}; `layers` says which arrays are layers"
            )
        shapes[name] = OutputShape("vector", array.shape[1])
    return shapes


def _of_manifest(
    path: Path,
    manifest: ActivationManifest,
    layers: Sequence[GivenLayer],
    arrays: Mapping[str, Array],
    n_images: int,
) -> tuple[dict[str, OutputShape], dict[tuple[str, str], Array], LinearHead | None]:
    def checked(file: str, *shape: int) -> Array:
        read = arrays.get(file.removesuffix(".npy"))
        got = None if read is None else read()
        fits = got is not None and got.shape[: len(shape)] == shape and got.dtype == np.float32
        if read is None or not fits:
            found = "no such file" if got is None else f"{got.dtype} of shape {got.shape}"
            raise BackboneError(f"{path / file}: expected float32 of shape {shape}, got {found}")
        return read

    found: dict[tuple[str, str], Array] = {}
    for layer in layers:
        row = (n_images, layer.shape.n_units)
        found[layer.name, "units"] = checked(layer.units, *row)
        if layer.positions is not None:
            found[layer.name, layer.reduced] = checked(layer.positions, *row)
    head = None
    if manifest.head is not None:
        given = manifest.head
        weight, bias = (np.array(checked(file)()) for file in (given.weight, given.bias))
        head = LinearHead(given.name, weight, bias)
        found[given.name, "input"] = checked(given.inputs, n_images, head.n_units)
    return {layer.name: layer.shape for layer in layers}, found, head


def _matching(pattern: str, known: Iterable[str], place: Path) -> list[str]:
    expression = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."))
    found = [name for name in known if expression.fullmatch(name)]
    if not found:
        there = first_names(known) or "no array"
        raise BackboneError(f"{place}: no layer {pattern!r} among the activations; it has {there}")
    return found
