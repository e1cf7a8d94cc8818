"""Every plugin keeps the promises of its folder, and whatever an analysis measures is declared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel

from bias_audit.analyses.analysis import Head, JointAnalysis, Member, Subject
from bias_audit.config.catalog import (
    ANALYSES,
    BACKBONE_SOURCES,
    DATA_SOURCES,
    EXECUTORS,
    LAYOUTS,
    Catalog,
)
from bias_audit.selftest.simulated import InMemoryActivations
from tests.analyses.attributed import SHAPES, SIDE, FakeNetwork, SmallNet, frozen
from tests.analyses.planted import planted

PLUGINS = [
    (catalog, kind)
    for catalog in (DATA_SOURCES, BACKBONE_SOURCES, ANALYSES, LAYOUTS, EXECUTORS)
    for kind in catalog.kinds()
]
SMALL: dict[str, list[dict[str, Any]]] = {
    "confusions": [{}, {"protocol": "krug_stober_2025", "published": {"epochs": 2}}],
    "attribution": [{"images": 40, "trust_images": 10, "methods": ["saliency"]}],
    "training": [
        {"classes": {"attribute": "age", "outputs": ["young", "middle", "old", *[None] * 4]}}
    ],
    "layout_comparison": [{"layouts": [{"kind": "pca"}, {"kind": "random"}], "repetitions": 3}],
}
"""Parameters of analyses that take long, or that have more than one form."""


@pytest.mark.parametrize(("catalog", "kind"), PLUGINS, ids=[kind for _, kind in PLUGINS])
def test_plugin_has_a_title_and_frozen_parameters(catalog: Catalog[Any], kind: str) -> None:
    plugin = catalog.load(kind)
    assert plugin.title
    assert issubclass(plugin.params_type, BaseModel)
    assert plugin.params_type.model_config.get("frozen")
    assert plugin.params_type.model_config.get("extra") == "forbid"


def _subject(name: str = "planted") -> Subject:
    """With everything that an analysis may ask for."""
    subject = planted(n=240, strength=2.0)
    activations = subject.activations
    assert isinstance(activations, InMemoryActivations)
    late = activations.by_layer["late"]
    maps = {name: values[:, :, None] for name, values in activations.by_layer.items()}
    rng = np.random.default_rng(0)
    head = Head(
        name="fc",
        weight=rng.standard_normal((7, late.shape[1])).astype(np.float32),
        bias=np.zeros(7, dtype=np.float32),
        inputs=late,
        reference=late[:50],
    )
    # Its images are not those behind the activations, whose units have nothing to do with it.
    images = torch.from_numpy(rng.standard_normal((240, 3, SIDE, SIDE)).astype(np.float32))
    network = FakeNetwork(frozen(SmallNet()), images, SHAPES)
    recorded = replace(activations, maps=maps)
    return replace(subject, name=name, activations=recorded, head=head, network=network)


@pytest.mark.parametrize("kind", ANALYSES.kinds())
def test_what_is_measured_is_what_is_declared(kind: str) -> None:
    plugin = ANALYSES.load(kind)
    held: set[str | None] = set()
    for params in SMALL.get(kind, [{}]):
        asked = plugin.params_type.model_validate(params)
        if isinstance(plugin, JointAnalysis):
            outcome = plugin.run([Member(_subject(name), ()) for name in ("a", "b")], asked)
        else:
            outcome = plugin.run(_subject(), asked)
        assert outcome.blocks
        held |= {getattr(block, "quantity", None) for block in outcome.blocks}
    assert held - {None} == set(plugin.quantities)
