"""From a target to what is attributed: a probe's decision, or the backbone's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.decision import OwnDecision, ProbeDecision
from bias_audit.analyses.attributing.passing import TargetsOf
from bias_audit.analyses.attributing.probe_map import probe_map
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, part_of
from bias_audit.analyses.probing.separability import check_layers, probed_layers
from bias_audit.analyses.targets import targets_of
from bias_audit.arrays import IntArray
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError
from bias_audit.files import digest

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
