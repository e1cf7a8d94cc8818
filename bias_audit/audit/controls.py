"""The controls of an audit: what else is probed for the same labels as the activations are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import extract, forward_input, made_by, resolve_device
from bias_audit.activations.store import StoredActivations
from bias_audit.analyses.analysis import Control
from bias_audit.audit.plan import Plan
from bias_audit.backbones.backbone import Backbone
from bias_audit.backbones.random_weights import (
    estimate_statistics,
    set_statistics,
    with_random_weights,
)
from bias_audit.config.schema import AuditConfig
from bias_audit.data.faces import Faces
from bias_audit.data.image_features import image_features
from bias_audit.errors import BackboneError, DataError, OutputError
from bias_audit.files import digest, read_arrays, write_arrays, writing
from bias_audit.progress import Progress
from bias_audit.results.audit import ControlRecord

RANDOM_WEIGHTS = "random weights"
_CALIBRATING = 32
"""Images that running statistics are estimated on."""
_CONSTANT = 1e-5
"""Activations that differ by less, relative to the largest, are alike up to rounding."""


@dataclass(frozen=True)
class ImageControl:
    """Numbers of the images themselves; the same at every layer."""

    kind: str
    name: str
    fingerprint: str
    values: npt.NDArray[np.float32]
    by_layer: bool = False

    def units(self, layer: str) -> npt.NDArray[np.float32]:  # noqa: ARG002
        """Shape (n_images, n_units)."""
        return self.values


@dataclass(frozen=True)
class RandomWeights:
    """The layers of the same architecture with random weights."""

    seed: int
    activations: StoredActivations
    forward_images: int
    """That passed now; 0 where activations were stored."""
    kind: str = RANDOM_WEIGHTS
    by_layer: bool = True

    @property
    def name(self) -> str:
        """Which of the draws."""
        return _name(self.seed)

    @property
    def fingerprint(self) -> str:
        """That of the activations."""
        return self.activations.fingerprint

    def units(self, layer: str) -> npt.NDArray[np.float32]:
        """Shape (n_images, n_units)."""
        return self.activations.units(layer)


@dataclass(frozen=True)
class Drawn:
    """What came of repeating a backbone with random weights."""

    controls: tuple[RandomWeights, ...]
    absent: tuple[ControlRecord, ...]


def image_controls(plan: Plan, faces: Faces, *, progress: Progress) -> tuple[ImageControl, ...]:
    """Image quality and pixels, if the config and an analysis ask for them.

    Raises:
        DataError: An image became unreadable after the scan.
        OutputError: The cache cannot be written.
    """
    if not plan.controls.image:
        return ()
    config = plan.config
    features = image_features(
        faces,
        workers=config.activations.workers,
        cache=config.output.cache,
        progress=progress,
    )
    numbers = {"image quality": features.quality, "pixels": features.pixels()}
    return tuple(
        ImageControl(kind, kind, digest(kind, features.fingerprint), values)
        for kind, values in numbers.items()
    )


def random_weight_controls(
    backbone: Backbone, plan: Plan, faces: Faces, *, progress: Progress
) -> Drawn:
    """Repeat a backbone with random weights, as often as the config asks for, if an analysis does.

    A draw that cannot be made is told and recorded, and the audit goes on without it.

    Raises:
        DataError: An image became unreadable after the scan.
        OutputError: The disk refuses.
    """
    controls: list[RandomWeights] = []
    absent: list[ControlRecord] = []
    for seed in range(1, plan.controls.random_weights + 1):
        try:
            controls.append(_random_weights(backbone, seed, plan.config, faces, progress=progress))
        except (DataError, OutputError):
            raise  # these say nothing about the architecture
        except Exception as error:  # noqa: BLE001  what a random network meets is not bounded
            why = str(error) if isinstance(error, BackboneError) else repr(error)
            absent.append(ControlRecord(kind=RANDOM_WEIGHTS, name=_name(seed), absent=why))
            progress.say(f"{backbone.record.name}: no control with {_name(seed)}: {why}")
    return Drawn(tuple(controls), tuple(absent))


def control_records(controls: tuple[Control, ...], drawn: Drawn) -> tuple[ControlRecord, ...]:
    """What the result says of the controls: those there are, then those that could not be had."""
    there = (ControlRecord(kind=control.kind, name=control.name) for control in controls)
    return (*there, *drawn.absent)


def _name(seed: int) -> str:
    return f"{RANDOM_WEIGHTS}, seed {seed}"


def _random_weights(
    backbone: Backbone, seed: int, config: AuditConfig, faces: Faces, *, progress: Progress
) -> RandomWeights:
    rows = _calibrating(faces)
    shown = digest(*(faces.sha256[row] for row in rows))
    drawn = with_random_weights(backbone, seed, calibrated_on=shown)
    cache = config.output.cache
    _set_statistics(drawn, rows, faces, config)
    extraction = extract(drawn, faces, config.activations, cache=cache, progress=progress)
    constant = [
        layer for layer in drawn.layers if _is_constant(extraction.activations.units(layer))
    ]
    if constant:
        raise BackboneError(
            f"with random weights, {', '.join(constant)} gave the same activations for every "
            "image, so there is nothing to probe"
        )
    return RandomWeights(seed, extraction.activations, extraction.forward_images)


def _calibrating(faces: Faces) -> list[int]:
    """Images chosen by their bytes alone, so without regard to labels and order."""
    return sorted(range(len(faces)), key=lambda row: faces.sha256[row])[:_CALIBRATING]


def _set_statistics(drawn: Backbone, rows: list[int], faces: Faces, config: AuditConfig) -> None:
    """Estimated once and kept: a resumed pass must go on with the very same numbers."""
    key = digest(*made_by(), drawn.fingerprint)
    file = config.output.cache / "random_weights" / f"{key}.npz"
    stored = read_arrays(file)
    if stored is None:
        stored = dict(estimate_statistics(drawn, _batch(drawn, rows, faces, config)))
        with writing(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_arrays(file, stored)
    set_statistics(drawn, stored)


def _batch(drawn: Backbone, rows: list[int], faces: Faces, config: AuditConfig) -> Tensor:
    device = resolve_device(config.activations.device)
    drawn.module.to(device)
    batches = decoded_batches(
        [faces.table.references[row] for row in rows],
        drawn.preprocessing,
        batch_size=len(rows),
        workers=config.activations.workers,
    )
    _, pixels = next(batches)
    return forward_input(pixels, drawn.preprocessing, device)


def _is_constant(units: npt.NDArray[np.float32]) -> bool:
    """Whether no unit differs between images; single constant units are usual."""
    return bool((np.ptp(units, axis=0) <= _CONSTANT * np.abs(units).max()).all())
