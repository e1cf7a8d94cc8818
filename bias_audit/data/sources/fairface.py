"""FairFace (Karkkainen & Joo 2021): the official CSV files, or the hub's parquet files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import FAIRFACE_AGES
from bias_audit.data.annotations import Annotation, Description, face_table
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable, ImageReference
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.labels import LevelReader
from bias_audit.data.parquet import UNREADABLE, missing_shards, opened, read_images, read_texts
from bias_audit.data.rows import find_columns, read_rows
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

RACES = (
    "White",
    "Black",
    "Latino_Hispanic",
    "East Asian",
    "Southeast Asian",
    "Indian",
    "Middle Eastern",
)
ATTRIBUTES = (
    Attribute("age", FAIRFACE_AGES),
    Attribute("race", RACES),
    Attribute("gender", ("Male", "Female")),
)
HUB_CLASSES = {
    "age": FAIRFACE_AGES,
    "race": (
        "East Asian",
        "Indian",
        "Black",
        "White",
        "Middle Eastern",
        "Latino_Hispanic",
        "Southeast Asian",
    ),
    "gender": ("Male", "Female"),
}
"""Integer classes in the order of the dataset card of HuggingFaceM4/FairFace."""


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, float) else value


class Params(Linked):
    """Where FairFace lies and which part of it to read."""

    root: UserPath = Field(
        description="Folder with the label CSV files and train/ and val/, or with parquet files."
    )
    split: Literal["train", "val", "all"] = Field(
        default="train", description="The source's own split to read."
    )
    labels: UserPath | None = Field(
        default=None,
        description="Read this label CSV instead, all of it; its paths are relative to root.",
    )
    padding: Annotated[Literal["0.25", "1.25"], BeforeValidator(_as_text)] = Field(
        default="0.25",
        description="Margin around the faces; names the parquet sub-folder, and is recorded.",
    )


def read(params: Params) -> FaceTable:
    """Read FairFace's labels; no image is opened.

    Raises:
        DataError: Neither layout is found, or no row is usable.
    """
    root = existing_folder(params.root, expected="FairFace's label CSV files or parquet files")
    finder = ImageFinder(root, follow_links=params.follow_links)
    splits = ("train", "val") if params.split == "all" else (params.split,)
    files = [params.labels] if params.labels else [root / _label_file(split) for split in splits]
    notices: list[str] = []
    if params.labels or any(file.is_file() for file in files):
        notices.append(
            f"padding {params.padding} is what the config declares; the image files do not say it"
        )
        entries = [
            entry for file in files for entry in _csv_entries(finder, file, params, notices)
        ]
    else:
        shards = find_shards(root, splits, sub_folder=params.padding)
        if not shards:
            raise DataError(_nothing_found(root, splits, params.padding))
        entries = list(read_shards(shards, HUB_CLASSES, finder, notices=notices))
    notices.extend(finder.notices())
    checked = _as_declared(entries, notices)
    description = Description(
        name=f"FairFace {params.split}, padding {params.padding}",
        label_origin="perceived: assigned by crowd workers, three to an image; where a model "
        "trained on these labels disagreed, they were checked again by hand",
        licence="CC BY 4.0 (Karkkainen & Joo 2021)",
        cautions=(
            "Age, race and gender are what annotators perceived in a photograph, not what the "
            "people shown say of themselves.",
        ),
        has_splits=True,
    )
    return face_table(checked, ATTRIBUTES, description, notices=notices)


def _label_file(split: str) -> str:
    return f"fairface_label_{split}.csv"


def _csv_entries(
    finder: ImageFinder, file: Path, params: Params, notices: list[str]
) -> Iterator[Annotation | Exclusion]:
    labels = read_rows(file, ("file", *(attribute.name for attribute in ATTRIBUTES)))
    notices.extend(labels.notices)
    for row in labels.rows:
        if isinstance(row, Exclusion):
            yield row
            continue
        found = finder.find(row["file"])
        if isinstance(found, Exclusion):
            yield found
            continue
        folder = row["file"].replace("\\", "/").partition("/")[0]
        yield Annotation(
            name=row["file"],
            reference=found,
            labels=tuple(row[attribute.name] for attribute in ATTRIBUTES),
            split=folder if folder in ("train", "val") else params.split,
        )


def _as_declared(
    entries: list[Annotation | Exclusion], notices: list[str]
) -> list[Annotation | Exclusion]:
    """Labels in FairFace's own spelling; counts what had to be repaired."""
    readers = [LevelReader(each.name, each.levels, any_case=True) for each in ATTRIBUTES]
    result: list[Annotation | Exclusion] = []
    for entry in entries:
        if isinstance(entry, Exclusion):
            result.append(entry)
            continue
        pairs = zip(readers, entry.labels, strict=True)
        labels = tuple(reader.read(label) for reader, label in pairs)
        result.append(replace(entry, labels=labels))
    notices.extend(notice for reader in readers for notice in reader.notices())
    return result


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
    notices.extend(missing_shards([file for _, file in shards]))
    assumed: set[str] = set()
    for split, file in shards:
        with opened(file) as source:
            find_columns(file, source.schema_arrow.names, ("image", *classes))
            columns = []
            for column, documented in classes.items():
                texts, names = read_texts(file, source, column)
                if not names and pa.types.is_integer(source.schema_arrow.field(column).type):
                    assumed.add(column)
                    texts = [_named(text, documented) for text in texts]
                columns.append(texts)
            images = list(read_images(file, source, "image"))
            rows = list(zip(images, *columns, strict=True))
        for row, (found, *labels) in enumerate(rows):
            label = ImageReference(file, row).label
            if found is None:
                yield Exclusion(label, *UNREADABLE)
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


def _nothing_found(root: Path, splits: tuple[str, ...], padding: str) -> str:
    names = " and ".join(_label_file(split) for split in splits)
    other = "1.25" if padding == "0.25" else "0.25"
    hint = (
        f'; there are some for padding "{other}": set padding'
        if (find_shards(root, splits, sub_folder=other))
        else ""
    )
    return (
        f"{root}: expected {names} beside train/ and val/, or parquet files such as "
        f"{padding}/train-00000-of-00002.parquet, got neither{hint}"
    )


PLUGIN = FaceSource(title="FairFace", params_type=Params, read=read, declares=lambda _: ATTRIBUTES)
