"""Attribution methods: the same as captum's, on a function that is the same as the probe's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import timm
import torch
from captum.attr import (
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn
from torch.nn.functional import relu

from bias_audit.analyses.attributing.decision import ProbeDecision, ScoreMap, probe_map
from bias_audit.analyses.attributing.methods import (
    METHODS,
    Method,
    MethodSettings,
    attribute,
    method_named,
    rewired,
    why_not,
    window_of,
)
from bias_audit.analyses.attributing.trust import largest_change
from bias_audit.analyses.probing.probes import ProbeSettings, ProbeSpec
from bias_audit.analyses.targets import targets_of
from bias_audit.backbones.pooling import OutputShape
from bias_audit.testing.network import SHAPES, SIDE, SmallNet, frozen
from tests.analyses.attributed import attributed
from tests.analyses.planted import planted

SETTINGS = MethodSettings(windows=3, steps=4)


def _images(n: int = 3) -> Tensor:
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def _decision(module: nn.Module, layer: str = "late") -> ProbeDecision:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((5, 12)).astype(np.float32)
    return ProbeDecision(module, layer, SHAPES, ScoreMap(weight, np.ones(5, np.float32)))


TARGETS = torch.tensor([4, 0, 2])


def _captum(name: str, decision: nn.Module, image: Tensor, target: int) -> Tensor:
    size, step = window_of(SIDE, SETTINGS.windows)
    windows = {"sliding_window_shapes": (3, size, size), "strides": (3, step, step)}
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "occlusion": (Occlusion, windows),
        "saliency": (Saliency, {"abs": False}),
        "input_x_gradient": (InputXGradient, {}),
        "guided_backpropagation": (GuidedBackprop, {}),
        "integrated_gradients": (IntegratedGradients, {"n_steps": SETTINGS.steps}),
        "deeplift": (DeepLift, {}),
    }
    kind, options = kinds[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Tensor = kind(decision).attribute(image, target=target, **options)
    return found.detach()


@pytest.mark.parametrize("layer", ["early", "late"])
@pytest.mark.parametrize("name", [method.name for method in METHODS])
def test_batches_give_what_captum_gives_image_by_image(name: str, layer: str) -> None:
    images = _images()
    decision = _decision(rewired(frozen(SmallNet()), (SIDE, SIDE)), layer)
    found = attribute(method_named(name), decision, images, TARGETS, SETTINGS)
    own = SmallNet()
    for part in own.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    plain = _decision(frozen(own), layer)
    for place, target in enumerate(TARGETS.tolist()):
        direct = _captum(name, plain, images[place : place + 1].clone(), target)[0]
        scale = float(direct.abs().max())
        assert scale > 0
        assert float((found[place] - direct).abs().max()) <= 1e-5 * max(1.0, scale)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_sensitivity_can_be_measured_in_the_memory_format_of_the_audit(method: Method) -> None:
    """Gradients of images in channels-last order come in that order; captum views them flat."""
    decision = _decision(frozen(SmallNet()).to(memory_format=torch.channels_last))
    images = _images().to(memory_format=torch.channels_last)
    noise = torch.Generator().manual_seed(0)
    found = largest_change(method, decision, images, TARGETS, settings=SETTINGS, generator=noise)
    assert found.shape == (3,) and torch.isfinite(found).all()


def test_the_decision_is_that_of_the_probe_on_the_stored_activations() -> None:
    subject = attributed()
    network = subject.network
    assert network is not None
    target = targets_of(subject.faces.table, ["gender"])[0]
    probes = probe_map(subject, ProbeSpec(target, "late", ProbeSettings()))
    decision = ProbeDecision(network.module, "late", network.shapes, probes.linear)
    batch = next(iter(network.batches(np.arange(len(subject.faces)), 1000)))
    with torch.no_grad():
        scores = decision(batch).numpy()
    stored = probes.linear.scores(subject.activations.units("late"))
    assert np.abs(scores - stored).max() < 1e-4


def test_the_linear_map_gives_the_probabilities_that_the_probe_gave() -> None:
    for n_units in (12, 500):  # fewer and more units than images
        subject = planted(n=180, n_units=n_units)
        for name in ("age", "gender"):
            target = targets_of(subject.faces.table, [name])[0]
            probes = probe_map(subject, ProbeSpec(target, "late", ProbeSettings()))
            scores = probes.linear.scores(subject.activations.units("late"))
            by_fold = scores.reshape(len(scores), -1, probes.n_levels)
            own = by_fold[np.arange(len(scores)), probes.scores.folds]
            shares = np.exp(own - own.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            assert np.abs(shares - probes.scores.probabilities).max() < 1e-3
            outputs = probes.outputs(probes.scores.codes)
            assert (outputs // probes.n_levels == probes.scores.folds).all()


def test_attributing_leaves_the_audited_module_as_it_was() -> None:
    module = frozen(SmallNet())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    decision = _decision(rewired(module, (SIDE, SIDE)))
    for method in METHODS:
        attribute(method, decision, _images(), TARGETS, SETTINGS)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    for part in (*module.modules(), *decision.modules()):
        assert not part._forward_hooks and not part._forward_pre_hooks
        assert not part._backward_hooks
    assert vars(module.get_submodule("act1"))["inplace"] is True


class _Shared(nn.Module):
    """One ReLU6 at two places, and a rectifier in place behind a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 12, 3, padding=1)
        self.two = nn.Conv2d(12, 12, 3, padding=1)
        self.act = nn.ReLU6(inplace=True)
        self.last = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        values = self.act(self.one(images))
        values = self.last(self.act(4 * self.two(values)) + values)
        pooled: Tensor = values.mean(dim=(2, 3))
        return pooled


def test_shared_and_clipped_activations_are_copied_without_changing_the_function() -> None:
    module = frozen(_Shared())
    made = rewired(module, (SIDE, SIDE))
    images = 5 * _images()
    assert float((made(images) - module(images)).abs().max()) == 0
    assert float((made(images) - module(images)).abs().max()) == 0  # the second pass as the first
    targets = torch.tensor([1, 2, 3])
    deep = method_named("deeplift")
    assert why_not(deep, made, images, targets, SETTINGS) is None
    found = attribute(deep, made, images, targets, SETTINGS)
    places = torch.arange(3)
    change = (module(images) - module(0 * images))[places, targets]
    assert torch.allclose(found.sum(dim=(1, 2, 3)), change, rtol=1e-3, atol=1e-3)


def test_a_method_without_a_rule_for_the_architecture_says_so() -> None:
    vision = timm.create_model(
        "vit_tiny_patch16_224", img_size=SIDE, pretrained=False, depth=2, num_classes=4
    )
    decision = rewired(frozen(vision), (SIDE, SIDE))
    said = {
        method.name: why_not(method, decision, _images(), torch.tensor([0, 1, 2]), SETTINGS)
        for method in METHODS
    }
    assert "ReLU" in (said.pop("guided_backpropagation") or "")
    assert "without a rule" in (said.pop("deeplift") or "")
    assert set(said.values()) == {None}


class _Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 12, 3), nn.ReLU()
        self.conv2 = nn.Conv2d(12, 12, 3)

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = relu(self.conv2(self.act(self.conv(images))))
        return values.mean(dim=(2, 3))


def test_functional_rectifiers_are_noticed() -> None:
    decision = rewired(frozen(_Functional()), (SIDE, SIDE))
    guided = method_named("guided_backpropagation")
    said = why_not(guided, decision, _images(), TARGETS, SETTINGS)
    assert said is not None and "relu runs as well" in said
    deep = why_not(method_named("deeplift"), decision, _images(), TARGETS, SETTINGS)
    assert deep is not None and "without a rule" in deep


def test_every_method_applies_to_a_plain_network() -> None:
    decision = _decision(rewired(frozen(SmallNet()), (SIDE, SIDE)))
    for method in METHODS:
        assert why_not(method, decision, _images(), TARGETS, SETTINGS) is None


def test_nothing_behind_the_layer_runs() -> None:
    module = frozen(SmallNet())
    ran: list[str] = []
    module.get_submodule("fc").register_forward_hook(lambda *_: ran.append("fc"))
    _decision(module)(_images())
    assert not ran
    shape = OutputShape("vector", 4)
    whole = ScoreMap(np.eye(4, dtype=np.float32), np.zeros(4, np.float32))
    last = ProbeDecision(module, "fc", {"fc": shape}, whole)
    assert torch.allclose(last(_images()), module(_images()))
