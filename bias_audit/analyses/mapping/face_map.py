"""A self-organizing map of faces: each cell holds faces of similar activations.

Source: d'Aquin 2023, who asks where the images of a concept lie on such a map of a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg
from pydantic import Field

from bias_audit.analyses.mapping.self_organizing import nearest_cells, train_map
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.arrays import FloatArray, IntArray

_LARGEST_SIDE = 32
_SMALLEST_SIDE = 2
_CONSTANT = 1e-6


class FaceMapSettings(ProbeSettings):
    """How the map is trained; the settings of probes choose the layer where none is named."""

    side: int | None = Field(
        default=None,
        ge=2,
        le=64,
        description="Cells along each side of the map; default: the root of 5 times the root of "
        f"the number of independent images, at most {_LARGEST_SIDE}.",
    )
    axes: int = Field(
        default=50, ge=2, le=500, description="Principal axes of the activations that are mapped."
    )
    epochs: int = Field(default=10, ge=1, le=1000, description="How often each image is shown.")
    sigma: float = Field(default=1.0, gt=0, description="Width of the neighbourhood, in cells.")
    rate: float = Field(default=0.5, gt=0, le=1, description="Share of the way that cells move.")


@dataclass(frozen=True)
class FaceMap:
    """Where every image lies."""

    cells: IntArray
    """Cell of each image, 0 .. side * side - 1, shape (n_images,)."""
    side: int
    n_axes: int
    """Principal axes that were mapped."""
    kept: float
    """Share of the variance of the standardised activations on these axes."""

    @property
    def n_cells(self) -> int:
        """Cells of the map, those without images included."""
        return self.side**2


def map_faces(
    units: npt.NDArray[np.float32],
    clusters: IntArray,
    settings: FaceMapSettings,
    rng: np.random.Generator,
) -> FaceMap:
    """Train a map on the activations of all images; labels play no part.

    Args:
        units: Activations, shape (n_images, n_units), not all alike.
        clusters: Cluster of each image, shape (n_images,); their number sets the default size.
        settings: Of the map.
        rng: Draws the start and the order in which images are shown.
    """
    axes, kept = principal_scores(units, settings.axes)
    n_images = len(axes)
    side = settings.side or _default_side(len(np.unique(clusters)))
    start = axes[rng.integers(n_images, size=side * side)].reshape(side, side, -1)
    order = np.concatenate([rng.permutation(n_images) for _ in range(settings.epochs)])
    weights = train_map(axes, start, order, sigma=settings.sigma, rate=settings.rate)
    rows, columns = nearest_cells(axes, weights).T
    return FaceMap(np.asarray(rows * side + columns, np.int64), side, axes.shape[1], kept)


def _default_side(n_independent: int) -> int:
    """Vesanto & Alhoniemi 2000 (IEEE Trans. Neural Networks 11:586): 5 sqrt(n) cells."""
    return int(np.clip(round(np.sqrt(5 * np.sqrt(n_independent))), _SMALLEST_SIDE, _LARGEST_SIDE))


def principal_scores(units: npt.NDArray[np.float32], most: int) -> tuple[FloatArray, float]:
    """Scores of standardised units on their first principal axes.

    Args:
        units: Shape (n_images, n_units); constant units are ignored.
        most: Axes to keep.

    Returns:
        Shape (n_images, n_axes), and the share of the variance that is kept.
    """
    values = units.astype(np.float64)
    values -= values.mean(axis=0)
    spread = values.std(axis=0)
    used = spread > _CONSTANT * spread.max(initial=0.0)
    values = values[:, used] / spread[used]
    # The smaller of the two products has all eigenvalues that are not 0.
    is_tall = values.shape[0] >= values.shape[1]
    product = values.T @ values if is_tall else values @ values.T
    last = len(product) - 1
    first = max(0, last + 1 - most)
    sizes, axes = scipy.linalg.eigh(product, subset_by_index=[first, last])
    strong = sizes > _CONSTANT * sizes.max()
    scores = values @ axes if is_tall else axes * np.sqrt(np.maximum(sizes, 0))
    kept = float(sizes[strong].sum() / np.trace(product))
    return np.asarray(scores[:, strong][:, ::-1], np.float64), kept
