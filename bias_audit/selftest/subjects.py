"""Subjects made of numbers: activations in memory instead of a backbone's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bias_audit.activations.moments import Moments
from bias_audit.analyses.analysis import ArrayCache, Arrays, Subject
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.data.faces import Faces, FaceTable, ImageReference
from bias_audit.files import digest
from bias_audit.groups import Attribute
from bias_audit.progress import Silent


@dataclass(frozen=True)
class Sample:
    """Simulated images: labels, who is shown, and the units of every layer."""

    attributes: tuple[Attribute, ...]
    codes: IntArray
    """Level index, shape (n_images, n_attributes)."""
    clusters: IntArray
    """Shape (n_images,)."""
    by_layer: Mapping[str, Float32Array]
    """Shape (n_images, n_units) each."""
    baselines: tuple[SimulatedBaseline, ...] = ()


@dataclass(frozen=True)
class SimulatedBaseline:
    """A control made of numbers, as random weights (by layer) or pixels are."""

    kind: str
    name: str
    by_layer: bool
    values: Mapping[str, Float32Array]
    """Shape (n_images, n_units) by layer; under "" where it does not depend on the layer."""

    @property
    def fingerprint(self) -> str:
        """Of all numbers."""
        return digest(self.name, *(each.tobytes() for each in self.values.values()))

    def units(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units)."""
        return self.values[layer if self.by_layer else ""]


@dataclass(frozen=True)
class InMemoryActivations:
    """Simulated activations."""

    by_layer: Mapping[str, Float32Array]
    cells: IntArray
    n_cells: int
    maps: Mapping[str, Float32Array] = field(default_factory=dict)
    """Positions by layer, shape (n_images, n_units, n_positions), where any are simulated."""

    @property
    def fingerprint(self) -> str:
        """Of all numbers."""
        return digest(*(values.tobytes() for values in self.by_layer.values()))

    @property
    def layers(self) -> tuple[str, ...]:
        """In the order given."""
        return tuple(self.by_layer)

    def units(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units)."""
        return self.by_layer[layer]

    def positions(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units, n_positions).

        Raises:
            KeyError: The layer has none.
        """
        return self.maps[layer]

    def moments(self, layer: str) -> Moments:
        """Moments of the units per intersection."""
        moments = Moments.empty(self.n_cells, self.by_layer[layer].shape[1:])
        moments.update(self.by_layer[layer], self.cells)
        return moments


@dataclass
class InMemoryCache:
    """Keeps what one simulated audit computes."""

    kept: dict[str, dict[str, npt.NDArray[Any]]] = field(default_factory=dict)

    def get(self, key: str) -> dict[str, npt.NDArray[Any]] | None:
        """What was put under `key`, or None."""
        return self.kept.get(key)

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under `key`."""
        self.kept[key] = dict(arrays)


def subject_of(sample: Sample, rng: np.random.Generator) -> Subject:
    """A simulated audit's subject, with the settings that real audits have by default.

    Args:
        sample: The images.
        rng: Gives the seed of the audit.
    """
    return subject_with(sample, int(rng.integers(2**31)), InMemoryCache())


def subject_with(sample: Sample, seed: int, cache: ArrayCache) -> Subject:
    """A simulated audit's subject with a seed and a cache of its own."""
    n = len(sample.codes)
    table = FaceTable(
        name="simulated",
        attributes=sample.attributes,
        references=tuple(ImageReference(Path(f"{image}.png")) for image in range(n)),
        codes=sample.codes,
        identities=None,
        splits=None,
        label_origin="drawn at random",
        licence="none",
    )
    found = np.bincount(table.cells, minlength=table.n_cells).astype(np.int64)
    faces = Faces(table, found, sample.clusters, tuple(str(image) for image in range(n)))
    activations = InMemoryActivations(sample.by_layer, table.cells, table.n_cells)
    return Subject(
        "simulated", faces, activations, cache, seed, Silent(), controls=sample.baselines
    )
