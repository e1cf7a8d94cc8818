"""What `check` says of the time counts everything that a run will fit."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.analysis import Analysis, Workload
from bias_audit.analyses.methods.group_geometry import PLUGIN as GEOMETRY
from bias_audit.analyses.methods.intersections import PLUGIN as INTERSECTIONS
from bias_audit.analyses.methods.layout_comparison import PLUGIN as LAYOUTS
from bias_audit.analyses.methods.linear_probe import PLUGIN
from bias_audit.analyses.probing.cross_fitting import cross_fit
from bias_audit.analyses.probing.logistic import principal_axes
from bias_audit.analyses.probing.probes import ProbeSettings, controlled_work, probe_work
from bias_audit.audit import estimate as module
from bias_audit.audit.plan import make_plan
from bias_audit.backbones.loading import load_backbone
from bias_audit.config.load import load_config
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Attribute
from tests.analyses.planted import planted

ROOT = Path(__file__).resolve().parents[2]
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


def test_the_work_of_maps_grows_with_what_is_asked() -> None:
    two = replace(SIZE, n_units={"one": 20, "two": 400})

    def work(plugin: Analysis[Any], workload: Workload, **params: Any) -> float:
        return plugin.fits(plugin.params_type.model_validate(params), workload)

    assert work(GEOMETRY, SIZE, bootstrap_draws=1000) == 2 * work(GEOMETRY, SIZE)
    assert work(GEOMETRY, SIZE, compared_layers=["one", "two"]) == work(GEOMETRY, SIZE)
    assert work(LAYOUTS, two) == work(LAYOUTS, two, layers=["two"]) > work(LAYOUTS, SIZE)
    assert work(LAYOUTS, SIZE, repetitions=10) == 2 * work(LAYOUTS, SIZE)
    assert work(LAYOUTS, SIZE, layouts=[{"kind": "pca"}]) < work(LAYOUTS, SIZE) / 5
    many = replace(SIZE, multiplicity=Multiplicity(draws=19990))
    assert work(INTERSECTIONS, many) == 10 * work(INTERSECTIONS, SIZE)
    assert work(INTERSECTIONS, replace(SIZE, attributes=ATTRIBUTES[:1])) == 0


@pytest.mark.parametrize(
    ("plugin", "params"),
    [
        (GEOMETRY, {"layers": ["late"]}),
        (INTERSECTIONS, {"layer": "late"}),
        (LAYOUTS, {"layers": ["late"], "repetitions": 3, "layouts": [{"kind": "pca"}]}),
    ],
    ids=["group_geometry", "intersections", "layout_comparison"],
)
def test_the_time_of_an_analysis_is_told_to_an_order_of_magnitude(
    plugin: Analysis[Any], params: dict[str, Any]
) -> None:
    """The second run is timed: the first one compiles, and fits the probes that it reads."""
    subject = planted(n=480, n_units=128, strength=0.3)
    layers = {"early": 128, "late": 128}
    workload = Workload(480, layers, subject.faces.table.attributes)
    settings = plugin.params_type.model_validate(params)
    ratios = []
    for repetition in range(3):
        told = plugin.fits(settings, workload) * module._seconds_per_work()
        began = time.monotonic()
        plugin.run(subject, settings)
        if repetition:
            ratios.append((time.monotonic() - began) / told)
    assert 0.1 < np.median(ratios) < 10


def test_reference_images_pass_through_every_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds_per_image", lambda *_: 1.0)
    plan = make_plan(load_config(ROOT / "audit_configs" / "quickstart.yaml"))
    planned = plan.backbones[0]
    backbone = load_backbone(planned.kind, planned.source, planned.params, pretrained=False)
    faces = planted(n=30).faces
    seconds = [module._cost(backbone, plan, faces, 1.0, n).forward_seconds for n in (0, 7)]
    assert seconds == [60, 67]  # the backbone and one draw of random weights, then the reference
