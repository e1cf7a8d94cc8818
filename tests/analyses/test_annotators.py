"""Where annotators disagree, probes are about the label of one annotator of each face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bias_audit.analyses.analysis import Subject
from bias_audit.analyses.methods import intersections, linear_probe
from bias_audit.analyses.probing import probes, separability
from bias_audit.analyses.probing.decodability import decodability, probe_targets
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec
from bias_audit.analyses.probing.separability import AUC, BITS, Units
from bias_audit.analyses.targets import measurable, targets_of
from bias_audit.arrays import IntArray
from bias_audit.data.faces import data_record
from bias_audit.groups import INTERSECTION, Attribute
from bias_audit.report.sections.sources import one_annotator
from bias_audit.selftest.simulated import Design, draw, subject_of
from bias_audit.statistics.inference import estimate
from bias_audit.statistics.influence import macro_auc
from tests.analyses.planted import GENDER, make_subject

QUICK = ProbeSettings(shrinkage=0.1)
AGE = Attribute("age", ("young", "middle", "old"))
VOTES, SETS = 3, 6
KEY = "cell_auc_highest"


def _votes(codes: IntArray, n_levels: int, rng: np.random.Generator, error: float) -> IntArray:
    """Of annotators, (n_images, VOTES); no other one errs where the first does."""
    wrong = rng.random((len(codes), VOTES)) < error
    wrong[:, 1:] &= ~wrong[:, :1]
    other = rng.integers(1, n_levels, size=wrong.shape)
    return np.where(wrong, (codes[:, None] + other) % n_levels, codes[:, None])


def _labelled(subject: Subject, label_sets: IntArray | None, codes: IntArray) -> Subject:
    table = replace(subject.faces.table, codes=codes, label_sets=label_sets)
    return replace(subject, faces=replace(subject.faces, table=table), refits=0, shuffles=2)


def _audit(seed: int, labels: str, error: float = 0.2) -> Subject:
    """One attribute at one layer, by one set of labels, most labels or all of them."""
    rng = np.random.default_rng(seed)
    sample = draw(Design(60, {"late": 1.5}, n_levels=2), rng)
    votes = _votes(sample.codes[:, 0], 2, rng, error)
    order = rng.permuted(np.tile(np.arange(VOTES), (len(votes), 1)), axis=1)
    sets = np.take_along_axis(votes, np.tile(order, 2), axis=1).T[:, :, None]
    most = (votes.sum(axis=1) > VOTES / 2).astype(np.int64)[:, None]
    subject = subject_of(sample, seed)
    if labels == "all":
        return _labelled(subject, sets, most)
    return _labelled(subject, None, sets[0] if labels == "one" else most)


def test_intervals_cover_what_one_annotator_says_and_not_what_most_say() -> None:
    found = {
        labels: [
            decodability(
                subject,
                probe_targets(subject, targets_of(subject.faces.table), QUICK),
                AUC,
                BITS,
                level=0.95,
            )
            for subject in (_audit(seed, labels) for seed in range(60))
        ]
        for labels in ("all", "one", "most")
    }
    for metric in (0, 1):
        every = {
            labels: [audit[metric][0].comparisons[0] for audit in audits]
            for labels, audits in found.items()
        }
        values = {k: [each.estimate.value for each in own if each] for k, own in every.items()}
        one, most = np.mean(values["one"]), np.mean(values["most"])
        intervals = [each.estimate for each in every["all"] if each]
        assert np.mean([each.lower <= one <= each.upper for each in intervals]) > 0.88
        assert np.mean([each.lower <= most <= each.upper for each in intervals]) < 0.6
        # all votes say more than one of them does
        width = np.mean([each.upper - each.lower for each in intervals])
        alone = [each.estimate for each in every["one"] if each]
        assert width < 0.85 * np.mean([each.upper - each.lower for each in alone])
        majority = [each.by_majority.value for each in every["all"] if each and each.by_majority]
        assert majority == pytest.approx(values["most"], abs=1e-9)


def test_a_value_is_the_mean_over_the_probes_of_all_label_sets() -> None:
    subject = _audit(0, "all")
    (target,), units = targets_of(subject.faces.table), Units.of(subject)
    scores = probes.out_of_fold_scores(subject, ProbeSpec(target, "late", QUICK))
    sets = subject.faces.table.label_sets
    assert sets is not None
    assert [each.codes.tolist() for each in scores.by_annotator] == sets[:, :, 0].tolist()
    alone = [macro_auc(s.probabilities, s.codes, s.folds) for s in scores.by_annotator]
    measured = separability.measure(AUC, scores, units)
    assert measured is not None
    assert measured.value == pytest.approx(np.mean([each.value for each in alone if each]))
    own = separability.measure(AUC, replace(scores, by_annotator=()), units)
    assert own is not None
    assert estimate(own, level=0.95).value > estimate(measured, level=0.95).value


def test_annotators_who_agree_change_nothing() -> None:
    subject = _audit(0, "most")
    same = subject.faces.table.codes[None].repeat(SETS, axis=0)
    one, other = (
        linear_probe.PLUGIN.run(each, linear_probe.Params(shrinkage=0.1))
        for each in (subject, _labelled(subject, same, subject.faces.table.codes))
    )
    assert one.blocks == other.blocks
    assert [finding.text for finding in one.findings] == [f.text for f in other.findings]


def test_labels_of_one_annotator_are_in_every_fold_by_as_few_changes_as_possible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        folds = np.repeat(np.arange(3), 6)
        codes = np.tile([0, 0, 0, 1, 1, 2], 3)
        labels = np.where(rng.random(18) < 0.5, rng.integers(3, size=18), codes)
        found = probes._in_every_fold(labels, codes, folds)
        assert all(np.unique(found[folds == fold]).tolist() == [0, 1, 2] for fold in range(3))
        changed = found != labels
        assert (found[changed] == codes[changed]).all()
        for fold in range(3):
            if len(np.unique(labels[folds == fold])) == 3:
                assert not changed[folds == fold].any()


def test_a_label_that_is_not_measured_gives_way_to_the_one_that_most_gave() -> None:
    codes = np.repeat([0, 1, 2], [20, 20, 2])[:, None]
    labels = np.repeat(2, 42)[None, :, None]
    subject = _labelled(make_subject(codes, {"late": np.ones((42, 1))}, (AGE,)), labels, codes)
    (target,) = targets_of(subject.faces.table)
    part = measurable(target, np.arange(42), 5)
    assert part.levels.tolist() == [0, 1]
    assert part.label_sets[0].tolist() == part.codes.tolist()


def test_groups_are_those_of_most_annotators_and_read_by_one() -> None:
    rng, n = np.random.default_rng(2), 360
    codes = np.stack([np.arange(n) % 3, np.arange(n) // 3 % 2], axis=1)
    units = rng.standard_normal((n, 8))
    units[np.arange(n), codes[:, 0]] += 2
    units[np.arange(n), 3 + codes[:, 1]] += 2
    votes = _votes(codes[:, 1], 2, rng, 0.2)
    sets = np.stack([np.stack([codes[:, 0], votes[:, i % 3]], axis=1) for i in range(SETS)])
    plain = make_subject(codes, {"late": units}, (AGE, GENDER))
    drawn = _labelled(plain, sets, codes)
    age, gender, both = targets_of(drawn.faces.table, ["age", "gender", INTERSECTION])
    assert not age.label_sets
    assert len(gender.label_sets) == len(both.label_sets) == SETS
    params = intersections.Params(shrinkage=0.1)
    before, after = (intersections.PLUGIN.run(each, params) for each in (plain, drawn))
    assert not any("one annotator" in text for text in before.method)
    assert any("one annotator" in text for text in after.method)
    highest = [
        next(f.estimates[KEY] for f in each.findings if KEY in f.estimates)
        for each in (before, after)
    ]
    assert highest[0].value > highest[1].value
    assert highest[0].n == highest[1].n


def test_the_data_sheet_counts_images_whose_annotators_disagree() -> None:
    faces = _audit(0, "all").faces
    sets = faces.table.label_sets
    assert sets is not None
    n = int((sets.min(axis=0) != sets.max(axis=0)).sum())
    (record,) = data_record(faces, "simulated").attributes
    assert record.contested == n > 20
    assert f"planted (on {n} images)" in one_annotator({"planted": n})
    assert "age (on fewer than" in one_annotator({"age": 1})
    (record,) = data_record(_audit(0, "most").faces, "simulated").attributes
    assert record.contested is None


def test_faces_with_several_answers_may_have_several_annotators() -> None:
    rng = np.random.default_rng(3)
    sample = draw(Design(40, {"late": 2.0}, several=1 / 3), rng)
    subject = subject_of(sample, 0)
    other = np.where(rng.random(len(sample.codes)) < 0.1, 0, sample.codes[:, 0])
    drawn = _labelled(subject, other[None, :, None].repeat(SETS, axis=0), sample.codes)
    outcome = linear_probe.PLUGIN.run(drawn, linear_probe.Params(shrinkage=0.1))
    assert any("that one annotator gave each face" in each.text for each in outcome.findings)
