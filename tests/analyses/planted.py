"""Subjects made of numbers: activations with a planted effect, and an in-memory cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from bias_audit.analyses.analysis import Subject
from bias_audit.arrays import IntArray
from bias_audit.cache import Arrays, Cache
from bias_audit.groups import Attribute
from bias_audit.selftest.simulated import Sample, subject_of

B = TypeVar("B")
AGE = Attribute("age", ("young", "middle", "old"))
GENDER = Attribute("gender", ("female", "male"))


class FakeCache(Cache):
    """Keeps copies, and counts what was put."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0

    def put(self, key: str, arrays: Arrays) -> None:
        self.puts += 1
        super().put(key, {name: np.array(array) for name, array in arrays.items()})


def make_subject(
    codes: npt.NDArray[np.integer[Any]],
    by_layer: Mapping[str, npt.NDArray[np.floating[Any]]],
    attributes: tuple[Attribute, ...] = (AGE, GENDER),
    *,
    clusters: IntArray | None = None,
    cache: FakeCache | None = None,
    seed: int = 0,
) -> Subject:
    grouped = np.arange(len(codes)) if clusters is None else clusters
    values = {name: array.astype(np.float32) for name, array in by_layer.items()}
    sample = Sample(attributes, np.asarray(codes, dtype=np.int64), grouped, values)
    # One shuffle is enough to test with, and quicker.
    return replace(subject_of(sample, seed, cache or FakeCache()), shuffles=1)


def planted(
    n: int = 360, n_units: int = 12, strength: float = 1.0, seed: int = 0, **options: Any
) -> Subject:
    """Age moves three units of layer "late", a little of "early"; gender moves nothing."""
    rng = np.random.default_rng(seed)
    codes = crossed(n)
    noise = {name: rng.standard_normal((n, n_units)) for name in ("early", "late")}
    for name, size in (("early", 0.3 * strength), ("late", strength)):
        noise[name][np.arange(n), codes[:, 0]] += 2 * size
    return make_subject(codes, noise, seed=seed, **options)


def crossed(n: int) -> IntArray:
    """Codes of three levels and of two, every combination as often, shape (n, 2)."""
    return np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)


def of_type(blocks: Sequence[Any], kind: type[B]) -> list[B]:
    """The blocks of one type."""
    return [block for block in blocks if isinstance(block, kind)]
