"""The choice of layers means the same everywhere; the head is found by what it does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bias_audit.backbones.head import Classes, LinearHead, find_head
from bias_audit.backbones.loading import Backbone, load_backbone
from bias_audit.backbones.pooling import OutputShape, Reduction, aligned, output_shape, units
from bias_audit.config.catalog import BACKBONE_SOURCES
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load


def build(kind: str, name: str, layers: Any, size: int | None = None) -> Backbone:
    source = BACKBONE_SOURCES.load(kind)
    asked = {"name": name, "layers": layers, "preprocessing": {"size": size}}
    params = source.params_type.model_validate(asked)
    return load_backbone(kind, source, params, pretrained=False)


SWIN = "swin_tiny_patch4_window7_224.ms_in1k"
VIT = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
ONE_SIZE = {SWIN, VIT}
"""Architectures that take images of 224 pixels alone; a pass of smaller ones is shorter."""


@pytest.mark.parametrize(
    ("kind", "name", "stages", "n_blocks"),
    [
        ("timm", "resnet50.a1_in1k", ("act1", "layer1", "layer2", "layer3", "layer4"), 16),
        ("timm", VIT, ("blocks.2", "blocks.5", "blocks.8", "blocks.11"), 12),
        ("timm", SWIN, ("layers.0", "layers.1", "layers.2", "layers.3"), 12),
        ("timm", "convnext_atto.d2_in1k", tuple(f"stages.{n}" for n in range(4)), 12),
        ("torchvision", "resnet18", tuple(f"layer{n}.1" for n in (1, 2, 3, 4)), 8),
        (
            "torchvision",
            "swin_t",
            ("features.1.1", "features.3.1", "features.5.5", "features.7.1"),
            12,
        ),
        (
            "torchvision",
            "mobilenet_v2",
            ("features.1", "features.3", "features.6", "features.13", "features.17"),
            17,
        ),
    ],
)
def test_stages_and_blocks(kind: str, name: str, stages: tuple[str, ...], n_blocks: int) -> None:
    size = None if name in ONE_SIZE else 64
    assert build(kind, name, "stages", size).layers == stages
    assert len(build(kind, name, "blocks", size).layers) == n_blocks


def test_patterns_keep_the_order_of_depth_and_do_not_cross_dots() -> None:
    backbone = build("bundled", "tf_efficientnet_lite0", ["bn2", "blocks.*"])
    assert backbone.layers == (*(f"blocks.{n}" for n in range(7)), "bn2")
    deep = build("bundled", "tf_efficientnet_lite0", ["blocks.1.**.bn1"])
    assert deep.layers == ("blocks.1.0.bn1", "blocks.1.1.bn1")


@pytest.mark.parametrize(
    ("layers", "expected"),
    [(["layer5"], "did you mean 'layer"), (["layer1.0.relu"], "runs 2 times")],
)
def test_layers_that_cannot_be_read_are_refused(layers: list[str], expected: str) -> None:
    with pytest.raises(BackboneError, match=expected):
        build("torchvision", "resnet18", layers)


def test_an_input_size_the_architecture_refuses_is_told() -> None:
    source = BACKBONE_SOURCES.load("torchvision")
    params = source.params_type.model_validate({"name": "vit_b_32", "preprocessing": {"size": 96}})
    with pytest.raises(BackboneError, match=r"does not accept a 96 x 96 image.*model_kwargs"):
        load_backbone("torchvision", source, params, pretrained=False)


@pytest.mark.parametrize(
    ("size", "channels_last", "prefix", "expected"),
    [
        ((2, 16, 7, 7), False, None, OutputShape("map", 16, 7, 7)),
        ((2, 7, 7, 16), False, None, OutputShape("map_channels_last", 16, 7, 7)),
        ((2, 7, 7, 7), True, None, OutputShape("map_channels_last", 7, 7, 7)),
        ((2, 16, 7, 7), True, None, OutputShape("map", 16, 7, 7)),
        ((2, 7, 8, 16), True, None, OutputShape("map_channels_last", 16, 7, 8)),
        ((2, 197, 16), False, None, OutputShape("tokens", 16, 14, 14, prefix=1)),
        ((2, 196, 16), False, None, OutputShape("tokens", 16, 14, 14, prefix=0)),
        ((2, 201, 16), False, 5, OutputShape("tokens", 16, 14, 14, prefix=5)),
        ((2, 16), False, None, OutputShape("vector", 16)),
    ],
)
def test_units_are_means_over_patches(
    size: tuple[int, ...], channels_last: bool, prefix: int | None, expected: OutputShape
) -> None:
    output = torch.randn(size, generator=torch.Generator().manual_seed(0))
    shape = output_shape(
        "x", output, n_images=2, channels_last=channels_last, prefix_tokens=prefix
    )
    assert shape == expected
    reduced = units(output, shape)
    assert reduced.shape == (2, shape.n_units)
    kept = Reduction(8).of(output, shape)
    assert kept.shape[2] <= 64
    if shape.height in {1, 7}:  # nothing was averaged across cells of unequal size
        assert torch.allclose(kept.mean(dim=2), reduced, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "of_means", "of_samples"),
    [
        (112, 8, 8),
        (56, 8, 8),
        (28, 7, 7),
        (14, 7, 7),
        (7, 7, 7),
        (35, 7, 7),
        (17, 5, 6),
        (8, 8, 8),
    ],
)
def test_windows_are_those_of_the_publication(height: int, of_means: int, of_samples: int) -> None:
    """Windows of ceil(height / 8), as METHOD states the authors' pooling and sampling."""
    output = torch.randn(2, 3, height, height)
    shape = output_shape("x", output, n_images=2, channels_last=False, prefix_tokens=None)
    step = -(-height // 8)
    mean, sample = Reduction(8), Reduction(8, "sample")
    assert mean.grid(shape) == (of_means, of_means)
    assert sample.grid(shape) == (of_samples, of_samples)
    windows = [
        output[:, :, i * step : (i + 1) * step, j * step : (j + 1) * step].mean(dim=(2, 3))
        for i in range(of_means)
        for j in range(of_means)
    ]
    assert torch.allclose(mean.of(output, shape), torch.stack(windows, dim=2), atol=1e-6)
    middles = output[:, :, step // 2 :: step, step // 2 :: step].flatten(2)
    assert torch.equal(sample.of(output, shape), middles)


def test_the_most_salient_position_comes_to_the_centre_and_zeros_move_in() -> None:
    maps = torch.arange(1.0, 21.0).reshape(1, 1, 4, 5).repeat(3, 2, 1, 1)
    saliency = torch.zeros(3, 4, 5)
    saliency[0, 0, 1] = 1
    saliency[1, 3, 4] = 1  # the third is flat
    shifted = aligned(maps, saliency)
    for image, (down, right) in enumerate([(2, 1), (-1, -2), (0, 0)]):
        expected = np.zeros((4, 5))
        for y in range(4):
            for x in range(5):
                if 0 <= y - down < 4 and 0 <= x - right < 5:
                    expected[y, x] = maps[image, 0, y - down, x - right]
        assert shifted[image].tolist() == [expected.tolist()] * 2
    assert shifted[0, 0, 2, 2] == maps[0, 0, 0, 1]


def test_tokens_and_channels_last_are_aligned_as_maps_are() -> None:
    maps, gradient = torch.randn(2, 2, 6, 3, 3).unbind()
    shape = OutputShape("map", 6, 3, 3)
    expected = Reduction(8, is_aligned=True).of(maps, shape, gradient)
    last = OutputShape("map_channels_last", 6, 3, 3)
    moved = [each.permute(0, 2, 3, 1) for each in (maps, gradient)]
    assert torch.equal(Reduction(8).of(moved[0], last, moved[1]), expected)
    tokens = OutputShape("tokens", 6, 3, 3, prefix=1)
    first = torch.ones(2, 1, 6)
    rows = [
        torch.cat([first, each.flatten(2).transpose(1, 2)], dim=1) for each in (maps, gradient)
    ]
    assert torch.equal(Reduction(8).of(rows[0], tokens, rows[1]), expected)


@pytest.mark.parametrize("size", [(128, 49, 96), (1, 16), (98, 2, 16)])
def test_rows_that_are_not_images_are_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(BackboneError, match=f"returns {size[0]} rows for 2 images"):
        output_shape("x", torch.zeros(size), n_images=2, channels_last=False, prefix_tokens=None)


def test_windows_of_an_image_are_no_layer() -> None:
    with pytest.raises(BackboneError, match="choose the module around it"):
        build("timm", SWIN, ["layers.0.blocks.0.attn"])


def test_a_convolution_of_a_channels_last_architecture_keeps_its_channels() -> None:
    backbone = build("timm", SWIN, ["patch_embed.proj", "layers.0"])
    assert [layer.n_units for layer in backbone.record.layers] == [96, 96]
    assert backbone.shapes["patch_embed.proj"].kind == "map"
    assert backbone.shapes["layers.0"].kind == "map_channels_last"


def test_no_layers_at_all_are_refused_by_the_config() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        build("bundled", "tf_efficientnet_lite0", [])


class Net(nn.Module):
    """A backbone whose last step can be chosen."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.first = nn.Linear(5, 4)
        self.last = last

    def forward(self, x: Tensor) -> Any:
        return self.last(self.first(self.conv(x).mean(dim=(2, 3))))


def test_the_head_is_found_by_what_it_does() -> None:
    net = Net(nn.Sequential(nn.Dropout(), nn.Linear(4, 3, bias=False))).eval()
    head = find_head(net, (16, 16), classes=Classes(3, "a test"))
    assert isinstance(head, LinearHead)
    assert head.name == "last.1"
    assert head.weight.shape == (3, 4)
    assert head.bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("last", "unfilled", "why"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), (), "no linear layer's output"),
        (nn.Linear(4, 1), (), "one output"),
        (nn.Linear(4, 3), ("last.bias",), r"do not include .*last\.bias"),
        (nn.Unflatten(1, (2, 2)), (), r"array of shape \(2, 2, 2\)"),
    ],
)
def test_without_head_it_says_why(last: nn.Module, unfilled: tuple[str, ...], why: str) -> None:
    module = Net(last).eval()
    n_outputs = module(torch.zeros(1, 3, 16, 16)).shape[1]
    classes = Classes(n_outputs, "a test")
    found = find_head(module, (16, 16), classes=classes, unfilled=unfilled)
    assert isinstance(found, str)
    assert re.search(why, found)


@pytest.mark.parametrize("offset", [-100, 0, 100])
def test_an_output_that_is_changed_afterwards_is_no_head(offset: float) -> None:
    """Also where the change leaves the scores of this pass alone: all of them are positive."""
    net = Net(nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))).eval()
    with torch.no_grad():
        net.last.get_parameter("0.bias").add_(offset)
    assert isinstance(find_head(net, (16, 16), classes=Classes(3, "a test")), str)


def test_a_linear_layer_that_computes_something_else_is_no_head() -> None:
    class Scaled(nn.Linear):
        def forward(self, given: Tensor) -> Tensor:
            return 3 * super().forward(given)

    found = find_head(Net(Scaled(4, 3)).eval(), (16, 16), classes=Classes(3, "a test"))
    assert isinstance(found, str)
    assert "not linear in what it receives" in found


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (Classes(), "may be a projection"),
        (Classes(4, "another set"), "not the 4 classes of anoth"),
    ],
)
def test_outputs_are_no_scores_where_nothing_says_so(classes: Classes, why: str) -> None:
    found = find_head(Net(nn.Linear(4, 3)).eval(), (16, 16), classes=classes)
    assert isinstance(found, str)
    assert why in found


@pytest.mark.parametrize(
    ("name", "is_classifier"),
    [
        ("resnet50_clip.openai", False),
        ("vit_base_patch32_clip_224.openai", False),
        ("vit_base_patch32_clip_224.openai_ft_in1k", True),
        ("resnet18.a1_in1k", True),
    ],
)
def test_a_projection_is_no_classifier(name: str, is_classifier: bool) -> None:
    backbone = load("timm", name=name, pretrained=False)
    assert (backbone.head is not None) == is_classifier


@pytest.mark.parametrize(
    ("image", "n_tokens", "expected"),
    [
        ((64, 48), 13, OutputShape("tokens", 16, 4, 3, prefix=1)),
        ((256, 128), 128, OutputShape("tokens", 16, 16, 8)),
        ((256, 128), 129, OutputShape("tokens", 16, 16, 8, prefix=1)),
        ((64, 64), 13, OutputShape("tokens", 16, 1, 13)),
    ],
)
def test_patches_have_the_proportions_of_the_image(
    image: tuple[int, int], n_tokens: int, expected: OutputShape
) -> None:
    shape = output_shape(
        "x",
        torch.zeros(2, n_tokens, 16),
        n_images=2,
        channels_last=False,
        prefix_tokens=None,
        image_size=image,
    )
    assert shape == expected
