"""Which parts of aligned faces a decision rests on, group by group.

The six local attribution methods of Chatterjee et al. 2020, asked of an attribute's probe and
backbone as one differentiable function, in aggregate only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor, nn

from bias_audit.analyses.analysis import Analysis, Coverage, Network, Outcome, Subject, Workload
from bias_audit.analyses.attributing import face_regions
from bias_audit.analyses.attributing.decision import (
    MapSums,
    Question,
    Sample,
    attributable,
    map_sums,
    trust_totals,
)
from bias_audit.analyses.attributing.face_regions import (
    QUANTITY,
    FaceTemplate,
    Regions,
    Shares,
    drawn_areas,
    regions_on,
    template_of,
)
from bias_audit.analyses.attributing.maps import Means, ShownGroups, maps_block, shown_groups
from bias_audit.analyses.attributing.methods import (
    METHODS,
    Method,
    MethodSettings,
    method_named,
    why_not,
)
from bias_audit.analyses.attributing.sentences import (
    OWN,
    Decided,
    drawn_images,
    findings_of,
    limits_of,
    method_of,
    own_decision,
    probe_decision,
)
from bias_audit.analyses.attributing.trust import Checked, TrustSample, trust_block
from bias_audit.analyses.probing.probes import ProbeSettings, too_few_images
from bias_audit.analyses.probing.separability import unknown_layers
from bias_audit.analyses.targets import unknown_groups, unknown_targets
from bias_audit.data.faces import FaceTable
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.results.blocks import Block, Finding

Arrays = dict[str, npt.NDArray[Any]]
MethodName = Literal[
    "occlusion",
    "saliency",
    "input_x_gradient",
    "guided_backpropagation",
    "integrated_gradients",
    "deeplift",
]
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
        description="Attributes whose probes are asked; own_class: the backbone's own most "
        "probable class. Default: every attribute.",
    )
    layer: str = Field(
        default="best", description='"best": the most separable layer of each target; or a name.'
    )
    level_of: Literal["predicted", "annotated"] = Field(
        default="predicted", description="Which level's score of the probe is attributed."
    )
    methods: tuple[MethodName, ...] = Field(
        default=tuple(method.name for method in METHODS),  # type: ignore[misc]  # the same names
        min_length=1,
        description="Of captum.",
    )
    groups: tuple[str, ...] | None = Field(
        default=None, description="Attributes whose levels are compared; default: all."
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
        """What the dear methods are given."""
        return MethodSettings(windows=self.windows, steps=self.steps)


@dataclass(frozen=True)
class _Work:
    """What all targets share."""

    subject: Subject
    params: Params
    network: Network
    module: nn.Module
    template: FaceTemplate
    regions: Regions
    attributes: tuple[str, ...]
    """Those whose levels are compared."""


@dataclass(frozen=True)
class _Told:
    """What came of one target."""

    decided: Decided
    blocks: tuple[Block, ...]
    arrays: Arrays
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]


def attribution(subject: Subject, params: Params) -> Outcome:
    """Attribute decisions to pixels, add up by group and region, and check the methods.

    Raises:
        AnalysisError: There is no network, the faces are not known to be aligned, or nothing can
            be attributed.
    """
    work = _work(subject, params)
    told: list[_Told] = []
    without = []
    for number, name in enumerate(_targets(work)):
        decided = _decided(work, name)
        if isinstance(decided, str):
            without.append((name, decided))
            continue
        told.append(_of_target(work, number, decided))
    if not told:
        reasons = "; ".join(f"{name}: {why}" for name, why in without)
        raise AnalysisError(f"nothing can be attributed: {reasons}")
    return Outcome(
        blocks=tuple(block for one in told for block in one.blocks),
        arrays={key: array for one in told for key, array in one.arrays.items()},
        findings=tuple(finding for one in told for finding in one.findings),
        method=method_of([one.decided for one in told], params.given, work.template),
        limits=(
            *limits_of(work.params.methods),
            *(sentence for one in told for sentence in one.limits),
            *(f"Not attributed: {name} ({why})." for name, why in without),
        ),
    )


def _work(subject: Subject, params: Params) -> _Work:
    network = subject.network
    if network is None:
        raise AnalysisError(
            "expected the backbone itself, got its activations alone; attribution goes through "
            "the backbone again"
        )
    template = template_of(network.data, params.template)
    names = tuple(attribute.name for attribute in subject.faces.table.attributes)
    return _Work(
        subject,
        params,
        network,
        attributable(network),
        template,
        regions_on(template, network.preprocessing),
        tuple(name for name in names if params.groups is None or name in params.groups),
    )


def _targets(work: _Work) -> tuple[str, ...]:
    given = work.params.targets
    names = given or [a.name for a in work.subject.faces.table.attributes]
    return tuple(dict.fromkeys(names))


def _decided(work: _Work, name: str) -> Decided | str:
    params = work.params
    if name == OWN:
        return own_decision(work.subject, work.network, work.module)
    spec = (name, params.layer, params.probes, params.level_of)
    return probe_decision(work.subject, work.network, work.module, spec)


def _of_target(work: _Work, number: int, decided: Decided) -> _Told:
    subject, params = work.subject, work.params
    rng = subject.rng("attribution", decided.target)
    images = drawn_images(subject.faces, decided.candidates, params.images, rng)
    shown = shown_groups(subject.faces, images, work.attributes, subject.small_groups)
    methods, absent = _applicable(work, decided, images)
    question = Question(
        decided.module,
        decided.targets_for(images),
        methods,
        params.given,
        work.regions,
        params.map_side,
        params.batch_size,
    )
    sample = Sample(images, subject.faces.clusters[images], shown.member)
    sums = map_sums(subject, work.network, decided, question, sample)
    trust = _checked(work, question, decided, images, absent=absent)
    unit = "images" if len(np.unique(sample.clusters)) == len(images) else "clusters of images"
    shares = Shares(
        Means(sums.totals, unit=unit),
        tuple(method.title for method in methods),
        tuple(i for i, standing in enumerate(trust.standing) if standing == "passes"),
        work.regions,
        shown,
        decided.layer,
        decided.target,
        params.level,
    )
    blocks, arrays = _blocks(work, number, decided, shares, sums=sums, trust=trust)
    return _Told(
        decided,
        (*blocks, trust.block, *shown.ledgers),
        arrays,
        findings_of(shares, trust, alpha=subject.multiplicity.alpha),
        _limits(decided, shown, sums, methods, absent=absent, n_images=len(images)),
    )


def _blocks(
    work: _Work, number: int, decided: Decided, shares: Shares, *, sums: MapSums, trust: Checked
) -> tuple[list[Block], Arrays]:
    blocks: list[Block] = [face_regions.by_method(shares)]
    arrays: Arrays = {}
    areas = drawn_areas(work.template, work.network.preprocessing)
    # The target's own levels first.
    for attribute in sorted(work.attributes, key=lambda name: name != decided.target):
        key = f"target{number}-{work.attributes.index(attribute)}-maps"
        block, maps = maps_block(shares, attribute, sums, trust, said=decided.said, areas=areas)
        blocks.append(block.model_copy(update={"maps": key}))
        arrays[key] = maps
        blocks.append(face_regions.by_group(shares, attribute))
    blocks.append(face_regions.outside_table(shares, work.attributes))
    return blocks, arrays


def _applicable(
    work: _Work, decided: Decided, images: npt.NDArray[np.int64]
) -> tuple[tuple[Method, ...], tuple[tuple[str, str], ...]]:
    few = images[:_TRIED]
    batch: Tensor = next(iter(work.network.batches(few, _TRIED)))
    targets = decided.targets_for(images)(batch, np.arange(len(few)))
    kept, absent = [], []
    for method in (one for one in METHODS if one.name in work.params.methods):
        said = why_not(method, decided.module, batch, targets, _TRIAL)
        if said is None:
            kept.append(method)
        else:
            absent.append((method.title, said))
    if not kept:
        reasons = "; ".join(f"{name}: {why}" for name, why in absent)
        raise AnalysisError(f"no method applies to {work.subject.name}: {reasons}")
    return tuple(kept), tuple(absent)


_TRIAL = MethodSettings(windows=2, steps=2)


def _checked(
    work: _Work,
    question: Question,
    decided: Decided,
    images: npt.NDArray[np.int64],
    *,
    absent: Sequence[tuple[str, str]],
) -> Checked:
    subject, params = work.subject, work.params
    rng = subject.rng("attribution trust", decided.target)
    _, first = np.unique(subject.faces.clusters[images], return_index=True)
    places = np.sort(rng.permutation(first)[: params.trust_images])
    sample = TrustSample(images[places], places)
    return trust_block(
        trust_totals(
            subject, work.network, decided, question, sample, seed=int(rng.integers(2**31))
        ),
        [method.title for method in question.methods],
        absent,
        layer=decided.layer,
        target=decided.target,
        level=params.level,
    )


def _limits(
    decided: Decided,
    shown: ShownGroups,
    sums: MapSums,
    methods: Sequence[Method],
    *,
    absent: Sequence[tuple[str, str]],
    n_images: int,
) -> tuple[str, ...]:
    sentences = [f"{name} was not used for {decided.target}: {why}." for name, why in absent]
    if n_images < len(decided.candidates):
        sentences.append(
            f"{decided.target}: {n_images} of {len(decided.candidates)} images were attributed, "
            "drawn evenly over the intersections."
        )
    sentences += [
        f"{method.title} gave {blank} of {n_images} images no attribution at all about "
        f"{decided.target}; they count as spread evenly."
        for method, blank in zip(methods, sums.blank.tolist(), strict=True)
        if blank
    ]
    hidden = sum(why is not None for why in shown.reasons)
    if hidden:
        sentences.append(
            f"{decided.target}: {hidden} of {len(shown.groups) - 1} groups have no map and no "
            "share, because a mean of few images could show a face."
        )
    return tuple(sentences)


def _problems(params: Params, faces: FaceTable, layers: tuple[str, ...] | None) -> tuple[str, ...]:
    asked = [name for name in params.targets or () if name != OWN]
    return (
        *unknown_targets(faces, asked),
        *unknown_groups(faces, params.groups),
        *unknown_layers(None if params.layer == "best" else (params.layer,), layers),
        *too_few_images(params, faces),
    )


def _passes(params: Params, workload: Workload) -> float:
    """Forward passes; a backward one counts as two."""
    each = sum(method_named(name).passes(params.given) for name in params.methods)
    n_targets = len(params.targets or workload.attributes)
    most = workload.n_images if params.images is None else params.images
    n_images = min(most, workload.n_images)
    checks = min(params.trust_images, n_images) * (_CHECKS * each + _COVERED * len(params.methods))
    return n_targets * (n_images * each + checks)


def _families(params: Params, attributes: Sequence[Attribute]) -> int:
    """Of each target: its densest region, the outside, and the levels of each attribute."""
    n_targets = len(dict.fromkeys(params.targets or [a.name for a in attributes]))
    n_compared = len(attributes if params.groups is None else params.groups)
    return n_targets * (2 + n_compared)


PLUGIN = Analysis(
    title="Where decisions look",
    params_type=Params,
    run=attribution,
    problems=_problems,
    families=_families,
    quantities=(QUANTITY,),
    needs_network=True,
    is_once=True,
    passes=_passes,
)
