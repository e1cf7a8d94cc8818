"""A few of the bundled faces, and the bundled backbone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.config.catalog import BACKBONE_SOURCES, DATA_SOURCES
from bias_audit.data.faces import Faces, FaceTable
from bias_audit.files import sha256_of


@pytest.fixture(scope="session")
def table() -> FaceTable:
    source = DATA_SOURCES.load("parametric")
    table: FaceTable = source.read(source.params_type())
    return table


@pytest.fixture(scope="session")
def faces(table: FaceTable) -> Faces:
    return some_faces(table, 34)


def some_faces(table: FaceTable, n: int) -> Faces:
    """Every k-th face, so that all groups are there."""
    rows = np.linspace(0, len(table) - 1, n).astype(int)
    few = replace(
        table,
        references=tuple(table.references[row] for row in rows),
        codes=table.codes[rows],
        identities=None,
        splits=None,
    )
    return Faces(
        table=few,
        found=np.bincount(few.cells, minlength=few.n_cells),
        clusters=np.arange(n),
        sha256=tuple(sha256_of(reference.file) for reference in few.references),
    )


@pytest.fixture
def backbone() -> Backbone:
    return bundled(["blocks.1", "blocks.5", "bn2"])


def bundled(layers: list[str]) -> Backbone:
    """Of small images, which pass quickly."""
    source = BACKBONE_SOURCES.load("bundled")
    params = source.params_type(layers=layers, preprocessing={"size": 96})
    return load_backbone("bundled", source, params)


@pytest.fixture
def load_bundled() -> Callable[[list[str]], Backbone]:
    return bundled
