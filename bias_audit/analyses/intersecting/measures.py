"""Numbers of every group: recalls and areas under curves, the lowest and the highest of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.intersecting.group_tests import (
    Level,
    Tested,
    interactions,
    parents_of,
    tested,
)
from bias_audit.analyses.intersecting.within_groups import (
    Asked,
    Scored,
    depths,
    group_aucs,
    subsets,
    within_groups,
)
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    out_of_fold_scores,
    part_of,
)
from bias_audit.analyses.probing.separability import AUC, Units, measure
from bias_audit.analyses.targets import INTERSECTION, Target, targets_of
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.groups import Attribute, Group
from bias_audit.results.blocks import GroupLedgerEntry, GroupRow, GroupTable
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.inference import (
    Measured,
    bounds,
    estimate,
    joint_draws,
    normal_score,
    quantile_of,
)
from bias_audit.statistics.label_noise import GroupContrast, Labels
from bias_audit.statistics.multiplicity import is_rejected, max_t, resampling_p
from bias_audit.statistics.shrinkage import shrink_estimates


@dataclass(frozen=True)
class GroupValue:
    """One group and its value."""

    group: Group
    n: int
    """Images the value is about, those without a value included."""
    value: Measured | None
    """None where there is none, and `reason` says why."""
    contrast: Measured | None = None
    """The same for differences between groups, in which errors that all groups share cancel."""
    reason: str | None = None
    labels: Labels = field(default_factory=Labels)
    """Behind the value, where there is one."""
    between: GroupContrast | None = None
    """What the value is made of, where it is a difference between groups."""

    @property
    def tested(self) -> Measured | None:
        """What of the value errors of annotators, as far as these disagree, leave to be tested."""
        return self.value if self.between is None else self.between.nearest

    def estimate(self, level: float) -> Estimate | None:
        """The value with its interval, which counts errors of annotators as `tested` does."""
        if self.between is not None:
            return self.between.estimate(level)
        return None if self.value is None else estimate(self.value, level=level)

    def allowing(self, choice: float) -> GroupValue:
        """With the share of the error rate that the choice of the layer left."""
        value, contrast = (
            None if each is None else replace(each, choice=choice)
            for each in (self.value, self.contrast)
        )
        return replace(self, value=value, contrast=contrast)


@dataclass(frozen=True)
class GroupMeasures:
    """A quantity of every group of a set of attributes."""

    title: str
    quantity: str
    metric: str
    target: str
    layer: str
    chance: float | None
    given: tuple[str, ...]
    """Attributes that span the groups."""
    codes: IntArray
    """Level of each group, shape (n_groups, n_attributes)."""
    values: tuple[GroupValue, ...]
    """Of each declared group."""
    pooled: GroupValue | None = None
    entries: tuple[GroupLedgerEntry, ...] = ()
    """For the ledger of small groups."""

    def allowing(self, choice: float) -> GroupMeasures:
        """With the share of the error rate that the choice of the layer left."""
        return replace(
            self,
            values=tuple(v.allowing(choice) for v in self.values),
            pooled=self.pooled and self.pooled.allowing(choice),
        )

    @property
    def measures(self) -> tuple[Measured | None, ...]:
        """The value of each declared group."""
        return tuple(entry.value for entry in self.values)

    @property
    def tested(self) -> tuple[Measured | None, ...]:
        """What is tested of each declared group."""
        return tuple(entry.tested for entry in self.values)

    @property
    def known(self) -> Iterator[tuple[int, Measured]]:
        """The groups that have a value, by their index."""
        return ((i, value) for i, value in enumerate(self.measures) if value is not None)


@dataclass(frozen=True)
class GroupTests:
    """Tests of every group of one `GroupMeasures`; None where nothing was tested."""

    p_values: tuple[float | None, ...]
    discovery: tuple[float | None, ...]
    """Adjusted to point at something."""
    verdicts: tuple[float | None, ...]
    """Adjusted to decide something; None also where a gate stayed closed."""
    rejected: tuple[bool | None, ...]
    gate: str
    """Why the family was tested, or not."""
    is_open: bool


def level_codes(attributes: Sequence[Attribute]) -> IntArray:
    """Level of each group as `groups.intersections` orders them, (n_groups, n_attributes)."""
    sizes = [len(attribute.levels) for attribute in attributes]
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1).astype(np.int64)


def table_of(
    measures: GroupMeasures, tests: GroupTests, *, level: float, shrunk: bool = True
) -> GroupTable:
    """The block of a quantity, with shrunk values beside the raw ones.

    Args:
        measures: The quantity.
        tests: Its tests.
        level: Coverage of the intervals.
        shrunk: Whether values are drawn towards what the attributes predict.
    """
    estimates = [entry.estimate(level) for entry in measures.values]
    nothing: tuple[Estimate | None, ...] = (None,) * len(estimates)
    drawn, said = (
        shrink_estimates(estimates, measures.codes, names=measures.given)
        if shrunk
        else (nothing, None)
    )
    rows = [
        GroupRow(
            group=entry.group,
            n=entry.n,
            estimate=estimates[i],
            reason=entry.reason,
            shrunk=drawn[i],
            p_value=tests.p_values[i],
            adjusted_p=tests.discovery[i],
        )
        for i, entry in enumerate(measures.values)
    ]
    return GroupTable(
        title=measures.title,
        quantity=measures.quantity,
        metric=measures.metric,
        layer=measures.layer,
        target=measures.target,
        chance=measures.chance,
        rows=(*rows, *_pooled_row(measures.pooled, level)),
        shrinkage=said,
    )


def _pooled_row(pooled: GroupValue | None, level: float) -> tuple[GroupRow, ...]:
    if pooled is None:
        return ()
    return (
        GroupRow(
            group=pooled.group, n=pooled.n, estimate=pooled.estimate(level), reason=pooled.reason
        ),
    )


TestedMeasures = tuple[tuple[GroupMeasures, GroupTests], ...]


@dataclass(frozen=True)
class Probed:
    """The probes of one layer."""

    layer: str
    targets: tuple[Target, ...]
    scored: dict[str, Scored]
    """By the target's name."""
    overall: dict[str, Measured | None]
    """Macro AUC by the target's name."""
    choice: float
    """Share of the error rate that the choice of the layer left."""


@dataclass(frozen=True)
class Part:
    """One question: its measures from coarse to fine, and their tests."""

    measured: TestedMeasures
    result: Tested


def probed(
    subject: Subject, layer: str, settings: ProbeSettings, *, choice: float = 1.0
) -> Probed:
    """The scores of every attribute and of their intersection.

    Args:
        subject: The subject.
        layer: Where.
        settings: Of the probes.
        choice: Share of the error rate that the choice of the layer left.

    Raises:
        AnalysisError: The activations are not finite.
    """
    targets, units = targets_of(subject.faces.table), Units.of(subject)
    scored: dict[str, Scored] = {}
    overall: dict[str, Measured | None] = {}
    for target in targets:
        reason = part_of(subject, target, settings).not_measured
        spec = ProbeSpec(target, layer, settings)
        scores = None if reason else out_of_fold_scores(subject, spec)
        scored[target.name] = Scored(scores, reason)
        found = None if scores is None else measure(AUC, scores, units)
        overall[target.name] = None if found is None else replace(found, choice=choice)
    return Probed(layer, targets, scored, overall, choice)


def aucs_of(subject: Subject, probes: Probed) -> Part:
    """Every level, pair of levels and cell against all other images."""
    families: dict[str, list[GroupMeasures]] = {}
    for name, over in depths(subject.faces.table.attributes):
        probe = over[0].name if len(over) == 1 else INTERSECTION
        own = group_aucs(subject, probes.layer, over, probes.scored[probe])
        families.setdefault(name, []).append(own)
    return _part(
        subject,
        "Is a group told apart from all others?",
        list(probes.overall.values()),
        families,
        probes.choice,
    )


def within_of(subject: Subject, probes: Probed) -> Part:
    """Every attribute within every group of the others."""
    attributes = subject.faces.table.attributes
    families: dict[str, list[GroupMeasures]] = {}
    overall = []
    for target in probes.targets:
        if target.name == INTERSECTION:
            continue
        overall.append(probes.overall[target.name])
        scored = probes.scored[target.name]
        for given in subsets(attributes, target.name):
            asked = Asked(subject, target, probes.layer, scored.scores, scored.not_measured, given)
            families.setdefault(_family(len(given)), []).append(within_groups(asked))
    ordered = dict(sorted(families.items(), key=lambda entry: len(entry[1][0].given)))
    question = "Within which groups is an attribute told apart?"
    return _part(subject, question, overall, ordered, probes.choice)


def _family(n_given: int) -> str:
    return {1: "within marginals", 2: "within pairs"}.get(n_given, f"within {n_given} attributes")


def _part(
    subject: Subject,
    question: str,
    anything: list[Measured | None],
    families: dict[str, list[GroupMeasures]],
    choice: float,
) -> Part:
    levels: list[Level] = []
    for name, found in families.items():
        members = [measures.allowing(choice) for measures in found]
        parents = parents_of(members, levels[-1].members) if levels else None
        levels.append(Level(name, tuple(members), parents))
    result = tested(subject, question, anything, levels, null=0.5, side="above")
    return Part(_joined(levels, result), result)


def interactions_of(subject: Subject, aucs: Part, within: Part) -> Part:
    """What the additive models leave: of the full cells, and of attributes within groups."""
    cells = [m for m, _ in aucs.measured if m.target == INTERSECTION]
    members = tuple(interactions(m) for m in (*(m for m, _ in within.measured), *cells))
    everything = [value for m in members for value in m.tested]
    levels = [Level("interactions", members)]
    question = "Is there more to a group than the effects of its single attributes?"
    result = tested(subject, question, everything, levels, null=0.0, side="apart")
    return Part(_joined(levels, result), result)


def _joined(levels: Sequence[Level], result: Tested) -> TestedMeasures:
    return tuple(
        pair
        for level, tests in zip(levels, result.tests, strict=True)
        for pair in zip(level.members, tests, strict=True)
    )


_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Extremes:
    """The highest and the lowest of several values, as indices into them."""

    highest: int
    lowest: int
    like_highest: tuple[int, ...]
    """Others that may be the highest: no value exceeds them beyond chance."""
    like_lowest: tuple[int, ...]
    p_value: float
    """That the highest exceeds the lowest by chance, adjusted for all pairs."""
    gap: float
    """The highest minus the lowest, less what label errors may add."""
    claim: float
    """Lower bound of that gap that holds for all pairs."""
    quantile: float
    """Of that bound, in standard errors of the two as measured."""


def extremes(
    values: Sequence[Measured],
    *,
    n_draws: int,
    alpha: float,
    rng: np.random.Generator,
    without_errors: Sequence[Measured] | None = None,
) -> Extremes:
    """Find the extremes, and what else may be extreme, by max-T over paired differences.

    The two extremes are picked by what is then tested, so their difference is tested at a level
    that holds for every pair (Tukey's comparison, with joint draws of the errors). A value may be
    the highest if none exceeds it beyond chance, at a level that holds for all that could exceed
    it: the set of these holds the true highest in a share 1 - alpha of cases (Mogstad, Romano,
    Shaikh & Wilhelm 2024, Review of Economic Studies 91:476-518).

    Args:
        values: Of one subject, at least two.
        n_draws: Joint draws.
        alpha: Chance of a wrong statement, for each of the three.
        rng: Source of the draws.
        without_errors: What each value may be if its labels have errors, one of two ends; then
            only what no such errors explain counts as beyond chance. None: labels have none.
    """
    clear = values if without_errors is None else without_errors
    size = np.array([value.value for value in values])
    scores = _pair_scores(values, clear)
    influence = np.stack([value.influence for value in values])
    errors = _pair_errors(influence)
    draws = joint_draws(values, n_draws, rng) * np.sqrt((influence**2).sum(axis=1))
    highest, lowest = int(size.argmax()), int(size.argmin())
    largest, above, below = np.zeros(n_draws), [], []
    for one in range(len(size)):
        apart = _studentised(draws - draws[:, [one]], errors[one])
        up, down = apart.max(axis=1), -apart.min(axis=1)
        above.append(resampling_p(float(scores[:, one].max()), up))
        below.append(resampling_p(float(-scores[:, one].min()), down))
        np.maximum(largest, up, out=largest)
    statistic = float(scores[highest, lowest])
    joint = max_t([statistic], largest[:, None], alpha=alpha)
    observed, gap = values[highest] - values[lowest], values[highest] - clear[lowest]
    return Extremes(
        highest=highest,
        lowest=lowest,
        like_highest=_kept(above, highest, alpha),
        like_lowest=_kept(below, lowest, alpha),
        p_value=resampling_p(statistic, largest),
        gap=gap.value,
        claim=bounds(gap, quantile_of(gap, joint.critical))[0],
        quantile=quantile_of(observed, joint.critical),
    )


def _kept(p_values: Sequence[float], extreme: int, alpha: float) -> tuple[int, ...]:
    return tuple(
        i for i, p in enumerate(p_values) if i != extreme and not is_rejected(p, alpha=alpha)
    )


def _studentised(differences: FloatArray, errors: FloatArray) -> FloatArray:
    """Differences over their errors; 0 where there is no error, as of a value to itself."""
    usable = errors > _NO_SPREAD
    return np.asarray(differences * usable / np.where(usable, errors, 1.0), dtype=np.float64)


def _pair_scores(values: Sequence[Measured], clear: Sequence[Measured]) -> FloatArray:
    """Normal score of every value minus every other, shape (n, n).

    The lower of two is taken without errors; where that makes it the higher one, the score is 0.
    """
    n = len(values)
    scores = np.zeros((n, n))
    for one, other in itertools.permutations(range(n), 2):
        if values[one].value >= values[other].value:
            scores[one, other] = max(0.0, normal_score(values[one] - clear[other]))
            scores[other, one] = -scores[one, other]
    return scores


def _pair_errors(influence: FloatArray) -> FloatArray:
    """Standard error of the difference of every pair, shape (n, n)."""
    products = influence @ influence.T
    own = np.diag(products)
    return np.asarray(np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * products, 0)))
