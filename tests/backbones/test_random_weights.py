from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bias_audit.activations.capture import captured
from bias_audit.activations.recording import LayerFile
from bias_audit.backbones.loading import Backbone
from bias_audit.backbones.random_weights import (
    estimate_statistics,
    set_statistics,
    with_random_weights,
)
from bias_audit.errors import BackboneError
from tests.backbones.test_sources import load

ARCHITECTURES = [
    ("timm", "resnet18.a1_in1k"),
    ("timm", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
    ("timm", "convnext_atto.d2_in1k"),
    ("torchvision", "mobilenet_v2"),
    ("torchvision", "vgg11"),
    ("torchvision", "swin_t"),
]


@pytest.fixture(scope="module")
def bundled() -> Backbone:
    """Not to be changed."""
    return load("bundled")


def noise(n: int, seed: int, size: int = 224) -> Tensor:
    """Smooth noise, as images are smooth."""
    coarse = torch.randn(n, 3, 14, 14, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")


def units_of(backbone: Backbone, batch: Tensor) -> dict[str, Tensor]:
    files = [LayerFile(layer.name, layer.n_units, None) for layer in backbone.record.layers]
    with captured(backbone, backbone.module, files) as capture:
        rows = capture.passed(batch)
    return {file.layer: torch.from_numpy(values) for file, values in rows.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), ARCHITECTURES, ids=[name for _, name in ARCHITECTURES])
def test_activations_neither_vanish_nor_explode(kind: str, name: str) -> None:
    size = 224 if name.startswith("vit") else 128
    trained = load(kind, name=name, pretrained=False, preprocessing={"size": size})
    backbone = with_random_weights(trained, 1, calibrated_on="x")
    estimate_statistics(backbone, noise(8, 0, size))
    for layer, units in units_of(backbone, noise(8, 1, size)).items():
        assert 0.01 < float(units.std(dim=0).mean()) < 100, layer


def test_without_estimated_statistics_deep_activations_are_of_another_size() -> None:
    """The reason for estimating them."""
    trained = load("timm", name="resnet50.a1_in1k", pretrained=False, preprocessing={"size": 128})
    backbone = with_random_weights(trained, 1, calibrated_on="x")
    raw = units_of(backbone, noise(4, 1, 128))["layer4"].abs().mean()
    estimate_statistics(backbone, noise(4, 0, 128))
    assert raw > 100 * units_of(backbone, noise(4, 1, 128))["layer4"].abs().mean()


def test_a_batch_is_normalised_by_its_own_statistics() -> None:
    backbone = with_random_weights(
        load("timm", name="resnet18.a1_in1k", pretrained=False, layers=["bn1"]),
        1,
        calibrated_on="x",
    )
    seen: list[Tensor] = []
    norm = backbone.module.get_submodule("layer4.1.bn2")
    norm.register_forward_hook(lambda _m, _i, output: seen.append(output.clone()))
    batch = noise(4, 0)
    estimate_statistics(backbone, batch)
    with torch.inference_mode():
        backbone.module(batch)
    assert seen[-1].mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (seen[-1].std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 0.01


def test_weights_follow_the_seed_alone(bundled: Backbone) -> None:
    one, again, other = (
        with_random_weights(backbone, seed, calibrated_on="x")
        for backbone, seed in (
            (bundled, 1),
            (load("bundled", pretrained=False), 1),  # no trained weight plays a part
            (bundled, 2),
        )
    )
    pairs = zip(one.module.parameters(), again.module.parameters(), strict=True)
    assert all(torch.equal(mine, yours) for mine, yours in pairs)
    assert one.fingerprint == again.fingerprint
    assert len({bundled.fingerprint, one.fingerprint, other.fingerprint}) == 3
    weight = "blocks.5.0.conv_pw.weight"
    assert not torch.equal(one.module.get_parameter(weight), other.module.get_parameter(weight))
    assert not torch.equal(one.module.get_parameter(weight), bundled.module.get_parameter(weight))


def test_the_trained_backbone_stays_as_it_was() -> None:
    backbone = load("bundled")
    before = {name: tensor.clone() for name, tensor in backbone.module.state_dict().items()}
    random = with_random_weights(backbone, 1, calibrated_on="x")
    estimate_statistics(random, noise(4, 0))
    after = backbone.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_convolutions_are_he_normal_and_norms_neutral(bundled: Backbone) -> None:
    module = with_random_weights(bundled, 1, calibrated_on="x").module
    weight = module.get_parameter("blocks.5.0.conv_pw.weight")
    assert float(weight.var()) == pytest.approx(2 / weight[0].numel(), rel=0.05)
    depthwise = module.get_parameter("blocks.5.0.conv_dw.weight")
    assert float(depthwise.var()) == pytest.approx(2 / 25, rel=0.05)
    assert (module.get_parameter("bn2.weight") == 1).all()
    assert (module.get_parameter("bn2.bias") == 0).all()


def test_kept_statistics_are_set_again_to_the_bit(bundled: Backbone) -> None:
    first, again = (with_random_weights(bundled, 1, calibrated_on="x") for _ in range(2))
    set_statistics(again, estimate_statistics(first, noise(4, 0)))
    mine, yours = first.module.state_dict(), again.module.state_dict()
    assert all(torch.equal(mine[name], yours[name]) for name in mine)
    with pytest.raises(BackboneError, match="another architecture"):
        set_statistics(again, {})


def test_overrides_and_images_of_the_statistics_change_the_fingerprint(bundled: Backbone) -> None:
    changed = load("bundled", overrides={"blocks.1.0.conv_dw.stride": [1, 1]})
    prints = {
        with_random_weights(one, 1, calibrated_on=images).fingerprint
        for one, images in ((bundled, "x"), (changed, "x"), (bundled, "y"))
    }
    assert len(prints) == 3
