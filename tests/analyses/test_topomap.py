"""Maps of one layer share places and colours, and show what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from bias_audit.analyses.methods.topomap import PLUGIN, Params
from bias_audit.errors import AnalysisError
from bias_audit.results.blocks import UnitMap
from tests.analyses.planted import AGE, make_subject, planted

PCA = Params.model_validate({"layout": {"kind": "pca"}, "layers": ["late"], "refine_steps": 20})


def test_maps_of_one_layer_share_places_and_colours() -> None:
    subject = planted(n=240, n_units=30)
    outcome = PLUGIN.run(subject, PCA)
    marginal, cells, _, _ = outcome.blocks
    assert isinstance(marginal, UnitMap)
    assert isinstance(cells, UnitMap)
    assert marginal.positions == cells.positions
    assert marginal.limit == cells.limit > 0
    assert [group.label for group in marginal.groups] == [
        "young",
        "middle",
        "old",
        "female",
        "male",
    ]
    assert cells.counts == (40,) * 6
    values = outcome.arrays[marginal.values]
    # Contrasts of an attribute sum to zero, and age was planted in units 0, 1, 2.
    np.testing.assert_allclose(values[:3].sum(axis=0), 0, atol=1e-5)
    assert [int(values[level].argmax()) for level in range(3)] == [0, 1, 2]
    places = outcome.arrays[marginal.positions]
    assert (places.min(axis=0) == 0).all()
    assert (places.max(axis=0) == 1).all()
    again = PLUGIN.run(subject, PCA)
    for key, array in outcome.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[key])


def test_empty_groups_and_silent_units_are_kept_and_counted() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([np.repeat([0, 1], 30), np.arange(60) % 2], axis=1)
    units = rng.standard_normal((60, 8))
    units[:, 5] = 0
    outcome = PLUGIN.run(make_subject(codes, {"late": units}), PCA)
    marginal, cells, _, _ = outcome.blocks
    assert isinstance(marginal, UnitMap)
    assert isinstance(cells, UnitMap)
    assert cells.n_silent == 1
    assert marginal.counts == (30, 30, 0, 30, 30)
    assert np.isnan(outcome.arrays[marginal.rasters][2]).all()
    assert np.isfinite(outcome.arrays[cells.rasters][:4]).all()
    assert any("1 of 8 units" in limit for limit in outcome.limits)


def test_default_map_of_one_attribute() -> None:
    codes = (np.arange(90) % 3)[:, None]
    rng = np.random.default_rng(0)
    units = rng.standard_normal((90, 20)) + np.eye(3, 20)[codes[:, 0]]
    outcome = PLUGIN.run(make_subject(codes, {"late": units}, (AGE,)), Params())
    block, _, _ = outcome.blocks
    assert isinstance(block, UnitMap)
    assert block.layout == "t-SNE (cosine), refined by 100 steps of particle swarm"


def test_what_cannot_be_drawn_is_explained() -> None:
    codes = (np.arange(30) % 3)[:, None]
    with pytest.raises(AnalysisError, match="nothing to draw"):
        PLUGIN.run(make_subject(codes, {"late": np.ones((30, 6))}, (AGE,)), PCA)
    with pytest.raises(AnalysisError, match="4 units"):
        PLUGIN.run(make_subject(codes, {"late": np.eye(3)[codes[:, 0]]}, (AGE,)), PCA)


def test_layout_is_checked_when_the_config_is() -> None:
    with pytest.raises(ValidationError, match="did you mean 'umap'"):
        Params.model_validate({"layout": {"kind": "umpa"}})
    with pytest.raises(ValidationError, match="n_neighbours"):
        Params.model_validate({"layout": {"kind": "umap", "n_neighbours": 5}})
    with pytest.raises(ValidationError, match="distance"):
        Params.model_validate({"distance": "manhattan"})
