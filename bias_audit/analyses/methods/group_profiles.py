"""The mean activation of every unit by group, and how far groups lie from the mean over groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bias_audit.analyses.analysis import Analysis, BootstrapDraws, Coverage, Outcome, Subject
from bias_audit.analyses.mapping.profiles import (
    Profiles,
    Sample,
    attribute_targets,
    bayesian_weights,
    clusters_by_group,
    deviations,
    pooled_deviation,
    pooled_freedom,
    profiles,
    standardised_contrasts,
)
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.separability import chosen_layers, unknown_layers
from bias_audit.analyses.targets import finest_target
from bias_audit.analyses.wording import coverage, interval
from bias_audit.arrays import FloatArray
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import Finding, GroupProfiles, ProfileRow
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.sureness import sureness_above


class Params(ProbeSettings):
    """Where profiles are taken, and how they are described."""

    layers: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Default: the layer at which intersections separate best.",
    )
    strongest_units: int = Field(default=5, ge=0, le=100, description="Units named per group.")
    smallest_group: int = Field(
        default=5, ge=2, description="A group of fewer independent images gets none."
    )
    bootstrap_draws: BootstrapDraws = 1000
    level: Coverage = 0.95


def group_profiles(subject: Subject, params: Params) -> Outcome:
    """Profiles of the levels of every attribute, and of all intersections.

    Raises:
        AnalysisError: A layer is unknown, none can be chosen, or one group has all images.
    """
    layers, chosen = chosen_layers(subject, params.layers, params.probes)
    blocks: list[GroupProfiles] = []
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    title = f"Group profiles of {subject.name}"
    with subject.progress.step(title, total=len(layers), unit="layer") as step:
        for number, layer in enumerate(layers):
            for block, values in _of_layer(subject, layer, number, params):
                blocks.append(block)
                arrays |= values
            step.advance()
    return Outcome(
        blocks=tuple(blocks),
        arrays=arrays,
        findings=tuple(finding for block in blocks for finding in _finding(block)),
        method=_method(params, layers, chosen),
        limits=(
            "A deviation averages over units: two groups may deviate equally far in different "
            "directions. It describes activations, not how well a group can be told apart.",
            "The strongest units are those with the largest contrasts observed; part of their "
            "size is chance, the more so the smaller the group.",
        ),
    )


def _of_layer(
    subject: Subject, layer: str, number: int, params: Params
) -> list[tuple[GroupProfiles, dict[str, npt.NDArray[np.float32]]]]:
    moments = subject.activations.moments(layer)
    if int((moments.count > 0).sum()) < 2:  # noqa: PLR2004
        raise AnalysisError(
            "expected images in two groups or more to compare profiles, got images in "
            f"{int((moments.count > 0).sum())}; widen the sampling"
        )
    scale = pooled_deviation(moments)
    clusters = subject.faces.clusters
    weights = bayesian_weights(clusters, params.bootstrap_draws, subject.rng("bootstrap"))
    freedom = pooled_freedom(moments, clusters)
    sample = Sample(subject.activations.units(layer), clusters, weights, freedom, params.level)
    marginal = [profiles(subject, layer, target) for target in attribute_targets(subject)]
    kinds = [("marginal", "Profiles of the levels of every attribute", marginal)]
    if len(marginal) > 1:
        cells = profiles(subject, layer, finest_target(subject.faces.table))
        kinds.append(("intersections", "Profiles of all intersections", [cells]))
    result = []
    for kind, title, parts in kinds:
        rows = [row for part in parts for row in _rows(part, scale, sample, params)]
        keys = f"layer{number}-{kind}-means", f"layer{number}-{kind}-deviations"
        block = GroupProfiles(
            detail=kind != "marginal",
            title=f"{title} at {layer}",
            layer=layer,
            rows=tuple(rows),
            means=keys[0],
            deviations=keys[1],
        )
        means = np.concatenate([part.means for part in parts]).astype(np.float32)
        spreads = np.concatenate([part.deviations for part in parts]).astype(np.float32)
        result.append((block, dict(zip(keys, (means, spreads), strict=True))))
    return result


def _rows(
    part: Profiles, scale: FloatArray, sample: Sample, params: Params
) -> tuple[ProfileRow, ...]:
    contrasts = standardised_contrasts(part, scale)
    estimates = deviations(part, scale, sample)
    independent = clusters_by_group(part, sample)
    rows = []
    for index, group in enumerate(part.groups):
        n = int(part.counts[index])
        estimate, reason = _reported(
            estimates[index], int(independent[index]), params.smallest_group
        )
        strongest: tuple[tuple[int, float], ...] = ()
        if n > 0:
            order = np.argsort(-np.abs(contrasts[index]), kind="stable")
            strongest = tuple(
                (int(unit), float(contrasts[index, unit]))
                for unit in order[: params.strongest_units]
            )
        rows.append(
            ProfileRow(
                group=group, n=n, deviation=estimate, strongest_units=strongest, reason=reason
            )
        )
    return tuple(rows)


def _reported(
    estimate: Estimate | None, independent: int, smallest: int
) -> tuple[Estimate | None, str | None]:
    """A deviation needs independent images: those of one person say nothing of its spread."""
    if independent == 0:
        return None, "no images"
    if independent < smallest:
        return None, f"independent images: {independent}; a deviation needs {smallest}"
    if estimate is None:
        return None, "the images of this group do not vary"
    return estimate, None


def _finding(block: GroupProfiles) -> tuple[Finding, ...]:
    measured = [(row, row.deviation) for row in block.rows if row.deviation is not None]
    if not measured:
        return ()
    row, deviation = max(measured, key=lambda entry: entry[1].value)
    beyond = sum(estimate.lower > 0 for _, estimate in measured)
    names = " / ".join(name for name, _ in row.group.levels)
    text = (
        f"At {block.layer}, {beyond} of {len(measured)} groups ({block.title.split(' at ')[0]}) "
        f"have a mean activation that differs from the mean over groups by more than sampling "
        f"noise, each interval taken by itself. The farthest is {row.group.label} (annotated "
        f"{names}, n = {deviation.n}): "
        f"{interval(deviation)} within-group standard deviations, root mean square over units "
        f"({coverage(deviation.level)})."
    )
    found = Finding(
        text=text,
        weight=sureness_above(deviation.value, deviation.lower),
        estimates={"deviation": deviation},
        question="groups",
    )
    return (found,)


def _method(params: Params, layers: tuple[str, ...], chosen: str) -> tuple[str, ...]:
    return (
        f"A group profile is the mean activation of each unit over the images of a group, at "
        f"{', '.join(layers)} ({chosen}).",
        "Its deviation is the root mean square over units of the difference to the unweighted "
        "mean over groups (the levels of the same attribute, or all intersections), in standard "
        "deviations within intersections. The part expected from sampling noise alone is "
        "subtracted, so that small groups do not stand out by being small; a group that does not "
        "differ has a lower bound of 0.",
        "Intervals hold every distance that the observed one does not contradict (score "
        "intervals): how precise it is follows from the clusters of images in each group, and how "
        f"many units vary independently from {params.bootstrap_draws} draws of a Bayesian "
        "bootstrap over these clusters (Rubin 1981).",
    )


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = params.layers
    return (*unknown_layers(asked, layers), *too_few_images(params, faces))


PLUGIN = Analysis(
    title="Group profiles", params_type=Params, run=group_profiles, problems=_problems
)
