"""Which intersections a probe takes for which others, and which attributes change in that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Outcome, Subject
from bias_audit.analyses.confusion_counts import (
    change_classes,
    confusion_matrix,
    expected_shares,
    most_frequent_pairs,
)
from bias_audit.analyses.probes import (
    ProbeSettings,
    ProbeSpec,
    Scores,
    out_of_fold_scores,
    too_few_images,
)
from bias_audit.analyses.separability import check_layers, most_separable_layer, unknown_layers
from bias_audit.analyses.targets import finest_target
from bias_audit.analyses.wording import coverage, percent, percent_interval
from bias_audit.data.faces import FaceTable
from bias_audit.groups import Group, IntArray
from bias_audit.results.blocks import Confusion, ConfusionClass, Confusions, Finding
from bias_audit.statistics.bootstrap import (
    bootstrap_method,
    cluster_weights,
    overlap_factor,
    percentile_interval,
)
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.proportions import METHOD, proportion, wilson_interval

FloatArray = npt.NDArray[np.float64]


class Params(ProbeSettings):
    """Where confusions are looked at, and how many are shown."""

    layer: str | None = Field(
        default=None, description="Default: the layer at which intersections separate best."
    )
    most_frequent: int = Field(default=20, ge=1, le=1000, description="Pairs to show.")
    bootstrap_draws: int = Field(
        default=1000, ge=100, le=100_000, description="Draws behind each interval."
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="Coverage of the intervals.")


@dataclass(frozen=True)
class _Wrong:
    """The wrong predictions of a probe and their classes."""

    classes: tuple[tuple[str, ...], ...]
    of_image: IntArray
    """Class per scored image; -1 where the prediction is right, shape (n,)."""
    expected: FloatArray
    """Share of each class by chance, shape (n_classes,)."""
    weights: npt.NDArray[np.uint16]
    """Bootstrap weights of the scored images, shape (n_draws, n)."""
    n_clusters: int
    """Clusters with a wrong prediction."""
    unit: str
    n_folds: int
    level: float

    def share(self, chosen: IntArray) -> Estimate:
        """Share of all confusions that fall in the chosen classes."""
        wrong = self.of_image >= 0
        hit = np.isin(self.of_image, chosen)
        value = float(hit.sum() / wrong.sum())
        total = self.weights @ wrong.astype(np.float64)
        draws = np.divide(
            self.weights @ hit.astype(np.float64),
            total,
            out=np.full(len(total), np.nan),
            where=total > 0,
        )
        draws = value + overlap_factor(self.n_folds) * (draws - value)
        interval = percentile_interval(draws, level=self.level) if 0 < value < 1 else None
        method = f"{bootstrap_method(self.unit, len(draws))}, widened for overlapping folds"
        if interval is None:
            interval = wilson_interval(value, self.n_clusters, level=self.level)
            method = METHOD
        lower = max(0.0, min(value, interval[0]))
        upper = min(1.0, max(value, interval[1]))
        return Estimate(value, lower, upper, level=self.level, n=self.n_clusters, method=method)


def confusions(subject: Subject, params: Params) -> Outcome:
    """Count the confusions of the intersection probe, image by image out of fold.

    Raises:
        AnalysisError: Intersections cannot be measured, or the layer is unknown.
    """
    target = finest_target(subject.faces.table)
    if params.layer is not None:
        (layer,), chosen = check_layers(subject, [params.layer]), "named in the config"
    else:
        layer, chosen = most_separable_layer(subject, params.probes)
    scores = out_of_fold_scores(subject, ProbeSpec(target, layer, params.probes))
    groups = [target.groups[index] for index in scores.part.levels]
    matrix = confusion_matrix(scores.part.codes, scores.predicted, len(groups))
    wrong = _wrong(subject, scores, groups, matrix, params)
    pairs, tied = most_frequent_pairs(matrix, params.most_frequent)
    frequent = _frequent(subject, scores, groups, pairs, params.level)
    n_confused = int((wrong.of_image >= 0).sum())
    block = Confusions(
        title=f"Confusions of {target.described} at {layer}",
        layer=layer,
        n_images=len(scores.codes),
        n_confused=n_confused,
        most_frequent=frequent,
        classes=_classes(wrong) if n_confused else (),
    )
    names = [attribute.name for attribute in subject.faces.table.attributes]
    return Outcome(
        blocks=(block,),
        findings=_findings(block, wrong, names) if n_confused else (),
        method=(
            "Confusions are the wrong out-of-fold predictions of the linear probe of "
            f"{target.described} at {layer} ({chosen}), classed by the set of annotated "
            "attributes in which the predicted group differs from the annotated one.",
            "The share expected of a class is the one that would be seen if a wrong prediction "
            "fell on any other group as often as that group is predicted at all. Intervals of "
            "shares of all confusions are percentile bootstraps widened by a factor of "
            f"{overlap_factor(params.folds):.2f}, because the training folds overlap (Nadeau & "
            "Bengio 2003); those of single pairs are Wilson's.",
        ),
        limits=_limits(scores, tied),
    )


def _wrong(
    subject: Subject, scores: Scores, groups: list[Group], matrix: IntArray, params: Params
) -> _Wrong:
    classes, pairs = change_classes(groups)
    of_image = pairs[scores.part.codes, scores.predicted]
    clusters = subject.faces.clusters
    images = scores.part.images
    weights = cluster_weights(clusters, params.bootstrap_draws, subject.rng("bootstrap"))
    whole = len(np.unique(clusters[images])) == len(images)
    return _Wrong(
        classes,
        of_image,
        expected_shares(matrix, pairs, len(classes)),
        weights[:, images],
        len(np.unique(clusters[images][of_image >= 0])),
        "images" if whole else "clusters of images",
        params.folds,
        params.level,
    )


def _frequent(
    subject: Subject,
    scores: Scores,
    groups: list[Group],
    pairs: list[tuple[int, int]],
    level: float,
) -> tuple[Confusion, ...]:
    names, numbers = change_classes(groups)
    result = []
    clusters = subject.faces.clusters[scores.part.images]
    for true, predicted in pairs:
        annotated = scores.part.codes == true
        n_true, n_clusters = int(annotated.sum()), len(np.unique(clusters[annotated]))
        count = int((scores.predicted[annotated] == predicted).sum())
        share = proportion(count, n_true, level=level, n_clusters=n_clusters)
        if share is None:
            continue
        result.append(
            Confusion(
                true=groups[true],
                predicted=groups[predicted],
                count=count,
                n_true=n_true,
                share=share,
                changed=names[numbers[true, predicted]],
            )
        )
    return tuple(result)


def _classes(wrong: _Wrong) -> tuple[ConfusionClass, ...]:
    return tuple(
        ConfusionClass(
            changed=changed,
            count=int((wrong.of_image == number).sum()),
            share=wrong.share(np.array([number])),
            expected=float(wrong.expected[number]),
        )
        for number, changed in enumerate(wrong.classes)
    )


def _findings(block: Confusions, wrong: _Wrong, names: list[str]) -> tuple[Finding, ...]:
    if len(names) < 2:  # noqa: PLR2004
        return ()
    return tuple(_finding(block, wrong, name) for name in names)


def _finding(block: Confusions, wrong: _Wrong, name: str) -> Finding:
    """How often an attribute changes in a confusion, against chance."""
    chosen = np.flatnonzero([name in changed for changed in wrong.classes])
    share, expected = wrong.share(chosen), float(wrong.expected[chosen].sum())
    shown = len(block.most_frequent)
    changing = sum(name in confusion.changed for confusion in block.most_frequent)
    less, more = share.upper < expected, share.lower > expected
    verdict = "less than" if less else "more than" if more else "not distinguishable from"
    text = (
        f"Of the {shown} most frequent confusions at {block.layer}, {changing} change annotated "
        f"{name}. Of all {block.n_confused} confusions {percent_interval(share)} "
        f"({coverage(share.level)}) do, {verdict} the {percent(expected)} expected if wrong "
        "predictions fell on groups as often as these are predicted."
    )
    weight = max(0.0, share.lower - expected, expected - share.upper)
    return Finding(text=text, weight=weight, estimates={f"share_changing_{name}": share})


def _limits(scores: Scores, tied: int) -> tuple[str, ...]:
    sentences = [
        "Confusions are those of a linear probe, not of the backbone's own task; the intervals of "
        "single pairs hold the fitted probes fixed.",
    ]
    if tied:
        sentences.append(
            f"{tied} more pairs of groups are confused as often as the last one shown."
        )
    if scores.part.reasons:
        sentences.append(
            f"{len(scores.part.reasons)} groups have too few images to be told apart; they are "
            "neither confused nor confused with."
        )
    return tuple(sentences)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = None if params.layer is None else (params.layer,)
    return (*unknown_layers(asked, layers), *too_few_images(params, faces))


PLUGIN = Analysis(title="Confusions", params_type=Params, run=confusions, problems=_problems)
