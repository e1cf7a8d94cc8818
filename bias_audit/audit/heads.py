"""The classification layer of a backbone, with what it received for every image."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from bias_audit.activations.extract import extract
from bias_audit.activations.store import StoredActivations
from bias_audit.analyses.analysis import Head
from bias_audit.backbones.backbone import Backbone
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.progress import Progress


@dataclass(frozen=True)
class ForHead:
    """What analyses of the classification layer need."""

    asked: bool
    """Whether any analysis of the plan asks for it."""
    reference: Faces | None = None
    """Images to compare with."""


@dataclass(frozen=True)
class FoundHead:
    """The classification layer, or why there is none."""

    head: Head | None
    why_not: str = ""


def head_of(
    backbone: Backbone,
    activations: StoredActivations,
    wanted: ForHead,
    config: AuditConfig,
    *,
    progress: Progress,
) -> FoundHead:
    """Put the classification layer together from the weights and the recorded inputs.

    Raises:
        DataError: A reference image became unreadable after the scan.
        OutputError: The disk refuses.
    """
    if not wanted.asked:
        return FoundHead(None, "no analysis of this audit asked for it")
    inputs = activations.head_inputs
    if backbone.head is None or inputs is None:
        return FoundHead(None, backbone.without_head)
    reference = None
    if wanted.reference is not None:
        passed = _only_head(backbone, wanted.reference, config, progress=progress)
        reference = passed.head_inputs
    layer = backbone.head
    return FoundHead(Head(layer.name, layer.weight, layer.bias, inputs, reference))


def _only_head(
    backbone: Backbone, images: Faces, config: AuditConfig, *, progress: Progress
) -> StoredActivations:
    """Pass images through a backbone for what its classification layer receives alone."""
    name = f"{backbone.record.name}, reference images"
    record = backbone.record.model_copy(update={"layers": (), "name": name})
    extraction = extract(
        dataclasses.replace(backbone, record=record),
        images,
        config.activations,
        cache=config.output.cache,
        progress=progress,
        with_head=True,
    )
    return extraction.activations
