"""The controls of an audit: what else is probed for the same labels as the activations are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import Extraction, extract, forward_input, made_by
from bias_audit.arrays import Float32Array, IntArray
from bias_audit.audit.plan import GIVEN, Plan
from bias_audit.backbones.loading import Backbone, Preprocessing
from bias_audit.backbones.pooling import OutputShape
from bias_audit.backbones.random_weights import (
    Statistics,
    estimate_statistics,
    set_statistics,
    with_random_weights,
)
from bias_audit.cache import Cache, CacheEntry
from bias_audit.config.schema import AuditConfig, Component, Sampling
from bias_audit.data.faces import Faces, FaceTable, ImageReference
from bias_audit.data.image_features import image_features
from bias_audit.data.sampling import prepare
from bias_audit.deferred import torch
from bias_audit.device import device_for
from bias_audit.errors import BackboneError, DataError, OutputError
from bias_audit.files import digest
from bias_audit.groups import Attribute
from bias_audit.progress import Progress
from bias_audit.results.audit import ControlRecord
from bias_audit.software import software_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
RANDOM_WEIGHTS = "random weights"
_CALIBRATING = 32
"""Images that running statistics are estimated on."""
_CONSTANT = 1e-5
"""Activations that differ by less, relative to the largest, are alike up to rounding."""


def reference_images(config: AuditConfig, *, progress: Progress) -> Faces | None:
    """The images of a config's reference folder, without exact duplicates; None if it names none.

    Raises:
        DataError: The folder is not there, or has no usable image.
    """
    folder = config.controls.reference
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"controls.reference: expected a folder of images, got {folder}")
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not files:
        raise DataError(
            f"controls.reference: found no image in {folder}; expected files ending in "
            f"{', '.join(sorted(_SUFFIXES))}"
        )
    table = FaceTable(
        name=f"reference {folder.absolute()}",
        attributes=(Attribute("image", ("any",)),),  # a table needs one
        references=tuple(ImageReference(file) for file in files),
        codes=np.zeros((len(files), 1), dtype=np.int64),
        identities=None,
        splits=None,
        label_origin="none",
        licence="not stated",
    )
    faces = prepare(
        table,
        Sampling(near_duplicates=False),
        workers=config.activations.workers,
        seed=config.seed,
        cache=config.output.cache,
        progress=progress,
    )
    left_out = len(table) - len(faces)
    why = f"; {left_out} cannot be used or are exact duplicates" if left_out else ""
    progress.say(f"{len(faces)} reference images in {folder}{why}")
    return faces


class LoadedNetwork:
    """A loaded backbone with the faces of an audit; see `analyses.analysis.Network`."""

    def __init__(self, backbone: Backbone, faces: Faces, config: AuditConfig) -> None:
        """Keep what an analysis may ask for; nothing is moved to a device yet."""
        self.faces, self._backbone, self._settings = faces, backbone, config.activations
        self.fingerprint = digest(software_of(__name__).digest, *made_by(), backbone.fingerprint)
        self.preprocessing: Preprocessing = backbone.preprocessing
        self.shapes: Mapping[str, OutputShape] = backbone.shapes
        self.without_classes = None if backbone.head is not None else backbone.without_head
        self.data: Component = config.data

    @property
    def module(self) -> nn.Module:
        """On its device, as it was recorded.

        Raises:
            BackboneError: The device is not there.
        """
        device = device_for(self._settings.device)
        return self._backbone.module.to(device).to(memory_format=torch.channels_last)

    def batches(self, images: IntArray, size: int) -> Iterator[Tensor]:
        """Some images, preprocessed, at most `size` at a time.

        Raises:
            DataError: An image became unreadable after the scan.
        """
        device = device_for(self._settings.device)
        decoded = decoded_batches(
            [self.faces.table.references[image] for image in images],
            self.preprocessing,
            batch_size=size,
            workers=self._settings.workers,
        )
        try:
            for _, pixels in decoded:
                yield forward_input(pixels, self.preprocessing, device)
        finally:
            decoded.close()


@dataclass(frozen=True)
class MadeControl:
    """Random weights (by layer), or numbers of the images themselves; see `analyses.Control`."""

    kind: str
    name: str
    fingerprint: str
    by_layer: bool
    read: Callable[[str], Float32Array]
    forward_images: int = 0
    """That passed now; 0 where activations were stored."""
    size: int = 0
    """Bytes of activations on disk."""

    def units(self, layer: str) -> Float32Array:
        """Shape (n_images, n_units)."""
        return self.read(layer)


def image_controls(plan: Plan, faces: Faces, *, progress: Progress) -> tuple[MadeControl, ...]:
    """Image quality and pixels, if the config and an analysis ask for them.

    Raises:
        DataError: An image became unreadable after the scan.
    """
    if not plan.controls.image:
        return ()
    config = plan.config
    features = image_features(
        faces, workers=config.activations.workers, cache=config.output.cache, progress=progress
    )
    numbers = {"image quality": features.quality, "pixels": features.pixels()}
    return tuple(
        MadeControl(kind, kind, digest(kind, features.fingerprint), False, partial(_same, values))  # noqa: FBT003
        for kind, values in numbers.items()
    )


def _same(values: Float32Array, _layer: str) -> Float32Array:
    return values


def random_weight_controls(
    backbone: Backbone, plan: Plan, faces: Faces, *, progress: Progress
) -> tuple[tuple[MadeControl, ...], tuple[ControlRecord, ...]]:
    """Repeat a backbone with random weights, as often as the config asks for, if an analysis does.

    A draw that cannot be made is reported and recorded, and the audit continues.

    Raises:
        DataError: An image became unreadable after the scan.
    """
    controls: list[MadeControl] = []
    absent: list[ControlRecord] = []
    if backbone.gives != "network" and plan.controls.random_weights:
        why = GIVEN[backbone.gives]
        return (), (ControlRecord(kind=RANDOM_WEIGHTS, name=RANDOM_WEIGHTS, absent=why),)
    for seed in range(1, plan.controls.random_weights + 1):
        name = f"{RANDOM_WEIGHTS}, seed {seed}"
        try:
            made = _random_weights(backbone, seed, plan.config, faces, progress=progress)
        except (DataError, OutputError):
            raise  # these say nothing about the architecture
        except Exception as error:  # noqa: BLE001  what a random network meets is not bounded
            why = str(error) if isinstance(error, BackboneError) else repr(error)
            absent.append(ControlRecord(kind=RANDOM_WEIGHTS, name=name, absent=why))
            progress.say(f"{backbone.record.name}: no control with {name}: {why}")
        else:
            found = made.activations
            control = MadeControl(
                RANDOM_WEIGHTS,
                name,
                found.fingerprint,
                by_layer=True,
                read=found.units,
                forward_images=made.forward_images,
                size=found.size,
            )
            controls.append(control)
    return tuple(controls), tuple(absent)


def _random_weights(
    backbone: Backbone, seed: int, config: AuditConfig, faces: Faces, *, progress: Progress
) -> Extraction:
    # Images chosen by their bytes alone, so without regard to labels and order.
    rows = sorted(range(len(faces)), key=lambda row: faces.sha256[row])[:_CALIBRATING]
    shown = digest(*(faces.sha256[row] for row in rows))
    drawn = with_random_weights(backbone, seed, calibrated_on=shown)

    def statistics() -> Statistics:
        device = device_for(config.activations.device)
        drawn.module.to(device)
        batches = decoded_batches(
            [faces.table.references[row] for row in rows],
            drawn.preprocessing,
            batch_size=len(rows),
            workers=config.activations.workers,
        )
        _, pixels = next(batches)
        return estimate_statistics(drawn, forward_input(pixels, drawn.preprocessing, device))

    # Estimated once and kept: a resumed pass must go on with the very same numbers.
    place = Cache(config.output.cache / "random_weights")
    inputs = (_random_weights, extract, drawn.fingerprint)
    kept = CacheEntry(place, "statistics", inputs, with_random_weights)
    set_statistics(drawn, kept.or_computed(statistics))
    cache = config.output.cache
    settings = config.activations.without_positions()
    extraction = extract(drawn, faces, settings, cache=cache, progress=progress)
    constant = [
        layer for layer in drawn.layers if _is_constant(extraction.activations.units(layer))
    ]
    if constant:
        raise BackboneError(
            f"with random weights, {', '.join(constant)} gave the same activations for every "
            "image, so there is nothing to probe"
        )
    return extraction


def _is_constant(units: Float32Array) -> bool:
    """Whether no unit differs between images; single constant units are usual."""
    return bool((np.ptp(units, axis=0) <= _CONSTANT * np.abs(units).max()).all())
