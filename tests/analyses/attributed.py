"""A small network that is attributed: images made of numbers, and where a level shows in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from bias_audit.analyses.analysis import Subject
from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Preprocessing
from bias_audit.backbones.pooling import OutputShape, units
from bias_audit.config.schema import Component
from bias_audit.groups import Attribute
from tests.analyses.planted import GENDER, FakeCache, make_subject

SIDE = 32
UTKFACE = Component(kind="utkface")
AGE = Attribute("age", ("young", "old"))
PREPROCESSING = Preprocessing(
    SIDE, SIDE, "stretch", 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
)


class SmallNet(nn.Module):
    """Two stages with rectifiers as modules, working in place as most architectures do."""

    def __init__(self, n_units: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.act1 = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.early = nn.Conv2d(8, n_units, 3, padding=1)
        self.act2 = nn.ReLU(inplace=True)
        self.late = nn.Sequential(nn.Conv2d(n_units, n_units, 3, padding=1), nn.ReLU(inplace=True))
        self.fc = nn.Linear(n_units, 4)

    def forward(self, images: Tensor) -> Tensor:
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


SHAPES = {
    "early": OutputShape("map", 12, SIDE // 2, SIDE // 2),
    "late": OutputShape("map", 12, SIDE // 2, SIDE // 2),
}


@dataclass
class FakeNetwork:
    """A network whose images are made when they are asked for."""

    module: nn.Module
    images: Tensor
    shapes: Mapping[str, OutputShape]
    without_classes: str | None = None
    preprocessing: Preprocessing = PREPROCESSING
    data: Component = UTKFACE
    n_asked: int = 0
    fingerprint: str = "made of numbers"

    def batches(self, images: IntArray, size: int) -> Iterator[Tensor]:
        for start in range(0, len(images), size):
            self.n_asked += len(images[start : start + size])
            yield self.images[torch.from_numpy(images[start : start + size])]


def attributed(
    n: int = 120, *, patch: bool = True, seed: int = 0, cache: FakeCache | None = None
) -> Subject:
    """Gender is a patch in the upper left corner, or nothing; age is nothing."""
    rng = np.random.default_rng(seed)
    codes = np.stack([np.arange(n) % 2, np.arange(n) // 2 % 2], axis=1)
    images = 0.3 * rng.standard_normal((n, 3, SIDE, SIDE))
    if patch:
        images[codes[:, 1] == 1, :, 1:8, 1:8] += np.array([3.0, -2.0, 1.0])[:, None, None]
    tensor = torch.from_numpy(images.astype(np.float32))
    module = frozen(SmallNet())
    values = {}
    for layer, shape in SHAPES.items():
        seen: list[Tensor] = []
        handle = module.get_submodule(layer).register_forward_hook(
            lambda _m, _i, output, seen=seen: seen.append(output.clone())
        )
        with torch.no_grad():
            module(tensor)
        handle.remove()
        values[layer] = units(seen[0], shape).numpy()
    subject = make_subject(codes, values, (AGE, GENDER), cache=cache, seed=seed)
    return replace(subject, network=FakeNetwork(module, tensor, SHAPES))
