"""One damaged file of weights: it is read, or refused in words."""

from __future__ import annotations

import functools
import io
import random
import warnings
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from bias_audit.backbones.loading import Architecture, Preprocessing
from bias_audit.backbones.weights import Wanted, fill_from
from bias_audit.errors import BackboneError

_HEADER = 1500
_MOST_CHANGES = 12


@functools.cache
def _architecture() -> Architecture:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)).eval()
    size = Preprocessing(16, 16, "stretch", 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)
    return Architecture(module, "a test", size)


@functools.cache
def _files() -> tuple[bytes, ...]:
    """What people save of one small module."""
    state = _architecture().module.state_dict()
    nests = (state, {"model": {"state_dict": state}, "args": {"lr": 1}, "epoch": 3})
    made = [safetensors.torch.save(dict(state))]
    for nest in nests:
        for new in (True, False):
            stream = io.BytesIO()
            torch.save(nest, stream, _use_new_zipfile_serialization=new)
            made.append(stream.getvalue())
    return tuple(made)


def one(rng: random.Random, folder: Path) -> None:
    """Damage a file of weights and read it; anything but a declared error is raised."""
    data = bytearray(rng.choice(_files()))
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        _damage(rng, data)
    file = folder / rng.choice(["a.pth", "a.safetensors", "a"])
    file.write_bytes(data)
    wanted = Wanted(rng.choice([None, "model", "x"]), rng.choice([None, None, "0.", "x"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fill_from(file, _architecture(), wanted)
        except BackboneError as error:
            assert "\\x" not in str(error)  # noqa: PT017  also of errors that were expected


def _damage(rng: random.Random, data: bytearray) -> None:
    """Change, drop, repeat or insert some bytes, mostly where formats keep what they mean."""
    start = rng.randrange(min(len(data), _HEADER) if rng.random() < 0.8 else len(data) or 1)
    if rng.random() < 0.2:
        start = max(0, len(data) - rng.randint(1, _HEADER))  # the directory of an archive
    length = rng.choice([1, 1, 1, 2, 8, 40])
    piece = bytes(data[start : start + length])
    choices = [
        rng.randbytes(length),
        b"",
        piece + piece,
        piece[::-1],
        bytes(length),
        b"\xff" * length,
        rng.choice([b"{", b"}", b'"', b".", b"c", b"R", b"\x80", b"99999999999"]),
    ]
    data[start : start + length] = rng.choice(choices)
    if not data:
        data += b"x"
