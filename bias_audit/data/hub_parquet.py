"""Annotated images in the parquet shards that Hugging Face's hub serves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bias_audit.data.annotations import Annotation
from bias_audit.data.faces import ImageReference
from bias_audit.data.rows import require_columns
from bias_audit.errors import DataError

_SHARD = re.compile(r"(train|val|validation)\b.*?(?:-(\d+)-of-(\d+).*)?\.parquet")


def find_shards(
    root: Path, splits: Sequence[str], *, sub_folder: str
) -> tuple[tuple[str, Path], ...]:
    """Parquet files of some splits in `root/sub_folder`, else in `root` or `root/data`.

    Returns:
        (split, file) pairs, sorted by split as asked and then by name.
    """
    for folder in (root / sub_folder, root, root / "data"):
        found = [
            (split, file)
            for split in splits
            for file in sorted(folder.glob("*.parquet"))
            if (match := _SHARD.fullmatch(file.name)) and match[1].startswith(split)
        ]
        if found:
            return tuple(found)
    return ()


def read_shards(
    shards: Sequence[tuple[str, Path]],
    classes: Mapping[str, Sequence[str]],
    *,
    notices: list[str],
) -> Iterator[Annotation]:
    """Labels and references of every row; the images stay where they are.

    Args:
        shards: (split, file) pairs.
        classes: Label columns, with the documented names of their integer classes, used where
            a file does not carry the names itself.
        notices: Receives what had to be assumed, and shards that are missing.

    Raises:
        DataError: A file cannot be read or lacks a column.
    """
    notices.extend(_missing_shards(shards))
    assumed: set[str] = set()
    for split, file in shards:
        try:
            with pq.ParquetFile(file) as parquet:
                schema = parquet.schema_arrow
                require_columns(file, schema.names, ("image", *classes))
                table = parquet.read(columns=list(classes))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file}: expected a readable parquet file: {error}") from error
        carried = _carried_names(schema)
        columns = []
        for column, documented in classes.items():
            if pa.types.is_integer(schema.field(column).type) and column not in carried:
                assumed.add(column)
            names = carried.get(column, documented)
            columns.append([_label(value, names) for value in table.column(column).to_pylist()])
        image = "image.bytes" if pa.types.is_struct(schema.field("image").type) else "image"
        for row, labels in enumerate(zip(*columns, strict=True)):
            reference = ImageReference(file, row, image)
            yield Annotation(reference.label, reference, labels, split=split)
    if assumed:
        notices.append(
            f"the parquet files do not name the classes of {', '.join(sorted(assumed))}: the "
            "order of the dataset card of HuggingFaceM4/FairFace is assumed"
        )


def _label(value: object, names: Sequence[str]) -> str:
    """A class' name; an integer without one stays a number, which no level matches."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return str(value).strip()


def _carried_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of integer classes by column, from the metadata the `datasets` library writes."""
    try:
        metadata: Any = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in features
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


def _missing_shards(shards: Sequence[tuple[str, Path]]) -> Iterator[str]:
    for split in dict.fromkeys(split for split, _ in shards):
        matches = [_SHARD.fullmatch(file.name) for of, file in shards if of == split]
        numbers = {int(match[2]) for match in matches if match and match[2]}
        total = max((int(match[3]) for match in matches if match and match[3]), default=0)
        missing = sorted(set(range(total)) - numbers) if numbers else []
        if missing:
            yield f"{len(missing)} of {total} parquet files of split {split} are missing"
