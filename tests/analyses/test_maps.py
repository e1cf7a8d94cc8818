"""Maps of groups share one layout and scale; shares and difference maps find what is planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binom

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.mapping.comparisons import Comparison, comparisons
from bias_audit.analyses.mapping.differences import over_maps
from bias_audit.analyses.mapping.group_maps import leaf_order
from bias_audit.analyses.mapping.layout import layout_name
from bias_audit.analyses.mapping.profiles import halves, moments_of
from bias_audit.analyses.methods.topomap import PLUGIN, Params
from bias_audit.config.schema import Multiplicity
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.shapes.difference_map import DifferenceMap, GroupDifference
from bias_audit.shapes.test_families import HypothesisFamilies
from bias_audit.shapes.unit_map import UnitMap
from tests.analyses.planted import AGE, GENDER, crossed, make_subject, of_type, planted

HAIR = Attribute("hair", ("none", "some"))
BASE: dict[str, Any] = {
    "layout": {"kind": "pca"},
    "layers": ["late"],
    "refine_steps": 20,
    "bootstrap_draws": 100,
}


def _params(**changed: Any) -> Params:
    return Params.model_validate(BASE | changed)


def _blocks(subject: Subject, params: Params) -> tuple[list[UnitMap], DifferenceMap]:
    found = PLUGIN.run(subject, params).blocks
    (tested,) = of_type(found, DifferenceMap)
    return of_type(found, UnitMap), tested


def _three(n: int, seed: int, *, effect: float = 0.0, n_units: int = 12) -> Subject:
    """Three attributes; gender moves the first three units, hair nothing."""
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, k, n) for k in (3, 2, 2)], axis=1)
    units = rng.standard_normal((n, n_units))
    units[:, :3] += effect * codes[:, 1:2]
    return make_subject(codes, {"late": units}, (AGE, GENDER, HAIR), seed=seed)


def _of(block: DifferenceMap, one: str) -> GroupDifference:
    return next(entry for entry in block.differences if entry.one == one)


def test_marginals_pairs_and_intersections_share_one_layout_and_scale() -> None:
    subject = _three(240, 0)
    outcome = PLUGIN.run(subject, _params())
    maps, (tested,) = of_type(outcome.blocks, UnitMap), of_type(outcome.blocks, DifferenceMap)
    titles = [block.title.removesuffix(" at late") for block in maps]
    assert titles == [
        "All intersections",
        "Groups of each attribute",
        "Age x gender",
        "Age x hair",
        "Gender x hair",
    ]
    assert [len(block.groups) for block in maps] == [12, 7, 6, 6, 4]
    assert len({(block.positions, block.limit) for block in maps}) == 1
    assert tested.positions == maps[0].positions
    places = outcome.arrays[tested.positions]
    assert (places.min(axis=0) == 0).all()
    assert (places.max(axis=0) == 1).all()
    again = PLUGIN.run(subject, _params())
    for key, array in outcome.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])
    # Pairs are means over their images.
    units, codes = subject.activations.units("late"), subject.faces.table.codes
    means = [
        units[(codes[:, 0] == age) & (codes[:, 2] == hair)].mean(axis=0)
        for age in range(3)
        for hair in range(2)
    ]
    expected = np.array(means) - np.mean(means, axis=0)
    np.testing.assert_allclose(outcome.arrays[maps[3].values], expected, atol=1e-5)


def test_a_dendrogram_puts_like_levels_side_by_side() -> None:
    rng, codes = np.random.default_rng(0), crossed(360)
    units = rng.standard_normal((360, 10))
    units[codes[:, 0] != 1] += np.linspace(-2, 2, 10)  # young and old are alike, middle is not
    subject = make_subject(codes, {"late": units})
    found = {}
    for order in ("declared", "dendrogram"):
        outcome = PLUGIN.run(subject, _params(order=order))
        cells, marginal = of_type(outcome.blocks, UnitMap)
        values = outcome.arrays[cells.values]
        found[order] = dict(zip((g.label for g in cells.groups), values, strict=True))
        levels = [group.label for group in marginal.groups][:3]
        assert levels == list(AGE.levels) if order == "declared" else levels[1] != "middle"
    assert set(found["declared"]) == set(found["dendrogram"])
    for label, own in found["declared"].items():
        np.testing.assert_allclose(own, found["dendrogram"][label], atol=1e-6)
    line = np.array([[4.0, 0, 0], [0, 0, 4], [3, 1, 0], [0, 1, 3]])
    leaves = leaf_order(line).tolist()
    assert {frozenset(leaves[:2]), frozenset(leaves[2:])} == {frozenset((0, 2)), frozenset((1, 3))}


@pytest.mark.parametrize("test", ["clusters", "max_t"])
def test_planted_units_are_found_and_lie_inside_the_mask(test: str) -> None:
    subject = _three(600, 1, effect=1.0, n_units=30)
    params = _params(differences={"test": test, "permutations": 199})
    outcome = PLUGIN.run(subject, params)
    (block,) = of_type(outcome.blocks, DifferenceMap)
    index = next(i for i, e in enumerate(block.differences) if e.attribute == "gender")
    p_values = outcome.arrays[block.p_values][index]
    assert set(np.flatnonzero(p_values <= 0.05)) == {0, 1, 2}
    entry = block.differences[index]
    assert entry.n_units == 3
    assert entry.adjusted_p is not None
    assert entry.adjusted_p <= 0.05
    assert all(not region.is_higher for region in entry.regions[: entry.n_regions])
    mask = outcome.arrays[block.masks][index]
    places = outcome.arrays[block.positions][:3]
    for x, y in np.clip((places * 99).round().astype(int), 3, 96):
        assert (mask[y - 3 : y + 4, x - 3 : x + 4] == -1).any()
    effect = entry.regions[0].effect
    assert effect is not None
    assert effect.lower < -1 < effect.upper or abs(effect.value + 1) < 0.25
    assert _of(block, "none").n_regions == 0
    (families,) = of_type(outcome.blocks, HypothesisFamilies)
    (family,) = families.families
    assert family.name == f"difference maps at {block.layer}"
    assert family.n_hypotheses == family.n_tested == len(block.differences)
    assert family.rejected == sum(each.n_regions > 0 for each in block.differences) > 0
    assert (family.draws, family.smallest_p) == (199, block.smallest_p)
    assert any("differ significantly by gender" in finding.text for finding in outcome.findings)
    if test == "max_t":
        assert set(entry.tested) <= set(entry.counts)


def test_no_map_is_claimed_on_null_data_though_the_layout_knows_the_groups() -> None:
    """The whole analysis: every map of the family, over a layout made from the same faces."""
    runs, rejected = 100, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        codes = (np.arange(80) % 2)[:, None]
        subject = make_subject(
            codes, {"late": rng.standard_normal((80, 16))}, (GENDER,), seed=seed
        )
        params = _params(
            refine_steps=0, differences={"permutations": 99, "unit_p": 0.1, "smallest_effect": 0}
        )
        _, block = _blocks(subject, params)
        rejected += any(entry.n_regions for entry in block.differences)
    assert rejected <= int(binom.isf(0.001, runs, 0.05))


def test_halves_share_no_cluster_and_have_every_intersection() -> None:
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 150, 360)
    subject = planted(360, clusters=clusters)
    split = halves(subject.faces, subject.rng("halves"))
    assert not set(clusters[split.placing]) & set(clusters[split.testing])
    assert sorted([*split.placing, *split.testing]) == list(range(360))
    units, cells = subject.activations.units("late"), subject.faces.table.cells
    found = moments_of(units, cells, 6, split.placing)
    for cell in range(6):
        own = units[split.placing][cells[split.placing] == cell]
        np.testing.assert_allclose(found.mean[cell], own.mean(axis=0), atol=1e-5)


def test_shares_are_those_planted_whatever_the_noise() -> None:
    """Age has variance 2/3 of squared effects 1, gender 1/4 of 0.5 squared: 0.914 and 0.086."""
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        codes = crossed(180)
        units = rng.standard_normal((180, 40))
        units[:, :20] += (codes[:, :1] - 1.0) * 1.0
        units[:, 20:] += codes[:, 1:] * 0.5 * np.sqrt(2)
        maps, _ = _blocks(
            make_subject(codes, {"late": units}, seed=seed), _params(differences={"test": "none"})
        )
        (shares,) = (block.shares for block in maps if block.shares)
        values.append([entry.share.value for entry in shares])
        assert [entry.attribute for entry in shares] == ["age", "gender"]
    truth = np.array([2 / 3, 1 / 8]) / (2 / 3 + 1 / 8)
    np.testing.assert_allclose(np.mean(values, axis=0), truth, atol=0.02)


def test_the_leading_attribute_is_named_only_if_its_lead_is_sure() -> None:
    clear = PLUGIN.run(planted(600, n_units=12, strength=1), _params())
    assert any("maps differ most by age" in each.text for each in clear.findings)
    rng = np.random.default_rng(0)
    codes = np.stack([np.arange(240) % 2, np.arange(240) // 2 % 2], axis=1)
    units = rng.standard_normal((240, 10))
    units[:, 0] += codes[:, 0]
    units[:, 1] += codes[:, 1]
    even = PLUGIN.run(make_subject(codes, {"late": units}, (GENDER, HAIR)), _params())
    assert any("the data do not show which" in each.text for each in even.findings)
    noise = rng.standard_normal((240, 10))
    null = PLUGIN.run(make_subject(codes, {"late": noise}, (GENDER, HAIR)), _params())
    assert not any("maps differ most" in each.text for each in null.findings)


def test_a_level_is_compared_with_the_rest_and_named_pairs_with_each_other() -> None:
    found = comparisons((AGE, GENDER), [("age", "old", "young")])
    assert found == (
        Comparison("age", "young", None),
        Comparison("age", "middle", None),
        Comparison("age", "old", None),
        Comparison("gender", "female", "male"),
        Comparison("age", "old", "young"),
    )


def test_unknown_levels_and_too_few_permutations_are_refused_with_what_is_needed() -> None:
    pair = {"attribute": "age", "levels": ["old", "yuong"]}
    params = _params(differences={"pairs": [pair]})
    (problem,) = PLUGIN.problems(params, planted().faces.table, ("late",))
    assert "did you mean 'young'" in problem
    with pytest.raises(AnalysisError, match="yuong"):
        PLUGIN.run(planted(), params)
    few = _params(differences={"permutations": 59})
    (problem,) = PLUGIN.too_few_draws(few, Multiplicity(), (AGE, GENDER))
    assert "any of 4 difference maps" in problem
    assert "at least 79 are needed" in problem
    assert not PLUGIN.too_few_draws(
        _params(differences={"permutations": 79}), Multiplicity(), (AGE, GENDER)
    )


def test_what_cannot_be_tested_says_why() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.r_[np.zeros(60), np.ones(6)], np.arange(66) % 2], axis=1).astype(int)
    subject = make_subject(codes, {"late": rng.standard_normal((66, 8))})
    _, block = _blocks(subject, _params(differences={"permutations": 99}))
    assert _of(block, "old").reason == "no images of old"
    assert _of(block, "old").counts == (0, 0)
    reason = _of(block, "middle").reason
    assert reason is not None
    assert "independent images in the smaller group, 10 are needed with the other" in reason
    assert _of(block, "female").adjusted_p is not None


def test_regions_are_adjusted_for_the_maps_by_holm() -> None:
    factors = over_maps([0.01, None, 0.04, 0.02])
    assert factors[1] is None
    known = [factor for factor in factors if factor is not None]
    assert [factor(p) for factor, p in zip(known, (0.01, 0.04, 0.02), strict=True)] == [
        pytest.approx(0.03),
        pytest.approx(0.04),
        pytest.approx(0.04),
    ]
    assert known[0](0.02) == pytest.approx(0.06)
    assert known[1](0.9) == pytest.approx(0.9)


def test_values_of_difference_maps_are_standardised_within_strata() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1, 1], 100), rng.integers(0, 2, 300)], axis=1)
    units = 5 * rng.standard_normal((300, 8)) + 30 * codes[:, :1]
    units += 2.5 * codes[:, 1:]
    outcome = PLUGIN.run(make_subject(codes, {"late": units}), _params())
    (block,) = of_type(outcome.blocks, DifferenceMap)
    index = [e.attribute for e in block.differences].index("gender")
    np.testing.assert_allclose(outcome.arrays[block.values][index].mean(), -0.5, atol=0.12)


def test_empty_groups_and_silent_units_are_kept_and_counted() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1], 30), np.arange(60) % 2], axis=1)
    units = rng.standard_normal((60, 8))
    units[:, 5] = 0
    outcome = PLUGIN.run(make_subject(codes, {"late": units}), _params())
    cells, marginal = of_type(outcome.blocks, UnitMap)
    assert cells.n_silent == 1
    assert marginal.counts == (30, 30, 0, 30, 30)
    assert np.isnan(outcome.arrays[marginal.rasters][2]).all()
    assert np.isfinite(outcome.arrays[cells.rasters][:4]).all()
    assert any("1 of 8 units" in limit for limit in outcome.limits)


def test_what_cannot_be_drawn_is_explained() -> None:
    codes = (np.arange(30) % 3)[:, None]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        PLUGIN.run(make_subject(codes, {"late": np.ones((30, 6))}, (AGE,)), _params())
    with pytest.raises(AnalysisError, match="4 units"):
        PLUGIN.run(make_subject(codes, {"late": np.eye(3)[codes[:, 0]]}, (AGE,)), _params())


def test_layout_is_checked_when_the_config_is() -> None:
    name = layout_name(Params().layout, Params().distance, Params().refine_steps)
    assert name == "t-SNE (cosine), refined by 100 steps of particle swarm"
    with pytest.raises(ValidationError, match="did you mean 'umap'"):
        Params.model_validate({"layout": {"kind": "umpa"}})
    with pytest.raises(ValidationError, match="n_neighbours"):
        Params.model_validate({"layout": {"kind": "umap", "n_neighbours": 5}})
    with pytest.raises(ValidationError, match="distance"):
        Params.model_validate({"distance": "manhattan"})
