"""A sample of mutated inputs; `python -m tests.fuzzing` tries any number more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzzing import KINDS


@pytest.mark.parametrize(
    "start", [0, *(pytest.param(start, marks=pytest.mark.slow) for start in range(50, 300, 50))]
)
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs_are_read_or_refused_in_words(
    tmp_path: Path, kind: str, start: int
) -> None:
    for seed in range(start, start + 50):
        KINDS[kind](random.Random(seed), tmp_path)
