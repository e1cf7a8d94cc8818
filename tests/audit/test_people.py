"""Who may be shown twice is looked for exactly where it is not recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.audit.people import embedding_of, likeness_of, with_people
from bias_audit.config.schema import AuditConfig, UnrecordedIdentity
from bias_audit.data.faces import Faces
from bias_audit.errors import DataError
from tests.analyses.planted import planted


def _config(**settings: object) -> AuditConfig:
    return AuditConfig.model_validate(
        {
            "name": "x",
            "data": {"kind": "parametric"},
            "sampling": {"unrecorded_identity": settings},
            "backbones": [{"kind": "bundled"}],
            "analyses": [{"kind": "linear_probe"}],
        }
    )


def _named(faces: Faces, identities: tuple[str, ...]) -> Faces:
    return replace(faces, table=replace(faces.table, identities=identities))


def test_recorded_identities_are_taken_as_they_are() -> None:
    subject = planted(n=60)
    faces, activations = subject.faces, subject.activations
    known = tuple(map(str, range(60)))
    assert likeness_of(_named(faces, known), activations, None, _config()) is None
    assert likeness_of(faces, activations, None, _config(chance=0)) is None
    assert with_people(faces, None, UnrecordedIdentity()) is faces
    partly = likeness_of(_named(faces, ("", *known[1:])), activations, None, _config())
    assert partly is not None
    assert (partly.pairs == 0).any(axis=1).all()


def test_an_embedding_joins_the_images_that_it_says_are_one_person(tmp_path: Path) -> None:
    subject, file = planted(n=60), tmp_path / "faces.npz"
    vectors = np.random.default_rng(0).standard_normal((60, 64))
    vectors[41] = vectors[7]
    order = np.random.default_rng(1).permutation(60)
    np.savez(file, sha256=np.array(subject.faces.sha256)[order], vectors=vectors[order])
    config = _config(embedding=str(file), chance=0.01)
    settings = config.sampling.unrecorded_identity
    embedding = embedding_of(subject.faces, settings)
    alike = likeness_of(subject.faces, subject.activations, embedding, config)
    found = with_people(subject.faces, alike, settings)
    assert found.clusters[41] == found.clusters[7]
    assert len(np.unique(found.clusters)) == 59
    assert "60 images count as 59 people (without it: 60)" in found.table.notices[-1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sha256": np.array(["0", "1"]), "vectors": np.ones((2, 3))}, "58 have none"),
        ({"sha256": np.array(["0"]), "vectors": np.ones((2, 3))}, "of shape"),
        ({"sha256": np.array(["0"]), "vectors": np.full((1, 3), np.nan)}, "finite"),
        ({"sha256": np.array(["0"], dtype=object), "vectors": np.ones((1, 3))}, "pickled"),
        ({"paths": np.array(["0"])}, "sha256 and vectors"),
        (None, "faces.npz"),
        ({}, "faces.npz"),
    ],
)
def test_an_unusable_embedding_says_what_was_expected(
    arrays: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "faces.npz"
    if arrays:
        np.savez(file, **arrays)
    elif arrays is not None:
        file.write_text("no archive", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        embedding_of(planted(n=60).faces, UnrecordedIdentity(embedding=file))
