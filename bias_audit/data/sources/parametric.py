"""The rendered parametric faces that come with the package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from bias_audit.config.schema import Strict, UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, existing_folder
from bias_audit.data.rows import SPLIT, Row, read_rows
from bias_audit.groups import Attribute

ATTRIBUTES = (
    Attribute("age", ("child", "young adult", "middle-aged", "older")),
    Attribute("race", ("african", "asian", "caucasian")),
    Attribute("gender", ("female", "male")),
)
Split = Literal["train", "test"]
_N_TRAINING: Final = 10
"""Identities of each intersection, by their number, that trained the shipped checkpoints."""
SHIPPED = Path(__file__).resolve().parents[1] / "parametric_faces"


class Params(Strict):
    """Nothing needs to be set: the renders come with the package."""

    root: UserPath | None = Field(
        default=None, description="Another folder with faces.csv and images/, made the same way."
    )
    split: Split | None = Field(
        default=None,
        description='"train": the 10 identities of each intersection that the checkpoints of '
        'training_quickstart were trained on; "test": the 20 others; default: all.',
    )


def read(params: Params) -> FaceTable:
    """Read the labels of the renders; no image is opened."""
    root = existing_folder(params.root or SHIPPED, expected="faces.csv and images/")
    names = [attribute.name for attribute in ATTRIBUTES]
    labels = read_rows(root / "faces.csv", ("file", "identity", *names))
    columns = {"path_column": "file", "identity_column": "identity"}
    rows: Iterable[Row | Exclusion] = labels.rows
    if params.split is not None:
        rows = [*_of_split(rows, params.split)]
    entries = listed(rows, labels.images, ImageFinder(root), names, **columns)
    return face_table(
        entries,
        ATTRIBUTES,
        name="Parametric faces" + (f", split {params.split}" if params.split else ""),
        label_origin="by construction: the labels are inputs of the head model that was rendered",
        licence="CC0 1.0",
        cautions=(
            "These faces are computer renders of a parametric head model; no image shows a "
            "person.",
            "The labels are inputs of the head model, and nothing measured on these renders says "
            "how a backbone treats people.",
            "Hair items differ between the two genders by design, and skin tone carries the "
            "phenotype (the attribute race): both are easy to read from the image.",
        ),
    )


def _of_split(rows: Iterable[Row | Exclusion], split: Split) -> Iterator[Row | Exclusion]:
    for row in rows:
        if isinstance(row, Exclusion):
            yield row
            continue
        number = row["identity"].rpartition("-")[2]
        is_training = number.isdecimal() and int(number) < _N_TRAINING
        if is_training == (split == "train"):
            yield row | {SPLIT: split}


PLUGIN = FaceSource(
    title="rendered parametric faces", params_type=Params, read=read, declares=lambda _: ATTRIBUTES
)
