"""What attribution rests on: sums of fixed size, regions of a face, likeness of maps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity as reference_similarity

from bias_audit.analyses.attributing.blocks import Shares, shown_groups
from bias_audit.analyses.attributing.face_regions import (
    RENDERED,
    TIGHT,
    FaceTemplate,
    regions_on,
    template_of,
)
from bias_audit.analyses.attributing.methods import rewired
from bias_audit.analyses.attributing.sentences import findings_of
from bias_audit.analyses.attributing.summing import Means, Totals
from bias_audit.analyses.attributing.trust import (
    STAGES,
    curve_areas,
    order_by,
    random_order,
    randomised,
    rank_correlation,
    structural_similarity,
)
from bias_audit.backbones.loading import Preprocessing
from bias_audit.config.schema import Component, SmallGroups
from bias_audit.errors import AnalysisError
from bias_audit.statistics.inference import estimate
from bias_audit.testing.network import PREPROCESSING, SIDE, SmallNet, frozen
from tests.analyses.attributed import attributed

INPUT = Preprocessing(224, 224, "stretch", 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)


def _sample(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clusters = np.sort(rng.integers(0, n // 2, n))
    values = rng.uniform(0, 1, (n, 3)) + 0.3 * rng.standard_normal(n // 2)[clusters][:, None]
    member = np.stack([np.ones(n), rng.uniform(size=n) < 0.4, np.zeros(n)], axis=1).astype(bool)
    member[:, 2] = ~member[:, 1]
    return values, member, clusters


def _totals(pieces: int) -> tuple[Totals, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    values, member, clusters = sample = _sample()
    totals = Totals.empty(3, 3)
    bounds = np.searchsorted(clusters, np.linspace(0, clusters.max() + 1, pieces + 1))
    for start, end in pairwise(bounds):
        rows = slice(int(start), int(end))
        totals.add(values[rows], member[rows], clusters[rows])
    return totals, sample


def test_sums_do_not_depend_on_how_the_images_came() -> None:
    one, many = _totals(1)[0], _totals(7)[0]
    assert np.allclose(one.first, many.first) and np.allclose(one.second, many.second)
    assert (one.clusters == many.clusters).all()
    assert one.counts.tolist() == one.first.reshape(3, -1)[:, 0].tolist()


def test_means_and_errors_are_those_of_the_images() -> None:
    totals, (values, member, clusters) = _totals(5)
    means = Means(totals, unit="clusters of images")
    for group in range(3):
        inside = member[:, group]
        found = means.mean({group: 1}, [0, 1, 0], is_share=False)
        assert found is not None
        mean = values[inside, 1].mean()
        assert found.value == pytest.approx(mean)
        influence = np.where(inside, values[:, 1] - mean, 0) / inside.sum()
        by_cluster = np.bincount(clusters, weights=influence)
        n = len(np.unique(clusters[inside]))
        expected = np.sqrt((by_cluster**2).sum() * n / (n - 1))
        assert found.n == n
        assert found.standard_error == pytest.approx(expected, rel=1e-6)
    totals = Totals.empty(2, 1)
    totals.add(np.ones((5, 1)), np.array([[True, False]] * 5), np.arange(5))
    assert Means(totals, unit="images").mean({1: 1}, [1.0]) is None  # it has no images


def test_differences_know_that_images_of_one_cluster_are_in_both_groups() -> None:
    totals, (values, member, clusters) = _totals(3)
    means = Means(totals, unit="clusters of images")
    one, other = (means.mean({g: 1}, [1, 0, 0], is_share=False) for g in (1, 2))
    rest = means.mean({0: 1, 1: -1}, [1, 0, 0], is_share=False)
    assert one is not None and other is not None and rest is not None
    assert rest.value == pytest.approx(other.value)
    influence = sum(
        sign * np.where(member[:, g], values[:, 0] - m.value, 0) / member[:, g].sum()
        for sign, g, m in ((1, 1, one), (-1, 2, other))
    )
    expected = np.sqrt((np.bincount(clusters, weights=influence) ** 2).sum())
    assert (one - other).standard_error == pytest.approx(expected, rel=0.02)
    # Two values of the same images are paired.
    first, second = (means.mean({0: 1}, w, is_share=False) for w in ([1, 0, 0], [0, 1, 0]))
    assert first is not None and second is not None
    unpaired = np.hypot(first.standard_error, second.standard_error)
    assert (first - second).standard_error < unpaired


def test_intervals_of_means_cover() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        values = rng.beta(2, 6, (40, 1))
        totals = Totals.empty(1, 1)
        totals.add(values, np.ones((40, 1), bool), np.arange(40))
        found = Means(totals, unit="images").mean({0: 1}, [1.0])
        assert found is not None
        interval = estimate(found, level=0.95)
        covered += interval.lower <= 0.25 <= interval.upper
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("template", [TIGHT, RENDERED])
def test_every_pixel_has_one_region_and_left_mirrors_right(template: FaceTemplate) -> None:
    regions = regions_on(template, INPUT)
    assert regions.areas.sum() == pytest.approx(1)
    assert all(regions.areas > 0)
    assert regions.names[0] == "eyes"
    if template is TIGHT:
        mirrored = regions.member[:, ::-1]
        inside = regions.member < regions.n_inside
        assert (mirrored[inside] == regions.member[inside]).mean() > 0.99


def test_the_eyes_of_the_template_lie_above_its_mouth() -> None:
    regions = regions_on(TIGHT, INPUT)
    middle = {
        name: np.argwhere(regions.member == i).mean(axis=0) / 224
        for i, name in enumerate(regions.names)
    }
    heights = [middle[name][0] for name in ("forehead and hair", "eyes", "nose", "mouth")]
    assert heights == sorted(heights)
    assert middle["outside, upper left"][1] < 0.5 < middle["outside, upper right"][1]


def test_faces_cut_with_more_padding_are_smaller_about_the_middle() -> None:
    wide = template_of(Component(kind="fairface", padding="1.25"), None)
    narrow = template_of(Component(kind="fairface"), None)
    areas = [regions_on(one, INPUT).areas[:5].sum() for one in (narrow, wide)]
    assert areas[1] == pytest.approx(areas[0] * (1.5 / 3.5) ** 2, rel=0.03)


def test_a_crop_shows_the_middle_of_the_template() -> None:
    crop = Preprocessing(224, 224, "crop", 0.875, "bilinear", (0.5,) * 3, (0.5,) * 3)
    whole, middle = regions_on(TIGHT, INPUT), regions_on(TIGHT, crop)
    assert middle.member[112, 112] == whole.member[112, 112]
    assert middle.member[0, 0] == whole.member[14, 14]


def test_a_region_without_pixels_is_refused() -> None:
    box = {"shape": "box", "left": 0, "top": 0, "right": 1, "bottom": 1}
    regions = [{"name": "all", "areas": [box]}, {"name": "hidden", "areas": [box]}]
    with pytest.raises(AnalysisError, match="hidden"):
        regions_on(FaceTemplate.model_validate({"regions": regions}), PREPROCESSING)


@pytest.mark.parametrize("kind", ["manifest", "my_source"])
def test_only_known_sources_have_a_template(kind: str) -> None:
    with pytest.raises(AnalysisError, match=kind):
        template_of(Component(kind=kind), None)
    assert template_of(Component(kind=kind), TIGHT) is TIGHT


def test_ranks_and_similarity_are_those_of_the_reference_libraries() -> None:
    rng = np.random.default_rng(0)
    one = rng.uniform(0, 1, (4, 16, 16)).round(1)  # with ties
    other = one + rng.uniform(0, 0.5, one.shape)
    found = rank_correlation(torch.from_numpy(one), torch.from_numpy(other))
    alike = structural_similarity(torch.from_numpy(one), torch.from_numpy(other))
    for place in range(4):
        expected = spearmanr(one[place].ravel(), other[place].ravel()).statistic
        assert float(found[place]) == pytest.approx(float(expected))
        scaled = [(m - m.min()) / np.ptp(m) for m in (one[place], other[place])]
        similar: Any = reference_similarity
        reference = similar(*scaled, data_range=1, win_size=7, full=True)[1]
        assert float(alike[place]) == pytest.approx(float(reference[3:-3, 3:-3].mean()))
    assert float(rank_correlation(torch.ones(1, 8, 8), torch.rand(1, 8, 8))) == 0  # a flat map


def test_weights_are_shuffled_from_the_top_down_on_a_copy() -> None:
    module = rewired(frozen(SmallNet()), (SIDE, SIDE))
    images = torch.randn(1, 3, SIDE, SIDE)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    changed = {}
    for stage, broken in randomised(module, images, seed=3):
        state = broken.state_dict()
        changed[stage] = {name for name, value in before.items() if (state[name] != value).any()}
        for name, value in before.items():
            assert torch.equal(state[name].flatten().sort()[0], value.flatten().sort()[0])
    assert [*changed] == [*STAGES]
    assert changed["probe"] == {"fc.weight", "fc.bias"}
    assert changed["probe"] < changed["upper half"] < changed["all"] == set(before)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


class _Corner(torch.nn.Module):
    """Two scores, of which the first is the mean of the upper left corner."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        score = images[:, :, :8, :8].mean(dim=(1, 2, 3))
        return torch.stack([10 * score, 0 * score], dim=1)


def test_covering_what_counts_changes_the_decision_fastest() -> None:
    images, targets = torch.rand(6, 3, SIDE, SIDE) + 0.5, torch.zeros(6, dtype=torch.long)
    perfect = torch.zeros(6, 3, SIDE, SIDE)
    perfect[:, :, :8, :8] = 1
    generator = torch.Generator().manual_seed(0)
    orders = {"map": order_by(perfect), "random": random_order(6, generator)}
    areas = {k: curve_areas(_Corner(), images, targets, order, 2) for k, order in orders.items()}
    assert (areas["map"][0] < areas["random"][0]).all()
    assert (areas["map"][1] > areas["random"][1]).all()
    assert all(float(area.min()) >= 0 and float(area.max()) <= 1 for area in areas["map"])


def test_no_group_can_be_told_from_what_the_others_leave() -> None:
    faces = attributed(120).faces
    policy = SmallGroups(minimum=10, policy="pool", suppress_below=1)
    images = np.arange(120)
    shown = shown_groups(faces, images[: 2 * 30], ["age", "gender"], policy)
    assert all(reason is None for reason in shown.reasons)
    few = np.concatenate([np.flatnonzero(faces.table.codes[:, 0] == 0), [1, 3, 5]])
    shown = shown_groups(faces, few, ["age"], policy)
    assert shown.reasons[0] is None
    assert shown.reasons[2] is not None and "fewer than 10" in shown.reasons[2]
    assert shown.reasons[1] is not None and "would follow from it" in shown.reasons[1]
    assert len(shown.ledgers) == 1


def test_an_even_spread_seldom_has_a_region_with_more_than_its_size() -> None:
    """The region with the most is picked among many: its claim allows for that."""
    regions = regions_on(TIGHT, INPUT)
    rng, n, decided = np.random.default_rng(5), 24, 0
    none = shown_groups(attributed(n).faces, np.arange(n), [], SmallGroups())
    for _ in range(400):
        totals = Totals.empty(1, len(regions.names))
        totals.add(rng.dirichlet(60 * regions.areas, n), np.ones((n, 1), bool), np.arange(n))
        means = Means(totals, unit="images")
        shares = Shares(means, ("one",), (0,), regions, none, "late", "gender", 0.95)
        densest = next(findings_of(shares, alpha=0.05))
        assert "9 regions" in densest.text
        decided += densest.weight > 0
    assert 0 < decided < 0.08 * 400, decided
    (failed,) = findings_of(replace(shares, trusted=()), alpha=0.05)
    assert "1 of 1 methods did not pass the sanity check" in failed.text
