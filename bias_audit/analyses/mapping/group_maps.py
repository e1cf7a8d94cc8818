"""Maps of groups over one layout: levels, pairs of attributes, and all intersections."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.linalg
from pydantic import Field
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.interpolate import LinearNDInterpolator
from scipy.spatial import Delaunay
from scipy.spatial.distance import pdist

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.group_distances import Shares
from bias_audit.analyses.mapping.profiles import Profiles, profiles
from bias_audit.analyses.mapping.som_and_swarm import nearest_cells, train_map
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.analyses.targets import INTERSECTION, Target, targets_of
from bias_audit.analyses.wording import coverage, decided_at, percent_interval
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Attribute, intersection_codes, intersections
from bias_audit.results.blocks import AttributeShare, Block, EarlierMap, Finding, UnitMap
from bias_audit.statistics.estimate import interval_at
from bias_audit.statistics.sureness import sureness_above

SIDE = 100


def rasters(positions: FloatArray, values: FloatArray) -> npt.NDArray[np.float32]:
    """Interpolate linearly between units, over one triangulation for all groups.

    Args:
        positions: Units in [0, 1], shape (n_units, 2), not all on one line.
        values: Shape (n_groups, n_units); NaN rows stay NaN.

    Returns:
        Shape (n_groups, 100, 100), row 0 at the bottom; 0 outside the units' convex hull.

    Raises:
        scipy.spatial.QhullError: The units lie on one line, or are fewer than three.
    """
    axis = np.linspace(0, 1, SIDE)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    present = np.isfinite(values).all(axis=1)
    interpolate = LinearNDInterpolator(Delaunay(positions), values[present].T, fill_value=0.0)
    result = np.full((len(values), SIDE, SIDE), np.nan, dtype=np.float32)
    result[present] = interpolate(grid).T.reshape(-1, SIDE, SIDE)
    return result


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


_LIMIT_QUANTILE = 0.99


@dataclass(frozen=True)
class Plane:
    """Where the units of a layer lie."""

    layer: str
    number: int
    """Of the layer, among those drawn."""
    layout: str
    """How units were placed."""
    positions: FloatArray
    """Shape (n_units, 2), in [0, 1]."""
    n_silent: int

    @property
    def key(self) -> str:
        """Under which the positions are stored."""
        return f"layer{self.number}-positions"


@dataclass(frozen=True)
class Drawn:
    """Blocks of one layer, with their arrays."""

    blocks: tuple[Block, ...]
    arrays: Mapping[str, npt.NDArray[Any]]
    findings: tuple[Finding, ...] = field(default=())


def group_maps(
    subject: Subject,
    plane: Plane,
    *,
    order: Literal["declared", "dendrogram"],
    shares: Shares | None,
    earlier: EarlierMap | None = None,
    limit: float | None = None,
) -> Drawn:
    """Maps of the levels of every attribute, of every pair of attributes, and of intersections.

    Args:
        subject: Whose profiles are drawn.
        plane: The layout.
        order: Of the levels of each attribute.
        shares: Of the attributes; None where they could not be measured.
        earlier: Beside which the layout was laid.
        limit: Of the colour scale; default: from the maps themselves.
    """
    table = subject.faces.table
    attributes = tuple(table.attributes)
    if order == "dendrogram":
        attributes = tuple(_by_likeness(subject, plane.layer, a) for a in attributes)

    def of(*chosen: Attribute) -> Profiles:
        return profiles(subject, plane.layer, _target(subject, chosen))

    kinds: list[tuple[str, str, list[Profiles]]] = [
        ("marginal", "Levels of every attribute", [of(attribute) for attribute in attributes])
    ]
    if len(attributes) > 2:  # noqa: PLR2004
        for i, j in itertools.combinations(range(len(attributes)), 2):
            pair = attributes[i], attributes[j]
            title = f"{pair[0].name.capitalize()} x {pair[1].name}"
            kinds.append((f"pair{i}x{j}", title, [of(*pair)]))
    if len(attributes) > 1:
        kinds.append(("intersections", "All intersections", [of(*attributes)]))
    own_limit = colour_limit([part for _, _, parts in kinds for part in parts])
    blocks: list[UnitMap] = []
    arrays: dict[str, npt.NDArray[Any]] = {}
    for kind, title, parts in kinds:
        block, values = map_block(plane, kind, title, parts, limit or own_limit)
        if kind == "marginal":
            block = _with_notes(block, shares, earlier, own_limit)
        blocks.append(block.model_copy(update={"detail": kind != "marginal"}))
        arrays |= values
    return Drawn(tuple(blocks), arrays)


def _with_notes(
    block: UnitMap, shares: Shares | None, earlier: EarlierMap | None, own_limit: float
) -> UnitMap:
    """What is said once, beside the first maps of a layer."""
    beside = earlier and earlier.model_copy(update={"own_limit": own_limit})
    told = () if shares is None else _told(shares)
    return block.model_copy(update={"shares": told, "earlier": beside})


def share_findings(layer: str, shares: Shares | None, *, alpha: float) -> tuple[Finding, ...]:
    """Which attribute moves the maps most; said only if its lead is above 0 at rate `alpha`."""
    if shares is None or (found := shares.lead()) is None:
        return ()
    first, second, lead = found
    level = lead.level
    estimates = dict(zip(shares.attributes, shares.estimates, strict=True))
    parts = ", ".join(
        f"{name} {percent_interval(estimate)}"
        for name, estimate in sorted(estimates.items(), key=lambda entry: -entry[1].value)
    )
    one, other = shares.attributes[first], shares.attributes[second]
    surely = interval_at(lead, 1 - alpha)[0]
    rate = decided_at(alpha, level)
    if surely > 0:
        said = (
            f"At {layer}, maps differ most by annotated {one}. Share of the variance of the "
            f"profiles of intersections that each attribute's main effect explains: {parts} "
            f"({coverage(level)}s); {one} exceeds {other} by {100 * lead.lower:.1f} to "
            f"{100 * lead.upper:.1f} percentage points{rate}."
        )
    else:
        said = (
            f"At {layer}, no attribute clearly moves the maps most. Share of the variance of the "
            f"profiles of intersections that each attribute's main effect explains: {parts} "
            f"({coverage(level)}s); the lead of {one} over {other} is within its interval{rate}."
        )
    return (Finding(text=said, weight=sureness_above(lead.value, surely), estimates=estimates),)


def _told(shares: Shares) -> tuple[AttributeShare, ...]:
    return tuple(
        AttributeShare(attribute=name, share=estimate)
        for name, estimate in zip(shares.attributes, shares.estimates, strict=True)
    )


def _target(subject: Subject, chosen: Sequence[Attribute]) -> Target:
    """The combinations of some attributes, whose levels may be in another order."""
    table = subject.faces.table
    names = [attribute.name for attribute in table.attributes]
    columns = []
    for attribute in chosen:
        column = names.index(attribute.name)
        place = [attribute.levels.index(level) for level in table.attributes[column].levels]
        columns.append(np.array(place, dtype=np.int64)[table.codes[:, column]])
    codes = intersection_codes(np.stack(columns, axis=1), chosen)
    name = chosen[0].name if len(chosen) == 1 else INTERSECTION
    return Target(name, intersections(chosen), codes)


def _by_likeness(subject: Subject, layer: str, attribute: Attribute) -> Attribute:
    """Levels in the order of a dendrogram of their profiles, empty ones last."""
    (target,) = targets_of(subject.faces.table, [attribute.name])
    found = profiles(subject, layer, target)
    present = np.flatnonzero(found.counts > 0)
    ranked = present[leaf_order(found.contrasts[present])]
    empty = np.flatnonzero(found.counts == 0)
    return Attribute(
        attribute.name, tuple(attribute.levels[i] for i in (*ranked.tolist(), *empty.tolist()))
    )


def leaf_order(contrasts: FloatArray) -> npt.NDArray[np.int64]:
    """Order of a dendrogram's leaves in which neighbours are as alike as it allows.

    Average linkage of correlation distances, optimal leaf order (Bar-Joseph et al. 2001).

    Args:
        contrasts: Profiles, shape (n_groups, n_units).

    Returns:
        Shape (n_groups,).
    """
    if len(contrasts) < 3:  # noqa: PLR2004
        return np.arange(len(contrasts), dtype=np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        distances = np.nan_to_num(pdist(contrasts, "correlation"), nan=1.0)
    tree = optimal_leaf_ordering(linkage(distances, "average"), distances)
    return np.asarray(leaves_list(tree), dtype=np.int64)


def map_block(
    plane: Plane, kind: str, title: str, parts: Sequence[Profiles], limit: float
) -> tuple[UnitMap, dict[str, npt.NDArray[Any]]]:
    """Maps of some profiles on a layout, with their arrays.

    Args:
        plane: The layout.
        kind: For the keys of the arrays.
        title: Up to the name of the layer.
        parts: Each less the mean over its own groups.
        limit: Of the colour scale.
    """
    values = np.concatenate([part.contrasts for part in parts])
    keys = f"layer{plane.number}-{kind}-values", f"layer{plane.number}-{kind}-rasters"
    block = UnitMap(
        title=f"{title} at {plane.layer}",
        layer=plane.layer,
        layout=plane.layout,
        n_units=values.shape[1],
        n_silent=plane.n_silent,
        groups=tuple(group for part in parts for group in part.groups),
        counts=tuple(int(n) for part in parts for n in part.counts),
        limit=limit,
        positions=plane.key,
        values=keys[0],
        rasters=keys[1],
    )
    return block, {keys[0]: values.astype(np.float32), keys[1]: rasters(plane.positions, values)}


def colour_limit(parts: Sequence[Profiles]) -> float:
    """One colour limit for all groups of a layer: few units saturate, most are seen."""
    sizes = np.concatenate([np.abs(part.contrasts[part.counts > 0]).ravel() for part in parts])
    limit = float(np.quantile(sizes, _LIMIT_QUANTILE))
    return limit if limit > 0 else float(sizes.max())
