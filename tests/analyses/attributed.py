"""A small network that is attributed: images made of numbers, and where a level shows in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bias_audit.analyses.analysis import Subject
from bias_audit.backbones.pooling import units
from bias_audit.groups import Attribute
from bias_audit.testing.network import SHAPES, SIDE, FakeNetwork, SmallNet, frozen
from tests.analyses.planted import GENDER, FakeCache, make_subject

AGE = Attribute("age", ("young", "old"))


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
