"""A small network, and images made of numbers that pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor, nn

from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Preprocessing
from bias_audit.backbones.pooling import OutputShape
from bias_audit.config.schema import Component

SIDE: Final = 32
"""Of an image, in pixels."""
PREPROCESSING: Final = Preprocessing(
    SIDE, SIDE, "stretch", 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
)
SHAPES: Final[Mapping[str, OutputShape]] = {
    "early": OutputShape("map", 12, SIDE // 2, SIDE // 2),
    "late": OutputShape("map", 12, SIDE // 2, SIDE // 2),
}
"""Of the two stages of `SmallNet`."""


class SmallNet(nn.Module):
    """Two stages with rectifiers as modules, working in place as most architectures do."""

    def __init__(self, n_units: int = 12) -> None:
        """Draw weights for stages of so many units, from torch's global generator."""
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.act1 = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.early = nn.Conv2d(8, n_units, 3, padding=1)
        self.act2 = nn.ReLU(inplace=True)
        self.late = nn.Sequential(nn.Conv2d(n_units, n_units, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(n_units, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Scores of four classes, (n_images, 4), of images, (n_images, 3, height, width)."""
        values = self.pool(self.act1(self.stem(images)))
        values = self.late(self.act2(self.early(values)))
        scores: Tensor = self.fc(values.mean(dim=(2, 3)))
        return scores


def frozen(module: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, without gradients, with weights drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn / max(1, parameter[0].numel()) ** 0.5)
    return module.eval().requires_grad_(requires_grad=False)


@dataclass
class FakeNetwork:
    """A `Network` whose images are tensors in memory."""

    module: nn.Module
    images: Tensor
    """Shape (n_images, 3, height, width)."""
    shapes: Mapping[str, OutputShape]
    without_classes: str | None = None
    preprocessing: Preprocessing = PREPROCESSING
    data: Component = field(default_factory=lambda: Component(kind="utkface"))
    n_asked: int = 0
    """Images that were requested so far."""
    fingerprint: str = "made of numbers"

    def batches(self, images: IntArray, size: int) -> Iterator[Tensor]:
        """Some of the images, at most `size` at a time."""
        for start in range(0, len(images), size):
            self.n_asked += len(images[start : start + size])
            yield self.images[torch.from_numpy(images[start : start + size])]
