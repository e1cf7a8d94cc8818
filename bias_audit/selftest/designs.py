"""How simulated activations come about.

Units are Gaussian with unit variance. Level k of an attribute moves unit k by the separation; all
other units are noise. Images of one cluster, as of one person or near duplicates, share most of
their noise, and their labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bias_audit.arrays import IntArray
from bias_audit.groups import Attribute
from bias_audit.selftest.subjects import Sample

LIKENESS = 0.9
"""Correlation of the units of two images of one cluster."""
COMMON = 0.5
"""Correlation of the noise of one image in two layers."""


@dataclass(frozen=True)
class Design:
    """One attribute in some layers."""

    per_level: int
    """Images."""
    separations: Mapping[str, float]
    """By layer: by how many standard deviations a level moves its unit."""
    n_levels: int = 3
    n_units: int = 24
    cluster_size: int = 1
    """Images per cluster; divides `per_level`."""

    @property
    def attribute(self) -> Attribute:
        """What is planted."""
        return Attribute("planted", tuple(f"level {k}" for k in range(self.n_levels)))

    def of_size(self, per_level: int, cluster_size: int) -> Design:
        """The same effect in another number of images."""
        return replace(self, per_level=per_level, cluster_size=cluster_size)


def draw(design: Design, rng: np.random.Generator) -> Sample:
    """Simulated images of a design."""
    codes = np.repeat(np.arange(design.n_levels, dtype=np.int64), design.per_level)
    clusters = np.arange(len(codes), dtype=np.int64) // design.cluster_size
    common = noise(clusters, design.n_units, rng)
    by_layer = {}
    for layer, separation in design.separations.items():
        own = noise(clusters, design.n_units, rng)
        units = np.sqrt(COMMON) * common + np.sqrt(1 - COMMON) * own
        units[np.arange(len(codes)), codes] += separation
        by_layer[layer] = units.astype(np.float32)
    return Sample((design.attribute,), codes[:, None], clusters, by_layer)


def noise(clusters: IntArray, n_units: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Units without any effect, alike within clusters, shape (n_images, n_units)."""
    own = rng.standard_normal((len(clusters), n_units))
    sizes = np.bincount(clusters)
    if sizes.max() == 1:
        return own
    shared = rng.standard_normal((len(sizes), n_units))[clusters]
    return np.asarray(np.sqrt(LIKENESS) * shared + np.sqrt(1 - LIKENESS) * own)
