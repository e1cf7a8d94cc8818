"""Subjects made of numbers: activations with a planted effect, and an in-memory cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import Subject
from bias_audit.data.faces import Faces, FaceTable, ImageReference
from bias_audit.files import digest
from bias_audit.groups import Attribute, IntArray
from bias_audit.progress import Silent

AGE = Attribute("age", ("young", "middle", "old"))
GENDER = Attribute("gender", ("female", "male"))


@dataclass(frozen=True)
class FakeActivations:
    """Activations held in memory."""

    by_layer: dict[str, npt.NDArray[np.float32]]
    cells: IntArray
    n_cells: int
    maps: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Positions by layer, where any are planted."""

    @property
    def fingerprint(self) -> str:
        return digest(*(values.tobytes() for values in self.by_layer.values()))

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.by_layer)

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        return self.by_layer[layer]

    def positions(self, layer: str) -> npt.NDArray[np.float32]:
        return self.maps[layer]

    def moments(self, layer: str) -> Moments:
        moments = Moments.empty(self.n_cells, self.by_layer[layer].shape[1:])
        moments.update(self.by_layer[layer], self.cells)
        return moments


@dataclass
class FakeCache:
    """Keeps copies, and counts what was put."""

    kept: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)
    puts: int = 0

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        return self.kept.get(key)

    def put(self, key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.puts += 1
        self.kept[key] = {name: np.array(array) for name, array in arrays.items()}


def make_subject(
    codes: npt.NDArray[np.integer[Any]],
    by_layer: Mapping[str, npt.NDArray[np.floating[Any]]],
    attributes: tuple[Attribute, ...] = (AGE, GENDER),
    *,
    clusters: IntArray | None = None,
    cache: FakeCache | None = None,
    seed: int = 0,
) -> Subject:
    n = len(codes)
    table = FaceTable(
        name="planted",
        attributes=attributes,
        references=tuple(ImageReference(Path(f"{i}.png")) for i in range(n)),
        codes=np.asarray(codes, dtype=np.int64),
        identities=None,
        splits=None,
        label_origin="drawn",
        licence="none",
    )
    n_cells = int(np.prod([len(attribute.levels) for attribute in attributes]))
    found = np.bincount(table.cells, minlength=n_cells).astype(np.int64)
    grouped = np.arange(n) if clusters is None else clusters
    faces = Faces(table, found, grouped, tuple(str(i) for i in range(n)))
    values = {name: array.astype(np.float32) for name, array in by_layer.items()}
    activations = FakeActivations(values, table.cells, n_cells)
    # One shuffle is enough to test with, and quicker.
    return Subject("fake", faces, activations, cache or FakeCache(), seed, Silent(), shuffles=1)


def planted(
    n: int = 360, n_units: int = 12, strength: float = 1.0, seed: int = 0, **options: Any
) -> Subject:
    """Age moves three units of layer "late", a little of "early"; gender moves nothing."""
    rng = np.random.default_rng(seed)
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    noise = {name: rng.standard_normal((n, n_units)) for name in ("early", "late")}
    for name, size in (("early", 0.3 * strength), ("late", strength)):
        noise[name][np.arange(n), codes[:, 0]] += 2 * size
    return make_subject(codes, noise, seed=seed, **options)
