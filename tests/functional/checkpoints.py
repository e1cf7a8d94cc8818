"""A small network trained on the bundled faces, kept at four points of its training."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import nn

from bias_audit.data.faces import FaceTable
from bias_audit.data.sources import parametric

ARCHITECTURE, SIDE = "test_resnet", 64
NAMES = ("untrained", "epoch-1", "epoch-2", "epoch-4")
_BATCH, _RATE = 40, 2e-3


def train(folder: Path, attribute: str = "age") -> tuple[Path, ...]:
    """Train on every third face to tell an attribute; seconds on one core.

    Returns:
        The files, in the order of training.
    """
    table = parametric.read(parametric.Params())
    rows = range(0, len(table), 3)
    pixels = torch.from_numpy(np.stack([_pixels(table, row) for row in rows]))
    column = [entry.name for entry in table.attributes].index(attribute)
    labels = torch.from_numpy(table.codes[::3, column].copy())
    module = timm.create_model(ARCHITECTURE, num_classes=len(table.attributes[column].levels))
    _initialise(module, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(module.parameters(), lr=_RATE)
    order = np.random.default_rng(0)
    files = []
    for epoch in itertools.count():
        if (name := "untrained" if epoch == 0 else f"epoch-{epoch}") in NAMES:
            files.append(folder / f"{name}.safetensors")
            safetensors.torch.save_file(module.state_dict(), files[-1])
        if len(files) == len(NAMES):
            return tuple(files)
        module.train()
        shuffled = order.permutation(len(labels))
        for first in range(0, len(shuffled), _BATCH):
            chosen = torch.from_numpy(shuffled[first : first + _BATCH])
            optimiser.zero_grad()
            loss: Any = nn.functional.cross_entropy(module(pixels[chosen]), labels[chosen])
            loss.backward()
            optimiser.step()
    raise AssertionError


def _pixels(table: FaceTable, row: int) -> np.ndarray:
    with Image.open(table.references[row].file) as image:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 127.5 - 1


def _initialise(module: nn.Module, generator: torch.Generator) -> None:
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)
