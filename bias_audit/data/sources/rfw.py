"""RFW, Racial Faces in the Wild (Wang et al. 2019): folders of races, in these of people."""

from __future__ import annotations

from pydantic import Field

from bias_audit.config.schema import UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.faces import SUFFIXES, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.errors import DataError, some
from bias_audit.groups import Attribute

RACE = Attribute("race", ("African", "Asian", "Caucasian", "Indian"))


class Params(Linked):
    """Where RFW lies."""

    root: UserPath = Field(description="The folder with African/, Asian/, Caucasian/, Indian/.")


def read(params: Params) -> FaceTable:
    """List RFW's images; none is opened.

    Raises:
        DataError: A race has no folder.
    """
    root = existing_folder(params.root, expected="a folder for each race of RFW")
    if missing := [race for race in RACE.levels if not (root / race).is_dir()]:
        hint = next((f"; set root to {p.parent}" for p in root.glob("*/African")), "")
        hint = hint or next((f"; set root to {p.parent}" for p in root.glob("*/*/African")), "")
        raise DataError(f"{root}: expected folders {some(RACE.levels)}, got no {missing[0]}{hint}")
    finder = ImageFinder(root, follow_links=params.follow_links)
    rows = [
        {"path": path.relative_to(root).as_posix(), "race": race, "person": path.parent.name}
        for race in RACE.levels
        for path in sorted((root / race).glob("*/*"))
        if path.suffix.lower() in SUFFIXES
    ]
    if not rows:
        raise DataError(
            f"{root}: expected a folder for each person in those of races, such as "
            "African/m.0/m.0_0001.jpg, got no image"
        )
    return face_table(
        listed(rows, {}, finder, ["race"], path_column="path", identity_column="person"),
        declared(params),
        name="RFW",
        label_origin="predicted, then checked: by the nationality of the people in FreeBase, and "
        "a service that estimates race",
        licence="non-commercial research only, on request (Wang et al. 2019)",
        cautions=(
            "The photographs are of celebrities, from MS-Celeb-1M, which its makers have "
            "withdrawn; the people shown did not consent.",
            "Race is what a model and nationality suggest, not what the people say.",
        ),
        notices=tuple(finder.notices()),
    )


def declared(params: Params) -> tuple[Attribute, ...]:  # noqa: ARG001
    """The one attribute."""
    return (RACE,)


PLUGIN = FaceSource(title="RFW", params_type=Params, read=read, declares=declared)
