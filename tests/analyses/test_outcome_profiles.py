"""Outcome groups are those of the probe; wrong images look like what they were taken for."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.analyses.methods.outcome_profiles import (
    PLUGIN,
    Params,
    by_confusion,
    by_outcome,
    only,
    outcome_profiles,
)
from bias_audit.analyses.methods.topomap import PLUGIN as TOPOMAP
from bias_audit.analyses.probing.probes import ProbeSpec, out_of_fold_scores
from bias_audit.analyses.targets import targets_of
from bias_audit.errors import AnalysisError
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.unit_map import UnitMap
from tests.analyses.planted import AGE, make_subject, of_type, planted

PCA = {"layout": {"kind": "pca"}, "refine_steps": 20}
QUICK = Params.model_validate({**PCA, "layer": "late", "bootstrap_draws": 200})


def test_groups_are_those_of_the_out_of_fold_predictions() -> None:
    subject = planted(n=300, strength=0.6)
    (target,) = targets_of(subject.faces.table, ["age"])
    scores = out_of_fold_scores(subject, ProbeSpec(target, "late", QUICK.probes))
    outcomes, cells = by_outcome(target, scores), by_confusion(target, scores)
    right = scores.predicted == scores.part.codes
    assert 30 < right.sum() < 290
    np.testing.assert_array_equal(outcomes.codes % 2 == 0, right)
    matrix = np.bincount(cells.codes, minlength=9).reshape(3, 3)
    assert matrix.sum() == 300
    np.testing.assert_array_equal(np.diag(matrix), np.bincount(outcomes.codes)[::2])
    assert cells.groups[1].levels == (("annotated age young", "predicted middle"),)
    profiles = outcome_profiles(subject.activations.units("late"), only(outcomes, [0, 1]))
    young = target.codes == 0
    expected = subject.activations.units("late")[young & ~right].mean(axis=0)
    np.testing.assert_allclose(profiles.means[1], expected, atol=1e-5)


def test_an_image_taken_for_another_level_looks_like_that_level() -> None:
    """A third of the young are given the activations of the middle-aged."""
    rng = np.random.default_rng(0)
    codes = (np.arange(480) % 3)[:, None]
    looks = codes[:, 0].copy()
    looks[np.flatnonzero(looks == 0)[::3]] = 1
    units = rng.standard_normal((480, 20)) + 8 * np.eye(3, 20)[looks]
    subject = make_subject(codes, {"late": units}, (AGE,))
    outcome = PLUGIN.run(subject, QUICK)
    _, confusions = of_type(outcome.blocks, UnitMap)
    names = [group.levels[0] for group in confusions.groups]
    values = outcome.arrays[confusions.values]
    taken = values[names.index(("annotated age young", "predicted middle"))]
    young = values[names.index(("annotated age young", "predicted young"))]
    middle = values[names.index(("annotated age middle", "predicted middle"))]
    assert np.linalg.norm(taken - middle) < 0.3 * np.linalg.norm(taken - young)
    (table,) = of_type(outcome.blocks, GroupTable)
    distance = table.rows[0].estimate
    assert distance is not None
    # Two of 20 units differ by 4 standard deviations within groups; "young" is two mixed kinds.
    assert 0.6 < distance.lower < distance.value < distance.upper < 1.4


def test_small_groups_are_suppressed_and_named() -> None:
    outcome = PLUGIN.run(planted(n=240, strength=3.0), QUICK)
    age, gender = of_type(outcome.blocks, GroupTable)
    assert all(row.estimate is None for row in age.rows)
    assert all("wrong: " in (row.reason or "") for row in age.rows)
    assert all(row.estimate is not None for row in gender.rows)
    ledgers = of_type(outcome.blocks, GroupLedger)
    assert {entry.group.levels[0] for entry in ledgers[0].entries} == {
        (f"age {level}", "wrong") for level in AGE.levels
    }


def test_maps_lie_on_the_layout_of_the_topographic_maps() -> None:
    subject = planted(n=240, strength=0.6, n_units=30)
    maps = TOPOMAP.run(subject, TOPOMAP.params_type.model_validate({**PCA, "layers": ["late"]}))
    ours = PLUGIN.run(subject, QUICK)
    np.testing.assert_array_equal(maps.arrays["layer0-positions"], ours.arrays["layer0-positions"])
    drawn = of_type(ours.blocks, UnitMap)
    assert len(drawn) == 4
    for block in drawn:
        assert ours.arrays[block.rasters].shape == (len(block.groups), 100, 100)
        assert min(block.counts) >= 10
    assert PLUGIN.run(subject, QUICK).blocks == ours.blocks
    assert drawn[0].title.startswith("Correct")
    values = ours.arrays[drawn[0].values]
    np.testing.assert_allclose(values[::2], -values[1::2], atol=1e-6)


def test_what_cannot_be_predicted_is_explained() -> None:
    codes = np.stack([np.repeat([0, 1], 30), np.zeros(60, dtype=int)], axis=1)
    rng = np.random.default_rng(0)
    subject = make_subject(codes, {"late": rng.standard_normal((60, 8))})
    with pytest.raises(AnalysisError, match="none of gender has two levels"):
        PLUGIN.run(subject, QUICK.model_copy(update={"targets": ("gender",)}))
    outcome = PLUGIN.run(subject, QUICK)
    assert any("Not measured: gender" in sentence for sentence in outcome.limits)
