"""FACET (Gustafson et al. 2023): people in larger images, with several annotators each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bias_audit.config.schema import UserPath
from bias_audit.data.annotations import face_table, listed, with_votes_counted
from bias_audit.data.answers import SCALES, SEVERAL, among
from bias_audit.data.boxes import listed_sides, with_box
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.rows import PLACE, Row, read_rows
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_COLUMNS = {
    "age": {
        "young": "age_presentation_young",
        "middle": "age_presentation_middle",
        "older": "age_presentation_older",
    },
    "gender": {
        "masculine": "gender_presentation_masc",
        "feminine": "gender_presentation_fem",
        "non-binary": "gender_presentation_non_binary",
    },
    "skin tone": {
        tone: f"skin_tone_{place}" for place, tone in enumerate(SCALES["monk"], start=1)
    },
}
"""Votes for each level, by attribute: presentations as perceived, and the Monk scale."""
_FOLDERS = ("images", "imgs", "imgs_1", "imgs_2", "imgs_3")


class Params(Linked):
    """Where FACET lies, and what to read."""

    root: UserPath = Field(description="Folder with annotations/annotations.csv and the images.")
    attributes: Annotated[tuple[str, ...], among(_COLUMNS)] = Field(
        default=("age", "gender"), min_length=1, description=f"Of {', '.join(_COLUMNS)}."
    )
    margin: float = Field(default=0.0, ge=0, le=2, description="Around a person, in its sides.")
    with_face: bool = Field(default=True, description="Only people whose face is visible.")


def read(params: Params) -> FaceTable:
    """Read FACET's annotations; no image is opened.

    Raises:
        DataError: The annotations are not there.
    """
    root = existing_folder(params.root, expected="FACET's annotations.csv and images")
    files = (root / "annotations" / "annotations.csv", root / "annotations.csv")
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise DataError(f"{root}: expected annotations/annotations.csv in it, got none")
    votes = [column for name in params.attributes for column in _COLUMNS[name].values()]
    labels = read_rows(file, ["filename", "bounding_box", "visible_face", *votes])
    folders = [name for name in _FOLDERS if (root / name).is_dir()]

    def prepared(row: Row) -> Row | Exclusion:
        if params.with_face and not _votes(row["visible_face"]):
            return Exclusion(row[PLACE], "no visible face", "expected visible_face: 1")
        own = {"path": row["filename"]}
        for folder in folders:
            if (root / folder / row["filename"]).is_file():
                own["path"] = f"{folder}/{row['filename']}"
        for name in params.attributes:
            given = [n for n, c in _COLUMNS[name].items() for _ in range(_votes(row[c]))]
            own[name] = SEVERAL.join(given)
        return with_box(row | own, listed_sides(row["bounding_box"]), params.margin)

    rows = [row if isinstance(row, Exclusion) else prepared(row) for row in labels.rows]
    levels = {attribute.name: attribute.levels for attribute in declared(params)}
    annotators = {name: [name] for name in levels}
    counted, disagreement, noticed = with_votes_counted(rows, annotators, levels, "path")
    finder = ImageFinder(root, follow_links=params.follow_links)
    entries = [*listed(counted, {}, finder, levels, path_column="path")]
    return face_table(
        entries,
        declared(params),
        name="FACET",
        label_origin="perceived: by several trained annotators; the level with most votes",
        licence="FACET usage agreement: evaluation only, no training (Gustafson et al. 2023)",
        cautions=(
            "Age, gender and skin tone are what annotators perceived.",
            "Boxes are of whole people, so that clothes and surroundings are in the pictures.",
        ),
        notices=[
            *labels.notices,
            *finder.notices(),
            *noticed,
            f"people cut out of larger images, margin {params.margin:g}",
        ],
        disagreement=disagreement,
    )


def _votes(text: str) -> int:
    number = "1" if text.casefold() == "true" else text.removesuffix(".0")
    return int(number) if number.isdecimal() else 0


def declared(params: Params) -> tuple[Attribute, ...]:
    """The chosen attributes."""
    return tuple(Attribute(name, tuple(_COLUMNS.get(name, ("",)))) for name in params.attributes)


PLUGIN = FaceSource(title="FACET", params_type=Params, read=read, declares=declared)
