"""What the clusters of all layers say: intervals, tests over layers, and which attribute leads.

Noise makes clusters less pure: values of few images lean to what chance gives, and bootstrap
draws, which carry the noise twice, lean twice as far. The interval of the draws may therefore
leave the value out; the interval here is as wide on both sides as that one is on its wider side.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, groupby, product
from typing import Final

import numpy as np

from bias_audit.analyses.clustering.layer import Clustered, most_stable
from bias_audit.analyses.wording import coverage, listed
from bias_audit.arrays import FloatArray
from bias_audit.results.finding import Finding
from bias_audit.shapes.printed import chance_of, counted, interval, listed_all, sentence
from bias_audit.statistics.bootstrap import percentile_interval
from bias_audit.statistics.estimate import Estimate, Scale
from bias_audit.statistics.multiplicity import MaybeP, Resampled, is_rejected, max_t
from bias_audit.statistics.sureness import sureness, sureness_of_p, weight_of

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


def follow_findings(found: Found) -> Iterator[Finding]:
    """Which attributes clusters follow at which layers, which one leads, and by how much."""
    if not found.leads:
        return
    decided = {layer: lead for layer, lead in found.leads.items() if lead.is_decided}
    known = decided or found.leads
    layer = max(known, key=lambda name: known[name].difference.value)
    lead = known[layer]
    first, second = found.attributes[lead.first], found.attributes[lead.second]
    own = found.entropy(layer, lead.first)
    if own is None:
        return
    yield Finding(text=_followed(found), weight=sureness_of_p(_smallest_p(found), found.alpha))
    yield Finding(
        text=(
            f"{_leading(found, decided)} {sentence(first)} has its largest lead at {layer}: "
            f"relative entropy {interval(own)} ({coverage(own.level)}; 0: its levels are spread "
            "evenly over clusters, 1: every cluster has one level), against "
            f"{interval(found.shuffled(layer, lead.first))} with shuffled labels. Beyond "
            f"shuffled labels, that is {interval(lead.difference)} more than for {second} "
            f"({coverage(lead.difference.level)} for all layers and attributes together)."
        ),
        weight=weight_of(sureness(lead.difference), is_decided=bool(decided)),
        estimates={first: own, "lead": lead.difference},
    )


def _smallest_p(found: Found) -> float:
    """The smallest adjusted p-value, over layers with clusters and attributes."""
    own = (p for (layer, _), (_, p) in found.p_values.items() if layer in found.clustered)
    return min(p for p in own if p is not None)


def _followed(found: Found) -> str:
    """Such as "Clusters of groups follow age from a to c."."""
    where = {
        name: [
            layer
            for layer in found.clustered
            if is_rejected(found.p_values[layer, place][1], alpha=found.alpha)
        ]
        for place, name in enumerate(found.attributes)
    }
    known = [f"{name} {_spans(found, layers)}" for name, layers in where.items() if layers]
    never = [name for name, layers in where.items() if not layers]
    if not known:
        return "At no layer do clusters of groups follow an attribute more than shuffled labels."
    but = f"; for {listed_all(never)}, no significant difference was found" if never else ""
    n_layers = counted(len(found.layers), "layer")
    return (
        f"More than shuffled labels, clusters of groups follow {'; '.join(known)}{but} (smallest "
        f"{chance_of(_smallest_p(found))}, adjusted for {n_layers} and "
        f"{counted(len(found.attributes), 'attribute')})."
    )


def _leading(found: Found, decided: Mapping[str, Lead]) -> str:
    """Such as "From a to b, age leads; at c, race."."""
    leaders = dict.fromkeys(lead.first for lead in decided.values())
    if not leaders:
        return "At no layer does one attribute clearly lead."
    parts = []
    for leader in leaders:
        layers = [layer for layer, lead in decided.items() if lead.first == leader]
        parts.append(f"{_spans(found, layers)}, {found.attributes[leader]} leads")
    text = "; ".join(parts)
    rest = "; elsewhere none clearly does" if len(decided) < len(found.layers) else ""
    return f"{text[0].upper()}{text[1:]}{rest}."


def _spans(found: Found, layers: Collection[str]) -> str:
    """Runs of layers, such as "from a to c and at e"."""
    runs = [[*run] for is_in, run in groupby(found.layers, lambda layer: layer in layers) if is_in]
    return listed_all(
        [f"at {run[0]}" if len(run) == 1 else f"from {run[0]} to {run[-1]}" for run in runs]
    )


def count_findings(found: Found) -> Iterator[Finding]:
    """At how many layers clusters repeat in other people, and where they are clearest."""
    repeating = [
        layer for layer, p in found.stability_p.items() if is_rejected(p, alpha=found.alpha)
    ]
    layer = max(found.layers, key=lambda name: found.agreement(name).value)
    agreement = found.agreement(layer)
    of = f"{len(repeating)} of {counted(len(found.layers), 'layer')}"
    alike = "halves of the people cluster the groups"
    where = f"At {of}, {alike} alike, more than shuffled labels."
    if len(repeating) == len(found.layers):
        where = f"At every layer, {alike} alike, more than shuffled labels."
    if not repeating:
        where = f"At no layer do {alike} more alike than shuffled labels."
    which = "They agree best" if repeating else "Agreement is highest"
    p = found.stability_p[layer]
    yield Finding(
        text=(
            f"{where} {which} at {layer}, with "
            f"{counted(found.layers[layer].n_clusters, 'cluster')}: "
            f"adjusted Rand index {interval(agreement)} ({coverage(agreement.level)} of splits; "
            f"1: the same clusters, 0: chance; shuffled labels, {chance_of(p)})."
        ),
        weight=0.0,
        estimates={"agreement of halves": agreement},
    )


def method(
    where: str,
    *,
    counts: Sequence[int],
    n_groups: int,
    n_images: int,
    per_group: int,
    smallest_cluster: int,
    splits: int,
    permutations: int,
    draws: int,
) -> tuple[str, ...]:
    """How clusters, their number, references and intervals are made."""
    number = (
        f"The config asks for {counts[0]} clusters at every layer"
        if len(counts) == 1
        else f"Of {counts[0]} to {counts[-1]} clusters, a layer has as many as agree best between "
        "halves of the people"
    )
    return (
        f"For every two of {counted(n_groups, 'group')}, the mean euclidean distance between "
        f"single images of both ({where}; {counted(n_images, 'image')}, at most {per_group} of a "
        "group); within a group that between different people. The matrix is divided by its "
        "largest entry and subtracted from 1; its rows are clustered by complete linkage on "
        "euclidean distance (sequel of Krug & Stober 2025).",
        f"{number}. Agreement is the adjusted Rand index (Hubert & Arabie 1985), averaged over "
        f"{splits} splits; p compares the largest over the numbers of clusters with what "
        f"{permutations} orders of the labels give, over all layers together (max-T). Where "
        "halves agree no better, a layer counts as having no clusters, unless the config says "
        "how many there are.",
        "Relative entropy (Kullback-Leibler) compares the levels of a cluster's groups with an "
        "even spread, less the least, over the largest less the least that a cluster of its size "
        f"can have; means are over clusters of {smallest_cluster} groups or more. Shuffled labels "
        "are those of one attribute in random order among images alike in the others, whole "
        "people at a time, and the groups are clustered again. Adjusted p-values allow for all "
        "layers and attributes (max-T). An attribute leads where it exceeds its "
        "shuffled labels by more than every other one does.",
        f"Intervals are {draws} draws of a Bayesian bootstrap over people (Rubin 1981), as far to "
        "both sides as the draws reach to either: no image is ever compared with itself, and the "
        "number of clusters stays. An interval without width means that all draws agree.",
    )


_FEW_IMAGES: Final = (
    "Few images make clusters less pure, so that values lie too low. An interval says how far a "
    "value would move with other images, as many: in simulations of 50 groups, 95 % intervals "
    "contained the mean over samples of the same size in 97 to 100 % of samples, but the value of "
    "150 images of each group in 42 to 100 % of samples with 30 images of each, and in 15 to "
    "100 % with 10."
)


def limits(groups_left_out: Sequence[str], n_groups: int) -> tuple[str, ...]:
    """What clusters do not show."""
    left_out = (
        f"{len(groups_left_out)} of {n_groups} groups have too few independent images and are in "
        f"no cluster: {listed(groups_left_out)}.",
    )
    return (
        *(left_out if groups_left_out else ()),
        _FEW_IMAGES,
        "Halves of the people also agree on clusters where groups lie along a line without gaps: "
        "that they agree does not show that there is space between the clusters.",
        "Groups whose images vary as much may lie in one cluster although these show different "
        "things: the distance of single images contains their spread. An attribute of many levels "
        "cannot fill a large cluster with one level, so that attributes compare best with their "
        "own shuffled labels.",
        "That clusters follow an attribute says how the layer arranges images, not what the "
        "network uses, nor that the attribute itself is the reason: what goes with it in the "
        "images may be.",
    )
