from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bias_audit.backbones.head import NO_CLASSES, Classes, find_head
from tests.backbones.test_sources import KERAS_STRIDES, SMALL, load


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
    head = find_head(net, (16, 16), classes=Classes(3, "a test")).head
    assert head is not None
    assert head.name == "last.1"
    assert head.weight.shape == (3, 4)
    assert head.bias.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("last", "unfilled", "why"),
    [
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), (), "no linear layer's output"),
        (nn.Linear(4, 1), (), "one output"),
        (nn.Linear(4, 3), ("last.bias",), r"do not hold .*last\.bias"),
        (nn.Unflatten(1, (2, 2)), (), r"array of shape \(2, 2, 2\)"),
    ],
)
def test_without_head_it_says_why(last: nn.Module, unfilled: tuple[str, ...], why: str) -> None:
    import re

    module = Net(last).eval()
    n_outputs = module(torch.zeros(1, 3, 16, 16)).shape[1]
    classes = Classes(n_outputs, "a test")
    search = find_head(module, (16, 16), classes=classes, unfilled=unfilled)
    assert search.head is None
    assert re.search(why, search.why_not)


@pytest.mark.parametrize("offset", [-100, 0, 100])
def test_an_output_that_is_changed_afterwards_is_no_head(offset: float) -> None:
    """Also where the change leaves the scores of this pass alone: all of them are positive."""
    net = Net(nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))).eval()
    with torch.no_grad():
        net.last.get_parameter("0.bias").add_(offset)
    assert find_head(net, (16, 16), classes=Classes(3, "a test")).head is None


def test_a_linear_layer_that_computes_something_else_is_no_head() -> None:
    class Scaled(nn.Linear):
        def forward(self, given: Tensor) -> Tensor:
            return 3 * super().forward(given)

    search = find_head(Net(Scaled(4, 3)).eval(), (16, 16), classes=Classes(3, "a test"))
    assert search.head is None
    assert "not linear in what it receives" in search.why_not


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        (NO_CLASSES, "may be a projection"),
        (Classes(4, "another set"), "not the 4 classes of anoth"),
    ],
)
def test_outputs_are_no_scores_where_nothing_says_so(classes: Classes, why: str) -> None:
    search = find_head(Net(nn.Linear(4, 3)).eval(), (16, 16), classes=classes)
    assert search.head is None
    assert why in search.why_not


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


def test_features_without_classifier_have_no_head(shared: Path) -> None:
    backbone = load(
        "checkpoint",
        architecture="vgg16",
        file=shared / "weights/vgg16_features.safetensors",
        preprocessing=SMALL,
    )
    assert backbone.head is None
    assert "do not hold" in backbone.without_head
    assert "head.fc.weight" in backbone.without_head


def test_the_keras_resnet50_has_its_classifier(shared: Path) -> None:
    backbone = load(
        "checkpoint",
        architecture="resnet50",
        file=shared / "weights/resnet50_keras_caffe_v1.safetensors",
        overrides=KERAS_STRIDES,
    )
    assert backbone.head is not None
    assert (backbone.head.name, backbone.head.weight.shape) == ("fc", (1000, 2048))
    assert torch.equal(
        torch.from_numpy(backbone.head.weight), backbone.module.get_parameter("fc.weight")
    )
