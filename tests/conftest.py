"""What many tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real faces and weights that may not be part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(
            "needs real faces and weights in ../shared, which a public clone does not have"
        )
    return SHARED
