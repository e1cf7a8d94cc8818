"""What `check` says of the time counts everything that a run will fit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.analysis import Analysis, Workload
from bias_audit.analyses.confusing.published import PublishedSettings, published_probes, split_of
from bias_audit.analyses.methods.confusions import PLUGIN as CONFUSIONS
from bias_audit.analyses.methods.group_clusters import PLUGIN as CLUSTERS
from bias_audit.analyses.methods.group_geometry import PLUGIN as GEOMETRY
from bias_audit.analyses.methods.intersections import PLUGIN as INTERSECTIONS
from bias_audit.analyses.methods.layout_comparison import PLUGIN as LAYOUTS
from bias_audit.analyses.methods.linear_probe import PLUGIN
from bias_audit.analyses.probing.discriminant import FoldSums, Labelling, Standardised, cross_fit
from bias_audit.analyses.probing.probes import ProbeSettings, controlled_work, probe_work
from bias_audit.analyses.targets import finest_target
from bias_audit.audit import estimate as module
from bias_audit.audit.plan import make_plan
from bias_audit.backbones.loading import load_backbone
from bias_audit.config.load import load_config
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import Attribute
from bias_audit.selftest.simulated import InMemoryActivations
from tests.analyses.planted import make_subject, planted

ROOT = Path(__file__).resolve().parents[2]
ATTRIBUTES = (Attribute("age", ("young", "middle", "old")), Attribute("gender", ("f", "m")))
SIZE = Workload(300, {"one": 20, "two": 40}, ATTRIBUTES)
SETTINGS = ProbeSettings()


def test_more_labellings_share_the_sums_of_a_layer() -> None:
    whole = controlled_work(SETTINGS, SIZE, None)
    parts = [controlled_work(SETTINGS, SIZE, [name]) for name in ("age", "gender", "intersection")]
    assert max(parts) < whole < sum(parts)
    assert PLUGIN.fits(PLUGIN.params_type(), SIZE) == whole
    assert whole < controlled_work(SETTINGS, replace(SIZE, shuffles=3), None) < 4 * whole
    voted = controlled_work(SETTINGS, replace(SIZE, label_sets={"age": 6}), ["age"])
    assert parts[0] < voted < 7 * parts[0]
    fixed = ProbeSettings(shrinkage=0.1)
    assert controlled_work(fixed, SIZE, None) < whole  # one value is less than several


def test_controls_add_work_at_every_layer_or_once() -> None:
    alone = controlled_work(SETTINGS, SIZE, ["age"])
    random = controlled_work(SETTINGS, replace(SIZE, layer_controls=2), ["age"])
    twice = controlled_work(SETTINGS, replace(SIZE, shuffles=1), ["age"])
    assert random - alone == pytest.approx(2 * twice)  # labels and one shuffle, two draws
    pixels = controlled_work(SETTINGS, replace(SIZE, other_controls=(40,)), ["age"])
    once = probe_work(SETTINGS, n_images=300, n_units=40, n_levels=2 * 3, labellings=2)
    assert pixels - alone == pytest.approx(once)


def test_the_work_of_maps_grows_with_what_is_asked() -> None:
    two = replace(SIZE, n_units={"one": 20, "two": 400})

    def work(plugin: Analysis[Any], workload: Workload, **params: Any) -> float:
        return plugin.fits(plugin.params_type.model_validate(params), workload)

    assert work(GEOMETRY, SIZE, bootstrap_draws=1000) == 2 * work(GEOMETRY, SIZE)
    assert work(GEOMETRY, SIZE, compared_layers=["one", "two"]) == work(GEOMETRY, SIZE)
    assert work(LAYOUTS, two) == work(LAYOUTS, two, layers=["two"]) > work(LAYOUTS, SIZE)
    assert work(LAYOUTS, SIZE, repetitions=10) == 2 * work(LAYOUTS, SIZE)
    assert work(LAYOUTS, SIZE, layouts=[{"kind": "pca"}]) < work(LAYOUTS, SIZE) / 5
    assert work(CLUSTERS, two) > work(CLUSTERS, SIZE) > work(CLUSTERS, SIZE, layers=["one"])
    assert work(CLUSTERS, replace(SIZE, positions=64)) > work(CLUSTERS, SIZE)
    assert work(CLUSTERS, replace(SIZE, n_images=10**6), images_per_group=4) < work(CLUSTERS, SIZE)
    assert work(CLUSTERS, replace(SIZE, attributes=ATTRIBUTES[:1])) == 0
    many = replace(SIZE, multiplicity=Multiplicity(draws=19990))
    assert work(INTERSECTIONS, many) == 10 * work(INTERSECTIONS, SIZE)
    assert work(INTERSECTIONS, replace(SIZE, attributes=ATTRIBUTES[:1])) == 0


def _is_of_that_order(work: float, do: Callable[[], object], *, warm_up: int) -> bool:
    """Whether the time takes a tenth to ten times what is said; the median of three."""
    ratios = []
    for _ in range(3 + warm_up):  # other programs may disturb any single timing
        said = work * module._seconds_per_work()
        began = time.monotonic()
        do()
        ratios.append((time.monotonic() - began) / said)
    return bool(0.1 < np.median(ratios[warm_up:]) < 10)


@pytest.mark.parametrize(("n_units", "n_levels"), [(64, 3), (512, 24)])
def test_the_time_of_a_probe_is_told_to_an_order_of_magnitude(n_units: int, n_levels: int) -> None:
    rng = np.random.default_rng(1)
    codes = np.arange(480) % n_levels
    units = rng.standard_normal((480, n_units)) + (codes[:, None] == np.arange(n_units))
    folds = np.arange(480) // n_levels % SETTINGS.folds
    labellings = [Labelling(each, n_levels) for each in (codes, rng.permutation(codes))]

    def fit() -> None:
        sums = FoldSums.of(Standardised(units.astype(np.float32)), folds)
        cross_fit(sums, labellings, SETTINGS.shrinkages)

    work = probe_work(SETTINGS, n_images=480, n_units=n_units, n_levels=2 * n_levels, labellings=2)
    assert _is_of_that_order(work, fit, warm_up=0)


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
    """Without the first run, which compiles, and fits the probes that others read."""
    subject = planted(n=480, n_units=128, strength=0.3)
    workload = Workload(480, {"early": 128, "late": 128}, subject.faces.table.attributes)
    settings = plugin.params_type.model_validate(params)
    work = plugin.fits(settings, workload)
    assert _is_of_that_order(work, lambda: plugin.run(subject, settings), warm_up=1)


def test_the_time_of_clusters_of_groups_is_told_to_an_order_of_magnitude() -> None:
    """With another subject every time: layers are kept."""
    subjects = iter([planted(n=480, n_units=128, seed=seed) for seed in range(3)])
    workload = Workload(480, {"early": 128, "late": 128}, planted().faces.table.attributes)
    settings = CLUSTERS.params_type.model_validate({"permutations": 59, "splits": 4})
    work = CLUSTERS.fits(settings, workload)
    assert _is_of_that_order(work, lambda: CLUSTERS.run(next(subjects), settings), warm_up=0)


def test_the_time_of_published_probes_is_told_to_an_order_of_magnitude() -> None:
    rng = np.random.default_rng(0)
    attributes = (Attribute("age", tuple(map(str, range(30)))), Attribute("gender", ("f", "m")))
    codes = np.stack([np.arange(480) % 30, np.arange(480) // 30 % 2], axis=1)
    maps = rng.standard_normal((480, 128, 49)).astype(np.float32)
    subject = make_subject(codes, {"late": maps.mean(axis=2)}, attributes)
    assert isinstance(subject.activations, InMemoryActivations)
    subject = replace(subject, activations=replace(subject.activations, maps={"late": maps}))
    settings = PublishedSettings(epochs=3)
    params = CONFUSIONS.params_type(protocol="krug_stober_2025", published=settings)
    workload = Workload(480, {"late": 128}, attributes, positions=49)
    target, seeds = finest_target(subject.faces.table), iter(range(3))

    def train() -> None:
        split = split_of(subject, target, settings, next(seeds))
        published_probes(subject, [split], ["late"], settings)

    assert CONFUSIONS.fits(CONFUSIONS.params_type(), workload) == 0
    assert _is_of_that_order(CONFUSIONS.fits(params, workload), train, warm_up=0)


def test_reference_images_pass_through_every_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds_per_image", lambda *_: 1.0)
    plan = make_plan(load_config(ROOT / "audit_configs" / "quickstart.yaml"))
    planned_one, faces = plan.backbones[0], planted(n=30).faces
    source, params = planned_one.source, planned_one.params
    backbone = load_backbone(planned_one.kind, source, params, pretrained=False)
    seconds = [module._cost(backbone, plan, faces, 1.0, n).forward_seconds for n in (0, 7)]
    assert seconds == [60, 67]  # the backbone and one draw of random weights, then the reference


def test_the_backward_pass_of_aligned_positions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds_per_image", lambda *_: 1.0)
    changes = ["activations.positions=8", "activations.aligned=true"]
    plan = make_plan(load_config(ROOT / "audit_configs" / "quickstart.yaml", changes))
    planned_one, faces = plan.backbones[0], planted(n=30).faces
    source, params = planned_one.source, planned_one.params
    backbone = load_backbone(planned_one.kind, source, params, pretrained=False)
    # three times through the backbone, once through the draw of random weights
    assert module._cost(backbone, plan, faces, 1.0, 0).forward_seconds == 120
