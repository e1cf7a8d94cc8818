"""Labels and images in parquet files, those that Hugging Face's `datasets` writes included."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bias_audit.data.faces import ImageReference
from bias_audit.data.images import image_bytes
from bias_audit.data.texts import one_line, trimmed
from bias_audit.deferred import pyarrow as pa
from bias_audit.deferred import pyarrow_parquet as pq
from bias_audit.errors import DataError, some

Parquet = Any
"""A `pyarrow.parquet.ParquetFile`; its library has no types."""
UNREADABLE = ("several images in a row", "expected one image in a row, got several or none")
"""Reason and detail of a row whose list holds more or fewer images than one."""
_SHARD_PARQUET = re.compile(r"(.*?)-(\d+)-of-(\d+)\b.*\.parquet")
_LONGEST_PATH = 4096


@contextmanager
def opened(file: Path) -> Iterator[Parquet]:
    """A parquet file, all that its library raises as a `DataError`.

    Raises:
        DataError: The file is damaged, or holds what cannot be read.
    """
    try:
        with pq.ParquetFile(file) as source:
            yield source
    except (DataError, OSError):
        raise
    except Exception as error:
        # Damaged files make the library fail in every way.
        raise DataError(
            f"{file}: expected a readable parquet file, got a damaged one, or one with values out "
            "of range"
        ) from error


def missing_shards(files: Sequence[Path]) -> Iterator[str]:
    """A notice of each set of numbered files that is not complete."""
    seen: dict[tuple[str, int], set[int]] = {}
    for file in files:
        if match := _SHARD_PARQUET.fullmatch(file.name):
            seen.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (name, total), numbers in seen.items():
        if n := total - len(numbers):
            yield f"{n} of {total} parquet files of split {one_line(name)} are missing"


def read_texts(file: Path, source: Parquet, column: str) -> tuple[list[str], list[str]]:
    """A column as text, and the names of its integer classes where the file carries them.

    Nulls and what is no number become empty, an integer class its name, lists and structs JSON.

    Raises:
        DataError: The column holds bytes, or lists or structs of these.
    """
    kind = _value_type(source.schema_arrow.field(column).type)
    names = class_names(source.schema_arrow).get(column, []) if holds_numbers(kind) else []
    values = source.read(columns=[column]).column(column).to_pylist()
    try:
        if pa.types.is_nested(kind):
            values = [value and json.dumps(value, ensure_ascii=False) for value in values]
        values = [value.decode() if isinstance(value, bytes) else value for value in values]
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected text in column {column!r}, got bytes") from error
    except TypeError as error:
        raise DataError(
            f"{file}: expected text or numbers in column {column!r}, got {_named_parquet(kind)}"
        ) from error
    return [label_text(value, names) for value in values], names


def holds_numbers(kind: pa.DataType) -> bool:
    """Whether a column is of numbers, integer classes that gaps turned into fractions included."""
    kind = _value_type(kind)
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def label_text(value: object, names: Sequence[str]) -> str:
    """A label as text; an integer without a name stays a number, which no level matches."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        place = int(value)
        return names[place] if 0 <= place < len(names) else trimmed(str(value))
    return trimmed(str(value))


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of integer classes by column, from the metadata the `datasets` library writes."""
    try:
        metadata: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in features
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def image_hint(schema: pa.Schema) -> str:
    """Which column of a file has images, if the one named has none."""
    kinds = {field.name: _element(field.type) for field in schema}
    found = [
        name
        for name, kind in kinds.items()
        if _is_binary(kind) or (pa.types.is_struct(kind) and _has_bytes(kind))
    ]
    return f"; did you mean {one_line(found[0])!r}?" if len(found) == 1 else ""


def read_images(file: Path, source: Parquet, column: str) -> Iterator[ImageReference | str | None]:
    """Where each row's image is: in this file, or at a path (empty: none).

    None stands for a list that does not hold exactly one image.

    Raises:
        DataError: The column holds neither images nor paths.
    """
    kind = _value_type(source.schema_arrow.field(column).type)
    element = _element(kind)
    fields = {field.name for field in element} if pa.types.is_struct(element) else set()
    if not pa.types.is_nested(kind) and (not _is_binary(kind) or _holds_paths(source, column)):
        yield from read_texts(file, source, column)[0]
    elif _is_binary(element) or fields & {"bytes", "path"}:
        yield from _embedded(file, source, column)
    elif holds_numbers(element):
        raise DataError(
            f"{file}: expected images or paths in column {column!r}, got lists of numbers; save "
            "the bytes of each image file as binary (pa.binary()), or the images as files"
        )
    elif pa.types.is_nested(element):
        got = _named_parquet(element)
        raise DataError(f"{file}: expected images or paths in column {column!r}, got {got}")
    else:
        for value in source.read(columns=[column]).column(column).to_pylist():
            yield label_text(value[0], ()) if value and len(value) == 1 else None


def _embedded(file: Path, source: Parquet, column: str) -> Iterator[ImageReference | str | None]:
    """Reference or path of each row; only one row group is in memory at a time."""
    kind = source.schema_arrow.field(column).type
    is_struct = pa.types.is_struct(kind)
    place = f"{column}.bytes" if is_struct and _has_bytes(kind) else column
    row = 0
    for group in range(source.metadata.num_row_groups):
        if (is_struct or _is_binary(kind)) and _all_present(source, group, place):
            for _ in range(source.metadata.row_group(group).num_rows):
                yield ImageReference(file, row, place)
                row += 1
            continue
        for batch in source.iter_batches(batch_size=64, row_groups=[group], columns=[column]):
            for value in batch.column(0):
                yield _where(value.as_py(), ImageReference(file, row, place))
                row += 1


def _all_present(source: Parquet, group: int, place: str) -> bool:
    """Whether a row group is known, from its statistics, to have no null in a column."""
    metadata = source.metadata.row_group(group)
    chunks = (metadata.column(index) for index in range(metadata.num_columns))
    own = [chunk for chunk in chunks if chunk.path_in_schema == place]
    return bool(own) and all(
        chunk.statistics is not None
        and chunk.statistics.has_null_count
        and chunk.statistics.null_count == 0
        for chunk in own
    )


def _where(value: object, reference: ImageReference) -> ImageReference | str | None:
    if isinstance(value, list):
        if len(value) != 1:
            return None
        value = value[0]
    if image_bytes(value):
        return reference
    return label_text(value.get("path"), ()) if isinstance(value, dict) else ""


def _holds_paths(source: Parquet, column: str) -> bool:
    """Whether bytes without a declared encoding are paths, judged by the first one."""
    for batch in source.iter_batches(batch_size=1, columns=[column]):
        value = batch.column(0)[0].as_py()
        if value:
            try:
                return len(value) < _LONGEST_PATH and value.decode().isprintable()
            except UnicodeDecodeError:
                return False
    return False


def _value_type(kind: pa.DataType) -> pa.DataType:
    kind = getattr(kind, "storage_type", kind)  # of an extension type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _element(kind: pa.DataType) -> pa.DataType:
    kind = getattr(kind, "storage_type", kind)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return _value_type(kind.value_type if any(is_list(kind) for is_list in lists) else kind)


def _has_bytes(kind: pa.DataType) -> bool:
    return any(field.name == "bytes" and _is_binary(field.type) for field in kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _named_parquet(kind: pa.DataType) -> str:
    """What a type is, for a person."""
    if pa.types.is_struct(kind):
        return f"a struct of {some([one_line(field.name) for field in kind])}"
    if pa.types.is_nested(kind):
        return "lists"
    return "bytes" if _is_binary(kind) else str(kind)
