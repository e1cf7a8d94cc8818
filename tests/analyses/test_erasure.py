"""Erasure finds what is planted, changes nothing where nothing is used, and nothing is made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bias_audit.analyses.analysis import Head, Outcome, Subject
from bias_audit.analyses.erasing import leace
from bias_audit.analyses.erasing.erasure import agreement
from bias_audit.analyses.erasing.leace import Eraser, Moments, Whitening, random_erasers
from bias_audit.analyses.methods.erasure import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.groups import Attribute
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.layer_curve import CurvePoint, LayerCurve
from bias_audit.statistics.estimate import Estimate
from tests.analyses.planted import AGE, GENDER, FakeCache, make_subject

N_UNITS, N_CLASSES = 10, 8
PARAMS = Params(draws=20)


def subject(
    *,
    strength: float = 2.0,
    used: bool,
    n: int = 480,
    seed: int = 0,
    cache: FakeCache | None = None,
) -> Subject:
    """Gender moves unit 0; the head looks at it or at every other unit. Age moves nothing."""
    rng = np.random.default_rng(seed)
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    inputs = rng.standard_normal((n, N_UNITS)).astype(np.float32)
    inputs[:, 0] += strength * codes[:, 1]
    weight = rng.standard_normal((N_CLASSES, N_UNITS)).astype(np.float32)
    weight[:, 0] = 6 * np.linspace(-1, 1, N_CLASSES) if used else 0
    head = Head("fc", weight, np.zeros(N_CLASSES, np.float32), inputs, inputs[::2].copy())
    made = make_subject(codes, {"late": inputs}, seed=seed, cache=cache)
    return replace(made, head=head)


def whitened(inputs: npt.NDArray[np.floating]) -> Whitening:
    images, centre = np.arange(len(inputs)), torch.zeros(inputs.shape[1], dtype=torch.float64)
    return leace.whitened(Moments.of(inputs, images, centre))


def fitted(
    whitening: Whitening,
    inputs: npt.NDArray[np.floating],
    codes: npt.NDArray[np.int64],
    n_levels: int,
) -> Eraser:
    return leace.fitted(whitening, inputs, np.arange(len(inputs)), codes, n_levels)


def erased(eraser: Eraser, inputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    left, right, mean = (part.numpy() for part in eraser.parts)
    return np.asarray(inputs - (inputs - mean) @ right @ left.T)


def point(outcome: Outcome, quantity: str, name: str) -> CurvePoint:
    for block in outcome.blocks:
        if isinstance(block, LayerCurve) and block.quantity == quantity:
            (found,) = [curve for curve in block.curves if curve.target == name]
            return found.points[0]
    raise AssertionError(f"no {quantity} of {name}")


def value(outcome: Outcome, quantity: str, name: str) -> Estimate:
    estimate = point(outcome, quantity, name).estimate
    assert estimate is not None
    return estimate


def control(outcome: Outcome, quantity: str, name: str) -> Estimate:
    return point(outcome, quantity, name).controls[0].estimate


def lift(outcome: Outcome, quantity: str, name: str) -> Estimate:
    found = point(outcome, quantity, name)
    assert found.estimate is not None and found.lift is not None
    assert found.lift == found.controls[0].lift
    difference = found.estimate.value - found.controls[0].estimate.value
    assert found.lift.value == pytest.approx(difference)
    return found.lift


def row(outcome: Outcome, quantity: str, name: str, target: str) -> GroupRow:
    for block in outcome.blocks:
        if isinstance(block, GroupTable) and (block.quantity, block.target) == (quantity, target):
            for entry in block.rows:
                if entry.group.levels[0][1] == name:
                    return entry
    raise AssertionError(f"no {quantity} of {name}")


# The eraser itself.


@pytest.mark.parametrize(("n", "shrunk"), [(60, True), (400, False)])
def test_shared_whitening_gives_the_erasers_of_the_package(n: int, shrunk: bool) -> None:
    leace._leace()  # imports the package without its warning
    from concept_erasure import LeaceFitter

    rng = np.random.default_rng(1)
    codes = np.arange(n) % 4
    inputs = rng.standard_normal((n, 12)) @ rng.standard_normal((12, 12)) + codes[:, None]
    whitening = whitened(inputs)
    assert whitening.shrunk is shrunk
    fitter = LeaceFitter.fit(
        torch.from_numpy(inputs), torch.eye(4)[codes].double(), shrinkage=shrunk, svd_tol=1e-9
    )
    ours = fitted(whitening, inputs, codes, 4)
    np.testing.assert_allclose(
        erased(ours, inputs), fitter.eraser(torch.from_numpy(inputs)).numpy(), atol=1e-8
    )
    assert ours.rank == 3


@pytest.mark.parametrize("n", [60, 400])
def test_no_difference_of_means_is_left_in_sample(n: int) -> None:
    rng = np.random.default_rng(2)
    codes = np.arange(n) % 3
    inputs = rng.standard_normal((n, 20)) + 2 * np.eye(3, 20)[codes]
    eraser = fitted(whitened(inputs), inputs, codes, 3)
    left = erased(eraser, inputs)
    means = np.stack([left[codes == level].mean(axis=0) for level in range(3)])
    np.testing.assert_allclose(means, np.broadcast_to(inputs.mean(axis=0), means.shape), atol=1e-9)
    # So the best of all linear probes is a constant: no direction has a sloped least-squares fit.
    labels = np.eye(3)[codes] - 1 / 3
    slopes = np.linalg.lstsq(left - left.mean(axis=0), labels, rcond=1e-10)[0]
    assert np.abs(slopes).max() < 1e-6
    scores = (left - left.mean(axis=0)) @ slopes
    assert roc_auc_score(np.eye(3)[codes], scores.round(6)) == pytest.approx(0.5)


def test_erasing_twice_is_erasing_once_and_variance_is_a_share() -> None:
    rng = np.random.default_rng(3)
    codes = np.arange(300) % 2
    inputs = rng.standard_normal((300, 6)) + 2 * codes[:, None]
    eraser = fitted(whitened(inputs), inputs, codes, 2)
    once = erased(eraser, inputs)
    np.testing.assert_allclose(erased(eraser, once), once, atol=1e-9)
    lost = 1 - once.var(axis=0).sum() / inputs.var(axis=0).sum()
    assert eraser.variance == pytest.approx(lost, abs=1e-9)


def test_labels_of_one_level_erase_nothing() -> None:
    inputs = np.random.default_rng(4).standard_normal((50, 5))
    eraser = fitted(whitened(inputs), inputs, np.zeros(50, dtype=np.int64), 2)
    assert (eraser.rank, eraser.variance) == (0, 0.0)
    np.testing.assert_allclose(erased(eraser, inputs), inputs)


def test_agreement_by_hand() -> None:
    one = np.array([[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]])
    other = np.array([[0, 4, 3, 2, 1], [1, 0, 2, 3, 9], [5, 6, 7, 8, 9]])
    kept, shared = agreement(one, other)
    np.testing.assert_array_equal(kept, [True, False, False])
    np.testing.assert_allclose(shared, [1, 0.8, 0])


# What the analysis says of planted subjects.


def test_encoded_removable_and_used() -> None:
    outcome = PLUGIN.run(subject(used=True), PARAMS)
    assert value(outcome, "head_auc", "gender").lower > 0.8
    after = value(outcome, "erased_auc", "gender")
    assert after.lower <= 0.5 <= after.upper
    assert lift(outcome, "head_auc", "gender").lower > 0.3
    assert value(outcome, "refitted_head_auc", "gender").lower > 0.8
    again = value(outcome, "refitted_erased_auc", "gender")
    assert again.lower <= 0.55 and again.value < 0.6
    assert value(outcome, "erased_balanced_accuracy", "gender").value < 0.6
    kept = value(outcome, "top1_agreement", "gender")
    assert kept.upper < control(outcome, "top1_agreement", "gender").lower
    assert lift(outcome, "top1_agreement", "gender").upper < -0.1
    assert lift(outcome, "top5_agreement", "gender").upper < -0.05
    assert lift(outcome, "reference_top1_agreement", "gender").upper < 0
    texts = [finding.text for finding in outcome.findings]
    assert any(
        text.startswith("Removing gender changed") and "significantly more" in text
        for text in texts
    )


def test_nothing_is_left_to_read_where_units_are_much_alike() -> None:
    made = subject(used=True)
    assert made.head is not None
    inputs: npt.NDArray[np.float32] = made.head.inputs.copy()
    inputs[:, 5:] = inputs[:, :5] + 1e-4 * inputs[:, 5:]
    outcome = PLUGIN.run(replace(made, head=replace(made.head, inputs=inputs)), PARAMS)
    for name in ("gender", "age"):
        left = value(outcome, "erased_auc", name)
        assert (left.value, left.lower < 0.48, left.upper > 0.52) == (0.5, True, True)


def test_too_few_people_of_a_level_for_folds_within_a_fold_leave_the_rest_measured() -> None:
    """Whole people are dealt, here those of one level to two of the folds within one."""
    made, n = subject(used=True), 480
    rng = np.random.default_rng(109)
    people = np.repeat(np.arange(50), rng.integers(1, 18, 50))[:n]
    people = np.append(people, 50 + np.arange(n - len(people)))
    codes = np.stack([rng.choice(3, n, p=[0.08, 0.3, 0.62]), people % 2], axis=1)
    table = replace(made.faces.table, codes=codes)
    outcome = PLUGIN.run(
        replace(made, faces=replace(made.faces, table=table, clusters=people)), PARAMS
    )
    assert value(outcome, "erased_auc", "age").value == 0.5
    refitted = [
        curve.target
        for block in outcome.blocks
        if isinstance(block, LayerCurve) and block.quantity == "refitted_erased_auc"
        for curve in block.curves
        if curve.points
    ]
    assert refitted == ["gender"]


def test_encoded_but_not_used_changes_no_decision() -> None:
    """The head is blind to the one unit that gender moves; the control moves some decisions."""
    made = subject(used=False)
    assert made.head is not None
    # A unit uncorrelated with all others in the sample, so that erasing it leaves these alone.
    inputs = made.head.inputs.copy()
    others = np.column_stack([np.ones(len(inputs)), inputs[:, 0]])
    inputs[:, 1:] -= others @ np.linalg.lstsq(others, inputs[:, 1:], rcond=None)[0]
    gender = made.faces.table.codes[:, 1]
    for level in (0, 1):
        inputs[gender == level, 1:] -= inputs[gender == level, 1:].mean(axis=0)
    inputs = np.asarray(inputs, dtype=np.float32)
    made = replace(made, head=replace(made.head, inputs=inputs, reference=inputs))
    outcome = PLUGIN.run(made, Params(targets=("gender",), draws=30))
    assert value(outcome, "head_auc", "gender").lower > 0.8
    assert lift(outcome, "head_auc", "gender").lower > 0.3
    # Fitted to all faces the eraser touches nothing the head sees: agreement is exact.
    exact = value(outcome, "reference_top1_agreement", "gender")
    assert exact.value == 1 and exact.lower < 1
    assert value(outcome, "reference_top5_agreement", "gender").value == 1
    # Fitted to training folds it is nearly so, and less is changed than by shuffled labels.
    assert value(outcome, "top1_agreement", "gender").value > 0.95
    assert lift(outcome, "top1_agreement", "gender").lower > 0
    assert any("significantly fewer" in finding.text for finding in outcome.findings)


@pytest.mark.slow
def test_null_attribute_is_neither_shown_encoded_nor_used() -> None:
    """Over seeds, the excess over random directions covers 0 as often as its interval claims."""
    covered, shown = [], []
    for seed in range(24):
        outcome = PLUGIN.run(
            subject(strength=0, used=True, n=240, seed=seed), Params(targets=("gender",))
        )
        excess = lift(outcome, "top1_agreement", "gender")
        covered.append(excess.lower <= 0 <= excess.upper)
        shown.append(value(outcome, "head_auc", "gender").lower > 0.5)
    assert np.mean(covered) >= 0.9
    assert np.mean(shown) <= 0.15


def test_agreement_by_group_averages_to_the_whole() -> None:
    outcome = PLUGIN.run(subject(used=True), PARAMS)
    for quantity in ("top1_agreement", "top5_agreement"):
        rows = [row(outcome, f"group_{quantity}", level, "gender") for level in GENDER.levels]
        mean = sum(r.n * r.estimate.value for r in rows if r.estimate) / sum(r.n for r in rows)
        assert mean == pytest.approx(value(outcome, quantity, "gender").value)


def test_intersections_only_when_asked_and_small_levels_are_left_out_with_reason() -> None:
    outcome = PLUGIN.run(subject(used=True), PARAMS)
    tables = [block for block in outcome.blocks if isinstance(block, GroupTable)]
    curves = [block for block in outcome.blocks if isinstance(block, LayerCurve)]
    assert {table.target for table in tables} == {"age", "gender"}
    assert {curve.target for block in curves for curve in block.curves} == {"age", "gender"}
    quantities = {table.quantity for table in tables} | {block.quantity for block in curves}
    assert quantities == set(PLUGIN.quantities)
    asked = PLUGIN.run(subject(used=True), Params(targets=("intersection",)))
    assert value(asked, "head_auc", "intersection").lower > 0.5
    with pytest.raises(AnalysisError, match="did you mean 'gender'"):
        PLUGIN.run(subject(used=True), Params(targets=("gendre",)))


def test_levels_without_images_have_a_reason_and_no_number() -> None:
    made = subject(used=True, n=60)
    assert made.head is not None
    attributes = (AGE, Attribute("gender", (*GENDER.levels, "other")))
    rare = make_subject(made.faces.table.codes, {"late": made.head.inputs}, attributes)
    outcome = PLUGIN.run(replace(rare, head=made.head), PARAMS)
    entry = row(outcome, "group_top1_agreement", "other", "gender")
    assert (entry.n, entry.estimate, entry.reason) == (0, None, "no images")
    assert any("other (no images)" in limit for limit in outcome.limits)


def test_without_a_head_nothing_is_measured_and_it_says_why() -> None:
    made = replace(subject(used=True), head=None, without_head="the model ends in features")
    outcome = PLUGIN.run(made, PARAMS)
    assert (outcome.blocks, outcome.findings, outcome.arrays) == ((), (), {})
    assert "not measured, because the model ends in features" in outcome.limits[0]
    assert PLUGIN.needs_head


def test_interrupted_work_is_resumed_and_another_head_is_not_mistaken_for_it() -> None:
    cache = FakeCache()
    made = subject(used=True, cache=cache)
    first = PLUGIN.run(made, PARAMS)
    assert cache.puts == 2
    assert PLUGIN.run(made, PARAMS) == first
    assert cache.puts == 2
    assert made.head is not None
    other = replace(made, head=replace(made.head, weight=made.head.weight[::-1] * 2))
    PLUGIN.run(other, PARAMS)
    assert cache.puts == 4


def test_undefined_inputs_are_refused() -> None:
    made = subject(used=True)
    assert made.head is not None
    inputs: npt.NDArray[np.float32] = made.head.inputs.copy()
    inputs[3, 2] = np.nan
    with pytest.raises(AnalysisError, match="finite"):
        PLUGIN.run(replace(made, head=replace(made.head, inputs=inputs)), PARAMS)


def test_clusters_count_once() -> None:
    made = subject(used=True)
    faces = replace(made.faces, clusters=np.arange(len(made.faces)) // 2)
    outcome = PLUGIN.run(replace(made, faces=faces), PARAMS)
    assert value(outcome, "top1_agreement", "gender").n == len(faces) // 2


@pytest.mark.parametrize("n_levels", [2, 4, 9])
@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_random_directions_remove_as_much_variance_and_leave_the_attribute(
    n_levels: int, strength: float
) -> None:
    rng = np.random.default_rng(5)
    codes = np.arange(800) % n_levels
    inputs = rng.standard_normal((800, 80)) * np.geomspace(10, 0.1, 80)
    inputs += strength * rng.standard_normal((n_levels, 80))[codes]
    whitening = whitened(inputs)
    eraser = fitted(whitening, inputs, codes, n_levels)
    others = random_erasers(whitening, eraser, range(8))
    each = [erased(other, inputs) for other in others]
    for other, values in zip(others, each, strict=True):
        gram = (other.frame.mT @ other.frame).numpy()
        np.testing.assert_allclose(gram, np.eye(other.rank), atol=1e-9)
        assert other.rank >= eraser.rank
        assert other.variance == pytest.approx(eraser.variance, rel=1e-6)
        lost = 1 - values.var(axis=0).sum() / inputs.var(axis=0).sum()
        assert lost == pytest.approx(eraser.variance, rel=1e-5)
        again = fitted(whitened(inputs), values, codes, n_levels)
        np.testing.assert_allclose(again.variance, eraser.variance, rtol=0.2)
    assert not np.allclose(each[0], each[1])
    (again,) = random_erasers(whitening, eraser, [0])
    np.testing.assert_array_equal(erased(again, inputs), each[0])


def test_an_attribute_with_most_of_the_variance_has_no_equal() -> None:
    rng = np.random.default_rng(6)
    codes = np.arange(200) % 4
    inputs = rng.standard_normal((200, 5)) + codes[:, None] * rng.standard_normal(5)
    inputs[:, 3:] += 5 * np.eye(4)[codes][:, :2]
    whitening = whitened(inputs)
    eraser = fitted(whitening, inputs, codes, 4)
    (other,) = random_erasers(whitening, eraser, [0])
    assert (eraser.rank, other.rank) == (3, 2)
    assert 0 < other.variance < eraser.variance
    assert np.isfinite(erased(other, inputs)).all()
