"""FHIBE, the Fair Human-Centric Image Benchmark (Xiang et al. 2025): self-reported, consented."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import Field

from bias_audit.config.schema import UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.answers import AnswerReader, Answers, Policy, among
from bias_audit.data.boxes import listed_sides, with_box
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.rows import PLACE, Row, read_rows
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_REGIONS = {
    "Africa": "Northern Africa, Eastern Africa, Middle Africa, Southern Africa, Western Africa",
    "Americas": "Caribbean, Central America, South America, Northern America",
    "Asia": "Central Asia, Eastern Asia, South-eastern Asia, Southern Asia, Western Asia",
    "Europe": "Eastern Europe, Northern Europe, Southern Europe, Western Europe",
    "Oceania": "Australia and New Zealand, Melanesia, Micronesia, Polynesia",
}
_SUBREGIONS = {region: names.split(", ") for region, names in _REGIONS.items()}
_COLOURS = {
    "type I": ["[198, 180, 157]"],
    "type II": ["[189, 163, 137]"],
    "type III": ["[175, 148, 120]"],
    "type IV": ["[164, 131, 103]"],
    "type V": ["[136, 105, 81]"],
    "type VI": ["[102, 78, 65]"],
}
"""Red, green and blue of the cell that was chosen, by the Fitzpatrick type that it stands for."""
_HAIR = ["None", "Straight", "Wavy", "Curly", "Kinky-coily", "Not listed"]
ATTRIBUTES: Final = {
    "age": Answers(edges=[18, 30, 40, 50, 60]),
    "pronoun": Answers(
        levels=[
            "She/her/hers",
            "He/him/his",
            "They/them/their",
            "Ze/zir/zirs",
            "None of the above",
        ],
        several=True,
    ),
    "ancestry": Answers(levels=[*_SUBREGIONS], options=_SUBREGIONS, several=True),
    "subregion": Answers(
        ignored=[*_SUBREGIONS],
        column="ancestry",
        levels=[n for own in _SUBREGIONS.values() for n in own],
        several=True,
    ),
    "natural_skin_color": Answers(scale="fitzpatrick", options=_COLOURS),
    "apparent_skin_color": Answers(scale="fitzpatrick", options=_COLOURS),
    "natural_hair_type": Answers(levels=_HAIR),
    "apparent_hair_type": Answers(levels=_HAIR),
    "head_pose": Answers(levels=["Typical", "Atypical"]),
    "camera_position": Answers(levels=["Typical", "Atypical High", "Atypical Low"]),
}
"""Those of the benchmark's own list that are about the face, ages in its bins."""
_FOLDERS = {"face": "fhibe_face_crop_align", "whole": "fhibe_downsampled"}
_VERSION = re.compile(r"fhibe[._](.+?)_downsampled(?:_public)?")


class Params(Linked):
    """Where FHIBE lies, and what to read."""

    root: UserPath = Field(description="The unpacked folder, with data/processed and data/raw.")
    images: Literal["face", "whole"] = Field(
        default="face",
        description="FHIBE-Face, cropped and aligned; or whole images, of which the annotated "
        "face is cut out.",
    )
    margin: float = Field(
        default=0.25, ge=0, le=2, description="Around the face of whole images, in its sides."
    )
    attributes: Annotated[tuple[str, ...], among(ATTRIBUTES)] = Field(
        default=("age", "ancestry", "pronoun"),
        min_length=1,
        description=f"To audit: {', '.join(ATTRIBUTES)}.",
    )
    when_not_said: Policy = Field(
        default="group", description="Whether those who prefer not to say are a group."
    )
    version: str | None = Field(
        default=None, description="Of the download; default: as the folder's name says."
    )

    @property
    def answers(self) -> dict[str, Answers]:
        """What the answers for the attributes are."""
        pronoun = ATTRIBUTES["pronoun"]  # alone has the option to prefer not to say
        asked = pronoun.model_copy(update={"when_not_said": self.when_not_said})
        return {name: (ATTRIBUTES | {"pronoun": asked})[name] for name in self.attributes}


def read(params: Params) -> FaceTable:
    """Read FHIBE's annotations; no image is opened.

    Raises:
        DataError: The folder is not as it unpacks.
    """
    root = existing_folder(params.root, expected="data/processed and data/raw of FHIBE")
    folder = _FOLDERS[params.images]
    file = root / "data" / "processed" / folder / f"{folder}.csv"
    if not file.is_file():
        raise DataError(
            f"{root}: expected data/processed/{folder}/{folder}.csv in it, as FHIBE unpacks; set "
            "root to the folder that has data/"
        )
    columns = {name: own.column or name for name, own in params.answers.items()}
    boxes = ["face_bbox"] if params.images == "whole" else []
    needed = ["filepath", "subject_id", "consent", *boxes, *columns.values()]
    labels = read_rows(file, list(dict.fromkeys(needed)))
    readers = {
        name: AnswerReader(
            name, own, {row[columns[name]] for row in labels.rows if isinstance(row, dict)}
        )
        for name, own in params.answers.items()
    }
    finder = ImageFinder(root, follow_links=params.follow_links)
    usable = [row if isinstance(row, Exclusion) else _usable(row, params) for row in labels.rows]
    rows = [
        row
        if isinstance(row, Exclusion)
        else row | {n: reader.read(row[columns[n]]) for n, reader in readers.items()}
        for row in usable
    ]
    paths, people = "filepath", "subject_id"
    entries = [*listed(rows, {}, finder, readers, path_column=paths, identity_column=people)]
    version = params.version or _version_of(root.resolve().name)
    return face_table(
        entries,
        declared(params),
        name=f"FHIBE {version}, {'faces' if params.images == 'face' else 'whole images'}",
        label_origin="self-reported by consenting, paid participants; apparent attributes are by "
        "annotators",
        licence="FHIBE terms of use: evaluation of bias only (Xiang et al. 2025, Nature)",
        cautions=(
            "For evaluation only: its terms forbid training on FHIBE. The probes of this audit "
            "are measurements, and are not kept for use.",
            "People may withdraw their consent, and the data set is updated every month: audit "
            "the latest version, and remove withdrawn people with bias-audit data forget.",
        ),
        notices=[
            *labels.notices,
            *finder.notices(),
            *(notice for reader in readers.values() for notice in reader.notices()),
            f"version of the download: {version}",
            *([f"faces cut out of whole images, margin {params.margin:g}"] if boxes else []),
        ],
        answers=readers,
    )


def _usable(row: Row, params: Params) -> Row | Exclusion:
    if row["consent"].casefold() != "true":
        detail = "expected consent: True, and only such images are used"
        return Exclusion(row[PLACE], "no consent", detail, row=row)
    if params.images == "face":
        return row
    return with_box(row, listed_sides(row["face_bbox"]), params.margin)


def _version_of(folder: str) -> str:
    match = _VERSION.fullmatch(folder)
    return match[1] if match else "of unknown version"


def declared(params: Params) -> tuple[Attribute, ...]:
    """The chosen attributes with their levels."""
    return tuple(own.attribute(name) for name, own in params.answers.items())


PLUGIN = FaceSource(title="FHIBE", params_type=Params, read=read, declares=declared)
