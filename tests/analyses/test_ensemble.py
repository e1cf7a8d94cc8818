"""Votes are right about planted cases, and say where they gain nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import f1_score

from bias_audit.analyses.analysis import Member, Outcome
from bias_audit.analyses.attributing.trust import MEASURES
from bias_audit.analyses.ensembling.voters import majority_vote, soft_vote
from bias_audit.analyses.methods.ensemble import Params, compared, ensemble
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec, out_of_fold_scores
from bias_audit.analyses.targets import targets_of
from bias_audit.errors import AnalysisError
from bias_audit.results.audit import AnalysisResult
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.measures import Entry, Measures, Pair
from bias_audit.statistics.estimate import Estimate
from bias_audit.statistics.influence import class_f1, mean
from tests.analyses.planted import make_subject, planted

CODES = np.stack([np.arange(360) % 3, np.arange(360) // 3 % 2], axis=1)


def member(
    name: str, values: npt.NDArray[Any], codes: npt.NDArray[Any] = CODES, seed: int = 0
) -> Member:
    return Member(replace(make_subject(codes, {"late": values}, seed=seed), name=name), ())


def seen(level: int, strength: float, seed: int) -> npt.NDArray[Any]:
    """Units that move with one level of age alone."""
    values = np.random.default_rng(seed).standard_normal((len(CODES), 6))
    values[:, :2] += strength * (CODES[:, [0]] == level)
    return values


def votes_of(outcome: Outcome, target: str) -> Measures:
    found = [
        b
        for b in outcome.blocks
        if isinstance(b, Measures) and b.noun == "voter" and b.target == target
    ]
    assert len(found) == 1
    return found[0]


def overall(block: Measures) -> Mapping[tuple[str, str], Estimate | None]:
    return {
        (entry.name, measure.name): value
        for entry in block.entries
        if entry.group is None
        for measure, value in zip(block.measures, entry.values, strict=True)
    }


def soft_in_groups(block: Measures) -> list[Entry]:
    return [e for e in block.entries if e.group is not None and e.name == "soft vote"]


def test_votes_by_hand() -> None:
    # Image 0: two of three members say 0, the third is sure of 1. Image 1: one vote each.
    probabilities = np.array(
        [
            [[0.4, 0.35, 0.25], [0.5, 0.3, 0.2]],
            [[0.4, 0.35, 0.25], [0.1, 0.6, 0.3]],
            [[0.0, 1.0, 0.0], [0.2, 0.1, 0.7]],
        ]
    )
    majority = majority_vote(probabilities)
    assert soft_vote(probabilities).tolist() == [1, 2]
    assert majority.predicted.tolist() == [0, 2]
    assert majority.is_tied.tolist() == [False, True]


def test_members_that_know_different_levels_know_more_together() -> None:
    members = [member(f"knows {level}", seen(level, 2.0, level)) for level in range(3)]
    outcome = ensemble(members, Params(targets=("age",)))
    block = votes_of(outcome, "age")
    gains = [d for d in block.pairs if d.group is None and d.one == "soft vote"]
    assert len(gains) == 6
    assert [entry.name for entry in block.entries][:2] == ["soft vote", "majority vote"]
    for gain in gains:
        assert gain.estimate.lower > 0
        assert gain.adjusted_p is not None and gain.adjusted_p < 0.01
    (first, *_) = outcome.findings
    assert first.weight > 0
    assert "significantly more than knows 0" in first.text
    assert "no significant difference" not in first.text


def test_values_are_those_of_scikit_learn() -> None:
    members = [member(f"{level}", seen(level, 1.0, level)) for level in range(2)]
    block = votes_of(ensemble(members, Params(targets=("age",))), "age")
    known = overall(block)
    (target,) = targets_of(members[0].subject.faces.table, ["age"])
    for each in members:
        scores = out_of_fold_scores(each.subject, ProbeSpec(target, "late", ProbeSettings()))
        for measure, average in (("micro F1", "micro"), ("macro F1", "macro")):
            found = known[each.subject.name, measure]
            assert found is not None
            expected = f1_score(CODES[:, 0], scores.predicted, average=average)
            assert found.value == pytest.approx(expected)


def test_members_alike_gain_nothing() -> None:
    values = seen(0, 1.0, 0)
    members = [member("one", values), member("other", values)]
    outcome = ensemble(members, Params(targets=("age",)))
    for difference in votes_of(outcome, "age").pairs:
        assert difference.estimate.value == 0
        assert difference.estimate.lower < 0 < difference.estimate.upper
        assert difference.adjusted_p is None
    assert all("significantly more" not in finding.text for finding in outcome.findings)


def test_nothing_is_claimed_about_noise() -> None:
    claimed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        members = [member(name, rng.standard_normal((360, 5)), seed=seed) for name in "ab"]
        block = votes_of(ensemble(members, Params(targets=("gender",))), "gender")
        claimed += any(d.adjusted_p is not None and d.adjusted_p <= 0.05 for d in block.pairs)
    assert claimed <= 5  # two families at 5 % each: more than 5 of 20 has a chance below 2 %


def test_groups_of_the_target_itself_have_the_f1_of_their_level() -> None:
    members = [member(f"{level}", seen(level, 1.0, level)) for level in range(2)]
    outcome = ensemble(members, Params(targets=("age",)))
    block = votes_of(outcome, "age")
    of_age = [e for e in soft_in_groups(block) if e.group and e.group.levels[0][0] == "age"]
    macro = [value.value for e in of_age if (value := e.values[1]) is not None]
    whole = overall(block)["soft vote", "macro F1"]
    assert whole is not None and len(macro) == 3
    assert np.mean(macro) == pytest.approx(whole.value)


def test_small_groups_have_no_value_and_none_follows_from_the_others() -> None:
    codes = CODES.copy()
    codes[:, 1] = 0
    codes[:8, 1] = 1
    members = [member(f"{level}", seen(level, 1.0, level), codes) for level in range(2)]
    outcome = ensemble(members, Params(targets=("age",)))
    block = votes_of(outcome, "age")
    by_label = {e.group.label: e for e in soft_in_groups(block) if e.group}
    assert by_label["male"].reasons[0] is not None and "suppressed" in by_label["male"].reasons[0]
    # All images less the women would be the men.
    assert "would follow from it" in (by_label["female"].reasons[0] or "")
    for label in ("male", "female"):
        rows = [e for e in block.entries if e.group and e.group.label == label]
        assert rows and all(value is None for e in rows for value in e.values)
    tables = [b for b in outcome.blocks if isinstance(b, GroupTable)]
    for row in (r for t in tables for r in t.rows if r.group.label == "male"):
        assert row.estimate is None and row.reason == by_label["male"].reasons[0]


def test_macro_f1_needs_enough_images_of_every_level_in_a_group() -> None:
    """Else it would rest on single people, and vary with who is missing."""
    codes = CODES.copy()
    codes[:, 0] = np.where(codes[:, 0] == 2, 1, codes[:, 0])
    old = np.flatnonzero(codes[:, 1] == 1)[:20]
    codes[old, 0] = 2  # so that all of the old but three are men
    codes[np.flatnonzero(codes[:, 1] == 0)[:3], 0] = 2
    members = [member(f"{i}", seen(0, 1.0, i), codes) for i in range(2)]
    outcome = ensemble(members, Params(targets=("age",), groups=("gender",)))
    block = votes_of(outcome, "age")
    women, men = soft_in_groups(block)
    assert women.reasons == (None, "3 independent images of old here, fewer than 10")
    assert men.reasons == (None, None)
    of_women = [e.values for e in block.entries if e.group == women.group]
    assert all(micro is not None and macro is None for micro, macro in of_women)
    assert all(e.values[1] is not None for e in block.entries if e.group == men.group)


def test_no_interval_is_without_width_and_votes_that_always_differ_are_told() -> None:
    knows = np.random.default_rng(0).standard_normal((360, 4))
    knows[:, :2] += 40.0 * (CODES[:, [1]] == np.arange(2))
    members = [member("a", knows), member("b", knows * 2)]
    block = votes_of(ensemble(members, Params(targets=("gender",))), "gender")
    assert all(value is not None and value.value == 1 for e in block.entries for value in e.values)
    for each in block.pairs:
        assert each.estimate.lower < 0 < each.estimate.upper


def test_members_of_other_images_are_refused() -> None:
    one, other = member("a", seen(0, 1.0, 0)), member("b", seen(1, 1.0, 1), seed=5)
    with pytest.raises(AnalysisError, match="expected b to be probed on the images"):
        ensemble([one, other], Params(targets=("age",)))


def test_a_target_that_cannot_be_measured_is_told() -> None:
    codes = CODES.copy()
    codes[:, 1] = 0
    members = [member(f"{i}", seen(0, 1.0, i), codes) for i in range(2)]
    outcome = ensemble(members, Params(targets=("age", "gender")))
    assert any(sentence.startswith("Not voted on: gender") for sentence in outcome.limits)
    with pytest.raises(AnalysisError, match="nothing can be voted on: gender"):
        ensemble(members, Params(targets=("gender",)))


@pytest.mark.parametrize("n", [60, 240])
def test_intervals_of_macro_f1_cover(n: int) -> None:
    """Of predictions that do not depend on the images at hand, as after training elsewhere."""
    rng = np.random.default_rng(7)
    shares, confusion = (
        [0.5, 0.3, 0.2],
        np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5]]),
    )
    joint = np.array(shares)[:, None] * confusion
    true = np.mean([2 * joint[k, k] / (joint[k].sum() + joint[:, k].sum()) for k in range(3)])
    inside, trials = 0, 600
    for _ in range(trials):
        cells = rng.choice(9, size=n, p=joint.ravel() / joint.sum())
        found = mean([class_f1(cells % 3, cells // 3, level) for level in range(3)])
        assert found is not None
        half = 1.96 * np.sqrt((found.influence**2).sum())
        inside += abs(found.value - true) <= half
    assert 0.92 <= inside / trials <= 0.98


def _covariance(n: int) -> tuple[tuple[float, ...], ...]:
    """Of estimates of the same images that move together by half."""
    one = (0.02 / 1.96) ** 2
    return tuple(tuple(one if i == j else one / 2 for j in range(n)) for i in range(n))


def trusted(
    name: str, first: float, methods: tuple[str, ...] = ("Saliency", "DeepLIFT")
) -> Member:
    value = Estimate(first, first - 0.02, first + 0.02, 0.95, 24, "clustered influence, images")
    block = Measures(
        noun="method",
        title="Checks",
        layer="late",
        target="age",
        caption="Checks.",
        measures=MEASURES,
        entries=tuple(
            Entry(name=method, standing="passes", values=(value,) * len(MEASURES))
            for method in methods
        ),
        pairs=tuple(
            Pair(measure="agreement", one=one, other=other, estimate=value)
            for one, other in combinations(methods, 2)
        ),
        covariances=(
            *(_covariance(len(methods)) for _ in MEASURES),
            _covariance(len(methods) * (len(methods) - 1) // 2),
        ),
    )
    return Member(replace(planted(n=60), name=name), (result_of("attribution", (block,)),))


def compared_block(outcome: Outcome) -> Measures:
    (block,) = outcome.blocks
    assert isinstance(block, Measures)
    return block


def result_of(kind: str, blocks: tuple[Measures, ...] = ()) -> AnalysisResult:
    return AnalysisResult(kind=kind, title="A", params={}, status="done", blocks=blocks, seconds=1)


def test_backbones_are_ranked_in_the_better_direction_of_each_check() -> None:
    found = compared([trusted("low", 0.1), trusted("high", 0.4)], alpha=0.05)
    block = compared_block(found)
    for place, measure in enumerate(block.measures):
        if measure.name == "sensitivity":
            assert all(b.ranks[place] is None for b in block.entries)
            continue
        first = "high" if measure.better == "higher" else "low"
        ranks = {b.name: b.ranks[place] for b in block.entries}
        assert ranks.pop(first) == (1, 1)
        assert [*ranks.values()] == [(2, 2)]
    assert len(found.findings) == len(block.measures) - 1
    # The mean over two methods knows that their images are the same.
    mean = block.entries[0].values[0]
    assert mean is not None
    assert mean.upper - mean.value == pytest.approx(0.02 * 0.75**0.5, abs=1e-4)


def test_backbones_that_cannot_be_told_apart_share_ranks() -> None:
    found = compared([trusted("one", 0.20), trusted("other", 0.21)], alpha=0.05)
    assert all(b.ranks[0] == (1, 2) for b in compared_block(found).entries)
    assert [finding.weight for finding in found.findings] == [0.0]


def test_means_are_over_the_methods_that_apply_to_all() -> None:
    members = [trusted("one", 0.1), trusted("other", 0.4, ("Saliency", "Occlusion"))]
    found = compared(members, alpha=0.05)
    block = compared_block(found)
    assert block.notes[0].endswith("every backbone: Saliency.")
    first = block.entries[0].values[0]
    assert first is not None and first.upper - first.value == pytest.approx(0.02, abs=1e-4)
    assert block.entries[0].values[-1] is None  # one method agrees with no other
    assert any("leave out DeepLIFT, Occlusion" in sentence for sentence in found.limits)


def test_without_a_common_method_nothing_is_ranked() -> None:
    members = [trusted("one", 0.1, ("Saliency",)), trusted("other", 0.4, ("Occlusion",))]
    found = compared(members, alpha=0.05)
    assert all(rank is None for b in compared_block(found).entries for rank in b.ranks)
    assert not found.findings


def test_a_backbone_whose_attribution_failed_is_named() -> None:
    failed = AnalysisResult(
        kind="attribution", title="Attribution", params={}, status="failed", error="no", seconds=1
    )
    broken = Member(replace(planted(n=60), name="broken"), (failed,))
    found = compared([trusted("one", 0.1), trusted("other", 0.4), broken], alpha=0.05)
    assert [b.name for b in compared_block(found).entries] == ["one", "other"]
    assert any("could not be checked on broken" in sentence for sentence in found.limits)
    (told,) = compared([broken, broken], alpha=0.05).limits
    assert "could not be computed on any backbone" in told


def test_checks_of_different_attributions_are_never_compared() -> None:
    one, other = trusted("one", 0.1), trusted("other", 0.4)
    shifted = replace(other, results=(result_of("another"), *other.results))
    found = compared([one, shifted], alpha=0.05)
    assert not found.blocks
    assert len(found.limits) == 2


def test_without_attribution_the_gap_is_told() -> None:
    found = compared([Member(planted(n=60), ())] * 2, alpha=0.05)
    assert not found.blocks
    assert any("no analysis of this audit attributes" in sentence for sentence in found.limits)
