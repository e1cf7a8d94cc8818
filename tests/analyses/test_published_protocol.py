"""The published protocol finds what is planted in positions, and holds out what it reports on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy.stats import t
from sklearn.linear_model import LogisticRegression

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.confusing.published import PublishedSettings, published_probes, split_of
from bias_audit.analyses.methods.confusions import PLUGIN, Params
from bias_audit.analyses.targets import finest_target
from bias_audit.arrays import FloatArray, IntArray
from bias_audit.audit.plan import make_plan
from bias_audit.config.load import load_config
from bias_audit.config.schema import SmallGroups
from bias_audit.errors import AnalysisError, ConfigError
from bias_audit.selftest.simulated import InMemoryActivations
from bias_audit.shapes.confusions import Confusions
from bias_audit.shapes.layer_curve import LayerCurve
from bias_audit.shapes.printed import percent
from bias_audit.statistics.estimate import wilson_bounds
from tests.analyses.planted import FakeCache, make_subject

QUICK = PublishedSettings(epochs=30, learning_rate=0.01)
LAYERS = ("early", "late")


def subject(*, strength: float = 1.5, n: int = 600, seed: int = 0) -> Subject:
    """Age is where in the map of layer "late" a unit is active; the units' means know nothing."""
    rng = np.random.default_rng(seed)
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    maps = {name: rng.standard_normal((n, 4, 9)).astype(np.float32) * 1.5 + 10 for name in LAYERS}
    where = maps["late"].reshape(n, 4, 3, 3)
    for level in range(3):
        chosen = codes[:, 0] == level
        where[chosen, :2, level] += np.float32(strength)
    maps = {name: values - values.mean(axis=2, keepdims=True) for name, values in maps.items()}
    means = {name: values.mean(axis=2) for name, values in maps.items()}
    made = make_subject(codes, means, seed=seed)
    assert isinstance(made.activations, InMemoryActivations)
    return replace(made, activations=replace(made.activations, maps=maps))


def params(**changes: object) -> Params:
    return Params.model_validate({"protocol": "krug_stober_2025", "published": QUICK, **changes})


def test_finds_the_layer_and_the_confusions_that_are_planted() -> None:
    outcome = PLUGIN.run(subject(), params())
    curve, block = outcome.blocks
    assert isinstance(curve, LayerCurve) and isinstance(block, Confusions)
    names = [each.target for each in curve.curves]
    assert names == ["intersection", "training images", "default protocol"]
    trained, own = (each.points[1].estimate for each in curve.curves[1:])
    assert trained is not None and own is not None
    assert trained.n == 540 and own.n == 600
    early, late = curve.curves[0].points
    assert early.estimate is not None and late.estimate is not None
    chance = curve.chance["intersection"]
    assert chance == pytest.approx(1 / 6)
    assert early.estimate.lower < chance < late.estimate.lower
    assert block.layer == "late"
    assert block.n_images == late.estimate.n == 60
    assert 1 - block.n_confused / block.n_images == pytest.approx(late.estimate.value)
    classes = {entry.changed: entry for entry in block.classes}
    assert classes["gender",].share.lower > classes["gender",].expected
    assert block.most_frequent[0].changed == ("gender",)
    (of_training, of_validation), arrays = block.matrices, outcome.arrays
    assert (of_training.title, of_validation.title) == ("training images", "validation images")
    shares = arrays[of_validation.values]
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert np.trace(shares) / 6 == pytest.approx(late.estimate.value)
    assert np.trace(arrays[of_training.values]) / 6 == pytest.approx(trained.value)
    for entry in block.most_frequent:
        assert entry.n_true == 10
        # Wilson's interval of nine to ten images, with Student's t and one of two layers chosen
        quantile = t.ppf(1 - 0.025 / 2, 9)
        wide, narrow = (wilson_bounds(entry.count / 10, n, quantile) for n in (9, 10))
        assert wide[0] <= entry.share.lower <= narrow[0]
        assert narrow[1] <= entry.share.upper <= wide[1]
    assert "lowest at late" in outcome.findings[0].text
    assert set(PLUGIN.quantities) >= {curve.quantity}


def test_the_default_protocol_is_blind_to_positions() -> None:
    (block,) = PLUGIN.run(subject(), Params(layer="late")).blocks
    assert isinstance(block, Confusions)
    assert 1 - block.n_confused / block.n_images < 0.3


def test_nothing_planted_is_chance() -> None:
    """Two layers and several seeds: chance lies in the intervals as often as these claim."""
    holds = []
    for seed in range(8):
        made = subject(strength=0, n=300, seed=seed)
        curve = PLUGIN.run(made, params(published={"epochs": 3})).blocks[0]
        assert isinstance(curve, LayerCurve)
        for point in curve.curves[0].points:
            assert point.estimate is not None
            holds.append(point.estimate.lower <= 1 / 6 <= point.estimate.upper)
    assert np.mean(holds) >= 0.85


def test_nine_tenths_of_every_group_rounded_down_train_and_every_seed_draws_anew() -> None:
    made = subject(n=300)
    codes = made.faces.table.codes.copy()
    codes[:7] = (0, 1)  # groups of unequal size
    made = replace(made, faces=replace(made.faces, table=replace(made.faces.table, codes=codes)))
    target = finest_target(made.faces.table)
    one, same, other = (split_of(made, target, QUICK, seed) for seed in (0, 0, 1))
    sizes = np.bincount(one.part.codes)
    training = np.bincount(one.part.codes[~one.validation])
    assert training.tolist() == [9 * n // 10 for n in sizes.tolist()]
    assert np.array_equal(one.validation, same.validation)
    assert not np.array_equal(one.validation, other.validation)


def keras_probe(
    features: FloatArray, codes: IntArray, settings: PublishedSettings, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The probe as its authors' Keras code defines it, written again in numpy: weight and bias."""
    n_features, n_levels = features.shape[1], int(codes.max()) + 1
    reach = np.sqrt(6 / (n_features + n_levels))
    values = [rng.uniform(-reach, reach, (n_features, n_levels)), np.zeros(n_levels)]
    first, second = ([np.zeros_like(each) for each in values] for _ in range(2))
    step = 0
    for _ in range(settings.epochs):
        order = rng.permutation(len(codes))
        for start in range(0, len(codes), settings.batch_size):
            batch = order[start : start + settings.batch_size]
            kept = rng.uniform(size=(len(batch), n_features)) >= settings.dropout
            inputs = features[batch] * kept / (1 - settings.dropout)
            scores = inputs @ values[0] + values[1]
            chances = np.exp(scores - scores.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
            chances[np.arange(len(batch)), codes[batch]] -= 1
            weight = values[0]
            penalties = settings.l1 * np.sign(weight) + 2 * settings.l2 * weight
            gradients = [inputs.T @ chances / len(batch) + penalties, chances.mean(axis=0)]
            step += 1
            rate = settings.learning_rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for each, gradient in enumerate(gradients):
                first[each] = 0.9 * first[each] + 0.1 * gradient
                second[each] = 0.999 * second[each] + 0.001 * gradient**2
                values[each] = values[each] - rate * first[each] / (np.sqrt(second[each]) + 1e-7)
    return values[0], values[1]


def test_it_agrees_with_an_independent_implementation_within_the_spread_of_seeds() -> None:
    made = subject(n=600)
    settings = PublishedSettings(epochs=20, learning_rate=3e-3, seeds=6)
    target = finest_target(made.faces.table)
    splits = [split_of(made, target, settings, seed) for seed in range(settings.seeds)]
    flat = made.activations.positions("late").reshape(600, -1).astype(np.float64)
    ours, theirs = [], []
    for split, probe in zip(
        splits, published_probes(made, splits, ["late"], settings), strict=True
    ):
        images, codes, held = split.part.images, split.part.codes, split.validation
        rng = np.random.default_rng(split.seed)
        weight, bias = keras_probe(flat[images[~held]], codes[~held], settings, rng)
        predicted = (flat[images] @ weight + bias).argmax(axis=1)
        ours.append([(probe.predicted == codes)[part].mean() for part in (held, ~held)])
        theirs.append([(predicted == codes)[part].mean() for part in (held, ~held)])
    spread = np.std(theirs, axis=0, ddof=1)
    assert spread.min() > 0
    assert (np.abs(np.mean(ours, axis=0) - np.mean(theirs, axis=0)) < spread).all()


def test_without_dropout_and_with_l1_alone_it_is_logistic_regression() -> None:
    """An oracle: scikit-learn minimises the same sum, its C being 1 / (images x strength)."""
    made, l1 = subject(n=300), 1e-2
    settings = PublishedSettings(
        dropout=0, l1=l1, l2=0, epochs=600, batch_size=300, learning_rate=0.01
    )
    split = split_of(made, finest_target(made.faces.table), settings, 0)
    (probe,) = published_probes(made, [split], ["late"], settings)
    flat = made.activations.positions("late").reshape(300, -1)[split.part.images]
    training, codes = flat[~split.validation], split.part.codes[~split.validation]
    model = LogisticRegression(
        l1_ratio=1, C=1 / (len(codes) * l1), solver="saga", max_iter=5000, tol=1e-5
    ).fit(training, codes)
    assert (probe.predicted == model.predict(flat)).mean() >= 0.95
    chances = model.predict_proba(training)
    loss = -np.log(chances[np.arange(len(codes)), codes]).mean() + l1 * np.abs(model.coef_).sum()
    assert probe.losses[-1] == pytest.approx(loss, rel=0.02)


def test_more_seeds_leave_the_first_as_it_is_and_say_how_much_it_moves() -> None:
    made = replace(subject(n=300), cache=FakeCache())
    (one, _), (several, _) = (
        PLUGIN.run(made, params(published={**QUICK.model_dump(), "seeds": seeds})).blocks
        for seeds in (1, 3)
    )
    assert isinstance(one, LayerCurve) and isinstance(several, LayerCurve)
    assert one.curves[0].noise is None
    for before, after in zip(one.curves, several.curves, strict=True):
        assert before.points == after.points
    noise = several.curves[0].noise
    assert noise is not None and noise.refits == 2 and noise.sd > 0


def test_a_strong_penalty_leaves_a_constant() -> None:
    made = subject(n=300)
    settings = QUICK.model_copy(update={"l1": 10.0, "learning_rate": 1e-3})
    split = split_of(made, finest_target(made.faces.table), settings, 0)
    (probe,) = published_probes(made, [split], ["late"], settings)
    (free,) = published_probes(made, [split], ["late"], QUICK)
    assert free.hits(of_validation=True)[0].mean() > 0.3
    assert probe.hits(of_validation=True)[0].mean() < 0.3


def test_repeats_resumes_by_layer_and_leaves_global_randomness_alone() -> None:
    made = subject(n=300)
    cache = FakeCache()
    state = torch.random.get_rng_state()
    first = PLUGIN.run(replace(made, cache=cache), params(layer="late"))
    assert cache.puts == 2  # and the out-of-fold probe
    both = PLUGIN.run(replace(made, cache=cache), params())
    assert cache.puts == 4  # "early" alone was fitted
    again = PLUGIN.run(replace(made, cache=FakeCache()), params())
    assert again.blocks == both.blocks
    for key, array in both.arrays.items():
        np.testing.assert_array_equal(again.arrays[key], array)
    one, chosen = first.blocks[1], both.blocks[1]
    assert isinstance(one, Confusions) and isinstance(chosen, Confusions)
    assert [c.count for c in one.classes] == [c.count for c in chosen.classes]
    assert all(c.share.choice == 1 for c in one.classes)
    assert all(c.share.choice == 0.5 for c in chosen.classes)  # one of two layers
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_attribute_alone_has_no_sentence_on_changed_attributes_but_a_block() -> None:
    made = subject(n=300)
    faces = replace(
        made.faces.table,
        attributes=made.faces.table.attributes[:1],
        codes=made.faces.table.codes[:, :1],
    )
    outcome = PLUGIN.run(replace(made, faces=replace(made.faces, table=faces)), params())
    curve, block = outcome.blocks
    assert isinstance(curve, LayerCurve) and isinstance(block, Confusions)
    assert len(outcome.findings) == 1


def test_the_method_says_what_ran_and_the_limits_how_few_images_that_is() -> None:
    outcome = PLUGIN.run(subject(n=300), params())
    method = " ".join(outcome.method)
    for said in ("arXiv:2506.03664", "36 features", "L1 penalty of 0.00001", percent(0.9)):
        assert said in method
    assert "5 validation images" in outcome.limits[0]


def test_missing_positions_and_unknown_layers_are_explained() -> None:
    made = subject(n=300)
    assert isinstance(made.activations, InMemoryActivations)
    without = replace(made, activations=replace(made.activations, maps={}))
    with pytest.raises(AnalysisError, match=r"activations\.positions: 8"):
        PLUGIN.run(without, params())
    with pytest.raises(AnalysisError, match="did you mean 'late'"):
        PLUGIN.run(made, params(layer="latte"))


def test_undefined_activations_are_refused() -> None:
    made = subject(n=300)
    made.activations.positions("late")[7, 1, 2] = np.nan
    with pytest.raises(AnalysisError, match="finite"):
        PLUGIN.run(made, params(layer="late"))


def test_groups_too_small_to_be_listed_count_in_the_sentence_but_have_no_matrix() -> None:
    """Five validation images a group, six wanted: nothing of a single group is shown."""
    made = subject(n=300)
    made = replace(made, small_groups=SmallGroups(suppress_below=6))
    outcome = PLUGIN.run(made, params())
    block = outcome.blocks[1]
    assert isinstance(block, Confusions)
    assert not block.matrices and not outcome.arrays and not block.most_frequent
    assert "most frequent confusions at late" in outcome.findings[1].text


def test_no_more_images_of_a_group_are_taken_than_asked_for() -> None:
    made = subject(n=300)
    settings = QUICK.model_copy(update={"images_per_group": 20})
    split = split_of(made, finest_target(made.faces.table), settings, 0)
    assert np.bincount(split.part.codes).tolist() == [20] * 6
    assert np.bincount(split.part.codes[split.validation]).tolist() == [2] * 6


def test_images_of_one_person_on_both_sides_are_counted() -> None:
    made = subject(n=300)
    twins = replace(made, faces=replace(made.faces, clusters=np.arange(300) // 12))
    assert not any("near duplicate" in limit for limit in PLUGIN.run(made, params()).limits)
    assert any("near duplicate" in limit for limit in PLUGIN.run(twins, params()).limits)


def test_too_few_images_to_hold_out_is_a_problem_before_the_run() -> None:
    (problem,) = PLUGIN.problems(params(), subject(n=7).faces.table, None)
    assert "at least 2 images each, got 1" in problem
    assert PLUGIN.problems(params(), subject(n=8).faces.table, None) == ()


@pytest.mark.parametrize(("positions", "refused"), [(0, True), (8, False)])
def test_a_config_without_positions_is_refused_before_the_run(
    tmp_path: Path, positions: int, refused: bool
) -> None:
    config = {
        "name": "positions",
        "data": {"kind": "parametric"},
        "backbones": [{"kind": "bundled", "name": "tf_efficientnet_lite0", "layers": ["bn2"]}],
        "activations": {"positions": positions},
        "analyses": [
            {"kind": "confusions"},
            {"kind": "confusions", "protocol": params().protocol},
        ],
    }
    path = tmp_path / "positions.yaml"
    path.write_text(yaml.safe_dump(config))
    if refused:
        with pytest.raises(ConfigError, match=r"analyses.1: .*set activations.positions: 8"):
            load_config(path)
    else:
        assert len(make_plan(load_config(path)).analyses) == 2
