"""Maps lie beside those of an earlier audit: a planted turn is found, shuffled units are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.mapping.earlier import match_units
from bias_audit.analyses.mapping.layout import unit_square
from bias_audit.analyses.methods.topomap import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.results.audit import AnalysisResult
from bias_audit.results.store import read_audit
from bias_audit.shapes.catalog import shapes
from bias_audit.shapes.difference_map import DifferenceMap
from bias_audit.shapes.unit_map import EarlierMap, UnitMap
from tests.analyses.planted import of_type, planted
from tests.report.synthetic import Made, make_audit

Places = np.ndarray[Any, Any]
SETTINGS: dict[str, Any] = {
    "layout": {"kind": "pca"},
    "layers": ["late"],
    "refine_steps": 20,
    "differences": {"test": "none"},
    "bootstrap_draws": 100,
}


def _subject() -> Subject:
    return replace(planted(n=240, n_units=60), architecture="net", weights_sha256="one")


def _params(**changed: Any) -> Params:
    return Params.model_validate(SETTINGS | changed)


def _turned(places: Places) -> Places:
    """A quarter turn and a mirror image, which leave the unit square as it is."""
    return np.stack([places[:, 1], places[:, 0]], axis=1)


def _shuffled(places: Places) -> Places:
    return np.random.default_rng(5).permutation(places)


def _earlier(
    folder: Path,
    outcome: Outcome,
    change: Callable[[Places], Places] | None = None,
    *,
    architectures: tuple[str, ...] = ("net",),
    factor: float = 1.0,
) -> Path:
    """A finished run with the maps of an outcome, its places changed."""
    blocks = tuple(
        block.model_copy(update={"limit": factor * block.limit})
        for block in outcome.blocks
        if isinstance(block, UnitMap | DifferenceMap)
    )
    found = AnalysisResult(
        kind="topomap",
        title="Topographic maps",
        params={},
        status="done",
        blocks=blocks,
        arrays="maps",
        seconds=1.0,
    )
    made = make_audit(backbones=tuple(f"backbone {name}" for name in architectures))
    subjects = tuple(
        subject.model_copy(
            update={
                "analyses": (found,),
                "backbone": subject.backbone.model_copy(update={"architecture": name}),
            }
        )
        for subject, name in zip(made.result.subjects, architectures, strict=True)
    )
    arrays = {
        key: change(array) if change and key.endswith("-positions") else array
        for key, array in outcome.arrays.items()
    }
    result = made.result.model_copy(update={"name": "spring", "subjects": subjects})
    return Made(result, {"maps": arrays}).write(folder)


@cache
def _before() -> Outcome:
    return PLUGIN.run(_subject(), _params())


def _after(folder: Path, change: Callable[[Places], Places], **changed: Any) -> Outcome:
    """The same subject beside an audit of the same maps, whose places were changed."""
    run = _earlier(folder / "spring", _before(), change)
    return PLUGIN.run(_subject(), _params(earlier=run, **changed))


def _beside(outcome: Outcome) -> tuple[UnitMap, EarlierMap]:
    first = next(block for block in of_type(outcome.blocks, UnitMap) if block.earlier)
    assert first.earlier is not None
    return first, first.earlier


def test_a_planted_turn_is_undone_and_told(tmp_path: Path) -> None:
    before, after = _before(), _after(tmp_path, _turned)
    block, told = _beside(after)
    expected = _turned(before.arrays[block.positions])
    np.testing.assert_allclose(after.arrays[block.positions], expected, atol=1e-5)
    assert told.is_match
    assert told.disparity == pytest.approx(0, abs=1e-6)
    assert told.shift == pytest.approx(0, abs=1e-5)
    assert told.by_chance[0] > 0.8
    assert told.p_value == 1 / (1 + told.draws)
    assert (told.run, told.folder) == ("spring", "spring")
    assert not told.has_same_weights
    said = " ".join(shapes()["unit_map"].text(block).notes)
    assert "the layout was turned like the one there" in said
    assert "other weights" in said
    assert any("earlier audit spring" in sentence for sentence in after.method)
    # The maps themselves are those of the turned places: red corners are where they were.
    np.testing.assert_allclose(
        after.arrays[block.rasters][0], before.arrays[block.rasters][0].T, atol=0.02 * block.limit
    )


@pytest.mark.parametrize("mirror", [1, -1])
def test_any_turn_of_a_noisy_layout_is_found_up_to_the_noise(mirror: int) -> None:
    rng = np.random.default_rng(0)
    places = unit_square(rng.standard_normal((300, 2)))
    turn = np.array([[np.cos(0.7), np.sin(0.7)], [-np.sin(0.7), np.cos(0.7)]])
    moved = places @ turn @ np.diag([mirror, 1]) + 0.01 * rng.standard_normal(places.shape)
    found, match = match_units(unit_square(moved), places, rng)
    assert match.disparity < 0.03
    assert match.shift < 0.05 < match.shift_by_chance
    assert np.median(np.linalg.norm(found - places, axis=1)) == pytest.approx(match.shift)


def test_shuffled_units_are_no_match_and_nothing_is_turned(tmp_path: Path) -> None:
    before, after = _before(), _after(tmp_path, _shuffled)
    block, told = _beside(after)
    assert not told.is_match
    assert told.by_chance[0] <= told.disparity
    np.testing.assert_array_equal(after.arrays[block.positions], before.arrays[block.positions])
    assert "do not match" in " ".join(shapes()["unit_map"].text(block).notes)
    assert any("does not match that of the earlier audit" in said for said in after.limits)


def test_unrelated_layouts_match_as_often_as_chance_has_it() -> None:
    p_values = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        one, other = rng.random((2, 40, 2))
        p_values.append(match_units(one, other, rng, draws=39)[1].p_value)
    # 5 % of 100 is 5; 99.9 % of such counts are below 14.
    assert sum(p <= 0.05 for p in p_values) <= 13
    assert 0.4 < float(np.mean(p_values)) < 0.6


def test_earlier_places_are_taken_over_if_asked_for(tmp_path: Path) -> None:
    after = _after(tmp_path, _shuffled, places="earlier")
    block, told = _beside(after)
    expected = _shuffled(_before().arrays[block.positions])
    np.testing.assert_allclose(after.arrays[block.positions], expected, atol=1e-6)
    assert (told.places, told.is_match) == ("taken", False)
    assert block.layout.endswith("as in the audit spring")
    assert "place by place" in " ".join(shapes()["unit_map"].text(block).notes)
    assert any("places mean nothing for how these units respond" in said for said in after.limits)
    tested = _params(
        earlier=tmp_path / "spring", places="earlier", differences={"test": "clusters"}
    )
    problems = PLUGIN.problems(tested, _subject().faces.table, None)
    assert any("set differences" in problem for problem in problems)


@pytest.mark.parametrize("colours", ["earlier", "own"])
def test_colours_end_where_the_earlier_ones_do_unless_told_otherwise(
    tmp_path: Path, colours: str
) -> None:
    before = _before()
    folder = _earlier(tmp_path / "spring", before, factor=1.5)
    after = PLUGIN.run(_subject(), _params(earlier=folder, colours=colours))
    factor = 1.5 if colours == "earlier" else 1.0
    for one, other in zip(before.blocks, after.blocks, strict=True):
        assert isinstance(one, UnitMap | DifferenceMap)
        assert isinstance(other, UnitMap | DifferenceMap)
        assert other.limit == pytest.approx(factor * one.limit)
    block, told = _beside(after)
    assert told.limit == pytest.approx(1.5 * (told.own_limit or 0))
    said = " ".join(shapes()["unit_map"].text(block).notes)
    assert ("is that of the earlier maps" in said) == (colours == "earlier")


def test_layers_of_the_earlier_audit_are_the_default(tmp_path: Path) -> None:
    subject = _subject()
    folder = _earlier(tmp_path / "spring", PLUGIN.run(subject, _params(layers=["early"])))
    after = PLUGIN.run(subject, _params(layers=None, earlier=folder))
    assert _beside(after)[0].layer == "early"
    both = PLUGIN.run(subject, _params(layers=["early", "late"], earlier=folder))
    assert [b.layer for b in of_type(both.blocks, UnitMap) if b.earlier] == ["early"]
    assert any("has no maps of late" in said for said in both.limits)


def test_groups_that_only_one_audit_has_are_told(tmp_path: Path) -> None:
    first, *_ = of_type(_before().blocks, UnitMap)
    fewer = first.model_copy(update={"counts": (0, *first.counts[1:])})
    blocks = (fewer, *_before().blocks[2:])
    folder = _earlier(tmp_path / "spring", replace(_before(), blocks=blocks))
    after = PLUGIN.run(_subject(), _params(earlier=folder))
    assert any("only this audit maps" in said and "young" in said for said in after.limits)


def _refusal(folder: Path, **changed: Any) -> str:
    with pytest.raises(AnalysisError) as caught:
        PLUGIN.run(_subject(), _params(earlier=folder, **changed))
    return str(caught.value)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    said = _refusal(_earlier(tmp_path, _before(), architectures=("other",)))
    assert "expected a backbone of the architecture net" in said
    assert "backbone other (other)" in said
    assert str(tmp_path) in said


def test_of_several_backbones_one_must_be_named(tmp_path: Path) -> None:
    folder = _earlier(tmp_path, _before(), architectures=("other", "net", "net"))
    audit = read_audit(folder)
    names = [subject.backbone.name for subject in audit.subjects]
    assert "earlier_backbone" in _refusal(folder)
    chosen = PLUGIN.run(_subject(), _params(earlier=folder, earlier_backbone=names[1]))
    assert _beside(chosen)[1].backbone == names[1]
    said = _refusal(folder, earlier_backbone="backbone nett")
    assert "did you mean 'backbone net'" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda places: places[:-1], "expected those of 60 units, as late has .*, got 59"),
        (lambda places: places[:, :1], r"shape \(60, 2\), got float32 of shape \(60, 1\)"),
        (lambda places: places * 3, "expected numbers from 0 to 1"),
        (lambda places: places * np.nan, "expected numbers from 0 to 1"),
        (lambda places: places.astype(str), "floating-point numbers"),
    ],
)
def test_positions_that_cannot_be_those_of_the_units_are_refused(
    tmp_path: Path, change: Callable[[Places], Places], said: str
) -> None:
    with pytest.raises(AnalysisError, match=said):
        _after(tmp_path, change)


def test_damaged_runs_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    folder = _earlier(tmp_path, _before())
    positions = folder / "arrays" / "maps" / "layer0-positions.npy"
    np.save(positions, np.array([{}]), allow_pickle=True)
    assert "expected an array of this run" in _refusal(folder)
    positions.unlink()
    assert "expected an array of this run" in _refusal(folder)
    (folder / "audit.json").write_text("{")
    assert "not readable as JSON" in _refusal(folder)


def test_what_cannot_be_compared_is_found_before_the_work(tmp_path: Path) -> None:
    table = _subject().faces.table
    run = _earlier(tmp_path / "run", _before())
    made = make_audit()
    without = made.result.subjects[0].model_copy(update={"analyses": ()})
    bare = Made(made.result.model_copy(update={"subjects": (without,)}), {}).write(tmp_path / "b")

    def problems(folder: Path, known: tuple[str, ...] | None = None, **changed: Any) -> str:
        return " ".join(PLUGIN.problems(_params(earlier=folder, **changed), table, known))

    assert problems(run) == problems(run, ("early", "late")) == ""
    assert "found no audit.json" in problems(tmp_path / "nowhere")
    assert "none of which are named (early)" in problems(run, layers=["early"])
    assert "none of which this backbone has" in problems(run, ("stem",), layers=None)
    assert "expected a run with topographic maps" in problems(bare)
    assert "earlier_backbone: unknown backbone" in problems(run, earlier_backbone="x")
