"""Attribution by group: a planted shortcut is found, and nothing about single images leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bias_audit.analyses.analysis import Outcome, Subject
from bias_audit.analyses.methods.attribution import PLUGIN, Params
from bias_audit.config.schema import SmallGroups
from bias_audit.errors import AnalysisError
from bias_audit.shapes.attribution_maps import AttributionMaps
from bias_audit.shapes.group_table import GroupTable
from bias_audit.shapes.measures import Measures
from bias_audit.statistics.estimate import quantile
from bias_audit.testing.network import FakeNetwork
from tests.analyses.attributed import attributed
from tests.analyses.planted import FakeCache, planted

PATCH = {"shape": "box", "left": 0, "top": 0, "right": 0.25, "bottom": 0.25}
FACE = {"left": 0.3, "top": 0.3, "right": 0.9, "bottom": 0.9}
CORNER = {"regions": [{"name": "patch", "areas": [PATCH]}, {"name": "face", "areas": [FACE]}]}


def _params(**changes: Any) -> Params:
    given = {"targets": ["gender"], "layer": "late", "images": None, "trust_images": 10}
    small = {"windows": 5, "steps": 4, "map_side": 16, "template": CORNER}
    return Params.model_validate(given | small | changes)


def _run(subject: Subject, **changes: Any) -> Outcome:
    return PLUGIN.run(subject, _params(**changes))


def _block(outcome: Outcome, kind: type[Any], place: int = 0) -> Any:
    return [block for block in outcome.blocks if isinstance(block, kind)][place]


def _shares(outcome: Outcome, place: int = 0) -> Any:
    blocks = [b for b in outcome.blocks if isinstance(b, Measures) and not b.covariances]
    return blocks[place]


def _checks(outcome: Outcome) -> Any:
    (block,) = (b for b in outcome.blocks if isinstance(b, Measures) and b.covariances)
    return block


@pytest.fixture(scope="module")
def found() -> Outcome:
    return _run(attributed())


def test_a_planted_patch_has_more_attribution_than_its_area(found: Outcome) -> None:
    block = _shares(found)
    assert [region.name for region in block.measures][:2] == ["patch", "face"]
    clear = 0
    for row in block.entries:
        patch, *others = zip(row.values, block.measures, strict=True)
        density = patch[0].lower / patch[1].reference
        rest = [share.upper / region.reference for share, region in others[:-1]]
        clear += density > max(rest)
    assert clear >= 4


def test_maps_of_the_level_with_the_patch_show_it(found: Outcome) -> None:
    block = _block(found, AttributionMaps)
    maps = found.arrays[block.maps]
    assert maps.shape == (len(block.methods), 3, 16, 16)
    assert np.allclose(maps.mean(axis=(2, 3)), 1, atol=1e-4)
    male = [group.label for group in block.groups].index("male")
    assert (maps[:, male, :4, :4].mean(axis=(1, 2)) > 2).sum() >= 4


def test_groups_differ_where_the_patch_is(found: Outcome) -> None:
    block = _shares(found, 1)
    first = min(block.pairs, key=lambda each: each.adjusted_p)
    assert first.measure == "patch"
    assert first.one == "female" and first.other != "all others"
    assert first.estimate.upper < 0
    rows = {row.group.label: row.values[0] for row in block.drawn()}
    assert rows["male"].value - rows["female"].value == pytest.approx(-first.estimate.value)


def test_without_a_patch_no_region_of_the_groups_differs() -> None:
    outcome = _run(attributed(patch=False))
    block = _shares(outcome, 1)
    assert min(each.adjusted_p for each in block.pairs) > 0.05


def test_regions_sum_to_one_and_the_outside_to_its_quarters(found: Outcome) -> None:
    block = _shares(found)
    assert sum(region.reference for region in block.measures[:-1]) == pytest.approx(1)
    for row in block.entries:
        values = [share.value for share in row.values]
        assert sum(values[:-1]) == pytest.approx(1)
        assert sum(values[2:-1]) == pytest.approx(values[-1])


def test_the_checks_name_every_method_and_their_rule(found: Outcome) -> None:
    block = _checks(found)
    assert len(block.entries) == 6 and len(block.pairs) == 15
    by_name = {method.name: method for method in block.entries}
    sanity = by_name["Integrated gradients"].values[0]
    assert sanity is not None and sanity.n == 10
    for method in block.entries:
        low, high = method.values[0].lower, method.values[0].upper
        expected = "passes" if high < 0.5 else "fails" if low > 0.5 else "undecided"
        assert method.standing == expected
    deletion = [measure.name for measure in block.measures].index("deletion")
    assert by_name["Occlusion"].values[deletion].value > 0


def test_covariances_are_those_behind_the_intervals(found: Outcome) -> None:
    block = _checks(found)
    assert len(block.covariances) == len(block.measures) + 1
    rows = [[m.values[place] for m in block.entries] for place in range(len(block.measures))]
    rows.append([pair.estimate for pair in block.pairs])
    for row, covariance in zip(rows, block.covariances, strict=True):
        halves = np.array([(e.upper - e.lower) / 2 for e in row])
        errors = np.sqrt(np.diag(np.array(covariance)))
        reach = np.array([quantile(e.level, e.freedom) for e in row])
        np.testing.assert_allclose(halves, reach * errors, rtol=1e-5, atol=1e-9)
        assert np.linalg.eigvalsh(np.array(covariance)).min() > -1e-9


def test_the_table_for_criteria_holds_every_level(found: Outcome) -> None:
    table = _block(found, GroupTable)
    assert table.quantity == "attribution_outside_share"
    labels = [row.group.label for row in table.rows]
    assert labels == ["all images", "young", "old", "female", "male"]
    assert all(row.estimate is not None or row.reason for row in table.rows)


def test_nothing_that_leaves_or_is_cached_grows_with_the_images() -> None:
    sizes = []
    for n in (60, 120):
        cache = FakeCache()
        outcome = _run(attributed(n, cache=cache), methods=["saliency"])
        kept = [each for each in cache.kept.values() if "folds" not in each]  # as probes have
        assert len(kept) == 2
        arrays = [array for each in kept for array in each.values()]
        sizes.append(sorted(array.size for array in (*arrays, *outcome.arrays.values())))
    assert sizes[0] == sizes[1]


def test_groups_of_few_images_have_no_map_and_no_number() -> None:
    subject = attributed(60)
    codes = subject.faces.table.codes.copy()
    codes[:, 0] = (np.arange(60) < 6).astype(int)  # 6 old faces
    table = replace(subject.faces.table, codes=codes)
    subject = replace(
        subject,
        faces=replace(subject.faces, table=table),
        small_groups=SmallGroups(minimum=10, policy="shrink", suppress_below=2),
    )
    outcome = _run(subject, methods=["saliency"], groups=["age"])
    block = _block(outcome, AttributionMaps)
    # "young" goes too: all images less the young ones would be the six.
    assert [reason is None for reason in block.reasons] == [True, False, False]
    assert np.isnan(outcome.arrays[block.maps][:, 1:]).all()
    shares = _shares(outcome, 1)
    for row in shares.entries:
        if row.group.label != "all images":
            assert set(row.values) == {None} and all(row.reasons)
    assert not shares.pairs
    assert any("could show a face" in limit for limit in outcome.limits)


class _Interrupted(FakeNetwork):
    def batches(self, images: Any, size: int) -> Any:
        if self.n_asked > 60:
            raise KeyboardInterrupt
        yield from super().batches(images, size)


def test_an_interrupted_pass_goes_on_and_gives_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, found: Outcome
) -> None:
    monkeypatch.setattr("bias_audit.cache._CHECKPOINT_SECONDS", 0.0)
    cache = FakeCache()
    subject = attributed(cache=cache)
    network = subject.network
    assert isinstance(network, FakeNetwork)
    broken = _Interrupted(network.module, network.images, network.shapes)
    with pytest.raises(KeyboardInterrupt):
        _run(replace(subject, network=broken))
    network.n_asked = 0
    again = _run(subject)
    assert network.n_asked < 120
    for key, array in found.arrays.items():
        assert np.allclose(again.arrays[key], array, equal_nan=True, atol=1e-5)
    one, other = (_shares(outcome, 1) for outcome in (found, again))
    assert one.pairs[0].estimate.value == pytest.approx(other.pairs[0].estimate.value)


def test_the_backbones_own_class_can_be_attributed_or_is_said_to_be_missing() -> None:
    subject = attributed(60)
    outcome = _run(subject, targets=["own_class"], methods=["saliency"])
    assert _block(outcome, AttributionMaps).target == "own_class"
    network = subject.network
    assert isinstance(network, FakeNetwork)
    network.without_classes = "the weights do not hold its classification layer"
    with pytest.raises(AnalysisError, match="do not hold its classification layer"):
        _run(subject, targets=["own_class"], methods=["saliency"])
    outcome = _run(subject, targets=["own_class", "gender"], methods=["saliency"])
    assert any("own_class (the weights" in limit for limit in outcome.limits)


def test_activations_alone_cannot_be_attributed() -> None:
    with pytest.raises(AnalysisError, match="expected the backbone itself"):
        _run(planted())


def test_images_are_drawn_evenly_and_the_draw_is_told() -> None:
    outcome = _run(attributed(), images=40, methods=["saliency"])
    block = _block(outcome, AttributionMaps)
    assert block.counts == (40, 20, 20)
    assert any("40 of 120 images" in limit for limit in outcome.limits)


def test_a_shortcut_outside_the_face_is_told() -> None:
    template = {"regions": [{"name": "face", "areas": [FACE]}]}
    outcome = _run(attributed(), template=template)
    told = [finding.text for finding in outcome.findings]
    (warned,) = [finding for finding in outcome.findings if finding.is_warning]
    assert warned.text.startswith("Possible shortcut") and warned.question == "where"
    assert any("outside, upper left" in text for text in told), told


def test_parameters_are_checked_before_the_work() -> None:
    table = attributed(40).faces.table
    said = PLUGIN.problems(_params(targets=["gendr"], groups=["ag"]), table, None)
    assert len(said) == 2 and "gender" in said[0]
    assert PLUGIN.problems(_params(layer="nowhere"), table, ("early", "late"))
