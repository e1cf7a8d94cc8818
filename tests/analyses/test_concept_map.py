"""Planted concentration is found, chance is not, and images of one person count once."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.mapping.concentration import (
    Concentration,
    FaceMap,
    Hits,
    concentration,
    log_counts,
    map_faces,
    principal_scores,
    relative_entropy,
)
from bias_audit.analyses.methods.concept_map import PLUGIN, Params
from bias_audit.config.schema import Multiplicity
from bias_audit.errors import AnalysisError
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.test_families import HypothesisFamilies
from bias_audit.statistics.multiplicity import resampling_p
from tests.analyses.planted import AGE, GENDER, make_subject, of_type, planted

QUICK = Params(layer="late", bootstrap_draws=100)


def _rows(blocks: tuple[Any, ...]) -> dict[str, GroupRow]:
    tables = of_type(blocks, GroupTable)
    return {row.group.label: row for table in tables for row in table.rows}


def _measured(
    cells: np.ndarray, labels: np.ndarray, *, seed: int, clusters: np.ndarray | None = None
) -> Concentration:
    alone = np.arange(len(cells)) if clusters is None else clusters
    faces = FaceMap(cells.astype(np.int64), 5, 1, 1.0)
    hits = Hits.of(faces, labels.astype(np.int64), alone, np.eye(2))
    rng = np.random.default_rng(seed)
    return concentration(hits, n_draws=39, n_resampled=2, rng=rng)


def _p(found: Concentration) -> float:
    return resampling_p(float(found.bits[1]), found.permuted[:, 1])


def test_relative_entropy_is_that_of_the_shares() -> None:
    everything = np.array([4000.0, 2000, 1000, 1000])
    groups = np.array([[2000.0, 0, 0, 0], [1000, 500, 250, 250], [0, 0, 500, 500], [0, 0, 0, 0]])
    bits = relative_entropy(groups, everything, log_counts(8000))
    np.testing.assert_allclose(bits[:3], [1, 0, 2], atol=0.01)
    assert math.isnan(bits[3])


def test_small_samples_change_relative_entropy_much_less_than_their_shares_do() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(40, np.full(50, 0.02), size=2000).astype(np.float64)
    share = drawn / 40
    plain = np.sum(share * np.log2(np.where(share > 0, share, 1) * 50), axis=1).mean()
    corrected = relative_entropy(drawn, np.full(50, 400.0), log_counts(400)).mean()
    assert plain > 0.6
    assert abs(corrected) < plain / 5


def test_the_map_holds_like_faces_together() -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(200) % 4
    centres, noise = rng.standard_normal((4, 30)), 0.2 * rng.standard_normal((200, 30))
    units = (centres[kinds] + noise).astype(np.float32)
    units[:, 7] = 5
    faces, again = (
        map_faces(
            units,
            np.arange(200),
            np.random.default_rng(1),
            side=None,
            axes=50,
            epochs=10,
            sigma=1.0,
            rate=0.5,
        )
        for _ in range(2)
    )
    assert faces.side == round(math.sqrt(5 * math.sqrt(200)))
    held = {cell: set(kinds[faces.cells == cell].tolist()) for cell in faces.cells}
    assert all(len(kind) == 1 for kind in held.values())
    np.testing.assert_array_equal(faces.cells, again.cells)


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
def test_principal_scores_keep_the_largest_variances(shape: tuple[int, int]) -> None:
    units = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    scores, kept = principal_scores(units, 5)
    centred = units.astype(np.float64) - units.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred / centred.std(axis=0), full_matrices=False)
    expected = left[:, :5] * sizes[:5]
    np.testing.assert_allclose(np.abs(scores), np.abs(expected), atol=1e-6)
    assert kept == pytest.approx((sizes[:5] ** 2).sum() / (sizes**2).sum())
    everything, all_kept = principal_scores(units, 500)
    assert everything.shape[1] == min(shape[1], shape[0] - 1)
    assert all_kept == pytest.approx(1)


def test_planted_concentration_is_found_and_the_rest_is_not() -> None:
    subject = replace(
        planted(n=600, n_units=8, strength=2.0), multiplicity=Multiplicity(draws=199)
    )
    outcome = PLUGIN.run(subject, QUICK)
    assert PLUGIN.run(subject, QUICK) == outcome
    rows = _rows(outcome.blocks)
    for level in AGE.levels:
        row = rows[level]
        assert row.estimate is not None
        assert row.estimate.lower > 0.5
        assert row.adjusted_p is not None
        assert row.adjusted_p < 0.05
    for level in ("female", "male"):
        estimate = rows[level].estimate
        assert estimate is not None
        assert estimate.lower < 0.05
        assert estimate.value < 0.1
    texts = " ".join(finding.text for finding in outcome.findings)
    assert "3 of 5 groups (marginals) are significantly concentrated" in texts
    (families,) = of_type(outcome.blocks, HypothesisFamilies)
    assert [family.name for family in families.families] == ["global", "marginals", "cells"]
    assert families.families[1].rejected == 3
    assert {family.draws for family in families.families} == {199}


def test_without_an_effect_nothing_is_claimed() -> None:
    outcome = PLUGIN.run(planted(n=300, strength=0.0, seed=1), QUICK)
    (told,) = outcome.findings
    assert "was not shown to give any information" in told.text
    (families,) = of_type(outcome.blocks, HypothesisFamilies)
    assert [family.is_open for family in families.families] == [True, False, False]
    assert PLUGIN.families(QUICK, (AGE, GENDER)) == len(families.families)


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng = np.random.default_rng(0)
    labels = (np.arange(120) % 4 == 0).astype(np.int64)
    found = [_measured(rng.integers(25, size=120), labels, seed=seed) for seed in range(200)]
    # 200 runs at 5 %: 99.9 % of binomial draws are at most 21.
    assert 1 <= sum(_p(one) <= 0.05 for one in found) <= 21
    excess = [one.excess[1] for one in found]
    assert abs(np.mean(excess)) < 4 * np.std(excess) / np.sqrt(200)


def test_several_images_of_a_person_make_no_concentration() -> None:
    """Each person fills cells of its own: with images taken as independent, all runs reject."""
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(40), 4)
    labels = (people % 4 == 0).astype(np.int64)
    rejected = naive = 0
    for seed in range(100):
        near = rng.integers(25, size=40)[people]
        cells = np.where(rng.random(160) < 0.7, near, rng.integers(25, size=160))
        rejected += _p(_measured(cells, labels, seed=seed, clusters=people)) <= 0.05
        naive += _p(_measured(cells, labels, seed=seed)) <= 0.05
    assert rejected <= 13  # 99.9 % of binomial draws
    assert naive >= 40


@pytest.mark.parametrize("images", [(4, 1), (1, 4)])
def test_a_group_of_people_with_more_images_is_not_concentrated(images: tuple[int, int]) -> None:
    """Ten people against 50; a person's images lie in one cell more often than not."""
    runs, rejected = 200, 0
    labels = np.repeat([0, 1], [10, 50])
    people = np.repeat(np.arange(60), np.array(images)[labels])
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        own = rng.integers(0, 25, 60)[people]
        cells = np.where(rng.random(len(people)) < 0.6, own, rng.integers(0, 25, len(people)))
        found = _measured(cells, labels[people], seed=seed, clusters=people)
        p_values = [resampling_p(float(found.bits[i]), found.permuted[:, i]) for i in (0, 1)]
        rejected += min(p_values) <= 0.05 / 2
    assert rejected <= 0.075 * runs


def test_duplicates_change_nothing() -> None:
    rng = np.random.default_rng(2)
    cells, labels = rng.integers(25, size=100), (np.arange(100) % 2).astype(np.int64)
    once = _measured(cells, labels, seed=0)
    twice = _measured(
        np.tile(cells, 2), np.tile(labels, 2), seed=0, clusters=np.tile(np.arange(100), 2)
    )
    np.testing.assert_allclose(once.bits, twice.bits)
    np.testing.assert_allclose(once.permuted, twice.permuted)


def test_small_and_empty_groups_get_a_reason_and_no_value() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], [80, 6])[:, None]
    subject = make_subject(codes, {"late": rng.standard_normal((86, 8))}, (AGE,))
    outcome = PLUGIN.run(subject, QUICK)
    rows = _rows(outcome.blocks)
    assert rows["young"].estimate is not None
    assert rows["middle"].estimate is None
    assert rows["middle"].reason == "6 independent images, fewer than 10: suppressed"
    assert rows["old"].reason == "no images"
    (ledger,) = of_type(outcome.blocks, GroupLedger)
    assert [entry.group.label for entry in ledger.entries] == ["middle", "old"]


def test_a_layer_without_differences_is_refused() -> None:
    codes = (np.arange(30) % 3)[:, None]
    with pytest.raises(AnalysisError, match="layer late: expected finite activations"):
        PLUGIN.run(make_subject(codes, {"late": np.ones((30, 6))}, (AGE,)), QUICK)
    with pytest.raises(AnalysisError, match="did you mean 'late'"):
        PLUGIN.run(planted(n=90), Params(layer="lat"))
