"""A forward pass takes as much memory for many images as for few."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import dataclasses, resource, sys
from pathlib import Path
import numpy as np
from bias_audit.activations.extract import extract
from bias_audit.config.schema import Activations
from bias_audit.progress import Silent
from tests.activations.conftest import bundled, some_faces
from bias_audit.config.catalog import DATA_SOURCES
source = DATA_SOURCES.load("parametric")
few = some_faces(source.read(source.params_type()), 64)
rows = np.resize(np.arange(64), int(sys.argv[2]))
faces = dataclasses.replace(
    few,
    table=few.table.only(rows),
    clusters=few.clusters[rows],
    sha256=tuple(few.sha256[row] for row in rows),
)
settings = Activations(device="cpu", batch_size=16, positions=8, aligned=sys.argv[3] == "aligned")
backbone = bundled(["blocks.1", "blocks.5", "bn2"])
extract(backbone, faces, settings, cache=Path(sys.argv[1]), progress=Silent(), with_head=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["plain", "aligned"])
def test_peak_memory_does_not_follow_the_number_of_images(tmp_path: Path, how: str) -> None:
    peaks = {}
    for n_images in (64, 1600):
        folder = tmp_path / str(n_images)
        out = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(folder), str(n_images), how],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks[n_images] = float(out.stdout)
        size = sum(path.stat().st_size for path in folder.rglob("*.npy")) / 2**20
    # What was written for the images added is far more than what memory grew by.
    assert size > 100
    assert peaks[1600] - peaks[64] < 0.2 * size, (peaks, size)
