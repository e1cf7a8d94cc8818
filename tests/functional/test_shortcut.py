"""A shortcut planted into real faces is found by most attribution methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bias_audit.activations.extract import forward_input
from bias_audit.analyses.attributing.decision import probe_decision
from bias_audit.analyses.attributing.face_regions import FaceTemplate, regions_on
from bias_audit.analyses.attributing.methods import METHODS, MethodSettings, rewired
from bias_audit.analyses.attributing.summing import MapSums, Means, Question, Sample, summed
from bias_audit.analyses.probing.probes import ProbeSettings
from bias_audit.arrays import IntArray
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.backbones.pooling import units
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.groups import Attribute
from bias_audit.progress import Silent
from bias_audit.statistics.inference import estimate
from bias_audit.testing.network import FakeNetwork
from tests.analyses.planted import make_subject

LAYER = "layer3"
SIDE = 32
"""Of the patch: the same, in pixels, for every second face."""
N_PROBED, N_ATTRIBUTED = 120, 16
REGIONS = {
    name: {"shape": "box", "left": x, "top": y, "right": x + SIDE / 224, "bottom": y + SIDE / 224}
    for name, x, y in (
        ("upper left corner", 0.0, 0.0),
        ("upper right corner", 1 - SIDE / 224, 0.0),
        ("lower left corner", 0.0, 1 - SIDE / 224),
        ("lower right corner", 1 - SIDE / 224, 1 - SIDE / 224),
        ("middle", 0.5 - SIDE / 448, 0.5 - SIDE / 448),
    )
}
PATCHED = "upper left corner"


def _backbone(shared: Path) -> Backbone:
    source = BACKBONE_SOURCES.load("checkpoint")
    strides = {f"layer{n}.0.conv1.stride": [2, 2] for n in (2, 3, 4)}
    strides |= {f"layer{n}.0.conv2.stride": [1, 1] for n in (2, 3, 4)}
    params = source.params_type.model_validate(
        {
            "name": "resnet50_keras",
            "architecture": "resnet50",
            "library": "timm",
            "file": str(shared / "weights" / "resnet50_keras_caffe_v1.safetensors"),
            "layers": [LAYER],
            "overrides": strides,
        }
    )
    return load_backbone("checkpoint", source, params)


def _pixels(shared: Path) -> Iterator[np.ndarray]:
    files = sorted((shared / "data" / "fairface" / "train").glob("*.jpg"))[:N_PROBED]
    for number, file in enumerate(files):
        pixels = np.asarray(Image.open(file).convert("RGB").resize((224, 224))).copy()
        if number % 2:
            pixels[:SIDE, :SIDE] = (250, 40, 200)
        yield pixels


class _Network(FakeNetwork):
    def batches(self, images: IntArray, size: int) -> Iterator[torch.Tensor]:
        for start in range(0, len(images), size):
            yield self.images[torch.from_numpy(images[start : start + size])]


@pytest.mark.slow
def test_a_coloured_patch_is_found_by_at_least_four_methods(shared: Path) -> None:
    backbone = _backbone(shared)
    images = forward_input(
        np.stack([*_pixels(shared)]), backbone.preprocessing, torch.device("cpu")
    )
    recorded: list[torch.Tensor] = []
    shape = backbone.shapes[LAYER]
    handle = backbone.module.get_submodule(LAYER).register_forward_hook(
        lambda _m, _i, output: recorded.append(units(output, shape))
    )
    with torch.inference_mode():
        for start in range(0, N_PROBED, 16):
            backbone.module(images[start : start + 16])
    handle.remove()
    codes = np.arange(N_PROBED)[:, None] % 2
    subject = make_subject(
        codes, {LAYER: torch.cat(recorded).numpy()}, (Attribute("label", ("plain", "patched")),)
    )
    network = _Network(
        backbone.module, images, backbone.shapes, preprocessing=backbone.preprocessing
    )
    module = rewired(backbone.module, (224, 224)).to(memory_format=torch.channels_last)
    spec = ("label", LAYER, ProbeSettings(), "annotated")
    decided = probe_decision(subject, network, module, spec)  # type: ignore[arg-type]
    assert not isinstance(decided, str)
    template = FaceTemplate.model_validate(
        {"regions": [{"name": name, "areas": [area]} for name, area in REGIONS.items()]}
    )
    chosen = np.flatnonzero(codes[:, 0] == 1)[:N_ATTRIBUTED]
    regions = regions_on(template, backbone.preprocessing)
    question = Question(
        decided.module,
        decided.targets_for(chosen),
        METHODS,
        MethodSettings(windows=4, steps=4),
        regions,
        28,
        8,
    )
    sample = Sample(chosen, subject.faces.clusters[chosen], np.ones((len(chosen), 1), bool))
    with Silent().step("", total=1, unit="image") as step:
        *_, sums = summed(question, sample, network, step=step)
    totals = MapSums.stored(sums).totals
    found = _found(Means(totals, unit="images"), regions.names, regions.areas)
    clear = [name for name, (patch, rest) in found.items() if patch.lower > rest.upper]
    assert len(clear) >= 4, found


def _found(means: Means, names: tuple[str, ...], areas: np.ndarray) -> dict:  # type: ignore[type-arg]
    """By method: density of the patch's region, and of the region that comes next."""
    result = {}
    for number, method in enumerate(METHODS):
        densities = []
        for place in range(len(names)):
            weights = np.zeros(len(METHODS) * len(names))
            weights[number * len(names) + place] = 1 / areas[place]
            measured = means.mean({0: 1}, weights, is_share=False)
            assert measured is not None
            densities.append(estimate(measured, level=0.95))
        patch = densities.pop(names.index(PATCHED))
        result[method.title] = (patch, max(densities, key=lambda each: each.upper))
    return result
