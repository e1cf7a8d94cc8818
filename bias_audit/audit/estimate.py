"""What an audit will cost, from a few timed steps on the machine it will run on."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from bias_audit.activations.extract import bytes_needed, forward_input
from bias_audit.activations.store import free_bytes
from bias_audit.analyses.analysis import Workload
from bias_audit.analyses.probing.discriminant import FoldSums, Labelling, Standardised, cross_fit
from bias_audit.analyses.probing.probes import ProbeSettings, probe_work
from bias_audit.analyses.targets import targets_of
from bias_audit.audit.plan import Plan
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.data.faces import Faces
from bias_audit.data.image_features import QUALITIES, SIDE, describe
from bias_audit.deferred import torch
from bias_audit.device import device_for
from bias_audit.statistics.influence import macro_auc

_TIMED_IMAGES = 8


@dataclass(frozen=True)
class Cost:
    """Of one backbone's part of an audit, when nothing is stored yet."""

    backbone: str
    layers: tuple[tuple[str, int], ...]
    """(name, units)."""
    forward_seconds: float
    """Of all passes: the backbone's own, one for each draw of random weights, and that of the
    reference images."""
    analysis_seconds: tuple[tuple[str, float], ...]
    """(kind, seconds) of the analyses that take long."""
    disk_bytes: int
    free_bytes: int
    assumed: tuple[str, ...] = ()
    """What neither the config nor the files say about the weights."""


def estimate(plan: Plan, faces: Faces, n_reference: int = 0) -> tuple[Cost, ...]:
    """Time a forward pass of each architecture, without its weights, and one probe fit.

    Reference images, `n_reference`, pass through every backbone as well.

    Raises:
        BackboneError: An architecture cannot be built, or its layers are not found.
    """
    unit_seconds = _seconds_per_work()
    costs = []
    for planned in plan.backbones:
        backbone = load_backbone(planned.kind, planned.source, planned.params, pretrained=False)
        costs.append(_cost(backbone, plan, faces, unit_seconds, n_reference))
    return tuple(costs)


def _cost(
    backbone: Backbone, plan: Plan, faces: Faces, unit_seconds: float, n_reference: int
) -> Cost:
    settings, controls = plan.config.activations, plan.controls
    draws = controls.random_weights if backbone.gives == "network" else 0
    layers = {layer.name: layer.n_units for layer in backbone.record.layers}
    workload = Workload(
        len(faces),
        layers,
        faces.table.attributes,
        positions=max(1, settings.positions**2),
        shuffles=controls.shuffles,
        refits=controls.refits,
        label_sets={each.name: len(each.label_sets) for each in targets_of(faces.table)},
        layer_controls=draws,
        other_controls=(len(QUALITIES), 3 * SIDE**2) if controls.image else (),
        multiplicity=plan.multiplicity(faces.table.attributes),
    )
    per_image = 0.0 if backbone.given else _seconds_per_image(backbone, settings.device)
    by_analysis = []
    for planned in plan.analyses:
        analysis, params = planned.analysis, planned.params
        seconds = analysis.fits(params, workload) * unit_seconds
        by_analysis.append((planned.kind, seconds + analysis.passes(params, workload) * per_image))
    own = 3 if settings.aligned else 1  # a backward pass counts as two
    n_images = faces.table.n_images  # one with several answers has several rows
    n_passed = n_images * (own + draws) + n_reference
    return Cost(
        backbone=backbone.record.name,
        layers=tuple(layers.items()),
        forward_seconds=per_image * n_passed,
        analysis_seconds=tuple((kind, seconds) for kind, seconds in by_analysis if seconds),
        disk_bytes=bytes_needed(backbone, settings, n_images, with_head=plan.needs_head)
        + draws * bytes_needed(backbone, settings.without_positions(), n_images),
        free_bytes=free_bytes(plan.config.output.cache.absolute()),
        assumed=backbone.record.assumed,
    )


def image_seconds(plan: Plan, faces: Faces) -> float:
    """What image quality and pixels of all images take; 0 if nothing asks for them.

    Raises:
        DataError: An image became unreadable after the scan.
    """
    if not plan.controls.image:
        return 0.0
    references = faces.table.references[:_TIMED_IMAGES]
    began = time.monotonic()
    for reference in references:
        describe(reference)
    seconds = (time.monotonic() - began) / len(references)
    return seconds * faces.table.n_images / plan.config.activations.workers


def _seconds_per_image(backbone: Backbone, device_name: str) -> float:
    device = device_for(device_name)
    module = backbone.module.to(device).to(memory_format=torch.channels_last)
    shape = backbone.preprocessing
    pixels = np.zeros((_TIMED_IMAGES, shape.height, shape.width, 3), dtype=np.uint8)
    batch = forward_input(pixels, shape, device)
    with torch.inference_mode():
        module(batch)
        began = time.monotonic()
        module(batch).cpu()
    return (time.monotonic() - began) / _TIMED_IMAGES


def _seconds_per_work() -> float:
    """Seconds of a unit of `probe_work`, timed on noise with an effect planted."""
    rng = np.random.default_rng(0)
    settings = ProbeSettings()
    n_images, n_units, n_levels, labellings = 1000, 400, 20, 4
    codes = np.arange(n_images) % n_levels
    units = rng.standard_normal((n_images, n_units)) + (codes[:, None] == np.arange(n_units))
    folds = np.arange(n_images) // n_levels % settings.folds
    labels = [codes, *(rng.permutation(codes) for _ in range(labellings - 1))]
    seconds = []
    for _ in range(2):  # the first one also starts the threads
        began = time.monotonic()
        standardised = Standardised(units.astype(np.float32))
        sums = FoldSums.of(standardised, folds)
        every = [Labelling(each, n_levels) for each in labels]
        for probes in cross_fit(sums, every, settings.shrinkages):
            found = standardised.linear_map(probes)
            images = np.arange(n_images)
            scores = found.probabilities(units, images, folds, device=torch.device("cpu"))
            macro_auc(scores, codes, folds)
        seconds.append(time.monotonic() - began)
    return seconds[-1] / probe_work(
        settings,
        n_images=n_images,
        n_units=n_units,
        n_levels=n_levels * labellings,
        labellings=labellings,
    )
