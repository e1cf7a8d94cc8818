"""Which parts of aligned faces a decision rests on, group by group.

The six local attribution methods of Chatterjee et al. 2020, applied to an attribute's probe and
backbone as one differentiable function, in aggregate only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from pydantic import Field

from bias_audit.analyses.analysis import (
    Analysis,
    Coverage,
    Network,
    Outcome,
    Subject,
    Workload,
    together,
)
from bias_audit.analyses.attributing.face_regions import (
    FaceTemplate,
    Regions,
    regions_on,
    template_of,
)
from bias_audit.analyses.attributing.names import OWN, PASSES, QUANTITY, MethodName
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.separability import unknown_layers
from bias_audit.analyses.targets import unknown_groups, unknown_targets
from bias_audit.arrays import IntArray
from bias_audit.errors import AnalysisError
from bias_audit.shapes.shape import Block

if TYPE_CHECKING:
    from bias_audit.analyses.attributing import decision
    from bias_audit.analyses.attributing.methods import Method, MethodSettings

_TRIED = 2
"""Images on which it is found out whether a method applies."""
_CHECKS = 6
"""Attributions of an image that the checks make: its own, three stages, two with noise."""
_COVERED = 24
"""Forward passes of the checks besides."""


class Params(ProbeSettings):
    """What is attributed, by which methods, on how many images."""

    targets: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description=(
            "Attributes whose probes are attributed; own_class: the backbone's own most probable "
            "class. Default: every attribute."
        ),
    )
    layer: str = Field(
        default="best", description='"best": the most separable layer of each target; or a name.'
    )
    level_of: Literal["predicted", "annotated"] = Field(
        default="predicted", description="Which group's score of the probe is attributed."
    )
    methods: tuple[MethodName, ...] = Field(
        default=get_args(MethodName), min_length=1, description="Of captum."
    )
    groups: tuple[str, ...] | None = Field(
        default=None, description="Attributes whose groups are compared; default: all."
    )
    images: int | None = Field(
        default=400, ge=20, description="Draw so many, evenly over the intersections; null: all."
    )
    trust_images: int = Field(
        default=24, ge=10, le=1000, description="Images on which methods are checked."
    )
    windows: int = Field(
        default=9, ge=2, le=64, description="Places of occlusion's window along a side."
    )
    steps: int = Field(
        default=16, ge=2, le=500, description="Points of the path of integrated gradients."
    )
    batch_size: int = Field(default=8, ge=1, le=1024)
    map_side: int = Field(
        default=56, ge=7, le=224, description="Cells along a side of the maps that are kept."
    )
    template: FaceTemplate | None = Field(
        default=None,
        description="Regions of the aligned face; default: those declared for the data source.",
    )
    level: Coverage = 0.95

    @property
    def given(self) -> MethodSettings:
        """What the expensive methods are given."""
        from bias_audit.analyses.attributing.methods import MethodSettings

        return MethodSettings(windows=self.windows, steps=self.steps)


def attribution(subject: Subject, params: Params) -> Outcome:
    """Attribute decisions to pixels, add up by group and region, and check the methods."""
    from bias_audit.analyses.attributing import decision, sentences
    from bias_audit.analyses.attributing.methods import rewired

    network = subject.network
    if network is None:
        raise AnalysisError(
            "expected the backbone itself, got its activations alone; attribution goes through "
            "the backbone again"
        )
    template, seen = template_of(network.data, params.template), network.preprocessing
    module = rewired(network.module, (seen.height, seen.width))
    regions = regions_on(template, seen)
    names = params.targets or [a.name for a in subject.faces.table.attributes]
    decisions, outcomes, without = [], [], []
    for number, name in enumerate(dict.fromkeys(names)):
        if name == OWN:
            decided = decision.own_decision(subject, network, module)
        else:
            spec = (name, params.layer, params.probes, params.level_of)
            decided = decision.probe_decision(subject, network, module, spec)
        if isinstance(decided, str):
            without.append((name, decided))
            continue
        decisions.append(decided)
        prefix = f"target{number}"
        outcomes.append(_of_target(subject, params, network, regions, decided, prefix=prefix))
    if not outcomes:
        reasons = "; ".join(f"{name}: {why}" for name, why in without)
        raise AnalysisError(f"nothing can be attributed: {reasons}")
    found = together(outcomes)
    return replace(
        found,
        method=sentences.method_of(decisions, params.given, regions),
        limits=(
            *sentences.limits_of(params.methods),
            *found.limits,
            *(f"Not attributed: {name} ({why})." for name, why in without),
        ),
    )


def _of_target(
    subject: Subject,
    params: Params,
    network: Network,
    regions: Regions,
    decided: decision.Decided,
    *,
    prefix: str,
) -> Outcome:
    """What came of one decision; keys of its arrays begin with the prefix."""
    from bias_audit.analyses.attributing import decision, sentences
    from bias_audit.analyses.attributing.blocks import (
        Shares,
        by_group,
        by_method,
        maps_block,
        outside_table,
        shown_groups,
    )
    from bias_audit.analyses.attributing.summing import Means, Question, Sample, map_sums
    from bias_audit.analyses.attributing.trust import trust_block, trust_totals

    faces, attributes = subject.faces, [a.name for a in subject.faces.table.attributes]
    compared = [name for name in attributes if params.groups is None or name in params.groups]
    rng = subject.rng("attribution", decided.target)
    images = decision.drawn_images(faces, decided.candidates, params.images, rng)
    clusters = faces.clusters[images]
    shown = shown_groups(faces, images, compared, subject.small_groups)
    methods, absent = _applicable(subject.name, params, network, decided, images)
    titles = tuple(method.title for method in methods)
    question = Question(
        decided.module,
        decided.targets_for(images),
        methods,
        params.given,
        regions,
        params.map_side,
        params.batch_size,
    )
    sample = Sample(images, clusters, shown.member)
    sums = map_sums(subject, network, decided, question, sample)
    trust = trust_block(
        trust_totals(subject, network, decided, question, images, n_checked=params.trust_images),
        titles,
        absent,
        layer=decided.layer,
        target=decided.target,
        level=params.level,
    )
    unit = "images" if len(np.unique(clusters)) == len(images) else "clusters of images"
    shares = Shares(
        Means(sums.totals, unit=unit),
        titles,
        tuple(i for i, entry in enumerate(trust.entries) if entry.standing == PASSES),
        regions,
        shown,
        decided.layer,
        decided.target,
        params.level,
    )
    blocks: list[Block] = [by_method(shares)]
    arrays = {}
    # The target's own levels first.
    for attribute in sorted(compared, key=lambda name: name != decided.target):
        key = f"{prefix}-{compared.index(attribute)}-maps"
        block, arrays[key] = maps_block(shares, attribute, sums, decision=decided.said, key=key)
        blocks += [block, by_group(shares, attribute)]
    blank = dict(zip(titles, sums.blank.tolist(), strict=True))
    return Outcome(
        blocks=(*blocks, outside_table(shares, compared), trust, *shown.ledgers),
        arrays=arrays,
        findings=tuple(sentences.findings_of(shares, alpha=subject.multiplicity.alpha)),
        limits=sentences.limits_of_target(decided, shown, blank, absent, len(images)),
    )


def _applicable(
    name: str, params: Params, network: Network, decided: decision.Decided, images: IntArray
) -> tuple[tuple[Method, ...], tuple[tuple[str, str], ...]]:
    """The methods that apply; titles of the others, and why they do not."""
    from bias_audit.analyses.attributing.methods import METHODS, MethodSettings, why_not

    few = images[:_TRIED]
    batch = next(iter(network.batches(few, _TRIED)))
    targets = decided.targets_for(images)(batch, np.arange(len(few)))
    kept, absent = [], []
    for method in (one for one in METHODS if one.name in params.methods):
        said = why_not(method, decided.module, batch, targets, MethodSettings(windows=2, steps=2))
        if said is None:
            kept.append(method)
        else:
            absent.append((method.title, said))
    if not kept:
        reasons = "; ".join(f"{title}: {why}" for title, why in absent)
        raise AnalysisError(f"no method applies to {name}: {reasons}")
    return tuple(kept), tuple(absent)


def _passes(params: Params, workload: Workload) -> float:
    """Forward passes; a backward one counts as two."""
    from bias_audit.analyses.attributing.methods import method_named

    each = sum(method_named(name).passes(params.given) for name in params.methods)
    n_targets = len(params.targets or workload.attributes)
    most = workload.n_images if params.images is None else params.images
    n_images = min(most, workload.n_images)
    checks = min(params.trust_images, n_images) * (_CHECKS * each + _COVERED * len(params.methods))
    return n_targets * (n_images * each + checks)


PLUGIN = Analysis(
    title="Where decisions look",
    params_type=Params,
    question="where",
    run=attribution,
    problems=lambda params, faces, layers: (
        *unknown_targets(faces, [n for n in params.targets or () if n != OWN]),
        *unknown_groups(faces, params.groups),
        *unknown_layers(None if params.layer == "best" else (params.layer,), layers),
        *too_few_images(params, faces),
    ),
    # Of each target: its densest region, the outside, and the levels of each attribute.
    families=lambda params, attributes: (
        len(set(params.targets or attributes))
        * (2 + len(attributes if params.groups is None else params.groups))
    ),
    quantities=(QUANTITY,),
    needs_network=True,
    other_targets=(OWN,),
    is_once=True,
    passes=_passes,
)
