"""Laws of comparing two audits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.config.schema import Changes, Criterion
from bias_audit.errors import ConfigError, OutputError
from bias_audit.results.audit import AuditResult
from bias_audit.results.diff import (
    AuditDiff,
    Change,
    NotComparableError,
    diff,
    overridden,
    parse_diff,
)
from bias_audit.results.differing.comparables import Audited
from tests.results.reaudits import activations, audited, labels, seen

STRENGTHS = {"early": 0.4, "late": 1.6}
AT_MOST = Criterion(
    name="age stays low",
    quantity="macro_auc",
    target="age",
    at_most=0.75,
    rationale="to see a verdict change",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(cache: Path) -> Audited:
    codes = labels(480)
    return audited(seen(codes, activations(codes, STRENGTHS)), cache, criteria=(AT_MOST,))


@pytest.fixture(scope="module")
def weaker(cache: Path) -> Audited:
    """Other weights: age is told less well at the last layer, and the first is as it was."""
    codes = labels(480)
    layers = activations(codes, STRENGTHS)
    layers["late"] = layers["late"] - 0.9 * np.eye(3, 12)[codes[:, 0]]
    return audited(seen(codes, layers), cache, weights="bb", criteria=(AT_MOST,))


def _of(found: AuditDiff, target: str, layer: str, of: str = "estimate") -> Change:
    (change,) = [
        c
        for c in found.changes
        if (c.quantity, c.target, c.layer, c.of, c.group) == ("macro_auc", target, layer, of, None)
    ]
    return change


def _causes(found: AuditDiff) -> set[str]:
    return {cause.name for cause in found.causes}


def _width(change: Change) -> float:
    return change.difference.upper - change.difference.lower


def test_an_audit_is_identical_to_itself(base: Audited) -> None:
    found = diff(base, base, Changes(fail_on=("worse", "changed", "undecided")))
    assert {change.outcome for change in found.changes} == {"equivalent"}
    assert all(change.identical and change.difference.value == 0 for change in found.changes)
    assert found.causes == ()
    assert found.conclusions[0].text == "Nothing that is recorded differs."
    assert (found.shared_images, found.only_before, found.relabelled) == (480, 0, 0)
    assert found.gate.outcome == "open"


def test_also_without_a_cache(base: Audited) -> None:
    bare = replace(base, contributions={})
    assert all(change.identical for change in diff(bare, bare).changes)


def test_refitting_noise_is_not_called_a_change(base: Audited, cache: Path) -> None:
    codes = labels(480)
    other = audited(seen(codes, activations(codes, STRENGTHS), seed=77), cache)
    found = diff(base, other)
    moved = [change for change in found.changes if change.difference.value]
    assert len(moved) > len(found.changes) / 2
    assert {change.outcome for change in found.changes} <= {"equivalent", "undecided"}
    assert _causes(found) == {"config (seed)"}
    assert "rounding or refitting alone" in found.conclusions[0].text
    assert all(change.noise for change in moved)


def test_a_change_of_weights_is_found_with_its_cause(base: Audited, weaker: Audited) -> None:
    found = diff(base, weaker)
    late = _of(found, "age", "late")
    assert late.outcome == "improved"  # the criterion asks for at most
    assert late.difference.upper < -0.1 and late.paired
    assert _of(found, "age", "late", "lift").outcome == "lower"  # no criterion speaks of lifts
    assert _of(found, "age", "early").identical
    assert _causes(found) == {"weights"}
    assert found.conclusions[0].text.startswith("Likely cause: weights")
    back = _of(diff(weaker, base), "age", "late")
    assert back.outcome == "worse"
    assert back.difference.value == pytest.approx(-late.difference.value)


def test_pairing_makes_intervals_narrower(base: Audited, cache: Path) -> None:
    """Other weights that tell the same of the same people."""
    codes = labels(480)
    rng = np.random.default_rng(5)
    layers = {
        name: values + 0.2 * rng.standard_normal(values.shape)
        for name, values in activations(codes, STRENGTHS).items()
    }
    other = audited(seen(codes, layers), cache, weights="cc")
    paired = _of(diff(base, other), "age", "late")
    bare = _of(diff(replace(base, contributions={}), other), "age", "late")
    assert paired.paired and not bare.paired
    assert _width(paired) < 0.6 * _width(bare)
    assert paired.difference.value == bare.difference.value


def test_without_a_cache_it_says_so_and_still_finds_what_is_large(
    base: Audited, weaker: Audited
) -> None:
    found = diff(base, replace(weaker, contributions={}))
    assert not any(change.paired for change in found.changes)
    assert any("the cache contains nothing by image of AFTER" in note for note in found.notes)
    assert _of(found, "age", "late").outcome == "improved"
    assert (found.shared_images, found.only_after) == (480, 0)  # the images' digest is the same


def test_without_a_noise_floor_audits_are_compared_as_independent(
    base: Audited, cache: Path
) -> None:
    codes = labels(480)
    bare = audited(seen(codes, activations(codes, STRENGTHS), seed=3, refits=0), cache)
    found = diff(base, bare)
    assert not any(change.paired for change in found.changes)
    assert all(noise.after is None and noise.before for noise in found.noise)


def test_relabelled_images_are_told_from_new_ones(base: Audited, cache: Path) -> None:
    codes = labels(480)
    changed = codes.copy()
    changed[:6, 0] = (codes[:6, 0] + 1) % 3
    other = audited(seen(changed, activations(codes, STRENGTHS)), cache)
    found = diff(base, other)
    assert _causes(found) == {"data (labels)"}
    assert found.relabelled == 6
    assert found.conclusions[0].causes == ("data (labels)",)


def test_added_images_are_told_from_relabelled_ones(base: Audited, cache: Path) -> None:
    codes = labels(540)
    layers = activations(labels(540), STRENGTHS, seed=8)
    first = activations(labels(480), STRENGTHS)
    layers = {name: np.concatenate([first[name], layers[name][480:]]) for name in first}
    found = diff(base, audited(seen(codes, layers), cache))
    assert _causes(found) == {"data (images)"}
    assert (found.shared_images, found.only_before, found.only_after) == (480, 0, 60)
    assert (found.relabelled, _of(found, "age", "late").paired) == (0, True)


def test_audits_that_share_no_image_are_independent(base: Audited, cache: Path) -> None:
    codes = labels(480)
    images = range(1000, 1480)
    other = audited(seen(codes, activations(codes, STRENGTHS, seed=9), images=images), cache)
    found = diff(base, other)
    assert found.shared_images == 0
    assert not any(change.paired for change in found.changes)
    assert {change.outcome for change in found.changes} <= {"equivalent", "undecided"}


def _edited(**changed: Any) -> Callable[[AuditResult], AuditResult]:
    def edit(result: AuditResult) -> AuditResult:
        provenance = result.provenance.model_copy(
            update={k: v for k, v in changed.items() if k in {"versions", "hardware"}}
        )
        config = {**result.config, **changed.get("config", {})}
        return result.model_copy(update={"provenance": provenance, "config": config})

    return edit


@pytest.mark.parametrize(
    ("changed", "name", "is_minor"),
    [
        (
            {"versions": {"python": "3.11.9", "torch": "3.0", "matplotlib": "3.9"}},
            "software",
            False,
        ),
        ({"hardware": {"system": "Linux", "processor": "two"}}, "hardware", True),
        ({"config": {"controls": {"shuffles": 9}}}, "config (controls)", False),
        ({"config": {"activations": {"batch_size": 9}}}, "config (activations)", False),
    ],
)
def test_other_causes_are_named(
    base: Audited, changed: dict[str, Any], name: str, is_minor: bool
) -> None:
    after = replace(base, result=_edited(**changed)(base.result))
    found = diff(base, after)
    assert {cause.name: cause.is_minor for cause in found.causes} == {name: is_minor}


@pytest.mark.parametrize(
    "changed",
    [
        {"versions": {"python": "3.11.9", "torch": "2.9.0", "matplotlib": "4", "weasyprint": "9"}},
        {"config": {"output": {"folder": "x"}, "description": "y", "criteria": []}},
    ],
)
def test_what_no_number_passes_through_is_no_cause(base: Audited, changed: dict[str, Any]) -> None:
    after = replace(base, result=_edited(**changed)(base.result))
    assert diff(base, after).causes == ()


def test_when_to_warn_of_an_identity_is_no_cause(base: Audited) -> None:
    sampling = [
        {"near_duplicates": True},
        {"near_duplicates": True, "max_identity_share": 0.1},
        {"near_duplicates": False, "max_identity_share": 0.1},
    ]
    older, newer, other = (
        replace(base, result=_edited(config={"sampling": each})(base.result)) for each in sampling
    )
    assert diff(older, newer).causes == ()
    (cause,) = diff(older, other).causes
    assert cause.detail == "sampling.near_duplicates: True -> False"


def test_several_causes_are_not_separated(base: Audited, weaker: Audited) -> None:
    edit = _edited(versions={"python": "3.11.9", "torch": "3.0"})
    found = diff(base, replace(weaker, result=edit(weaker.result)))
    (said,) = found.conclusions
    assert said.causes == ("weights", "software")
    assert "cannot be attributed" in said.text and "weights of AFTER" in said.text


def test_verdicts_that_turn_to_fail_are_worse(base: Audited, weaker: Audited) -> None:
    (turned,) = diff(weaker, base).verdict_changes
    assert (turned.before, turned.after, turned.outcome) == ("PASS", "FAIL", "worse")
    assert turned.is_same_criterion
    (back,) = diff(base, weaker).verdict_changes
    assert back.outcome == "improved"


@pytest.mark.parametrize(
    ("fail_on", "outcome"),
    [((), "open"), (("worse",), "open"), (("changed",), "failed"), (("undecided",), "undecided")],
)
def test_the_gate_follows_what_it_is_asked(
    base: Audited, weaker: Audited, fail_on: tuple[Any, ...], outcome: str
) -> None:
    assert diff(base, weaker, Changes(fail_on=fail_on)).gate.outcome == outcome


def test_a_worse_number_closes_the_gate(base: Audited, weaker: Audited) -> None:
    policy = Changes(fail_on=("worse",), better={"macro_auc": "higher"})
    gate = diff(base, weaker, policy).gate
    assert gate.outcome == "failed"
    assert any("worse" in reason for reason in gate.reasons)


def test_missing_evidence_closes_the_gate(base: Audited) -> None:
    (subject,) = base.result.subjects
    (analysis,) = subject.analyses
    extra = analysis.model_copy(update={"kind": "other", "title": "Other"})
    had = base.result.model_copy(
        update={"subjects": (subject.model_copy(update={"analyses": (analysis, extra)}),)}
    )
    gate = diff(replace(base, result=had), base, Changes(fail_on=("worse",))).gate
    assert gate.outcome == "missing"
    assert "Other of backbone" in gate.reasons[0]
    dropped = replace(base, result=base.result.model_copy(update={"verdicts": ()}))
    gate = diff(base, dropped, Changes(fail_on=("worse",))).gate
    assert gate.outcome == "missing" and "age stays low" in gate.reasons[0]


def test_equivalence_is_the_interval_within_the_margin(base: Audited, cache: Path) -> None:
    codes = labels(480)
    other = audited(seen(codes, activations(codes, STRENGTHS), seed=5), cache)
    change = _of(diff(base, other), "age", "late")
    reach = max(abs(end) for end in change.equivalence)
    assert change.equivalence[0] > change.difference.lower  # 90 % within 95 %
    for margin, outcome in ((1.01 * reach, "equivalent"), (0.99 * reach, "undecided")):
        assert _of(diff(base, other, Changes(margin=margin)), "age", "late").outcome == outcome


def test_contradicting_criteria_declare_nothing(base: Audited, weaker: Audited) -> None:
    contrary = AT_MOST.model_copy(update={"name": "high", "at_most": None, "at_least": 0.6})
    (verdict,) = weaker.result.verdicts
    both = (verdict, verdict.model_copy(update={"criterion": contrary}))
    after = replace(weaker, result=weaker.result.model_copy(update={"verdicts": both}))
    assert _of(diff(base, after), "age", "late").outcome == "lower"


def test_a_lone_backbone_of_another_name_is_compared(base: Audited, cache: Path) -> None:
    codes = labels(480)
    other = audited(seen(codes, activations(codes, STRENGTHS)), cache, name="renamed")
    found = diff(base, other)
    assert any("renamed" in note for note in found.notes)
    assert found.changes


def test_nothing_in_common_is_an_error(base: Audited, cache: Path) -> None:
    codes = labels(60)
    other = audited(seen(codes, activations(codes, {"x": 1.0})), cache, name="another")
    with pytest.raises(NotComparableError, match="expected a backbone that both audits have"):
        diff(base, other)


def test_layers_of_one_side_are_listed(base: Audited, cache: Path) -> None:
    codes = labels(480)
    layers = activations(codes, STRENGTHS)
    other = audited(seen(codes, {"late": layers["late"], "new": layers["early"]}), cache)
    found = diff(base, other)
    told = {(entry.what, entry.reason) for entry in found.not_compared}
    assert ("macro_auc of age on backbone", "BEFORE has it at early, AFTER at late, new") in told
    assert {change.layer for change in found.changes} == {"late"}


def test_groups_are_compared_image_by_image(cache: Path) -> None:
    codes = labels(360)
    layers = activations(codes, {"late": 1.6})
    one = audited(seen(codes, layers), cache, groups=True)
    moved = {"late": layers["late"] + 0.1 * np.random.default_rng(0).standard_normal((360, 12))}
    found = diff(one, audited(seen(codes, moved), cache, weights="bb", groups=True))
    groups = [change for change in found.changes if change.group is not None]
    assert {change.quantity for change in groups} == {"recall", "within_auc", "cell_auc"}
    assert all(change.paired for change in groups)


def test_results_of_an_older_release_are_compared_as_independent(
    base: Audited, weaker: Audited
) -> None:
    """They have neither contributions nor noise, nor a digest of the images alone."""

    def older(result: AuditResult) -> AuditResult:
        raw = result.model_dump(mode="json")
        del raw["data"]["images_sha256"]
        for subject in raw["subjects"]:
            for analysis in subject["analyses"]:
                del analysis["contributions"]
                for block in analysis["blocks"]:
                    for curve in block.get("curves", ()):
                        del curve["noise"]
        return AuditResult.model_validate(raw)

    old = replace(base, result=older(base.result), contributions={})
    found = diff(old, weaker)
    assert not any(change.paired for change in found.changes)
    assert _causes(found) == {"weights"}


def test_it_is_read_back_as_it_was_written(base: Audited, weaker: Audited) -> None:
    found = diff(base, weaker)
    assert parse_diff(found.model_dump_json().encode(), source="x") == found
    with pytest.raises(OutputError, match=r"diff.json: expected a comparison of schema_version 1"):
        parse_diff(b'{"schema_version": 2}', source="diff.json")


def test_what_a_command_says_comes_on_top_of_the_config() -> None:
    policy = Changes(better={"bits": "lower"}, margins={"recall": 0.1})
    found = overridden(policy, fail_on=["worse"], margin=0.05, better=["macro_auc=lower"])
    assert found.better == {"bits": "lower", "macro_auc": "lower"}
    assert (found.margin_of("recall"), found.fail_on) == (0.05, ("worse",))
    assert overridden(policy) == policy
    with pytest.raises(ConfigError) as error:
        overridden(policy, fail_on=["worst"], margin=-1.0, better=["macro_auc"])
    assert len(error.value.problems) == 3


@pytest.mark.slow
def test_null_reaudits_are_seldom_called_changed(cache: Path) -> None:
    """The same images and weights with another seed, over and over: no family of comparisons may
    hold a false change more often than alpha; and the noise floor is as large as what moves."""
    false, spread = 0, []
    for trial in range(12):
        codes = labels(240)
        layers = activations(codes, {"a": 0.0, "b": 0.8, "c": 1.8}, seed=trial)
        one, other = (audited(seen(codes, layers, seed=s), cache) for s in (trial, 500 + trial))
        found = diff(one, other)
        false += any(c.outcome not in {"equivalent", "undecided"} for c in found.changes)
        spread += [
            c.difference.value / c.noise
            for c in found.changes
            if c.noise and c.of == "estimate" and c.group is None
        ]
    assert false <= 2  # P(more than 2 of 12 at 5 %) is 2 %; none was seen in 44 families
    assert 0.75 < np.std(spread) < 1.3
