"""A data source: a folder with one folder of images for each level of an attribute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from bias_audit.config.schema import Strict, UserPath
from bias_audit.data.faces import Exclusion, FaceSource, FaceTable, ImageReference
from bias_audit.errors import DataError
from bias_audit.groups import Attribute

_IMAGES = {".jpg", ".jpeg", ".png"}


class Params(Strict):
    """Where the folders are, and what they mean."""

    root: UserPath = Field(description="Folder with one folder of images for each level.")
    attribute: str = Field(description="What the folders distinguish, such as gender.")
    levels: tuple[str, ...] = Field(min_length=2, description="Names of the folders, in order.")


def declared(params: Params) -> tuple[Attribute, ...]:
    """The attribute, with all its levels, empty ones included."""
    return (Attribute(params.attribute, params.levels),)


def read(params: Params) -> FaceTable:
    """List the images of every folder; none is opened.

    Raises:
        DataError: A folder is missing, or no image is in any.
    """
    references: list[ImageReference] = []
    codes: list[int] = []
    exclusions: list[Exclusion] = []
    for code, level in enumerate(params.levels):
        for path in _files(params.root, level):
            if path.suffix.lower() in _IMAGES:
                references.append(ImageReference(path))
                codes.append(code)
            else:  # what is left out is said, with the reason
                detail = f"expected a name that ends in {', '.join(sorted(_IMAGES))}"
                exclusions.append(Exclusion(f"{level}/{path.name}", "no image", detail))
    if not references:
        raise DataError(f"{params.root}: expected images in {', '.join(params.levels)}, got none")
    return FaceTable(
        name=params.root.name,
        attributes=declared(params),
        references=tuple(references),
        codes=np.array(codes, dtype=np.int64)[:, None],
        identities=None,
        splits=None,
        label_origin="unknown: the names of folders",
        licence="not stated",
        cautions=("Nothing is known about how images were put into folders.",),
        exclusions=tuple(exclusions),
    )


def _files(root: Path, level: str) -> list[Path]:
    folder = root / level
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, but nothing is there")
    return sorted(path for path in folder.iterdir() if path.is_file())


PLUGIN = FaceSource(title="folders of faces", params_type=Params, read=read, declares=declared)
