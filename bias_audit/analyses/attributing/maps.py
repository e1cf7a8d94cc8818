"""Attribution maps as means over the images of a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.attributing.decision import LinearMap, MapSums
from bias_audit.analyses.attributing.face_regions import Shares
from bias_audit.analyses.attributing.trust import Checked
from bias_audit.analyses.probing.cross_fitting import fold_fits
from bias_audit.analyses.probing.logistic import Axes, principal_axes
from bias_audit.analyses.probing.probes import ProbeSpec, Scores, out_of_fold_scores
from bias_audit.analyses.small_groups import (
    REMAINDER,
    independent_images,
    reasons_shown,
    treat,
    without_remainders,
)
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.cache import Arrays
from bias_audit.config.schema import SmallGroups
from bias_audit.data.faces import Faces
from bias_audit.groups import EVERYONE, Attribute, Group
from bias_audit.results.blocks import AttributionMaps, FaceArea, GroupLedger
from bias_audit.statistics.inference import Measured

_RANK = 1e-6
"""As `principal_axes` has it: units with less spread, relative to their size, are constant."""


@dataclass(frozen=True)
class ProbeMap:
    """The probes of one target at one layer."""

    scores: Scores
    """Out-of-fold probabilities, and the fold of each image."""
    linear: LinearMap
    """Score `fold * n_levels + level`: of a level, by the probe that did not see the fold."""
    n_levels: int

    def outputs(self, levels: IntArray) -> IntArray:
        """Which score is that of a level for each image of the probe, by its own fold's probe.

        Args:
            levels: Index into the kept levels, per image of `scores`, shape (n,).
        """
        return self.scores.folds * self.n_levels + levels


def probe_map(subject: Subject, spec: ProbeSpec) -> ProbeMap:
    """Fit the probes of a target again and write them as a map of the activations as stored.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    scores = out_of_fold_scores(subject, spec)
    units = np.asarray(subject.activations.units(spec.layer)[scores.part.images], np.float32)
    n_levels = len(scores.part.levels)
    stored = subject.cached(
        "probe map",
        subject.activations,
        spec.layer,
        spec.settings.probes.model_dump_json(),
        np.stack([scores.part.images, scores.codes, scores.folds]),
        compute=partial(_fitted, units, scores, n_levels, spec.settings.strengths),
    ).arrays()
    return ProbeMap(scores, LinearMap(stored["weight"], stored["bias"]), n_levels)


def _fitted(
    units: npt.NDArray[np.float32], scores: Scores, n_levels: int, strengths: tuple[float, ...]
) -> Arrays:
    axes = principal_axes(units)
    fits = fold_fits(axes, scores.codes, scores.folds, n_classes=n_levels, strengths=strengths)
    to_axes, offset = _onto(units, axes)
    by_axis = fits.weights.double().permute(0, 2, 1).reshape(-1, len(axes.spread)).numpy()
    weight = by_axis @ to_axes
    bias = fits.intercepts.double().reshape(-1).numpy() - by_axis @ offset
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def _onto(units: npt.NDArray[np.float32], axes: Axes) -> tuple[FloatArray, FloatArray]:
    """The rotation of `principal_axes`: axes are `units @ to_axes.T - offset`.

    Axes are X V for standardised units X with X'X V = V diag(spread), so V = X' axes / spread.
    """
    mean, deviation = units.mean(axis=0), units.std(axis=0)
    kept = deviation > np.abs(units - mean).max(axis=0) * _RANK
    scale = np.where(kept, 1 / np.where(kept, deviation, 1), 0).astype(np.float64)
    if not kept.any():
        return np.zeros((len(axes.spread), units.shape[1])), np.zeros(len(axes.spread))
    standardised = (units.astype(np.float64) - mean) * scale
    rotation = standardised.T @ axes.images.double().numpy() / axes.spread.double().numpy()
    to_axes = (rotation * scale[:, None]).T
    return to_axes, to_axes @ mean.astype(np.float64)


ALL: int = 0
"""Place of the group of all images."""


@dataclass(frozen=True)
class ShownGroups:
    """All images, then the levels of some attributes."""

    groups: tuple[Group, ...]
    attributes: tuple[str, ...]
    """Of each group; empty for all images."""
    member: npt.NDArray[np.bool_]
    """Shape (n_images, n_groups)."""
    independent: tuple[int, ...]
    """Images of each group, those of one cluster counted once."""
    reasons: tuple[str | None, ...]
    """Why a group is not shown; None where it is."""
    ledgers: tuple[GroupLedger, ...]
    """One for each attribute with groups that are not shown."""

    def of(self, attribute: str) -> tuple[int, ...]:
        """Places of an attribute's levels."""
        return tuple(i for i, name in enumerate(self.attributes) if name == attribute)

    def is_shown(self, place: int) -> bool:
        """Whether a group's numbers and map may be printed."""
        return self.reasons[place] is None


def shown_groups(
    faces: Faces, images: IntArray, attributes: Sequence[str], policy: SmallGroups
) -> ShownGroups:
    """Decide which groups of some images are shown: a mean of few could show a face.

    Further groups are left out until none of fewer images than the minimum follows from all images
    and the groups of its attribute, nor one below `suppress_below` from those of all attributes:
    an intersection may have few images here, because not all images are attributed.

    Args:
        faces: The audit's faces.
        images: Those that are attributed, shape (n,).
        attributes: Names of the attributes whose levels are groups.
        policy: Its minimum decides, whatever else it says.
    """
    groups, names = [EVERYONE], [""]
    member = [np.ones(len(images), dtype=np.bool_)]
    clusters = faces.clusters[images]
    independent = [len(np.unique(clusters))]
    reasons: list[str | None] = [None]
    ledgers = []
    strict = policy.model_copy(update={"policy": "suppress"})
    for column, attribute in enumerate(faces.table.attributes):
        if attribute.name not in attributes:
            continue
        codes = faces.table.codes[images, column]
        counts = independent_images(codes, clusters, len(attribute.levels))
        levels = _levels(attribute)
        title = f"Groups of {attribute.name} without a map"
        treated = treat(levels, counts, strict, title=title)
        groups += levels
        names += [attribute.name] * len(levels)
        member += [codes == level for level in range(len(levels))]
        independent += counts.tolist()
        reasons += reasons_shown(treated, codes, clusters, policy.minimum)
        if treated.ledger.entries:
            ledgers.append(treated.ledger)
    members, is_shown = np.stack(member, axis=1), np.array([why is None for why in reasons])
    together = without_remainders(members[:, 1:], is_shown[1:], clusters, policy.suppress_below)
    for place in np.flatnonzero(is_shown[1:] & ~together) + 1:
        reasons[place] = REMAINDER
    return ShownGroups(
        tuple(groups), tuple(names), members, tuple(independent), tuple(reasons), tuple(ledgers)
    )


def _levels(attribute: Attribute) -> list[Group]:
    return [Group(((attribute.name, level),)) for level in attribute.levels]


_LEAST, _MOST = 2.0, 8.0
_SHOWN: Final = 99.0
"""Percentile of the cells that the colours reach."""


def maps_block(
    shares: Shares,
    attribute: str,
    sums: MapSums,
    trust: Checked,
    *,
    said: str,
    areas: tuple[FaceArea, ...],
) -> tuple[AttributionMaps, npt.NDArray[np.float32]]:
    """Maps of all images and of an attribute's levels, relative to an even spread.

    Returns:
        The block, with no key yet, and its maps; NaN for groups that are not shown.
    """
    shown = shares.shown
    places = [ALL, *shown.of(attribute)]
    counts = sums.totals.counts
    maps = np.full((len(shares.methods), len(places), *sums.maps.shape[2:]), np.nan)
    for number, place in enumerate(places):
        if shown.is_shown(place):
            maps[:, number] = sums.maps[:, place] / counts[place] * sums.maps[0, 0].size
    drawn = np.abs(np.log2(np.clip(maps[np.isfinite(maps)], 1e-6, None)))
    limit = float(np.clip(2 ** np.percentile(drawn, _SHOWN), _LEAST, _MOST))
    block = AttributionMaps(
        detail=attribute != shares.target,
        title=f"Maps of the decision about {shares.target}, by {attribute}",
        layer=shares.layer,
        target=shares.target,
        decision=said,
        methods=shares.methods,
        flagged=tuple(
            name
            for name, standing in zip(shares.methods, trust.standing, strict=True)
            if standing != "passes"
        ),
        groups=tuple(shown.groups[place] for place in places),
        counts=tuple(shown.independent[place] for place in places),
        reasons=tuple(shown.reasons[place] for place in places),
        limit=limit,
        areas=areas,
        maps="",
    )
    return block, maps.astype(np.float32)


Groups = Mapping[int, int]


@dataclass
class Totals:
    """Of values per image, by group: their sums, numbers, and second moments over clusters.

    Columns are groups x (1 + n_values): the number of images, then the sum of each value. An image
    belongs to as many groups as there are attributes.
    """

    n_groups: int
    n_values: int
    first: FloatArray
    """Shape (n_groups * n_columns,)."""
    second: FloatArray
    """Sum over clusters of the outer product of their sums, shape (columns, columns)."""
    clusters: FloatArray
    """Clusters that have an image in the group, shape (n_groups,)."""
    fourth: FloatArray
    """Sum over clusters of the fourth power of their images in the group, shape (n_groups,)."""

    @classmethod
    def empty(cls, n_groups: int, n_values: int) -> Totals:
        """Before any image."""
        size = n_groups * (1 + n_values)
        first, second = np.zeros(size), np.zeros((size, size))
        return cls(n_groups, n_values, first, second, np.zeros(n_groups), np.zeros(n_groups))

    @classmethod
    def stored(cls, n_groups: int, arrays: Mapping[str, FloatArray]) -> Totals:
        """As `arrays` gave them, among others."""
        n_values = len(arrays["first"]) // n_groups - 1
        own = (arrays[name] for name in ("first", "second", "clusters", "fourth"))
        return cls(n_groups, n_values, *own)

    def add(self, values: FloatArray, member: npt.NDArray[np.bool_], clusters: IntArray) -> None:
        """Count images, whole clusters at a time.

        Args:
            values: Shape (n, n_values).
            member: Whether an image is in a group, shape (n, n_groups).
            clusters: Shape (n,); none of these comes in another call.
        """
        one = np.concatenate([np.ones((len(values), 1)), values], axis=1)
        rows = (member[:, :, None] * one[:, None, :]).reshape(len(values), -1)
        _, place = np.unique(clusters, return_inverse=True)
        sums = np.zeros((int(place.max(initial=-1)) + 1, rows.shape[1]))
        np.add.at(sums, place, rows)
        self.first += sums.sum(axis=0)
        self.second += sums.T @ sums
        sizes = sums.reshape(len(sums), self.n_groups, -1)[:, :, 0]
        self.clusters += (sizes > 0).sum(axis=0)
        self.fourth += (sizes**4).sum(axis=0)

    @property
    def counts(self) -> IntArray:
        """Images of every group, shape (n_groups,)."""
        return np.rint(self.first.reshape(self.n_groups, -1)[:, 0]).astype(np.int64)

    def arrays(self) -> dict[str, FloatArray]:
        """To be stored."""
        return {
            "first": self.first,
            "second": self.second,
            "clusters": self.clusters,
            "fourth": self.fourth,
        }


class Means:
    """Means of combinations of values over groups, ready to be compared.

    The second moments are written as a product, M = L L'. The influences `L' a` of a mean with
    gradient a then have the sums of squares and products that those of the clusters have.
    """

    def __init__(self, totals: Totals, *, unit: str) -> None:
        self.totals, self.unit = totals, unit
        values, vectors = np.linalg.eigh(totals.second)
        self._root = vectors * np.sqrt(np.clip(values, 0, None))

    def mean(
        self, groups: Groups, weights: Sequence[float] | FloatArray, *, is_share: bool = True
    ) -> Measured | None:
        """The mean over some images of a weighted sum of their values; None without images.

        Args:
            groups: Groups to join (1) and to take away (-1), such as `{0: 1, 3: -1}` for all
                images but those of group 3.
            weights: Of the values, shape (n_values,).
            is_share: Whether the result lies in [0, 1].
        """
        totals, width = self.totals, 1 + self.totals.n_values
        wanted = np.zeros(totals.n_groups)
        wanted[list(groups)] = list(groups.values())
        sums = wanted @ totals.first.reshape(totals.n_groups, width)
        n = round(float(wanted @ totals.clusters))
        if sums[0] <= 0 or n <= 0:
            return None
        weights = np.asarray(weights, dtype=np.float64)
        value = float(sums[1:] @ weights / sums[0])
        gradient = np.concatenate([[-value], weights]) / sums[0]
        influence = self._root.T @ np.outer(wanted, gradient).ravel()
        if n > 1:  # the mean is estimated from the same clusters
            influence = influence * np.sqrt(n / (n - 1))
        return Measured(value, influence, n, self._weight(wanted), self.unit, is_share=is_share)

    def _weight(self, wanted: FloatArray) -> FloatArray:
        """As many equal clusters as these are worth, see `clusters.effective_clusters`."""
        totals, width = self.totals, 1 + self.totals.n_values
        images = totals.second[::width, ::width]
        second, fourth = float(wanted @ images @ wanted), float(wanted @ totals.fourth)
        worth = min(second**2 / fourth if fourth > 0 else 1.0, float(totals.clusters.max()))
        weight = np.zeros(max(1, int(totals.clusters.max())))
        weight[: max(1, int(worth))] = 1 / max(1, int(worth))
        return weight
