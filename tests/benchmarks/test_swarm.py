"""The swarm against a numpy transcription of the published update; prints ratios, judges none."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from bias_audit.analyses.mapping.layout import comparable, pairwise
from bias_audit.analyses.mapping.som_and_swarm import swarm
from tests.analyses.test_particle_swarm import transcribed

pytestmark = pytest.mark.benchmark

MOST_SECONDS = 90.0
"""Of the transcription; further steps are counted at the speed of those made."""
CASES = [
    (512, 100, "refinement"),
    (512, 1000, "full"),
    (2048, 100, "refinement"),
    (2048, 1000, "full"),
    (2048, 6, "refinement"),  # few enough for the transcription: its quality is known
]


@pytest.mark.parametrize(("n_units", "steps", "kind"), CASES)
def test_swarm_against_its_transcription(
    n_units: int, steps: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seconds of both, and how well the layouts keep neighbours, on profiles of 126 groups.

    Where the transcription would take too long, its quality is not known and is not printed.
    """
    rng = np.random.default_rng(0)
    signatures = rng.standard_normal((n_units, 6)) @ rng.standard_normal((6, 126))
    signatures += rng.standard_normal((n_units, 126))
    rows = comparable(signatures, "cosine")
    distances = pairwise(signatures, "cosine") if kind == "full" else None
    start = 5 * np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[0][:, :2]
    start *= np.sqrt(n_units)
    if kind == "full":
        start = rng.uniform(size=(n_units, 2)) - 0.5
    swarm(start[:8], 2, None if distances is None else distances[:8, :8])  # compiles

    began = time.perf_counter()
    ours = swarm(start, steps, distances)
    seconds = time.perf_counter() - began
    wide = None if distances is None else distances.astype(np.float64)
    began = time.perf_counter()
    transcribed(start, 2, wide)
    per_step = (time.perf_counter() - began) / 2
    is_whole = per_step * steps <= MOST_SECONDS
    alone, quality = per_step * steps, "not known"
    if is_whole:
        began = time.perf_counter()
        theirs = transcribed(start, steps, wide)
        alone = time.perf_counter() - began
        quality = f"{trustworthiness(rows, theirs, n_neighbors=10):.4f}"
    with capsys.disabled():
        sys.stdout.write(
            f"\n{kind} of {n_units} units, {steps} steps: {seconds:.2f} s, transcription "
            f"{alone:.1f} s{'' if is_whole else ' (extrapolated from 2 steps)'}, ratio "
            f"{alone / seconds:.0f}; trustworthiness "
            f"{trustworthiness(rows, ours, n_neighbors=10):.4f}, of the transcription {quality}\n"
        )
