"""The backbone itself, for analyses that go through it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bias_audit.activations.decode import decoded_batches
from bias_audit.activations.extract import forward_input, made_by, resolve_device
from bias_audit.arrays import IntArray
from bias_audit.backbones.backbone import Backbone, Preprocessing
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.schema import AuditConfig, Component
from bias_audit.data.faces import Faces
from bias_audit.files import digest
from bias_audit.software import software_of


@dataclass(frozen=True)
class LoadedNetwork:
    """A loaded backbone with the faces of an audit."""

    backbone: Backbone
    faces: Faces
    config: AuditConfig

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the preprocessing, and the code that brings images here."""
        return digest(software_of(__name__).digest, *made_by(), self.backbone.fingerprint)

    @property
    def device(self) -> torch.device:
        """Where the backbone runs.

        Raises:
            BackboneError: The device is not there.
        """
        return resolve_device(self.config.activations.device)

    @property
    def module(self) -> nn.Module:
        """On its device, as it was recorded."""
        return self.backbone.module.to(self.device).to(memory_format=torch.channels_last)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of the backbone."""
        return self.backbone.preprocessing

    @property
    def shapes(self) -> Mapping[str, OutputShape]:
        """Of the layers that are audited."""
        return self.backbone.shapes

    @property
    def without_classes(self) -> str | None:
        """Why the backbone returns no class scores; None where it does."""
        return None if self.backbone.head is not None else self.backbone.without_head

    @property
    def data(self) -> Component:
        """The source of the faces."""
        return self.config.data

    def batches(self, images: IntArray, size: int) -> Iterator[Tensor]:
        """Some images, preprocessed, at most `size` at a time.

        Raises:
            DataError: An image became unreadable after the scan.
        """
        device = self.device
        decoded = decoded_batches(
            [self.faces.table.references[image] for image in images],
            self.preprocessing,
            batch_size=size,
            workers=self.config.activations.workers,
        )
        try:
            for _, pixels in decoded:
                yield forward_input(pixels, self.preprocessing, device)
        finally:
            decoded.close()
