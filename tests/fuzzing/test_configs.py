"""A sample of mutated configs; `configs.one` takes any number more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzzing.configs import one


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_mutated_configs_load_or_say_why(tmp_path: Path, start: int) -> None:
    for seed in range(start, start + 50):
        one(random.Random(seed), tmp_path)
