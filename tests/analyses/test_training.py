"""A planted relation of activity and confidence is found, and followed over checkpoints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bias_audit.analyses.analysis import Head, Step, Subject, Training
from bias_audit.analyses.methods.training import PLUGIN, Params, confidence
from bias_audit.selftest.simulated import InMemoryActivations
from bias_audit.shapes.group_ledger import GroupLedger
from bias_audit.shapes.group_table import GroupRow, GroupTable
from bias_audit.shapes.unit_map import UnitMap
from tests.analyses.planted import crossed, make_subject, of_type

QUICK = Params.model_validate({"layout": {"kind": "pca"}, "layer": "late", "refine_steps": 5})


def _step(name: str, relation: float, subject: Subject, seed: int) -> Step:
    """Two classes; logits rise with the activity of the layer by `relation`, among females."""
    rng = np.random.default_rng(seed)
    units = rng.standard_normal((len(subject.faces), 10)).astype(np.float32)
    units += 2 * rng.standard_normal((len(units), 1)).astype(np.float32)
    activity = units.mean(axis=1)
    female = subject.faces.table.codes[:, 1] == 0
    certain = 3 + rng.standard_normal(len(units)) + relation * activity * female
    head = Head(
        "fc",
        np.array([[1.0], [0.0]], dtype=np.float32),
        np.zeros(2, dtype=np.float32),
        certain[:, None].astype(np.float32),
    )
    table = subject.faces.table
    return Step(name, InMemoryActivations({"late": units}, table.cells, table.n_cells), head)


def _subject(relations: dict[str, float], n: int = 400) -> Subject:
    plain = make_subject(crossed(n), {"late": np.zeros((n, 10))})
    steps = tuple(_step(*entry, plain, seed) for seed, entry in enumerate(relations.items()))
    last = steps[-1]
    return replace(
        plain,
        name=last.name,
        activations=last.activations,
        head=last.head,
        training=Training(steps, len(steps)),
    )


def _rows(subject: Subject) -> dict[tuple[str, str], GroupRow]:
    tables = of_type(PLUGIN.run(subject, QUICK).blocks, GroupTable)
    return {
        (row.group.levels[0][1], row.group.levels[1][1]): row
        for table in tables
        for row in table.rows
    }


def test_confidence_is_the_largest_softmax_probability() -> None:
    head = Head(
        "fc",
        np.log([[1.0], [2.0], [5.0]]).astype(np.float32),
        np.zeros(3, dtype=np.float32),
        np.array([[1.0], [0.0], [1000.0]], dtype=np.float32),
    )
    np.testing.assert_allclose(confidence(head), [5 / 8, 1 / 3, 1], rtol=1e-6)


def test_a_planted_relation_is_found_in_its_group_and_checkpoint_alone() -> None:
    rows = _rows(_subject({"first": 0.0, "last": 1.0}))
    found = {place: row.estimate for place, row in rows.items()}
    assert all(estimate is not None for estimate in found.values())
    female = found["female", "last"]
    assert female is not None
    assert female.lower > 0.4
    for place in (("female", "first"), ("male", "first"), ("male", "last")):
        estimate = found[place]
        assert estimate is not None
        assert abs(estimate.value) < 0.2


def test_change_is_told_with_its_interval() -> None:
    outcome = PLUGIN.run(_subject({"first": 0.0, "middle": 0.5, "last": 1.0}), QUICK)
    change = outcome.findings[0].estimates["change"]
    assert change.lower > 0.1
    assert "over 3 checkpoints" in outcome.findings[0].text
    (by_gender,) = outcome.findings[1:]
    assert "least in male" in by_gender.text
    assert "most in female" in by_gender.text


def test_without_a_relation_intervals_hold_zero() -> None:
    missed = 0
    for seed in range(40):
        subject = _subject({f"first {seed}": 0.0, "last": 0.0}, n=120 + seed)
        estimate = PLUGIN.run(subject, QUICK).findings[0].estimates["change"]
        missed += not estimate.lower <= 0 <= estimate.upper
    assert missed <= 7  # 99.9 % of binomial draws at 5 %


def test_units_keep_their_places_and_colours() -> None:
    subject = _subject({"first": 0.0, "last": 1.0})
    outcome = PLUGIN.run(subject, QUICK)
    maps = of_type(outcome.blocks, UnitMap)
    assert [block.title for block in maps] == [
        "first: groups of each attribute at late",
        "last: groups of each attribute at late",
    ]
    assert len({(block.positions, block.limit) for block in maps}) == 1
    assert (outcome.arrays[maps[0].values] != outcome.arrays[maps[1].values]).any()
    assert PLUGIN.run(subject, QUICK).blocks == outcome.blocks


def test_earlier_checkpoints_leave_the_telling_to_the_last() -> None:
    subject = _subject({"first": 0.0, "last": 1.0})
    assert subject.training is not None
    early = replace(subject, training=Training(subject.training.steps[:1], 2))
    outcome = PLUGIN.run(early, QUICK)
    assert outcome.blocks == ()
    assert outcome.limits == (
        "All checkpoints of this training are reported together, with the last one.",
    )


def test_a_single_backbone_and_one_without_a_head_are_told_as_such() -> None:
    alone = replace(_subject({"only": 1.0}), training=None)
    assert any("nothing to follow" in limit for limit in PLUGIN.run(alone, QUICK).limits)
    headless = PLUGIN.run(replace(alone, head=None), QUICK)
    table, _ = of_type(headless.blocks, GroupTable)
    assert {row.reason for row in table.rows} == {"the checkpoint has no classification layer"}
    assert any("Only maps are drawn" in limit for limit in headless.limits)


def test_small_groups_are_suppressed() -> None:
    outcome = PLUGIN.run(_subject({"only": 1.0}, n=18), QUICK)
    assert all(row.estimate is None for row in of_type(outcome.blocks, GroupTable)[0].rows)
    ledger = of_type(outcome.blocks, GroupLedger)[0]
    assert len(ledger.entries) == 3
