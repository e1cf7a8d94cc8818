"""UTKFace (Zhang, Song & Qi 2017): labels are in the file names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from bias_audit.config.schema import UserPath
from bias_audit.data.ages import FAIRFACE_AGES, OLDEST, bin_of, ordered_bins
from bias_audit.data.annotations import Annotation, Description, face_table
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
    """Read the labels in UTKFace's file names; no image is opened.

    Raises:
        DataError: The folder holds no images, or no name is usable.
    """
    root = existing_folder(params.root, expected=f"images named {_EXPECTED}")
    finder = ImageFinder(root, follow_links=params.follow_links)
    names = finder.names
    images = [name for name in names if Path(name).suffix.lower() in _IMAGES]
    if not images:
        raise DataError(_no_images(root))
    notices = []
    if len(images) < len(names):
        notices.append(f"{len(names) - len(images)} other files in the folder were ignored")
    description = Description(
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
    )
    entries = list(_entries(finder, images, params.ages))
    notices.extend(finder.notices())
    return face_table(entries, declared(params), description, notices=notices)


def declared(params: Params) -> tuple[Attribute, ...]:
    """The attributes in the file names."""
    return (Attribute("age", params.ages), Attribute("race", RACES), Attribute("gender", GENDERS))


def _entries(
    finder: ImageFinder, names: list[str], ages: tuple[str, ...]
) -> Iterator[Annotation | Exclusion]:
    bins = ordered_bins(ages)
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            yield Exclusion(name, "malformed name", f"expected {_EXPECTED}, got {name!r}")
            continue
        years, gender, race = (int(match[group]) for group in (1, 2, 3))
        place = bin_of(years, bins)
        problem = _problem(name, years, gender, race, place)
        found = problem or finder.find(name)
        if isinstance(found, Exclusion):
            yield found
        elif place is not None:
            yield Annotation(name, found, (ages[place], RACES[race], GENDERS[gender]))


def _problem(name: str, years: int, gender: int, race: int, place: int | None) -> Exclusion | None:
    if gender >= len(GENDERS):
        detail = f"expected gender 0 or 1 in second place, got {gender}"
        return Exclusion(name, "unknown label", detail)
    if race >= len(RACES):
        detail = f"expected race 0 to {len(RACES) - 1} in third place, got {race}"
        return Exclusion(name, "unknown label", detail)
    if years > OLDEST:
        return Exclusion(name, "age out of range", f"expected an age 0 to {OLDEST}, got {years}")
    if place is None:
        return Exclusion(name, "age in no bin", f"age {years} is in none of the declared bins")
    return None


def _no_images(root: Path) -> str:
    below = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.is_dir() and next(entry.glob("*.jpg"), None) is not None
    )
    hint = f"; there are some in {root / below[0]}: set root to it" if below else ""
    return f"{root}: expected images named {_EXPECTED}, got none{hint}"


PLUGIN = FaceSource(title="UTKFace", params_type=Params, read=read, declares=declared)
