"""FairFace (Karkkainen & Joo 2021): the official CSV files, or the hub's parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import FAIRFACE_AGES
from bias_audit.data.annotations import Annotation, Description, face_table
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.labels import LevelReader
from bias_audit.data.parquet import find_shards, read_shards
from bias_audit.data.rows import read_rows
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
