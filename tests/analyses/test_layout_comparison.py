"""The comparison repeats, tells informed layouts from random ones, and says what it left out."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.layout_quality import MEASURES, area_under
from bias_audit.analyses.mapping.profiles import weighted_contrasts, weights_within_groups
from bias_audit.analyses.methods.layout_comparison import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import MethodComparison, RobustnessCurves
from tests.analyses.planted import AGE, make_subject

QUICK = Params.model_validate(
    {
        "layers": ["late"],
        "layouts": [{"kind": "random"}, {"kind": "pca"}],
        "refine_steps": [0, 20],
        "repetitions": 4,
    }
)


def _structured(n: int = 240, n_units: int = 40) -> Subject:
    """Units that respond to one of two things, more or less."""
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    causes = np.stack([codes[:, 0] - 1.0, 2.0 * codes[:, 1] - 1], axis=1)
    units = 3 * causes @ rng.standard_normal((2, n_units)) + rng.standard_normal((n, n_units))
    return make_subject(codes, {"late": units})


def test_informed_layouts_beat_random_ones_and_numbers_repeat() -> None:
    subject = _structured()
    outcome = PLUGIN.run(subject, QUICK)
    block, curves = outcome.blocks
    assert isinstance(block, MethodComparison)
    assert isinstance(curves, RobustnessCurves)
    for panel, key in zip(curves.panels, ("blur", "shrink"), strict=True):
        assert [curve.method for curve in panel.curves] == [m.name for m in block.methods]
        column = list(MEASURES).index(key)
        for curve, method in zip(panel.curves, block.methods, strict=True):
            # The mean of areas is the area under the mean curve.
            area = method.estimates[column]
            assert area is not None
            means = np.array([point.change.value for point in curve.points])
            strengths = tuple(point.strength for point in curve.points)
            assert area_under(means, strengths) == pytest.approx(area.value)
    names = [method.name for method in block.methods]
    assert len(names) == 4
    assert names[0].startswith("PCA")
    assert {method.standing for method in block.methods if method.name.startswith("random")} == {
        "behind"
    }
    assert block.methods[0].name in outcome.findings[0].text
    assert PLUGIN.run(subject, QUICK) == outcome


def test_silent_units_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(0)
    codes = (np.arange(60) % 3)[:, None]
    units = rng.standard_normal((60, 12))
    units[:, 5] = 1
    outcome = PLUGIN.run(make_subject(codes, {"late": units}, (AGE,)), QUICK)
    assert any("1 of 12 units of late" in limit for limit in outcome.limits)
    constant = make_subject(codes, {"late": np.ones((60, 12))}, (AGE,))
    with pytest.raises(AnalysisError, match="4 units that respond unlike"):
        PLUGIN.run(constant, QUICK)


def test_the_swarm_itself_is_not_refined_and_settings_are_checked() -> None:
    assert Params().refinements(Params().placements[0][0]) == (0, 100)
    swarm = next(layout for layout, _ in Params().placements if layout.kind == "particle_swarm")
    assert Params().refinements(swarm) == (0,)
    assert len(Params().placements) == 7
    with pytest.raises(ValidationError, match="did you mean 'umap'"):
        Params.model_validate({"layouts": [{"kind": "umpa"}]})
    with pytest.raises(ValidationError, match="from 0 to 10000"):
        Params.model_validate({"refine_steps": [-1]})


def test_clusters_are_drawn_whole_and_within_their_group() -> None:
    codes = np.repeat([0, 1, 3], [40, 20, 1])
    clusters = np.arange(61) // 2  # the last group's only image is a cluster
    draws = np.stack(
        [weights_within_groups(codes, clusters, np.random.default_rng(i)) for i in range(200)]
    )
    np.testing.assert_array_equal(draws[:, 0:60:2], draws[:, 1:60:2])
    assert (draws[:, :40].sum(axis=1) == 40).all()
    assert (draws[:, 40:60].sum(axis=1) == 20).all()
    assert (draws[:, 60] == 1).all()
    np.testing.assert_allclose(draws.mean(axis=0), 1, atol=0.35)


def test_weighted_contrasts_are_those_of_repeated_images() -> None:
    rng = np.random.default_rng(0)
    units = rng.standard_normal((3000, 7)).astype(np.float32)
    codes = rng.integers(5, size=3000) * 2
    weights = rng.integers(3, size=3000)
    weights[codes == 4] = 0
    repeated = np.repeat(np.arange(3000), weights)
    means = np.stack(
        [
            units[repeated[codes[repeated] == g]].mean(axis=0, dtype=np.float64)
            for g in (0, 2, 6, 8)
        ]
    )
    found = weighted_contrasts(units, codes, weights)
    np.testing.assert_allclose(found, means - means.mean(axis=0), atol=1e-7)
