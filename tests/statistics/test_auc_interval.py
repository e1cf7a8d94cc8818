"""The score interval of an AUC solves its equation, and is never a point."""

from __future__ import annotations

import numpy as np
import pytest

from bias_audit.statistics.auc_interval import auc_score_interval


def test_score_interval_at_one_depends_on_the_sample() -> None:
    small, large = (auc_score_interval(1.0, n, n, level=0.95) for n in (5, 500))
    assert small[1] == large[1] == 1
    assert small[0] < 0.8
    assert 0.99 < large[0] < 1
    assert auc_score_interval(0.0, 5, 5, level=0.95)[1] == pytest.approx(1 - small[0])


def test_score_interval_solves_its_own_equation() -> None:
    value, m, n = 0.8, 30, 60
    for theta in auc_score_interval(value, m, n, level=0.95):
        q = theta * (1 - theta)
        common = (m + n) / 2 - 1
        variance = q * (1 + common * ((1 - theta) / (2 - theta) + theta / (1 + theta))) / (m * n)
        assert abs(theta - value) / np.sqrt(variance) == pytest.approx(1.959964, abs=1e-4)
