"""What an attribution analysis says: its questions, findings, method and limits."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.decision import OwnDecision, ProbeDecision, TargetsOf
from bias_audit.analyses.attributing.face_regions import FaceTemplate, Shares, area_of
from bias_audit.analyses.attributing.maps import ALL, probe_map
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings
from bias_audit.analyses.attributing.trust import RULE, Checked
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, part_of
from bias_audit.analyses.probing.separability import check_layers, probed_layers
from bias_audit.analyses.targets import targets_of
from bias_audit.analyses.wording import coverage, decided_at, listed, percent, percent_interval
from bias_audit.arrays import IntArray
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError
from bias_audit.files import digest
from bias_audit.results.blocks import Finding
from bias_audit.statistics.inference import estimate
from bias_audit.statistics.sureness import sureness, sureness_above

OWN: Final = "own_class"
"""Names the backbone's own decision among the targets."""
Attributed = Literal["predicted", "annotated"]


@dataclass(frozen=True)
class Decided:
    """A decision that can be attributed, and the images it can be asked about."""

    target: str
    layer: str
    said: str
    """What is attributed, in words."""
    chosen: str
    """How the layer was chosen, in words."""
    module: nn.Module
    candidates: IntArray
    """Numbers of the images, shape (n,)."""
    outputs: IntArray | None
    """Which score of each candidate; None: the highest of each."""
    n_levels: int
    """Scores that belong together."""
    fingerprint: str
    """Of the decision, not of the network that its inputs come from."""

    def targets_for(self, images: IntArray) -> TargetsOf:
        """Which score is attributed, for images out of the candidates."""
        if self.outputs is None:
            return self._highest
        found = self.outputs[np.searchsorted(self.candidates, images)]
        return lambda batch, places: torch.from_numpy(found[places]).to(batch.device)

    def _highest(self, batch: Tensor, _places: IntArray) -> Tensor:
        with torch.no_grad():
            return cast("Tensor", self.module(batch).argmax(dim=1))


def probe_decision(
    subject: Subject,
    network: Network,
    module: nn.Module,
    spec: tuple[str, str, ProbeSettings, Attributed],
) -> Decided | str:
    """The decision of a target's out-of-fold probe, or why there is none.

    Args:
        subject: The subject.
        network: Its backbone.
        module: That backbone, rewired.
        spec: Name of the target, layer or "best", settings, and whose level is attributed.

    Raises:
        AnalysisError: The target or layer is unknown.
    """
    name, layer, settings, attributed = spec
    target = targets_of(subject.faces.table, [name])[0]
    part = part_of(subject, target, settings)
    if part.not_measured is not None:
        return part.not_measured
    chosen = "named in the config"
    if layer == "best":
        found = probed_layers(subject, target, settings)
        layer = max(found, key=lambda entry: entry[1].value)[0]
        chosen = f"highest macro AUC of {target.described} among the layers audited"
    check_layers(subject, [layer])
    probes = probe_map(subject, ProbeSpec(target, layer, settings))
    levels = probes.scores.predicted if attributed == "predicted" else probes.scores.codes
    whose = "that it predicts" if attributed == "predicted" else "that is annotated"
    outputs = probes.outputs(levels)
    return Decided(
        target.name,
        layer,
        f"the score that the out-of-fold probe of {target.described} at {layer} gives the level "
        f"{whose}",
        chosen,
        ProbeDecision(module, layer, network.shapes, probes.linear),
        part.images,
        outputs,
        probes.n_levels,
        digest(
            layer,
            probes.linear.weight.tobytes(),
            probes.linear.bias.tobytes(),
            part.images.tobytes(),
            outputs.tobytes(),
        ),
    )


def own_decision(subject: Subject, network: Network, module: nn.Module) -> Decided | str:
    """The backbone's own most probable class, or why it has none."""
    if network.without_classes is not None:
        return network.without_classes
    with torch.no_grad():
        batch = next(iter(network.batches(np.zeros(1, dtype=np.int64), 1)))
        n_classes = int(module(batch).shape[1])
    return Decided(
        OWN,
        "output",
        "the score of the backbone's own most probable class",
        "the backbone's own output",
        OwnDecision(module),
        np.arange(len(subject.faces), dtype=np.int64),
        None,
        n_classes,
        digest(OWN),
    )


def drawn_images(
    faces: Faces, candidates: IntArray, most: int | None, rng: np.random.Generator
) -> IntArray:
    """Some of the candidates, as evenly over the intersections as they are there.

    Args:
        faces: The audit's faces.
        candidates: Numbers of images, shape (n,).
        most: How many; None for all of them.
        rng: Source of the draw.

    Returns:
        Numbers of images, ascending.

    Raises:
        AnalysisError: There is no candidate.
    """
    if len(candidates) == 0:
        raise AnalysisError("no image is left to attribute")
    if most is None or most >= len(candidates):
        return candidates
    shuffled = rng.permutation(candidates)
    cells = faces.table.cells[shuffled]
    turn = np.empty(len(shuffled), dtype=np.int64)
    for cell in np.unique(cells):
        members = np.flatnonzero(cells == cell)
        turn[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:most]])


def method_of(
    decisions: Sequence[Decided], settings: MethodSettings, template: FaceTemplate
) -> tuple[str, ...]:
    """What was computed."""
    asked = "; ".join(f"{one.target}: {one.said} ({one.chosen})" for one in decisions)
    sources = "; ".join(f"{method.title}: {method.source}" for method in METHODS)
    regions = ", ".join(region.name for region in template.regions)
    return (
        f"What is attributed: {asked}. Backbone up to the layer, mean over positions, "
        "standardisation and probe are one differentiable function, and every image is attributed "
        "with the probe of the fold that did not see it.",
        f"Methods, as captum computes them: {sources}. Occlusion's window stands at "
        f"{settings.windows} places along each side; integrated gradients take {settings.steps} "
        "steps; what stands for nothing is the mean colour of the preprocessing. Modules that "
        "run twice or work in place are copied first, which changes no output.",
        "Absolute attributions are summed over colours and divided by their sum over the image, "
        "so that every image counts the same; maps are means over the images of a group, relative "
        "to an even spread. Only these sums are kept.",
        f"Regions come from a fixed template of aligned faces ({regions}; the rest is outside the "
        "face, by quarters of the image), drawn as an outline. Shares are means over images with "
        "intervals from the influence of each cluster of images; methods are averaged image by "
        "image, over those that pass the sanity check.",
        f"Sanity check by model randomisation (Adebayo et al. 2018, arXiv:1810.03292): {RULE} "
        "Deletion and insertion after Petsiuk et al. 2018 (arXiv:1806.07421); infidelity and "
        "sensitivity after Yeh et al. 2019 (arXiv:1901.09392), by captum.metrics.",
    )


def limits_of(methods: Collection[str]) -> tuple[str, ...]:
    """What attributions cannot say."""
    own = "; ".join(f"{m.title}: {m.limits}" for m in METHODS if m.name in methods)
    return (
        "An attribution says which pixels a score depends on by one method's definition, not why, "
        "and not what a person would see there.",
        f"Known limits of the methods: {own}.",
        "The template is the same for all faces; where faces are turned, or alignment failed, "
        "regions hold other parts.",
        "Groups are compared as they are: a difference may come from their composition by other "
        "attributes, from hair style, glasses or background as well as from the face.",
        "Intervals hold the backbone and its probes fixed.",
    )


def findings_of(shares: Shares, trust: Checked, *, alpha: float) -> tuple[Finding, ...]:
    """The region with most attribution for its size, a warning about the outside, and failures.

    Args:
        shares: Of one target.
        trust: Which methods pass their check.
        alpha: Error rate of the claim about the region, and of that about the outside.
    """
    return (*_densest(shares, alpha), *_outside(shares, alpha), *_failed(shares, trust))


def _densest(shares: Shares, alpha: float) -> Iterator[Finding]:
    if not shares.trusted:
        return
    inside = range(len(shares.printed) - 1)
    found = [
        (region, value)
        for region in inside
        if (value := shares.measured({ALL: 1}, shares.trusted, region)) is not None
        and area_of(shares.printed[region]) > 0
    ]
    if not found:
        return
    region, most = max(found, key=lambda entry: entry[1].value / area_of(shares.printed[entry[0]]))
    share = estimate(most, level=shares.level)
    area = area_of(shares.printed[region])
    # The highest of several: its claim allows for all of them (Bonferroni).
    allowed = estimate(most, level=1 - alpha / len(found))
    if allowed.lower > area:
        than = "more than an even spread would put there"
    else:
        than = "which an even spread may give"
    yield Finding(
        text=(
            f"For its size, {shares.printed[region].name} has the most attribution of the "
            f"decision about {shares.target} at {shares.layer}: {percent_interval(share)} of it "
            f"({coverage(share.level)}, n = {share.n}) on {percent(area)} of the image, as the "
            f"mean of {len(shares.trusted)} methods; {than}, allowing for the choice among "
            f"{len(found)} regions{decided_at(alpha, share.level)}."
        ),
        weight=sureness_above(allowed.value, allowed.lower, area),
        estimates={"attribution_share": share},
        question="where",
    )


def _outside(shares: Shares, alpha: float) -> Iterator[Finding]:
    """More attribution outside the face than its area has is a sign of a shortcut."""
    region = len(shares.printed) - 1
    area = area_of(shares.printed[region])
    if not shares.trusted or area == 0:
        return
    found = shares.measured({ALL: 1}, shares.trusted, region)
    if found is None:
        return
    share = estimate(found, level=shares.level)
    told = (
        f"{percent_interval(share)} of the attribution of the decision about {shares.target} at "
        f"{shares.layer} lies outside the face ({coverage(share.level)}, n = {share.n}), which "
        f"is {percent(area)} of the image"
    )
    claimed = estimate(found, level=1 - alpha)
    is_above, is_below = claimed.lower > area, claimed.upper < area
    rate = decided_at(alpha, share.level)
    if is_above:
        text = (
            f"Possible shortcut: {told}: more than an even spread would put there{rate}, so the "
            "decision may rest on what surrounds faces."
        )
    elif is_below:
        text = f"{told}: less than an even spread would put there{rate}."
    else:
        text = f"{told}: no clear excess{rate}."
    yield Finding(
        text=text,
        weight=sureness(claimed, area),
        estimates={"attribution_share": share},
        question="where",
        is_warning=is_above,
    )


def _failed(shares: Shares, trust: Checked) -> Iterator[Finding]:
    failed = [
        name
        for name, standing in zip(shares.methods, trust.standing, strict=True)
        if standing != "passes"
    ]
    if failed:
        yield Finding(
            text=(
                f"{len(failed)} of {len(shares.methods)} methods did not pass the sanity check "
                f"for {shares.target} at {shares.layer} and are in no mean over methods: "
                f"{listed(failed, most=6)}."
            ),
            weight=0.0,
        )
