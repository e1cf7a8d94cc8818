"""The same weights give the same audit, from the hub's cache or from a file.

It takes minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants
from torchvision import models

from bias_audit.backbones.loading import Backbone
from tests.backbones.test_sources import load

pytestmark = pytest.mark.benchmark

TIMM = (
    "resnet18.a1_in1k",
    "resnet50.tv_in1k",
    "resnet50_clip.openai",
    "resnetv2_50x1_bit.goog_in21k_ft_in1k",
    "resnext50_32x4d.a1_in1k",
    "seresnet50.a1_in1k",
    "vgg11_bn.tv_in1k",
    "densenet121.tv_in1k",
    "inception_v3.tv_in1k",
    "inception_v3.tf_in1k",
    "inception_v4.tf_in1k",
    "pnasnet5large.tf_in1k",
    "mobilenetv2_100.ra_in1k",
    "mobilenetv3_large_100.miil_in21k",
    "mobilenetv4_conv_small.e2400_r224_in1k",
    "efficientnet_b0.ra_in1k",
    "tf_efficientnetv2_b0.in1k",
    "regnety_004.tv2_in1k",
    "ghostnet_100.in1k",
    "convnext_atto.d2_in1k",
    "convnext_base.clip_laion2b",
    "convnextv2_atto.fcmae",
    "swin_tiny_patch4_window7_224.ms_in22k",
    "swinv2_tiny_window8_256.ms_in1k",
    "maxvit_rmlp_pico_rw_256.sw_in1k",
    "coatnet_nano_rw_224.sw_in1k",
    "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "vit_small_patch16_224.dino",
    "vit_small_patch14_dinov2.lvd142m",
    "vit_small_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch16_224.mae",
    "vit_base_patch32_clip_224.openai",
    "vit_base_patch16_siglip_224.webli",
    "vit_tiny_r_s16_p8_224.augreg_in21k",
    "deit_tiny_distilled_patch16_224.fb_in1k",
    "beit_base_patch16_224.in22k_ft_in22k_in1k",
    "eva02_tiny_patch14_224.mim_in22k",
    "gmixer_24_224.ra3_in1k",
    "edgenext_xx_small.in1k",
    "levit_128s.fb_dist_in1k",
)
TORCHVISION = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_v2_t",
    "vgg11",
    "vit_b_32",
)


def _activations(backbone: Backbone) -> dict[str, torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}
    handles = [
        backbone.module.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: kept.update({name: output.clone()})
        )
        for name in backbone.layers
    ]
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        output: Any = backbone.module(noise)
    for handle in handles:
        handle.remove()
    return {**kept, "output": output}


def _assert_same(one: Backbone, other: Backbone) -> None:
    assert one.record.preprocessing == other.record.preprocessing
    assert one.layers == other.layers
    assert other.record.key_problems == ()
    assert (one.head is None) == (other.head is None)
    ours, theirs = _activations(one), _activations(other)
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert torch.equal(values, theirs[name]), name


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = timm.create_model(name, pretrained=False).state_dict()
    settings = timm.get_pretrained_cfg(name)
    assert settings is not None
    repository = str(settings.hf_hub_id).partition("@")[0]
    snapshot = tmp_path / f"models--{repository.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    safetensors.torch.save_file(
        state, snapshot / (settings.hf_hub_filename or "model.safetensors")
    )
    file = tmp_path / "ours.safetensors"
    safetensors.torch.save_file(state, file)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    _assert_same(load("timm", name=name), load("checkpoint", architecture=name, file=file))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    weights = models.get_model_weights(name).DEFAULT
    kind = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    state = models.get_model(name, weights=None, **kind).state_dict()
    (tmp_path / "checkpoints").mkdir()
    for file in (tmp_path / "checkpoints" / weights.url.rpartition("/")[2], tmp_path / "ours.pth"):
        torch.save(state, file)
    params: dict[str, Any] = {"architecture": name, "library": "torchvision"}
    ours = load("checkpoint", file=file, preprocessing_of=weights.name, **params)
    _assert_same(load("torchvision", name=name), ours)
