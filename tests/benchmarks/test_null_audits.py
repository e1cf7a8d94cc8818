"""Audits of real activations whose labels were permuted: how often they claim or fail anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bias_audit.activations.extract import extract
from bias_audit.config.schema import Activations
from bias_audit.data.faces import Faces
from bias_audit.progress import Silent
from bias_audit.selftest.checks.null import NullAudit, audit_of_nothing
from bias_audit.selftest.simulated import Sample
from bias_audit.selftest.trials import Trials, processes_for, share, started
from tests.benchmarks.test_extraction import fairface
from tests.benchmarks.test_probes import resnet50

N_FACES, N_AUDITED = 1200, 400

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]


def test_null_audits_of_real_activations(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each audit draws faces and deals the rows of labels (age, race, gender) to clusters anew.

    NULL_AUDITS sets how many (20), PROBE_CACHE keeps the activations.
    """
    n = int(os.environ.get("NULL_AUDITS", "20"))
    faces = fairface(shared, N_FACES)
    stored = extract(
        resnet50(shared, ["act1", "layer3.5", "layer4.2"]),
        faces,
        Activations(),
        cache=Path(os.environ.get("PROBE_CACHE", tmp_path)),
        progress=Silent(),
    ).activations
    units = {}
    for number, layer in enumerate(stored.layers):
        units[layer] = tmp_path / f"{number}.npy"
        np.save(units[layer], np.asarray(stored.units(layer)))
    with started(processes_for("full")) as executor, Silent().step("", total=n, unit="") as step:
        trials = Trials(0, step, executor)
        audits = trials.run(partial(null_audit, faces, units), n, "real activations")
    assert len(audits) == n
    hits = {"any claim of decodability": np.array([float(audit.is_claimed) for audit in audits])}
    for name in audits[0].fails:
        hits[f"FAIL of {name}, by target"] = np.array([audit.fails[name] for audit in audits])
    with capsys.disabled():
        for said, found in hits.items():
            estimate = share(found.astype(np.float64))
            sys.stdout.write(
                f"{said}: {100 * estimate.value:.1f} % "
                f"[{100 * estimate.lower:.1f}, {100 * estimate.upper:.1f}] of {found.size}\n"
            )


def null_audit(faces: Faces, units: Mapping[str, Path], rng: np.random.Generator) -> NullAudit:
    """Rows of labels are dealt to whole clusters, of which some are drawn.

    Args:
        faces: All.
        units: Files of the activations of all, by layer.
        rng: Draws and deals.
    """
    clusters = rng.permutation(np.unique(faces.clusters))[:N_AUDITED]
    chosen = np.flatnonzero(np.isin(faces.clusters, clusters))
    _, first, number = np.unique(faces.clusters[chosen], return_index=True, return_inverse=True)
    dealt = rng.permutation(faces.table.codes[chosen][first])[number]
    by_layer = {layer: np.load(file, mmap_mode="r")[chosen] for layer, file in units.items()}
    return audit_of_nothing(Sample(faces.table.attributes, dealt, number, by_layer), rng)
