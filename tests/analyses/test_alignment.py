"""A planted turn is undone, what lies right stays, and shapes are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from bias_audit.analyses.mapping.alignment import align_colours, align_plane, align_units
from bias_audit.analyses.mapping.group_maps import Plane
from bias_audit.analyses.mapping.layout import unit_square
from bias_audit.analyses.methods.topomap import PLUGIN as TOPOMAP
from tests.analyses.planted import make_subject, planted

TURNS = [(0.0, 1), (0.7, 1), (2.5, 1), (0.0, -1), (1.9, -1)]


def _turn(angle: float, mirror: int) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]]) @ np.diag([mirror, 1])


def _disc(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), 0.5 * np.sqrt(rng.random(n))
    return 0.5 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _colours(places: np.ndarray) -> np.ndarray:
    """Three groups that differ in different corners, so that no turn but one fits."""
    x, y = (places - 0.5).T
    return np.stack([x + 0.3 * y, np.exp(-((x - 0.2) ** 2 + (y - 0.25) ** 2) / 0.02), x * y])


@pytest.mark.parametrize(("angle", "mirror"), TURNS)
def test_a_turned_layout_of_the_same_units_is_turned_back(angle: float, mirror: int) -> None:
    reference = _disc(50, 0)
    turned = (reference - 0.5) @ _turn(angle, mirror) + 3.0
    np.testing.assert_allclose(align_units(turned, reference), reference, atol=1e-12)


@pytest.mark.parametrize(("angle", "mirror"), TURNS)
def test_a_layout_of_other_units_is_turned_by_its_colours(angle: float, mirror: int) -> None:
    reference, straight = _disc(400, 0), _disc(300, 1)
    turned = (straight - 0.5) @ _turn(angle, mirror) + 0.5
    found = align_colours(turned, _colours(straight), reference, _colours(reference))
    # Turns are tried in steps of one degree, which at the rim are 0.0087.
    assert np.abs(found - straight).max() < 0.05
    np.testing.assert_allclose(pdist(found), pdist(turned))


def test_a_layout_is_not_turned_against_itself() -> None:
    places = _disc(200, 2)
    np.testing.assert_allclose(
        align_colours(places, _colours(places), places, _colours(places)), places, atol=1e-12
    )
    np.testing.assert_allclose(align_units(places, places), places, atol=1e-12)


def test_groups_without_images_play_no_part() -> None:
    places, values = _disc(100, 3), _colours(_disc(100, 3))
    with_empty = np.concatenate([values, np.full((1, 100), np.nan)])
    found = align_colours(places, with_empty, places, with_empty)
    np.testing.assert_allclose(found, places, atol=1e-12)


def test_the_plane_of_a_layer_is_turned_onto_another() -> None:
    subject = planted(n=240, n_units=40)
    places = _disc(40, 4)
    early, late = (Plane(name, i, "", places, 0) for i, name in enumerate(("early", "late")))
    same = align_plane(subject, late, late, np.arange(240)).positions
    np.testing.assert_allclose(same, unit_square(places), atol=1e-12)
    turned = align_plane(subject, late, early, np.arange(240))
    assert (turned.layer, turned.positions.min(), turned.positions.max()) == ("late", 0, 1)


def test_layouts_that_cannot_be_compared_are_refused() -> None:
    places = _disc(10, 0)
    with pytest.raises(ValueError, match="same units"):
        align_units(places, places[:5])
    with pytest.raises(ValueError, match="same groups"):
        align_colours(places, np.ones((2, 10)), places, np.ones((3, 10)))


def test_further_layers_of_a_topographic_map_are_turned_like_the_first() -> None:
    """Two layers respond alike, their units in another order: only places tell them apart."""
    late = planted(n=240, n_units=40).activations.units("late")
    other = late[:, np.random.default_rng(0).permutation(40)]
    codes = np.stack([np.arange(240) % 3, np.arange(240) // 3 % 2], axis=1)
    subject = make_subject(codes, {"early": other, "late": late})
    drawn = {}
    for align in (True, False):
        params = TOPOMAP.params_type.model_validate(
            {
                "layers": ["early", "late"],
                "layout": {"kind": "random"},
                "differences": {"test": "none"},
                "align": align,
            }
        )
        outcome = TOPOMAP.run(subject, params)
        drawn[align] = [outcome.arrays[f"layer{i}-marginal-rasters"][:3] for i in (0, 1)]
        assert any("is turned" in sentence for sentence in outcome.method) == align
    np.testing.assert_array_equal(drawn[True][0], drawn[False][0])
    aligned, plain = (float((one * two).sum()) for one, two in (drawn[True], drawn[False]))
    assert aligned > plain
