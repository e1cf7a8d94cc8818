"""The rendered parametric faces that come with the package."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from bias_audit.config.schema import Strict, UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.faces import FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, existing_folder
from bias_audit.data.rows import read_rows
from bias_audit.groups import Attribute

ATTRIBUTES = (
    Attribute("age", ("child", "young adult", "middle-aged", "older")),
    Attribute("race", ("african", "asian", "caucasian")),
    Attribute("gender", ("female", "male")),
)
SHIPPED = Path(__file__).resolve().parents[1] / "parametric_faces"


class Params(Strict):
    """Nothing needs to be set: the renders come with the package."""

    root: UserPath | None = Field(
        default=None, description="Another folder with faces.csv and images/, made the same way."
    )


def read(params: Params) -> FaceTable:
    """Read the labels of the renders; no image is opened."""
    root = existing_folder(params.root or SHIPPED, expected="faces.csv and images/")
    names = [attribute.name for attribute in ATTRIBUTES]
    labels = read_rows(root / "faces.csv", ("file", "identity", *names))
    columns = {"path_column": "file", "identity_column": "identity"}
    entries = listed(labels.rows, labels.images, ImageFinder(root), names, **columns)
    return face_table(
        entries,
        ATTRIBUTES,
        name="Parametric faces",
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


PLUGIN = FaceSource(
    title="rendered parametric faces", params_type=Params, read=read, declares=lambda _: ATTRIBUTES
)
