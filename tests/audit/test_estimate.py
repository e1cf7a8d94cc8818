"""What `check` says of the time counts everything that a run will fit."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from bias_audit.analyses.analysis import Workload
from bias_audit.analyses.methods.linear_probe import PLUGIN
from bias_audit.analyses.probing.cross_fitting import cross_fit
from bias_audit.analyses.probing.logistic import principal_axes
from bias_audit.analyses.probing.probe_work import controlled_work, probe_work
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.audit import estimate as module
from bias_audit.groups import Attribute

ATTRIBUTES = (Attribute("age", ("young", "middle", "old")), Attribute("gender", ("f", "m")))
SIZE = Workload(300, {"one": 20, "two": 40}, ATTRIBUTES)
SETTINGS = ProbeSettings()


def test_the_work_is_that_of_every_labelling_of_every_probe() -> None:
    shuffled = replace(SIZE, shuffles=3)
    assert controlled_work(SETTINGS, shuffled, None) == pytest.approx(
        4 * controlled_work(SETTINGS, SIZE, None)
    )
    parts = [controlled_work(SETTINGS, SIZE, [name]) for name in ("age", "gender", "intersection")]
    assert controlled_work(SETTINGS, SIZE, None) == pytest.approx(sum(parts))
    assert PLUGIN.fits(PLUGIN.params_type(), SIZE) == pytest.approx(sum(parts))


def test_controls_add_work_at_every_layer_or_once() -> None:
    alone = controlled_work(SETTINGS, SIZE, ["age"])
    random = controlled_work(SETTINGS, replace(SIZE, layer_controls=2), ["age"])
    assert random - alone == pytest.approx(2 * 2 * alone)  # labels and one shuffle, two draws
    pixels = controlled_work(SETTINGS, replace(SIZE, other_controls=(40,)), ["age"])
    once = probe_work(SETTINGS, n_images=300, n_units=40, n_levels=3, labellings=2)
    assert pixels - alone == pytest.approx(once)


def test_more_units_than_images_add_no_axes() -> None:
    def work(n_units: int) -> float:
        return probe_work(SETTINGS, n_images=300, n_units=n_units, n_levels=3, labellings=1)

    assert work(299) < work(300) == work(3000)


def test_one_strength_is_less_work_than_a_path() -> None:
    fixed = ProbeSettings(regularisation=0.01)
    assert controlled_work(fixed, SIZE, None) < controlled_work(SETTINGS, SIZE, None)


@pytest.mark.parametrize(("n_units", "n_levels"), [(64, 3), (512, 24)])
def test_the_time_of_a_probe_is_told_to_an_order_of_magnitude(n_units: int, n_levels: int) -> None:
    rng = np.random.default_rng(1)
    codes = np.arange(480) % n_levels
    units = rng.standard_normal((480, n_units)) + (codes[:, None] == np.arange(n_units))
    folds = np.arange(480) // n_levels % SETTINGS.folds
    labels = np.stack([codes, rng.permutation(codes)])
    work = probe_work(
        SETTINGS, n_images=480, n_units=n_units, n_levels=n_levels, labellings=len(labels)
    )
    ratios = []
    for _ in range(3):  # other programs may disturb any single timing
        told = work * module._seconds_per_work()
        began = time.monotonic()
        axes = principal_axes(units.astype(np.float32))
        cross_fit(axes, labels, folds, n_classes=n_levels, strengths=SETTINGS.strengths)
        ratios.append((time.monotonic() - began) / told)
    assert 0.1 < np.median(ratios) < 10
