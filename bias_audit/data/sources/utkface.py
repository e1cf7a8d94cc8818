"""UTKFace (Zhang, Song & Qi 2017): labels are in the file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import FAIRFACE_AGES, OLDEST, bin_of, ordered_bins
from bias_audit.data.annotations import Annotation, face_table
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

GENDERS = ("Male", "Female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
"""In the order of the codes in the file names."""
_NAME = re.compile(r"(\d{1,9})_(\d{1,9})_(\d{1,9})_(\d+)\.jpg(?:\.chip\.jpg)?", re.IGNORECASE)
_IMAGES = {".jpg", ".jpeg", ".png"}
_EXPECTED = "age_gender_race_time.jpg.chip.jpg"


class Params(Linked):
    """Where UTKFace lies and how ages are binned."""

    root: UserPath = Field(description=f"Folder of images named {_EXPECTED}.")
    ages: tuple[str, ...] = Field(
        default=FAIRFACE_AGES,
        min_length=1,
        description='Age bins in order: "3-9", "70+", "more than 70" (from 70 on).',
    )

    @field_validator("ages")
    @classmethod
    def _in_order(cls, ages: tuple[str, ...]) -> tuple[str, ...]:
        ordered_bins(ages)
        return ages


def read(params: Params) -> FaceTable:
    """Read the labels in UTKFace's file names; no image is opened."""
    root = existing_folder(params.root, expected=f"images named {_EXPECTED}")
    finder = ImageFinder(root, follow_links=params.follow_links)
    names = finder.names
    images = [name for name in names if Path(name).suffix.lower() in _IMAGES]
    if not images:
        folders = sorted(folder for folder in root.iterdir() if next(folder.glob("*.jpg"), None))
        hint = f"; there are some in {folders[0]}: set root to it" if folders else ""
        raise DataError(f"{root}: expected images named {_EXPECTED}, got none{hint}")
    notices = []
    if len(images) < len(names):
        notices.append(f"{len(names) - len(images)} other files in the folder were ignored")
    bins = ordered_bins(params.ages)
    entries = [_entry(finder, name, params.ages, bins) for name in images]
    return face_table(
        entries,
        declared(params),
        name="UTKFace",
        label_origin="predicted, then checked by people: ages, genders and races were estimated "
        "with the DEX model and double-checked by annotators; ages are apparent ages",
        licence="Non-commercial research only (Zhang, Song & Qi 2017); rights in the photographs "
        "stay with their owners",
        cautions=(
            "Labels were estimated by a model and checked by people; they are known to be noisy.",
            'The race "Others" joins Hispanic, Latino and Middle Eastern people: it is not '
            "comparable with the categories of other datasets.",
        ),
        notices=(*notices, *finder.notices()),
    )


def declared(params: Params) -> tuple[Attribute, ...]:
    """The attributes in the file names."""
    return (Attribute("age", params.ages), Attribute("race", RACES), Attribute("gender", GENDERS))


def _entry(
    finder: ImageFinder, name: str, ages: Sequence[str], bins: Sequence[tuple[int, int]]
) -> Annotation | Exclusion:
    match = _NAME.fullmatch(name)
    if match is None:
        return Exclusion(name, "malformed name", f"expected {_EXPECTED}, got {name!r}")
    years, gender, race = (int(match[group]) for group in (1, 2, 3))
    place = bin_of(years, bins)
    if gender >= len(GENDERS):
        problem = "unknown label", f"expected gender 0 or 1 in second place, got {gender}"
    elif race >= len(RACES):
        detail = f"expected race 0 to {len(RACES) - 1} in third place, got {race}"
        problem = "unknown label", detail
    elif years > OLDEST:
        problem = "age out of range", f"expected an age 0 to {OLDEST}, got {years}"
    elif place is None:
        problem = "age in no bin", f"age {years} is in none of the declared bins"
    else:
        found = finder.find(name)
        if isinstance(found, Exclusion):
            return found
        return Annotation(name, found, (ages[place], RACES[race], GENDERS[gender]))
    return Exclusion(name, *problem)


PLUGIN = FaceSource(title="UTKFace", params_type=Params, read=read, declares=declared)
