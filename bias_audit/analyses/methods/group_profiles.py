"""The mean activation of every unit by group, and how far groups lie from the mean over groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, BootstrapDraws, Coverage, Outcome, Subject
from bias_audit.analyses.mapping import profiles
from bias_audit.analyses.probing.separability import (
    LayersSettings,
    chosen_layers,
    setting_problems,
)
from bias_audit.analyses.small_groups import independent_images
from bias_audit.analyses.targets import finest_target
from bias_audit.analyses.wording import coverage
from bias_audit.arrays import Float32Array
from bias_audit.errors import AnalysisError
from bias_audit.results.finding import Finding
from bias_audit.shapes.group_profiles import GroupProfiles, ProfileRow
from bias_audit.shapes.printed import interval
from bias_audit.statistics.sureness import sureness_above


class Params(LayersSettings):
    """Where profiles are taken, and how they are described."""

    strongest_units: int = Field(default=5, ge=0, le=100, description="Units named per group.")
    smallest_group: int = Field(
        default=5, ge=2, description="A group of fewer independent images gets none."
    )
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


def group_profiles(subject: Subject, params: Params) -> Outcome:
    """Profiles of the levels of every attribute, and of all intersections."""
    layers, chosen = chosen_layers(subject, params.layers, params.probes)
    blocks: list[GroupProfiles] = []
    arrays: dict[str, Float32Array] = {}
    clusters = subject.faces.clusters
    weights = profiles.bayesian_weights(clusters, params.bootstrap_draws, subject.rng("bootstrap"))
    for number, layer in enumerate(subject.counted(layers, "Group profiles of", unit="layer")):
        for block, values in _of_layer(subject, layer, number, weights, params):
            blocks.append(block)
            arrays |= values
    return Outcome(
        blocks=tuple(blocks),
        arrays=arrays,
        findings=tuple(finding for block in blocks for finding in _finding(block)),
        method=(
            "A group profile is the mean activation of each unit over the images of a group, at "
            f"{', '.join(layers)} ({chosen}).",
            "Its deviation is the root mean square over units of the difference from the "
            "unweighted mean over groups (those of the same attribute, or all intersections), in "
            "standard deviations within intersections. The part expected from sampling noise "
            "alone is subtracted, so that small groups do not stand out by being small; a group "
            "that does not differ has a lower bound of 0.",
            profiles.SCORE_INTERVALS.format(draws=params.bootstrap_draws),
        ),
        limits=(
            "A deviation averages over units: two groups may deviate equally far in different "
            "directions. It describes activations, not how well a group can be recognised.",
            "The strongest units are those with the largest contrasts observed; part of their "
            "size is chance, the more so the smaller the group.",
        ),
    )


def _of_layer(
    subject: Subject, layer: str, number: int, weights: Float32Array, params: Params
) -> Iterator[tuple[GroupProfiles, dict[str, Float32Array]]]:
    moments, table = subject.activations.moments(layer), subject.faces.table
    n_groups = int((moments.count > 0).sum())
    if n_groups < 2:  # noqa: PLR2004
        raise AnalysisError(
            "expected images in two groups or more to compare profiles, got images in "
            f"{n_groups}; widen the sampling"
        )
    sample = profiles.Sample.of(subject, layer, weights)
    marginal = profiles.marginal_profiles(moments, table)
    kinds = [("marginal", "How far from the average is each group of one attribute", marginal)]
    if len(marginal) > 1:
        cells = profiles.Profiles.of(finest_target(table), moments)
        kinds.append(("intersections", "How far from the average is each intersection", [cells]))
    for kind, title, parts in kinds:
        keys = f"layer{number}-{kind}-means", f"layer{number}-{kind}-deviations"
        block = GroupProfiles(
            detail=kind != "marginal",
            title=f"{title} at {layer}?",
            layer=layer,
            rows=tuple(row for part in parts for row in _rows(part, sample, params)),
            means=keys[0],
            deviations=keys[1],
        )
        means = np.concatenate([part.means for part in parts]).astype(np.float32)
        spreads = np.concatenate([part.deviations for part in parts]).astype(np.float32)
        yield block, dict(zip(keys, (means, spreads), strict=True))


def _rows(
    part: profiles.Profiles, sample: profiles.Sample, params: Params
) -> Iterator[ProfileRow]:
    contrasts = profiles.standardised_contrasts(part, sample.scale)
    estimates = profiles.deviations(part, sample, params.level)
    independent = independent_images(part.target.codes, sample.clusters, len(part.groups))
    for index, group in enumerate(part.groups):
        n, reason = independent[index], None
        # Images of one person say nothing of its spread.
        if n == 0:
            reason = "no images"
        elif n < params.smallest_group:
            reason = f"independent images: {n}; a deviation needs {params.smallest_group}"
        elif estimates[index] is None:
            reason = "the images of this group do not vary"
        order = np.argsort(-np.abs(contrasts[index]), kind="stable")
        strongest = order[: params.strongest_units if n else 0].tolist()
        yield ProfileRow(
            group=group,
            n=part.target.n_images([index]),
            deviation=None if reason else estimates[index],
            strongest_units=tuple((unit, float(contrasts[index, unit])) for unit in strongest),
            reason=reason,
        )


def _finding(block: GroupProfiles) -> Iterator[Finding]:
    measured = [(row, row.deviation) for row in block.rows if row.deviation is not None]
    if not measured:
        return
    row, deviation = max(measured, key=lambda entry: entry[1].value)
    beyond = sum(estimate.lower > 0 for _, estimate in measured)
    names = " / ".join(name for name, _ in row.group.levels)
    kind = "intersections" if len(row.group.levels) > 1 else "groups of single attributes"
    yield Finding(
        text=f"At {block.layer}, {beyond} of {len(measured)} {kind} have a mean "
        "activation that differs from the mean over groups by more than sampling noise, not "
        f"corrected for multiple comparisons. The farthest is {row.group.label} ({names}; n = "
        f"{deviation.n}): {interval(deviation)} within-group standard deviations, root mean "
        f"square over units ({coverage(deviation.level)}).",
        weight=sureness_above(deviation.value, deviation.lower),
        estimates={"deviation": deviation},
        question="groups",
    )


PLUGIN = Analysis(
    title="Group profiles",
    params_type=Params,
    question="groups",
    run=group_profiles,
    problems=setting_problems,
)
