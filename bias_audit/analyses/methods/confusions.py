"""Which intersections a probe takes for which others, and which attributes change in that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, Coverage, OneLayer, Outcome, Subject, Workload
from bias_audit.analyses.confusing.confusions import (
    Predictions,
    confusion_block,
    confusion_matrix,
    most_frequent_pairs,
    with_matrices,
)
from bias_audit.analyses.confusing.published import (
    OUT_OF_FOLD,
    TRAINING,
    PublishedProbe,
    PublishedSettings,
    accuracy_by_layer,
    published_probes,
    split_of,
    too_few_to_hold_out,
)
from bias_audit.analyses.probing.probes import (
    ProbeSettings,
    ProbeSpec,
    out_of_fold_scores,
    too_few_images,
)
from bias_audit.analyses.probing.sentences import likeness_limits
from bias_audit.analyses.probing.separability import (
    check_layers,
    chosen_layer_and_choice,
    unknown_layers,
    widening_of,
)
from bias_audit.analyses.targets import Target, finest_target, level_counts
from bias_audit.analyses.wording import SCORE_INTERVALS, coverage, decided_at, sample
from bias_audit.backbones.pooling import Reduction
from bias_audit.results.finding import Finding
from bias_audit.shapes.confusions import Confusions
from bias_audit.shapes.layer_curve import Curve, CurvePoint
from bias_audit.shapes.printed import counted, percent, percent_interval
from bias_audit.statistics.estimate import at_level, reflected, wilson_interval
from bias_audit.statistics.inference import share_estimate
from bias_audit.statistics.sureness import sureness, sureness_above

PUBLISHED = "krug_stober_2025"


class Params(ProbeSettings):
    """Where confusions are looked at, and how many are shown."""

    protocol: Literal["cross_validated", "krug_stober_2025"] = Field(
        default="cross_validated",
        description="How probes are fitted and tested: every image out of fold, or as published.",
    )
    published: PublishedSettings = Field(
        default=PublishedSettings(), description="The probe of protocol krug_stober_2025."
    )
    layer: OneLayer = None
    most_frequent: int = Field(default=20, ge=1, le=1000, description="Pairs to show.")
    level: Coverage = 0.95


def confusions(subject: Subject, params: Params) -> Outcome:
    """Count the confusions of the intersection probe on images it was not fitted to."""
    if params.protocol == PUBLISHED:
        return _published(subject, params)
    target = finest_target(subject.faces.table)
    layer, chosen, choice = chosen_layer_and_choice(subject, params.layer, params.probes)
    scores = out_of_fold_scores(subject, ProbeSpec(target, layer, params.probes))
    part = scores.part
    predictions = Predictions(
        layer=layer,
        groups=tuple(target.groups[index] for index in part.levels),
        true=part.codes,
        predicted=scores.predicted,
        clusters=subject.faces.clusters[part.images],
        widened=widening_of(scores),
        level=params.level,
        choice=choice,
        fewest=subject.small_groups.suppress_below,
        pictures=part.pictures,
    )
    title = f"Which groups of {target.described} are confused at {layer}?"
    block, tied = confusion_block(predictions, title, params.most_frequent)
    return Outcome(
        blocks=(block,),
        findings=tuple(
            _findings(
                block,
                predictions,
                target,
                subject.multiplicity.alpha,
                most_frequent=params.most_frequent,
            )
        ),
        method=(
            "Confusions are the wrong out-of-fold predictions of the linear probe of "
            f"{target.described} at {layer} ({chosen}), classed by the set of attributes in which "
            "the predicted group differs from the annotated one.",
            f"{_EXPECTED} Intervals of shares of all confusions {SCORE_INTERVALS}, widened by a "
            f"factor of {widening_of(scores):.2f}, because every image also trains probes that "
            "predict others (Nadeau & Bengio 2003, in proportion to how much the probe's scores "
            "depend on the training images); those of single pairs are made and widened alike.",
        ),
        limits=(*_limits(predictions, tied, len(part.reasons)), *likeness_limits(subject)),
    )


_EXPECTED = (
    "The share expected of a class is the one that would be seen if a wrong prediction fell on "
    "any other group as often as that group is predicted at all."
)


def _published(subject: Subject, params: Params) -> Outcome:
    target, settings = finest_target(subject.faces.table), params.published
    layers = subject.activations.layers if params.layer is None else (params.layer,)
    layers = check_layers(subject, layers)
    splits = [split_of(subject, target, settings, seed) for seed in range(settings.seeds)]
    probes = published_probes(subject, splits, layers, settings)
    own = _out_of_fold(subject, target, layers, params)
    curve, best, accuracy = accuracy_by_layer(subject, target, probes, own, level=params.level)
    part, validation = best.split.part, best.split.validation
    predictions = Predictions(
        layer=best.layer,
        groups=tuple(target.groups[index] for index in part.levels),
        true=part.codes[validation],
        predicted=best.predicted[validation],
        clusters=subject.faces.clusters[part.images[validation]],
        widened=1.0,
        level=params.level,
        choice=1 / len(layers),
        fewest=subject.small_groups.suppress_below,
        pictures=None if part.pictures is None else part.pictures[validation],
    )
    title = f"Which groups of {target.described} are confused at {best.layer}? Published protocol"
    block, tied = confusion_block(predictions, title, params.most_frequent)
    training = replace(
        predictions,
        true=part.codes[~validation],
        predicted=best.predicted[~validation],
        clusters=subject.faces.clusters[part.images[~validation]],
        pictures=None if part.pictures is None else part.pictures[~validation],
    )
    of_images = {"training images": training, "validation images": predictions}
    block, arrays = with_matrices(block, of_images)
    alpha, error, guess = subject.multiplicity.alpha, reflected(accuracy, 1), 1 / len(part.levels)
    return Outcome(
        arrays=arrays,
        blocks=(curve, block),
        findings=(
            Finding(
                text=f"With the published protocol, the validation error of {target.described} is "
                f"lowest at {best.layer}: {percent_interval(error)} ({coverage(error.level)}, "
                f"{sample(error)}). Guessing is wrong for {percent(1 - guess)}.",
                weight=sureness_above(accuracy.value, accuracy.lower, guess),
                estimates={"validation_error": error},
            ),
            *_findings(block, predictions, target, alpha, most_frequent=params.most_frequent),
        ),
        method=(
            *_published_method(target, settings, probes, subject.activations.reduced),
            _EXPECTED,
        ),
        limits=(
            *_published_limits(subject, target, probes, best, params),
            *_limits(predictions, tied, len(part.reasons)),
        ),
    )


def _out_of_fold(
    subject: Subject, target: Target, layers: Sequence[str], params: Params
) -> tuple[Curve, float]:
    """Accuracy of the default protocol, out of fold, and that of guessing."""
    points, chance = [], 0.0
    for layer in layers:
        scores = out_of_fold_scores(subject, ProbeSpec(target, layer, params.probes))
        found = share_estimate(
            scores.predicted == scores.part.codes,
            subject.faces.clusters[scores.part.images],
            level=params.level,
            widened=widening_of(scores),
        )
        points.append(CurvePoint(layer=layer, estimate=found))
        chance = 1 / len(scores.part.levels)
    return Curve(target=target.name, points=tuple(points)), chance


def _published_method(
    target: Target, settings: PublishedSettings, probes: Sequence[PublishedProbe], reduced: str
) -> tuple[str, ...]:
    """What ran, and how it differs from the default."""
    validation = probes[0].split.validation
    sizes = sorted({probe.n_features for probe in probes})
    features = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    n_layers = len({probe.layer for probe in probes})
    l1, l2 = (np.format_float_positional(each, trim="-") for each in (settings.l1, settings.l2))
    again = (
        f" All of this was done {settings.seeds} times, with other splits, starts and orders; the "
        "first is reported, and the standard deviation over all is beside the curve."
        if settings.seeds > 1
        else ""
    )
    return (
        "Protocol krug_stober_2025 (Krug & Stober 2025, arXiv:2506.03664, with the settings of "
        f"its authors' public code): for each of {n_layers} layers, the feature maps "
        f"({reduced}) are flattened ({features} features, not standardised), and one "
        f"dense softmax layer over {len(probes[0].split.part.levels)} groups of "
        f"{target.described} is trained on {int((~validation).sum())} images: a random "
        f"{percent(settings.training_share)} of each group, rounded down. Its inputs have dropout "
        f"{settings.dropout:g}, its weights an L1 penalty of {l1} and an L2 penalty of {l2}. It "
        f"is trained by Adam (learning rate {settings.learning_rate:g}) for {settings.epochs} "
        f"epochs in batches of {settings.batch_size}, without early stopping. Its error is that "
        f"on the other {int(validation.sum())} images. The confusions are those at the layer with "
        f"the lowest validation error.{again}",
        f'The curve "{OUT_OF_FOLD}" is the accuracy of the default protocol of this tool: it '
        "predicts every image of every group with an image for each fold, out of fold, from the "
        f'mean of each unit, with an L2 penalty. The curve "{TRAINING}" is about the images that '
        "the published probe was trained on; its interval says how many these are, and nothing "
        "about others.",
        f"Intervals {SCORE_INTERVALS}; those of the published protocol hold its split and fit "
        "fixed.",
    )


def _published_limits(
    subject: Subject,
    target: Target,
    probes: Sequence[PublishedProbe],
    best: PublishedProbe,
    params: Params,
) -> Iterator[str]:
    """What so few validation images leave open."""
    part, validation = best.split.part, best.split.validation
    n = int(np.median(np.bincount(part.codes[validation])))
    hit = max(1, round(n / 3))
    lower, upper = wilson_interval(hit / n, n, level=params.level)
    yield (
        f"A group of {target.described} has {counted(n, 'validation image')} (median), so that "
        f"its recall can be almost anywhere: {hit} of {n} right is compatible with anything from "
        f"{percent(lower)} to {percent(upper)} ({coverage(params.level)})."
    )
    if again := [p for p in probes if p.layer == best.layer and p is not best]:
        first, *others = (_frequent(probe, params.most_frequent) for probe in (best, *again))
        shared = np.mean([len(first & other) for other in others])
        yield (
            f"Of the {len(first)} most frequent confusions at {best.layer}, another split and fit "
            f"has {shared:.1f} among its own, on average over {len(others)}."
        )
    clusters = subject.faces.clusters[part.images]
    if n_shared := int(np.isin(clusters[validation], clusters[~validation]).sum()):
        yield (
            f"{n_shared} of {int(validation.sum())} validation images have a near duplicate or "
            "another image of the same person among the training images: as published, the split "
            "does not keep them together, which makes the error optimistic."
        )
    if subject.activations.reduced != Reduction(8).described:
        yield (
            "The publication takes the mean of each window, at most 8 x 8. Here positions are "
            f"{subject.activations.reduced}: numbers differ for that alone."
        )
    yield (
        "The layer is picked by the same validation images that its error and confusions are "
        "reported of, so its error is optimistic."
    )
    yield (
        "The published protocol has no baseline: a low error may be due to what the images look "
        "like before any layer."
    )


def _frequent(probe: PublishedProbe, top: int) -> set[tuple[int, int]]:
    """The most frequent confusions of the validation images of a probe."""
    part, validation = probe.split.part, probe.split.validation
    matrix = confusion_matrix(
        part.codes[validation], probe.predicted[validation], len(part.levels)
    )
    return set(most_frequent_pairs(matrix, top)[0])


def _findings(
    block: Confusions,
    predictions: Predictions,
    target: Target,
    alpha: float,
    *,
    most_frequent: int,
) -> Iterator[Finding]:
    """How often each of several attributes changes in a confusion, against chance."""
    names = [name for name, _ in target.groups[0].levels]
    if len(names) < 2 or not predictions.is_enough:  # noqa: PLR2004
        return
    sets, numbers = predictions.classes
    # A count over many groups: it can be said of groups too small to be listed.
    pairs, _ = most_frequent_pairs(predictions.matrix, most_frequent)
    for name in names:
        chosen = np.flatnonzero([name in changed for changed in sets])
        share = predictions.share_changing(chosen)
        expected = float(predictions.expected[chosen].sum())
        deciding = at_level(share, 1 - alpha)
        less, more = deciding.upper < expected, deciding.lower > expected
        verdict = "no significant difference from"
        if less or more:
            verdict = "significantly less than" if less else "significantly more than"
        listed = ""
        if pairs:
            changing = sum(name in sets[numbers[pair]] for pair in pairs)
            listed = f"Of the {len(pairs)} most frequent confusions at {block.layer}, {changing} "
            listed += f"change {name}. "
        yield Finding(
            text=f"{listed}Of all {block.n_confused} confusions at {block.layer}, "
            f"{percent_interval(share)} ({coverage(share.level)}) change {name}: {verdict} "
            f"the {percent(expected)} expected if wrong predictions fell on groups as often "
            f"as these are predicted{decided_at(alpha, share.level)}.",
            weight=sureness(deciding, expected),
            estimates={f"share_changing_{name}": share},
            evidence="confusions",
        )


def _limits(predictions: Predictions, tied: int, n_left_out: int) -> Iterator[str]:
    yield "Confusions are those of a linear probe, not of the backbone's own task."
    if tied:
        yield f"{tied} more pairs of groups are confused as often as the last one shown."
    if hidden := int((~predictions.shown).sum()):
        yield (
            f"Single confusions of {hidden} of {len(predictions.groups)} groups are not listed: "
            f"these groups have fewer than {predictions.fewest} independent images among those "
            "predicted, or the value of such a group would follow from theirs."
        )
    if n_left_out:
        yield (
            f"{n_left_out} groups have too few images for a probe; they take no part in "
            "confusions."
        )


def _work(params: Params, workload: Workload) -> float:
    """Every epoch of the published probes: about six products for an image, feature and group.

    Measured with 720 to 2520 images, 24 and 126 groups, and 6,272 to 25,088 features: 3 to 9.
    The default probes are those of other analyses.
    """
    if params.protocol != PUBLISHED:
        return 0.0
    *_, n_groups = level_counts(workload.attributes).values()
    published, layers = params.published, workload.n_units
    if params.layer is not None:
        layers = {params.layer: layers.get(params.layer, 0)}
    n_images = min(workload.n_images, n_groups * published.images_per_group)
    n_features = sum(layers.values()) * workload.positions
    return float(6 * published.seeds * published.epochs * n_images * n_features * n_groups)


PLUGIN = Analysis(
    title="Confusions",
    params_type=Params,
    question="groups",
    run=confusions,
    problems=lambda params, faces, layers: (
        *unknown_layers(None if params.layer is None else (params.layer,), layers),
        *(
            too_few_to_hold_out(faces)
            if params.protocol == PUBLISHED
            else too_few_images(params, faces)
        ),
    ),
    # Whether each attribute changes more or less often than by chance, each by itself.
    families=lambda _params, attributes: len(attributes) if len(attributes) > 1 else 0,
    needs_positions=lambda params: params.protocol == PUBLISHED,
    fits=_work,
    quantities=("validation_accuracy",),
)
