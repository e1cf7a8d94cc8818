"""Confusions are those of a hand-made table, and chance is a distribution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix as sklearn_matrix

from bias_audit.analyses.confusing.confusions import (
    change_classes,
    confusion_matrix,
    expected_shares,
    most_frequent_pairs,
)
from bias_audit.analyses.methods.confusions import PLUGIN, Params
from bias_audit.config.schema import Multiplicity
from bias_audit.groups import changed_attributes, intersections
from bias_audit.shapes.confusions import Confusions
from tests.analyses.planted import AGE, GENDER, make_subject, planted

GROUPS = intersections([AGE, GENDER])


def test_matrix_and_pairs() -> None:
    true = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = np.array([0, 1, 1, 0, 1, 2, 0, 0, 1])
    matrix = confusion_matrix(true, predicted, 3)
    np.testing.assert_array_equal(matrix, sklearn_matrix(true, predicted))
    # Of the two pairs seen twice, 0 -> 1 is the larger share of its true group.
    pairs, tied = most_frequent_pairs(matrix, 3)
    assert pairs == [(0, 1), (2, 0), (1, 0)]
    assert tied == 1


def test_classes_are_the_changed_attributes() -> None:
    classes, pairs = change_classes(GROUPS)
    assert classes == (("age",), ("gender",), ("age", "gender"))
    for i, one in enumerate(GROUPS):
        for j, other in enumerate(GROUPS):
            if i != j:
                assert classes[pairs[i, j]] == changed_attributes(one, other)
    assert (np.diag(pairs) == -1).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), mean=st.sampled_from([0.1, 1.0, 20.0]))
def test_expected_shares_sum_to_one(seed: int, mean: float) -> None:
    matrix = np.random.default_rng(seed).poisson(mean, size=(6, 6))
    classes, pairs = change_classes(GROUPS)
    total = expected_shares(matrix, pairs, len(classes)).sum()
    wrong = matrix.sum() - np.trace(matrix)
    assert total == pytest.approx(1.0 if wrong else 0.0)


def test_expected_shares_by_hand_and_for_random_guesses() -> None:
    classes, pairs = change_classes(GROUPS)
    even = np.full((6, 6), 10)
    # Of five other groups two change age alone, one gender alone, two both.
    np.testing.assert_allclose(expected_shares(even, pairs, len(classes)), [0.4, 0.2, 0.4])
    # Guesses that ignore the face, with unequal frequencies, are what chance expects.
    guesses = np.outer([50, 30, 20, 60, 10, 30], [1, 2, 3, 4, 5, 6])
    observed = [guesses[pairs == c].sum() for c in range(3)]
    off = guesses.sum() - np.trace(guesses)
    expected = expected_shares(guesses, pairs, 3)
    np.testing.assert_allclose(expected, np.array(observed) / off, atol=1e-12)


def test_what_is_not_encoded_is_what_gets_confused() -> None:
    outcome = PLUGIN.run(planted(strength=3), Params())
    (block,) = outcome.blocks
    assert isinstance(block, Confusions)
    classes = {c.changed: c for c in block.classes}
    assert block.n_confused == sum(c.count for c in block.classes)
    assert sum(c.share.value for c in block.classes) == pytest.approx(1)
    assert sum(c.expected for c in block.classes) == pytest.approx(1)
    assert classes["gender",].share.lower > 0.8 > classes["gender",].expected
    assert block.most_frequent[0].changed == ("gender",)
    assert all(c.count / c.n_true == c.share.value for c in block.most_frequent)
    assert any("significantly more than the" in finding.text for finding in outcome.findings)
    assert len(outcome.findings) == PLUGIN.families(Params(), (AGE, GENDER))


def test_the_error_rate_decides_whatever_the_printed_interval() -> None:
    subject = planted(strength=0.8)
    strict = replace(subject, multiplicity=Multiplicity(alpha=1e-12))
    usual, rare = (PLUGIN.run(s, Params(layer="late")).findings[1] for s in (subject, strict))
    assert usual.estimates == rare.estimates
    assert "significantly more than the" in usual.text and usual.weight > 0
    assert "no significant difference from" in rare.text and rare.weight == 0
    assert rare.text.endswith(" (decided at an error rate of 1e-10 %).")
    assert "error rate" not in usual.text


def test_random_predictions_are_called_chance_as_often_as_claimed() -> None:
    """Nothing is planted; unwidened intervals would miss what is expected in one of nine."""
    holds = []
    for seed in range(60):
        outcome = PLUGIN.run(planted(strength=0, seed=seed), Params(layer="late"))
        (block,) = outcome.blocks
        assert isinstance(block, Confusions)
        holds += [c.share.lower <= c.expected <= c.share.upper for c in block.classes]
    assert len(holds) == 180
    assert np.mean(holds) >= 0.9


def test_no_confusion_at_all() -> None:
    codes = np.stack([np.arange(120) % 3, np.arange(120) // 3 % 2], axis=1)
    subject = make_subject(codes, {"late": 9 * np.eye(6)[codes[:, 0] * 2 + codes[:, 1]]})
    outcome = PLUGIN.run(subject, Params())
    (block,) = outcome.blocks
    assert isinstance(block, Confusions)
    assert (block.n_confused, block.classes, block.most_frequent) == (0, (), ())
