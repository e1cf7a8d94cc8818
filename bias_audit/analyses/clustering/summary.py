"""What the clusters of all layers say: intervals, tests over layers, and which attribute leads.

Noise makes clusters less pure: values of few images lean to what chance gives, and bootstrap
draws, which carry the noise twice, lean twice as far. The interval of the draws may therefore
leave the value out; the interval here is as wide on both sides as that one is on its wider side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np

from bias_audit.analyses.clustering.layer import Clustered, most_stable
from bias_audit.arrays import FloatArray
from bias_audit.statistics.bootstrap import percentile_interval
from bias_audit.statistics.estimate import Estimate, Scale
from bias_audit.statistics.multiplicity import MaybeP, Resampled, is_rejected, max_t

METHOD = (
    "Bayesian bootstrap over clusters of images, {draws} draws, as far to both sides as their "
    "central part reaches to either"
)


def mirrored(
    value: float,
    draws: FloatArray,
    *,
    level: float,
    n: int,
    within: tuple[float, float],
    scale: Scale = "identity",
) -> Estimate:
    """A value, and as far to both sides as the central interval of its draws reaches to either."""
    lower, upper = percentile_interval(draws, level=level) or (value, value)
    reach = max(value - lower, upper - value)
    return Estimate(
        float(value),
        float(max(value - reach, within[0])),
        float(min(value + reach, within[1])),
        level=level,
        n=n,
        method=METHOD.format(draws=len(draws)),
        scale=scale,
    )


@dataclass(frozen=True)
class Lead:
    """The attribute that clusters follow most at a layer, before the next."""

    first: int
    """Of the attributes, by place."""
    second: int
    difference: Estimate
    """Of how far both exceed their shuffled labels; its interval holds for all layers and pairs at
    once."""
    is_decided: bool
    """Whether it differs from all others, and from labels in random order."""


@dataclass(frozen=True)
class Found:
    """The clusters of all layers, in order of depth, and how sure they are."""

    layers: Mapping[str, Clustered]
    attributes: tuple[str, ...]
    is_fixed: bool
    """Whether the config says how many clusters there are."""
    alike: Mapping[str, Estimate]
    """By layer, adjusted Rand index with the dendrogram of group profiles."""
    alpha: float
    level: float
    """Of intervals that hold by themselves."""
    n: int
    """Independent images."""

    @cached_property
    def stability_p(self) -> dict[str, MaybeP]:
        """That no group differs from another, by layer, adjusted for all layers (max-T)."""
        agreement = [float(each.stability.mean(axis=1).max()) for each in self.layers.values()]
        draws = np.stack([each.shuffled for each in self.layers.values()], axis=1)
        adjusted = max_t(agreement, draws, alpha=self.alpha).adjusted
        return dict(zip(self.layers, adjusted, strict=True))

    @cached_property
    def clustered(self) -> tuple[str, ...]:
        """Layers with clusters: all, if the config says how many; else those that repeat."""
        return tuple(
            layer
            for layer, p in self.stability_p.items()
            if self.is_fixed or is_rejected(p, alpha=self.alpha)
        )

    @property
    def clearest(self) -> str | None:
        """The layer whose clusters agree best between halves of the people; None without any."""
        agreement = {layer: self.agreement(layer).value for layer in self.clustered}
        return max(agreement, key=lambda layer: agreement[layer]) if agreement else None

    def agreement(self, layer: str) -> Estimate:
        """Between halves of the people, over splits."""
        found = self.layers[layer].stability
        splits = found[most_stable(found)]
        lower, upper = np.quantile(splits, [(1 - self.level) / 2, (1 + self.level) / 2])
        return Estimate(
            float(splits.mean()),
            float(lower),
            float(upper),
            level=self.level,
            n=self.n,
            method=f"central part of {len(splits)} splits of the people into halves",
        )

    @cached_property
    def _resampled(self) -> Resampled:
        """Of every attribute at every layer, layer by layer, against labels in random order."""
        values = np.concatenate([each.values for each in self.layers.values()])
        draws = np.hstack([each.permuted for each in self.layers.values()])
        # A draw without a large cluster counts as reaching the value.
        draws = np.where(np.isnan(draws), 1.0, draws)
        centre, spread = draws.mean(axis=0), draws.std(axis=0)
        spread = np.where(spread > 0, spread, spread[spread > 0].min(initial=1.0))
        known = (None if np.isnan(v) else float(v) for v in (values - centre) / spread)
        return Resampled(tuple(known), (draws - centre) / spread)

    @cached_property
    def p_values(self) -> dict[tuple[str, int], tuple[MaybeP, MaybeP]]:
        """That an attribute plays no part, by layer and attribute: alone, and adjusted for all.

        Single-step max-T over layers and attributes: each draw has one order of labels at all
        layers.
        """
        places = product(self.layers, range(len(self.attributes)))
        both = (self._resampled.p_values, self._resampled.adjusted("max_t", self.alpha))
        return dict(zip(places, zip(*both, strict=True), strict=True))

    def entropy(self, layer: str, place: int) -> Estimate | None:
        """Mean relative entropy of an attribute; None without a large cluster."""
        each = self.layers[layer]
        if np.isnan(each.values[place]):
            return None
        return mirrored(
            each.values[place],
            each.drawn[:, place],
            level=self.level,
            n=self.n,
            within=(0.0, 1.0),
            scale="logit",
        )

    def shuffled(self, layer: str, place: int) -> Estimate:
        """The same with the attribute's labels in random order."""
        draws = self.layers[layer].permuted[:, place]
        lower, upper = percentile_interval(draws, level=self.level) or (draws.min(), draws.max())
        return Estimate(
            float(np.nanmean(draws)),
            float(lower),
            float(upper),
            level=self.level,
            n=self.n,
            method=f"central part of {len(draws)} permutations",
        )

    @cached_property
    def leads(self) -> dict[str, Lead]:
        """Of each layer with clusters, and with a value of every attribute.

        All layers with values are one family, with clusters or without.

        Attributes are compared by how far they exceed their own shuffled labels, because noise
        alone gives attributes of many levels a higher value. Intervals of differences hold for
        all layers and pairs at once: the largest deviation of the draws from their mean, in
        standard deviations, is exceeded by a share alpha of the draws (max-T); how far that mean
        lies from the difference is added.
        """
        known = {k: each for k, each in self.layers.items() if np.isfinite(each.values).all()}
        if not known:
            return {}
        pairs = list(combinations(range(len(self.attributes)), 2))
        signs = np.zeros((len(self.attributes), len(pairs)))
        for number, (one, other) in enumerate(pairs):
            signs[one, number], signs[other, number] = 1, -1
        off = np.hstack([(each.drawn - each.values) @ signs for each in known.values()])
        away = np.nanmean(off, axis=0)
        # The reference is a mean of permutations, which are drawn too.
        of_reference = np.concatenate(
            [np.nanvar(e.permuted, axis=0) @ signs**2 / len(e.permuted) for e in known.values()]
        )
        error = np.sqrt(np.nanvar(off, axis=0) + of_reference)
        # A draw without a large cluster has no value: it counts as the farthest.
        scaled = np.abs(off - away) / np.where(error > 0, error, 1)
        scaled = np.where(np.isnan(scaled), np.inf, scaled)
        critical = max_t([0.0] * off.shape[1], scaled, alpha=self.alpha).critical
        wide = np.split(np.abs(away) + critical * error, len(known))
        return {
            layer: self._lead(layer, dict(zip(map(frozenset, pairs), reach, strict=True)))
            for layer, reach in zip(known, wide, strict=True)
            if layer in self.clustered
        }

    def _lead(self, layer: str, reach: Mapping[frozenset[int], float]) -> Lead:
        """At one layer, with half the width of the interval of every difference."""
        each = self.layers[layer]
        excess = each.values - np.nanmean(each.permuted, axis=0)
        first, *rest = np.argsort(-excess, kind="stable").tolist()
        ahead = {i: float(excess[first] - excess[i]) for i in rest}
        second = min(rest, key=lambda i: ahead[i] - reach[frozenset((first, i))])
        value, half = ahead[second], float(reach[frozenset((first, second))])
        difference = Estimate(
            value,
            value - half,
            value + half,
            level=1 - self.alpha,
            n=self.n,
            method=f"Bayesian bootstrap over clusters of images, {len(each.drawn)} draws, max-T "
            "over layers and pairs of attributes",
        )
        is_above = is_rejected(self.p_values[layer, first][1], alpha=self.alpha)
        return Lead(first, second, difference, value > half and is_above)
