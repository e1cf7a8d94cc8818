"""Each measure of a layout is what it says, on cases where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.layout_quality import (
    BLURS,
    DISPARITY,
    MEASURES,
    RANGES,
    SHRINKS,
    Quality,
    Repeated,
    active_regions,
    area_under,
    blur_curve,
    disparities,
    kept_neighbours,
    quality,
    ranked,
    shrink_curve,
    weighted_contrasts,
    weights_within_groups,
)
from bias_audit.analyses.methods.layout_comparison import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.shapes.measures import Measures
from bias_audit.shapes.robustness_curves import RobustnessCurves
from tests.analyses.planted import AGE, crossed, make_subject, of_type

RNG = np.random.default_rng(0)


def test_what_is_even_survives_and_noise_does_not() -> None:
    even = np.ones((2, 100, 100), dtype=np.float32)
    smooth = np.tile(np.sin(np.linspace(0, np.pi, 100)), (1, 100, 1)).astype(np.float32)
    noise = RNG.standard_normal((2, 100, 100)).astype(np.float32)
    for curve in (blur_curve, shrink_curve):
        np.testing.assert_allclose(curve(even), 0, atol=1e-5)
        assert (curve(smooth) < curve(noise) / 5).all()
        assert (np.diff(curve(smooth)) > 0).all()
        assert (curve(noise) > 0.5).all()
        np.testing.assert_allclose(curve(noise), curve(-7 * noise), rtol=1e-4)


def test_a_shrunk_map_is_its_block_means() -> None:
    blocks = np.kron(RNG.standard_normal((1, 5, 5)), np.ones((20, 20))).astype(np.float32)
    assert shrink_curve(blocks, (20,))[0] < shrink_curve(blocks, (50,))[0]
    checks = np.indices((100, 100)).sum(axis=0)[None] % 2 * 2 - 1.0
    np.testing.assert_allclose(shrink_curve(checks.astype(np.float32), SHRINKS[:1]), 1)


def test_area_is_the_mean_height() -> None:
    assert area_under(np.array([1.0, 1.0]), (1, 2)) == pytest.approx(0.75)
    assert area_under(np.array(BLURS) * 3, BLURS) == pytest.approx(1.5 * BLURS[-1])


def test_regions_of_high_activity_are_counted_and_measured() -> None:
    drawn = np.zeros((2, 100, 100), dtype=np.float32)
    drawn[0, :10, :10] = drawn[0, 50:60, 50:70] = drawn[1, 90:, 90:] = 5
    drawn[1, 0, 0] = drawn[1, 1, 1] = 5  # touching at a corner only
    values = np.tile(np.arange(11.0) / 10, (2, 1))
    number, area = active_regions(drawn, values)
    assert number == 2.5
    assert area == pytest.approx((100 + 200 + 100 + 2) / 1e4 / 5)
    assert active_regions(np.zeros_like(drawn), values) == (0, 0)


def test_neighbours_of_the_same_places_are_all_kept_and_of_others_by_chance() -> None:
    rows = RNG.standard_normal((200, 2))
    same = kept_neighbours(rows, 3 * rows[:, ::-1] + 7)
    assert set(same.values()) == {1}
    other = kept_neighbours(rows, RNG.standard_normal((200, 2)))
    assert 0.4 < other["trustworthiness"] < 0.6
    assert 0.4 < other["continuity"] < 0.6
    assert other["preservation"] == pytest.approx(10 / 199, abs=0.03)


def test_what_a_layout_invents_and_what_it_loses_are_told_apart() -> None:
    square = RNG.uniform(size=(300, 2))
    folded = np.stack([np.abs(square[:, 0] - 0.5), square[:, 1]], axis=1)
    kept = kept_neighbours(square, folded)
    assert kept["trustworthiness"] < 0.95 < kept["continuity"]  # folding brings strangers together
    torn = kept_neighbours(folded, square)
    assert torn["continuity"] < 0.95 < torn["trustworthiness"]


def test_layouts_of_one_shape_have_no_disparity() -> None:
    one = RNG.standard_normal((50, 2))
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    found = disparities([one, 4 * one @ turn + 2, RNG.standard_normal((50, 2)), np.ones((50, 2))])
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 1] == pytest.approx(0, abs=1e-12)
    assert found[0, 2] > 0.8
    assert (found[3, :3] == 1).all()


def test_quality_covers_the_measures_and_knows_no_map_of_a_line() -> None:
    signatures = RNG.standard_normal((30, 4))
    found = quality(signatures, "cosine", RNG.uniform(size=(30, 2)))
    assert [*found.measures, DISPARITY] == list(MEASURES) == list(dict.fromkeys(MEASURES))
    assert set(RANGES) == set(MEASURES)
    for key, value in found.measures.items():
        assert value is not None
        assert RANGES[key][0] <= value <= RANGES[key][1]
    line = np.tile(np.linspace(0, 1, 30)[:, None], (1, 2))
    of_line = quality(signatures, "cosine", line)
    assert [key for key, value in of_line.measures.items() if value is None] == [
        "blur",
        "shrink",
        "regions",
        "region_area",
    ]
    assert of_line.blur is None
    assert of_line.shrink is None
    for curve, strengths, key in ((found.blur, BLURS, "blur"), (found.shrink, SHRINKS, "shrink")):
        assert curve is not None
        assert found.measures[key] == area_under(curve, strengths)


def _repeated(name: str, goodness: float, spread: float, rng: np.random.Generator) -> Repeated:
    """A layout that is as good by every measure."""
    found = []
    for _ in range(6):
        drawn = goodness + spread * rng.standard_normal(len(MEASURES) - 1)
        keys = [key for key in MEASURES if key != DISPARITY]
        found.append(
            Quality(
                {
                    key: float(value if MEASURES[key].better == "higher" else 1 - value)
                    for key, value in zip(keys, drawn, strict=True)
                }
            )
        )
    return Repeated(name, tuple(found), (1 - goodness) * (1 - np.eye(6)))


def test_the_best_is_recommended_equals_are_tied_and_the_worse_is_behind() -> None:
    rng = np.random.default_rng(0)
    layouts = [_repeated("poor", 0.2, 0.01, rng)]
    layouts += [_repeated(name, 0.8, 0.01, rng) for name in ("one", "other")]
    layouts.append(_repeated("middling", 0.5, 0.01, rng))
    methods = ranked(layouts, 0.95)
    assert {method.name for method in methods[:2]} == {"one", "other"}
    assert [method.standing for method in methods] == ["recommended", "tied", "behind", "behind"]
    assert [method.name for method in methods[2:]] == ["middling", "poor"]
    assert [m.values[0] and m.values[0].value for m in methods][3] == 4
    trust = methods[0].values[1 + list(MEASURES).index("trustworthiness")]
    assert trust is not None
    assert trust.value == pytest.approx(0.8, abs=0.02)


def test_one_of_equals_is_seldom_held_to_be_worse() -> None:
    rng = np.random.default_rng(0)
    behind = 0
    for _ in range(300):
        layouts = [_repeated(name, 0.5, 0.1, rng) for name in "abcd"]
        standing = {method.name: method.standing for method in ranked(layouts, 0.95)}
        behind += standing["a"] == "behind"
    assert behind <= 300 * 0.05 + 2 * np.sqrt(300 * 0.05 * 0.95)


def test_a_layout_without_a_value_ranks_last_and_has_no_estimate() -> None:
    rng = np.random.default_rng(0)
    good, poor = _repeated("good", 0.9, 0.0, rng), _repeated("poor", 0.1, 0.0, rng)
    found = (Quality({**good.found[0].measures, "blur": None}), *good.found[1:])
    methods = ranked([Repeated("good", found, good.disparities), poor], 0.95)
    assert [method.name for method in methods] == ["good", "poor"]
    assert methods[0].values[1 + list(MEASURES).index("blur")] is None
    mean_rank = methods[0].values[0]
    assert mean_rank is not None and mean_rank.value == pytest.approx(1 + 1 / 8 / 6)


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
    codes = crossed(n)
    causes = np.stack([codes[:, 0] - 1.0, 2.0 * codes[:, 1] - 1], axis=1)
    units = 3 * causes @ rng.standard_normal((2, n_units)) + rng.standard_normal((n, n_units))
    return make_subject(codes, {"late": units})


def test_informed_layouts_beat_random_ones_and_numbers_repeat() -> None:
    subject = _structured()
    outcome = PLUGIN.run(subject, QUICK)
    (block,), (curves,) = (
        of_type(outcome.blocks, Measures),
        of_type(outcome.blocks, RobustnessCurves),
    )
    for panel, key in zip(curves.panels, ("blur", "shrink"), strict=True):
        assert [curve.method for curve in panel.curves] == [m.name for m in block.entries]
        column = list(MEASURES).index(key)
        for curve, method in zip(panel.curves, block.entries, strict=True):
            # The mean of areas is the area under the mean curve.
            area = method.values[1 + column]
            assert area is not None
            means = np.array([point.change.value for point in curve.points])
            strengths = tuple(point.strength for point in curve.points)
            assert area_under(means, strengths) == pytest.approx(area.value)
    names = [method.name for method in block.entries]
    assert len(names) == 4
    assert names[0].startswith("PCA")
    assert {method.standing for method in block.entries if method.name.startswith("random")} == {
        "behind"
    }
    assert block.entries[0].name in outcome.findings[0].text
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
