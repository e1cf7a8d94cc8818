"""Profiles are means; deviations find what was planted and do not rise with small groups."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.analyses.methods.group_profiles import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.shapes.group_profiles import GroupProfiles, ProfileRow
from tests.analyses.planted import AGE, GENDER, make_subject, planted

QUICK = Params(bootstrap_draws=300, layers=("late",))


def _rows(block: object) -> dict[str, ProfileRow]:
    assert isinstance(block, GroupProfiles)
    return {row.group.label: row for row in block.rows}


def test_arrays_are_group_means_and_deviations() -> None:
    subject = planted(n=120)
    outcome = PLUGIN.run(subject, QUICK)
    units, cells = subject.activations.units("late"), subject.faces.table.cells
    block = outcome.blocks[1]
    assert isinstance(block, GroupProfiles)
    for cell in range(6):
        members = units[cells == cell].astype(np.float64)
        np.testing.assert_allclose(
            outcome.arrays[block.means][cell], members.mean(axis=0), atol=1e-5
        )
        np.testing.assert_allclose(
            outcome.arrays[block.deviations][cell], members.std(axis=0, ddof=1), atol=1e-5
        )


def test_planted_deviation_is_recovered_and_its_units_named() -> None:
    """Each age raises one of 12 units by 2 sd: contrast (4/3, -2/3, -2/3), so sqrt(24/9/12)."""
    outcome = PLUGIN.run(planted(n=1200), QUICK)
    rows = _rows(outcome.blocks[0])
    for place, level in enumerate(AGE.levels):
        deviation = rows[level].deviation
        assert deviation is not None
        assert deviation.value == pytest.approx(np.sqrt(24 / 9 / 12), abs=0.06)
        assert deviation.lower > 0.4
        assert rows[level].strongest_units[0][0] == place
        assert rows[level].strongest_units[0][1] == pytest.approx(4 / 3, abs=0.15)


def test_groups_without_a_difference_do_not_deviate_however_small() -> None:
    rng = np.random.default_rng(2)
    sizes = [8, 12, 400]
    zeros, values = 0, []
    for _ in range(20):
        codes = np.repeat([0, 1, 2], sizes)[:, None]
        subject = make_subject(codes, {"late": rng.standard_normal((420, 40))}, (AGE,))
        rows = _rows(PLUGIN.run(subject, QUICK).blocks[0])
        estimates = [row.deviation for row in rows.values() if row.deviation is not None]
        zeros += sum(estimate.lower == 0 for estimate in estimates)
        values.append([estimate.value**2 for estimate in estimates])
    assert zeros >= 0.9 * 60
    # Uncorrected, the smallest group would show about 1/8 of squared deviation.
    assert np.mean(values, axis=0)[0] < 0.03


def test_interval_covers_a_known_deviation() -> None:
    truth, hits = np.sqrt(0.5**2), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        codes = (np.arange(60) % 2)[:, None]
        shift = np.where(codes == 0, 0.5, -0.5)
        subject = make_subject(
            codes, {"late": rng.standard_normal((60, 20)) + shift}, (GENDER,), seed=seed
        )
        deviation = _rows(PLUGIN.run(subject, QUICK).blocks[0])["female"].deviation
        assert deviation is not None
        hits += deviation.lower <= truth <= deviation.upper
    assert hits >= 0.85 * 60


def test_empty_small_and_constant_groups_are_listed_with_a_reason() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1], [40, 43]), np.repeat([0, 1], [80, 3])], axis=1)
    units = np.concatenate([rng.standard_normal((83, 4)), np.ones((83, 1))], axis=1)
    outcome = PLUGIN.run(make_subject(codes, {"late": units}), QUICK)
    rows = _rows(outcome.blocks[1])
    assert rows["old / male"].reason == "no images"
    assert rows["old / male"].strongest_units == ()
    assert rows["middle / male"].reason == "independent images: 3; a deviation needs 5"
    assert rows["young / female"].deviation is not None
    block = outcome.blocks[1]
    assert isinstance(block, GroupProfiles)
    assert np.isnan(outcome.arrays[block.means][-1]).all()
    one = make_subject(np.zeros((20, 2), dtype=np.int64), {"late": rng.standard_normal((20, 3))})
    with pytest.raises(AnalysisError, match="two groups or more"):
        PLUGIN.run(one, QUICK)


def test_many_images_of_one_person_are_one_observation() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1], 40), np.tile([0, 1], 40)], axis=1)
    clusters = np.concatenate([np.zeros(40), np.arange(1, 41)]).astype(np.int64)
    units = rng.standard_normal((80, 4)) + codes[:, :1]
    outcome = PLUGIN.run(make_subject(codes, {"late": units}, clusters=clusters), QUICK)
    rows = _rows(outcome.blocks[0])
    assert rows["young"].deviation is None
    assert rows["young"].reason == "independent images: 1; a deviation needs 5"
    assert rows["middle"].deviation is not None
