"""CelebA (Liu et al. 2015): the authors' text files, or the same lists as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from bias_audit.config.catalog import unknown_name
from bias_audit.config.schema import UserPath
from bias_audit.data.annotations import face_table, listed
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable
from bias_audit.data.finding import ImageFinder, Linked, existing_folder
from bias_audit.data.rows import PLACE, SPLIT, Row, read_text
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_SPLITS = {"0": "train", "1": "val", "2": "test"}
_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_celeba")


class Params(Linked):
    """Where CelebA lies and which of its labels to read."""

    root: UserPath = Field(
        description="Folder with list_attr_celeba, list_eval_partition and, where you have it, "
        "identity_CelebA (.txt or .csv), and img_align_celeba/."
    )
    attributes: tuple[str, ...] = Field(
        default=("Male", "Young"), min_length=1, description="Of the 40, by the names in the list."
    )
    split: Literal["train", "val", "test", "all"] = Field(
        default="test", description="The source's own split to read."
    )


def read(params: Params) -> FaceTable:
    """Read CelebA's lists; no image is opened.

    Raises:
        DataError: A list or the folder of images is missing, or an attribute is unknown.
    """
    root = existing_folder(params.root, expected="CelebA's lists and img_align_celeba/")
    folder = next((name for name in _FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise DataError(f"{root}: expected the folder img_align_celeba in it, got none")
    who = None if _list(root, "identity_CelebA") is None else "person"
    people = {} if who is None else _by_image(root, "identity_CelebA")
    splits = {} if params.split == "all" else _by_image(root, "list_eval_partition")
    lines = _lines(root, "list_attr_celeba")
    header: list[str] = []
    rows: list[Row | Exclusion] = []
    for place, fields in lines:
        if not header:
            if len(fields) > 1:  # the authors' file begins with the number of images
                header = [name for name in fields if name not in {"image_id", "image"}]
                for name in params.attributes:
                    if name not in header:
                        problem = unknown_name(name, header, noun="attribute")
                        raise DataError(f"attributes: {problem}")
            continue
        name, *values = fields
        split = _SPLITS.get(splits.get(name, ""), "not stated")
        if params.split not in ("all", split):
            continue
        if len(values) != len(header):
            detail = f"expected {len(header) + 1} fields, got {len(fields)}"
            rows.append(Exclusion(place, "malformed row", detail))
            continue
        labels = dict(zip(header, values, strict=True))
        own = {attribute: _level(attribute, labels[attribute]) for attribute in params.attributes}
        path, person = f"{folder}/{name}", people.get(name, "")
        rows.append({"path": path, "person": person, PLACE: place, SPLIT: split, **own})
    finder = ImageFinder(root, follow_links=params.follow_links)
    return face_table(
        listed(rows, {}, finder, params.attributes, path_column="path", identity_column=who),
        declared(params),
        name=f"CelebA {params.split}",
        label_origin="perceived: by a professional labelling company; how many people looked at "
        "an image is not stated",
        licence="non-commercial research only (Liu et al. 2015)",
        cautions=(
            "The photographs are of celebrities, who did not consent; many are retouched.",
            "Labels are impressions of unnamed annotators, each with two values, and are known "
            "to contradict each other across images of one person.",
        ),
        notices=tuple(finder.notices()),
    )


def _lines(root: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """Place and fields of every line of a list, however it was saved."""
    file = _list(root, name)
    if file is None:
        raise DataError(f"{root}: expected {name}.txt or {name}.csv in it, got neither")
    for number, line in enumerate(read_text(file)[0].splitlines(), start=1):
        if fields := line.replace(",", " ").split():
            yield f"{file.name} row {number}", fields


def _list(root: Path, name: str) -> Path | None:
    files = (root / f"{name}{suffix}" for suffix in (".txt", ".csv"))
    return next((each for each in files if each.is_file()), None)


def _by_image(root: Path, name: str) -> dict[str, str]:
    """What a list with a value for each image says."""
    return {fields[0]: fields[1] for _, fields in _lines(root, name) if len(fields) > 1}


def _level(attribute: str, value: str) -> str:
    plain = value.removesuffix(".0").casefold()
    own = {"1": attribute, "true": attribute}
    return (own | dict.fromkeys(("-1", "0", "false"), f"not {attribute}")).get(plain, value)


def declared(params: Params) -> tuple[Attribute, ...]:
    """Each attribute, and its absence."""
    return tuple(Attribute(name, (f"not {name}", name)) for name in params.attributes)


PLUGIN = FaceSource(title="CelebA", params_type=Params, read=read, declares=declared)
