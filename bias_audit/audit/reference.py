"""Images without labels that an analysis of the classification layer may compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bias_audit.config.schema import AuditConfig, Sampling
from bias_audit.data.faces import Faces, FaceTable, ImageReference
from bias_audit.data.sampling import prepare
from bias_audit.errors import DataError
from bias_audit.groups import Attribute
from bias_audit.progress import Progress

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_ALL = Attribute("image", ("any",))
"""A table needs an attribute; this one tells nothing apart."""


def reference_images(config: AuditConfig, *, progress: Progress) -> Faces | None:
    """Open the reference folder of a config, with the checks that faces go through.

    Returns:
        The usable images, exact duplicates left out; None if the config names no folder.

    Raises:
        DataError: The folder is not there, or holds no usable image.
    """
    folder = config.controls.reference
    if folder is None:
        return None
    table = _read(folder)
    faces = prepare(
        table,
        Sampling(near_duplicates=False),
        workers=config.activations.workers,
        seed=config.seed,
        cache=config.output.cache,
        progress=progress,
    )
    left_out = len(table) - len(faces)
    told = f"; {left_out} cannot be used or are exact duplicates" if left_out else ""
    progress.say(f"{len(faces)} reference images in {folder}{told}")
    return faces


def _read(folder: Path) -> FaceTable:
    if not folder.is_dir():
        raise DataError(f"controls.reference: expected a folder of images, got {folder}")
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not files:
        raise DataError(
            f"controls.reference: found no image in {folder}; expected files ending in "
            f"{', '.join(sorted(_SUFFIXES))}"
        )
    return FaceTable(
        name=f"reference {folder.absolute()}",
        attributes=(_ALL,),
        references=tuple(ImageReference(file) for file in files),
        codes=np.zeros((len(files), 1), dtype=np.int64),
        identities=None,
        splits=None,
        label_origin="none",
        licence="not stated",
    )
