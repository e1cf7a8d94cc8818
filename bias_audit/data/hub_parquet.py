"""Annotated images in the parquet shards that Hugging Face's hub serves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from bias_audit.data import parquet
from bias_audit.data.annotations import Annotation
from bias_audit.data.faces import Exclusion, ImageReference
from bias_audit.data.finding import ImageFinder
from bias_audit.data.rows import find_columns

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
            if file.is_file()
            and (match := _SHARD.fullmatch(file.name))
            and match[1].startswith(split)
        ]
        if found:
            return tuple(found)
    return ()


def read_shards(
    shards: Sequence[tuple[str, Path]],
    classes: Mapping[str, Sequence[str]],
    finder: ImageFinder,
    *,
    notices: list[str],
) -> Iterator[Annotation | Exclusion]:
    """Labels and references of every row; the images stay where they are.

    Args:
        shards: (split, file) pairs.
        classes: Label columns, with the documented names of their integer classes, used where
            a file does not carry the names itself.
        finder: Finds images that a file names instead of holding them.
        notices: Receives what had to be assumed, and shards that are missing.

    Raises:
        DataError: A file cannot be read or lacks a column.
    """
    notices.extend(parquet.missing_shards([file for _, file in shards]))
    assumed: set[str] = set()
    for split, file in shards:
        with parquet.opened(file) as source:
            find_columns(file, source.schema_arrow.names, ("image", *classes))
            columns = []
            for column, documented in classes.items():
                texts, names = parquet.read_texts(file, source, column)
                if not names and pa.types.is_integer(source.schema_arrow.field(column).type):
                    assumed.add(column)
                    texts = [_named(text, documented) for text in texts]
                columns.append(texts)
            images = list(parquet.read_images(file, source, "image"))
            rows = list(zip(images, *columns, strict=True))
        for row, (found, *labels) in enumerate(rows):
            label = ImageReference(file, row).label
            if found is None:
                yield Exclusion(label, *parquet.UNREADABLE)
                continue
            reference = finder.find(found) if isinstance(found, str) else found
            if isinstance(reference, Exclusion):
                yield reference
                continue
            yield Annotation(label, reference, tuple(labels), split=split)
    if assumed:
        notices.append(
            f"the parquet files do not name the classes of {', '.join(sorted(assumed))}: the "
            "order of the dataset card of HuggingFaceM4/FairFace is assumed"
        )


def _named(text: str, documented: Sequence[str]) -> str:
    known = text.isdecimal() and int(text) < len(documented)
    return documented[int(text)] if known else text
