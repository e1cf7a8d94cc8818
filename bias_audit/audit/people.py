"""Who may be shown twice, where the data set does not record it."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bias_audit.activations.likeness import Likeness, Vectors, activation_vectors, likeness
from bias_audit.analyses.analysis import LayerActivations
from bias_audit.config.schema import AuditConfig, UnrecordedIdentity
from bias_audit.data.faces import Faces
from bias_audit.errors import DataError


def is_recorded(faces: Faces) -> bool:
    """Whether the data set says of every image who is shown."""
    return faces.table.identities is not None and all(faces.table.identities)


def embedding_of(faces: Faces, settings: UnrecordedIdentity) -> Vectors | None:
    """The rows of the configured face embedding, in the order of the faces.

    Returns:
        Shape (n_images, n_dimensions); None where the config names none, or none is needed.

    Raises:
        DataError: The file cannot be read, or lacks an image.
    """
    file = settings.embedding
    if file is None or is_recorded(faces) or not settings.chance:
        return None
    names, vectors = _read(file)
    places = {name: place for place, name in enumerate(names.tolist())}
    missing = [image for image, sha in enumerate(faces.sha256) if sha not in places]
    if missing:
        first = faces.table.references[missing[0]].label
        raise DataError(
            f"{file}: expected a vector for each of the {len(faces)} images, {len(missing)} have "
            f"none, the first is {first}; add them by the SHA-256 of the images' bytes"
        )
    return np.asarray(vectors[[places[sha] for sha in faces.sha256]], dtype=np.float32)


def _read(file: Path) -> tuple[npt.NDArray[np.str_], Vectors]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            names, vectors = stored["sha256"], stored["vectors"]
    except FileNotFoundError as error:
        raise DataError(f"sampling.unrecorded_identity.embedding: nothing at {file}") from error
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{file}: expected an .npz file with the arrays sha256 and vectors, as numpy.savez "
            "writes it, without pickled objects"
        ) from error
    rows = vectors.ndim == 2 and names.shape == vectors.shape[:1]  # noqa: PLR2004
    if not rows or names.dtype.kind != "U" or vectors.dtype.kind != "f":
        raise DataError(
            f"{file}: expected sha256 as text of shape (n,) and vectors as floating-point numbers "
            f"of shape (n, dimensions), got {names.dtype} {names.shape} and {vectors.dtype} "
            f"{vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise DataError(f"{file}: expected finite vectors, got infinite or undefined ones")
    return names, vectors


def likeness_of(
    faces: Faces, activations: LayerActivations, embedding: Vectors | None, config: AuditConfig
) -> Likeness | None:
    """How similar images are of which it is not recorded whether they show one person.

    Activations are those of the first backbone: all backbones are seen through the same people.
    An embedding, shape (n_images, n_dimensions), takes their place.

    Returns:
        None where identity is recorded of all images, or the config says not to look.
    """
    if is_recorded(faces) or not config.sampling.unrecorded_identity.chance:
        return None
    vectors = activation_vectors(activations) if embedding is None else embedding
    if faces.table.pictures is None:
        return likeness(vectors).without_known(faces.table.identities)
    first = np.unique(faces.table.pictures, return_index=True)[1]  # of several rows of an image
    alike = likeness(vectors[first])
    placed = replace(alike, n_images=len(faces), pairs=first[alike.pairs])
    return placed.without_known(faces.table.identities)


def with_people(faces: Faces, alike: Likeness | None, settings: UnrecordedIdentity) -> Faces:
    """The faces, with images that may show one person in one cluster, and a notice."""
    if alike is None:
        return faces
    clusters = alike.clusters(faces.clusters, settings.chance)
    before, after = len(np.unique(faces.clusters)), len(np.unique(clusters))
    by = "their activations" if settings.embedding is None else "the face embedding given"
    notice = (
        f"who is shown is not recorded: by the similarity of {by}, {faces.table.n_images} images "
        f"count as {after} people (without it: {before}); images of one person share a fold"
    )
    table = replace(faces.table, notices=(*faces.table.notices, notice))
    return replace(faces, table=table, clusters=clusters)
