"""FairFace (Karkkainen & Joo 2021): the official CSV files, or the hub's parquet files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import FAIRFACE_AGES
from bias_audit.data.annotations import Annotation, face_table, listed
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.labels import LevelReader
from bias_audit.data.rows import SPLIT, Labels, Row, read_rows
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


_SHARD = re.compile(r"(train|val|validation)\b.*?(?:-(\d+)-of-(\d+).*)?\.parquet")


class Params(Linked):
    """Where FairFace lies and which part to read."""

    root: UserPath = Field(
        description="Folder with the label CSV files and train/ and val/, or with parquet files."
    )
    split: Literal["train", "val", "all"] = Field(
        default="train", description="The source's own split to read."
    )
    labels: UserPath | None = Field(
        default=None,
        description="Read this whole label CSV instead; its paths are relative to root.",
    )
    padding: Annotated[
        Literal["0.25", "1.25"], BeforeValidator(lambda v: str(v) if isinstance(v, float) else v)
    ] = Field(
        default="0.25",
        description="Margin around the faces; names the parquet sub-folder, and is recorded.",
    )


def read(params: Params) -> FaceTable:
    """Read FairFace's labels; no image is opened."""
    root = existing_folder(params.root, expected="FairFace's label CSV files or parquet files")
    finder = ImageFinder(root, follow_links=params.follow_links)
    splits = ("train", "val") if params.split == "all" else (params.split,)
    names = [f"fairface_label_{split}.csv" for split in splits]
    files = [params.labels] if params.labels else [root / name for name in names]
    notices: list[str] = []
    tables: list[tuple[str, Labels]]
    shards: dict[str, list[Path]] = {}
    if params.labels or any(file.is_file() for file in files):
        path_column = "file"
        tables = [(params.split, read_rows(file, (path_column, *HUB_CLASSES))) for file in files]
        notices.append(
            f"padding {params.padding} is what the config declares; the image files do not say it"
        )
    elif shards := _shards(root, splits, params.padding):
        path_column = "image"
        columns = (path_column, *HUB_CLASSES)
        tables = [(s, read_rows(shards[s], columns, image=path_column)) for s in shards]
    else:
        other = "1.25" if params.padding == "0.25" else "0.25"
        is_other = bool(_shards(root, splits, other))
        hint = f'; there are some for padding "{other}": set padding' if is_other else ""
        raise DataError(
            f"{root}: expected {' and '.join(names)} beside train/ and val/, or parquet files "
            f"such as {params.padding}/train-00000-of-00002.parquet, got neither{hint}"
        )
    readers = {a.name: LevelReader(a.name, a.levels, any_case=True) for a in ATTRIBUTES}
    assumed: set[str] = set()
    entries: list[Annotation | Exclusion] = []
    for split, labels in tables:
        notices.extend(labels.notices)
        for row in labels.rows:
            if isinstance(row, dict):
                folder = row[path_column].replace("\\", "/").partition("/")[0]
                is_named = not shards and folder in {"train", "val"}
                row[SPLIT] = folder if is_named else split
                row.update(_as_declared(row, labels, readers, assumed))
        entries += listed(labels.rows, labels.images, finder, HUB_CLASSES, path_column=path_column)
    if assumed:
        notices.append(
            f"the parquet files do not name the classes of {', '.join(sorted(assumed))}: the "
            "order of the dataset card of HuggingFaceM4/FairFace is assumed"
        )
    notices.extend(finder.notices())
    notices.extend(notice for reader in readers.values() for notice in reader.notices())
    return face_table(
        entries,
        ATTRIBUTES,
        name=f"FairFace {params.split}, padding {params.padding}",
        label_origin="perceived: assigned by crowd workers, three to an image; where a model "
        "trained on these labels disagreed, they were checked again by hand",
        licence="CC BY 4.0 (Karkkainen & Joo 2021)",
        cautions=(
            "Age, race and gender are what annotators perceived in a photograph, not what the "
            "people shown say of themselves.",
        ),
        notices=notices,
    )


def _as_declared(
    row: Row, labels: Labels, readers: Mapping[str, LevelReader], assumed: set[str]
) -> Row:
    """Labels in FairFace's own spelling; counts what had to be repaired or assumed."""
    found: Row = {}
    for name, documented in HUB_CLASSES.items():
        text = row[name]
        is_unnamed = name in labels.numbers and not labels.classes.get(name)
        if is_unnamed and text.isdecimal() and int(text) < len(documented):
            text = documented[int(text)]
            assumed.add(name)
        found[name] = readers[name].read(text)
    return found


def _shards(root: Path, splits: Sequence[str], padding: str) -> dict[str, list[Path]]:
    """Parquet files by split, in the folder of the padding, else in the root or its data/."""
    for folder in (root / padding, root, root / "data"):
        files = [
            (match[1], file)
            for file in sorted(folder.glob("*.parquet"))
            if file.is_file() and (match := _SHARD.fullmatch(file.name))
        ]
        found = {s: [file for own, file in files if own.startswith(s)] for s in splits}
        if any(found.values()):
            return {split: own for split, own in found.items() if own}
    return {}


PLUGIN = FaceSource(title="FairFace", params_type=Params, read=read, declares=lambda _: ATTRIBUTES)
