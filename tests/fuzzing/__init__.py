"""Mutated inputs: whatever is wrong with one, it is read or refused in words."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path

KINDS = ("configs", "manifests", "weights")


def one_of(kind: str) -> Callable[[random.Random, Path], None]:
    """Tries one mutation of a kind of input; raises unless it is read, or refused as declared."""
    found: Callable[[random.Random, Path], None] = importlib.import_module(
        f"{__name__}.{kind}"
    ).one
    return found
