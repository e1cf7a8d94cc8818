"""What is attributed: a backbone up to a layer, and a probe's scores, as one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bias_audit.analyses.analysis import Network, Subject
from bias_audit.analyses.attributing.names import OWN
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, Scores, part_of, probe
from bias_audit.analyses.probing.separability import check_layers, probed_layers
from bias_audit.analyses.targets import targets_of
from bias_audit.arrays import IntArray
from bias_audit.backbones.pooling import OutputShape, hidden, units
from bias_audit.data.faces import Faces
from bias_audit.errors import AnalysisError
from bias_audit.files import digest

TargetsOf = Callable[[Tensor, IntArray], Tensor]
"""Which score is attributed, from a batch and the places of its images."""
Attributed = Literal["predicted", "annotated"]


@dataclass(frozen=True)
class ScoreMap:
    """Scores as a linear function of the spatial means of a layer's units."""

    weight: npt.NDArray[np.float32]
    """Shape (n_scores, n_units); the standardisation of the units is included."""
    bias: npt.NDArray[np.float32]
    """Shape (n_scores,)."""

    def scores(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of activations of shape (n, n_units): shape (n, n_scores)."""
        result: npt.NDArray[np.float32] = values @ self.weight.T + self.bias
        return result


class _ReachedError(Exception):
    """The layer has run; nothing behind it is needed."""


class ProbeDecision(nn.Module):
    """A backbone up to a layer, its spatial mean, and a linear map of that.

    What lies behind the layer does not run. The backbone is used as it is and not changed.
    """

    def __init__(
        self, module: nn.Module, layer: str, shapes: Mapping[str, OutputShape], scores: ScoreMap
    ) -> None:
        super().__init__()
        self.backbone = module
        self.layer = layer
        self.shape = shapes[layer]
        like = next(module.parameters())
        self.linear = nn.Linear(scores.weight.shape[1], len(scores.weight)).to(like.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(scores.weight))
            self.linear.bias.copy_(torch.from_numpy(scores.bias))
        self.requires_grad_(requires_grad=False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Scores of preprocessed images, shape (n, n_scores)."""
        reached: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: object, output: object) -> None:
            reached.append(cast("Tensor", hidden(output)))
            raise _ReachedError

        layer = self.backbone.get_submodule(self.layer)
        with suppress(_ReachedError), layer.register_forward_hook(stop):
            self.backbone(images)
        return cast("Tensor", self.linear(units(reached[-1], self.shape)))


@dataclass(frozen=True)
class ProbeMap:
    """The probes of one target at one layer."""

    scores: Scores
    """Out-of-fold probabilities, and the fold of each image."""
    linear: ScoreMap
    """Score `fold * n_levels + level`: of a level, by the probe that did not see the fold."""
    n_levels: int

    def outputs(self, levels: IntArray) -> IntArray:
        """Which score is that of a level for each image of the probe, by its own fold's probe.

        Levels are indices into the kept levels, per image of `scores`, shape (n,).
        """
        return self.scores.folds * self.n_levels + levels


def probe_map(subject: Subject, spec: ProbeSpec) -> ProbeMap:
    """The probes of a target as one map of the activations as stored.

    Raises:
        AnalysisError: The target is not measurable, or the activations are not finite.
    """
    found = probe(subject, spec)
    probes = found.probes
    n_folds, n_units, n_levels = probes.weights.shape
    weight = probes.weights.transpose(0, 2, 1).reshape(n_folds * n_levels, n_units)
    bias = probes.bias.reshape(-1) - weight.astype(np.float64) @ probes.mean
    return ProbeMap(found.scores, ScoreMap(weight, bias.astype(np.float32)), n_levels)


@dataclass(frozen=True)
class Decided:
    """A decision that can be attributed, and the images it can be attributed on."""

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

            def highest(batch: Tensor, _places: IntArray) -> Tensor:
                with torch.no_grad():
                    return cast("Tensor", self.module(batch).argmax(dim=1))

            return highest
        found = self.outputs[np.searchsorted(self.candidates, images)]
        return lambda batch, places: torch.from_numpy(found[places]).to(batch.device)


def probe_decision(
    subject: Subject,
    network: Network,
    module: nn.Module,
    spec: tuple[str, str, ProbeSettings, Attributed],
) -> Decided | str:
    """The decision of a target's out-of-fold probe, or why there is none.

    `spec` is the target's name, a layer or "best", settings, and whose level is attributed;
    `module` the backbone, rewired.

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
        f"the score that the out-of-fold probe of {target.described} at {layer} gives the group "
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
        module,
        np.arange(len(subject.faces), dtype=np.int64),
        None,
        n_classes,
        digest(OWN),
    )


def drawn_images(
    faces: Faces, candidates: IntArray, most: int | None, rng: np.random.Generator
) -> IntArray:
    """Some of the candidates, as evenly over the intersections as they are there.

    Candidates, and the result in ascending order, are numbers of images; all are taken where
    `most` is None.

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
